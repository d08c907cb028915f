#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "tulle/checkpoint/model.h"
#include "tulle/data/dataset.h"
#include "tulle/nn/inference.h"

namespace tulle {

/// How a model runs.
struct InferenceChoice {
  std::optional<Precision> precision;      // nothing: as it was trained
  std::vector<kernels::ByteScale> scales;  // for kInt8: calibrate()
};

/// What the network's layers multiplied in when it was trained.
Precision trained_precision(const Network& network);

/// What the bytes of kInt8 mean in each layer, from raw inputs, at best 1,000 training samples or more; the
/// first 2,048 are used. Throws std::invalid_argument if there are none or if they are not of the model's
/// features.
std::vector<kernels::ByteScale> calibrate(Model& model, const Features& inputs);

/// The model's network ready to run on batches of at most `batch`. The model must outlive it. Throws
/// std::invalid_argument for kInt8 without scales.
Inference make_inference(Model& model, std::int32_t batch, const InferenceChoice& choice = {});

/// A model that answers again and again, for programs that embed it: takes raw samples, gives predictions,
/// allocates nothing per call. With `batch` 1 a call goes through kernels for single samples. One caller at a
/// time.
class Predictor {
 public:
  /// The model must outlive the predictor and stay as it is. Cost: O(connections).
  explicit Predictor(Model& model, std::int32_t batch = 512, const InferenceChoice& choice = {});

  std::int32_t features() const { return features_; }
  std::int32_t outputs() const { return outputs_; }
  /// Shapes: inputs [sample][features()], raw as in the training data; predictions [sample][outputs()]:
  /// probabilities (cross-entropy, bce) or values (mse). More samples than a batch go batch by batch. Throws
  /// std::invalid_argument if the sizes do not fit.
  void predict(std::span<const float> inputs, std::span<float> predictions);

 private:
  Panels<const float> gather(std::span<const float> samples);

  std::string loss_;
  std::int32_t features_, outputs_, batch_;
  std::vector<float> mean_, factor_;  // the scaled value is (raw - mean) * factor
  std::vector<std::uint32_t> rows_;   // 0, 1, 2, ...
  Inference inference_;
  PanelBuffer panels_;
};

}  // namespace tulle
