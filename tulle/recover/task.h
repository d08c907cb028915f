#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tulle/checkpoint/model.h"
#include "tulle/data/dataset.h"
#include "tulle/data/picture.h"
#include "tulle/recover/coordinates.h"
#include "tulle/recover/recovery.h"

namespace tulle {

/// What is to be recovered, and how well something is. Samples that methods see, and fresh ones of the same
/// law, if there are.
struct RecoverTask {
  Samples x, fresh_x;
  std::vector<double> y, fresh_y;  // [output][padded sample]
  std::int32_t outputs = 1;
  bool classify = false;                 // several classes
  double peak = 0.0;                     // of PSNR
  std::optional<SparseNet> planted;      // the net that made the data
  std::vector<std::string> class_names;  // of a classification; two with one output: y is 0 or 1
  Scaling scaling;
  ImageShape image;     // of an implicit representation
  bool bias = false;    // the last feature is 1
  bool linear = false;  // gates are open: plain compressed sensing

  RecoverProblem problem() const { return {.x = x, .y = y, .outputs = outputs, .classify = classify}; }
};

struct PlantedOptions {
  std::int64_t samples = 5000, features = 100;
  std::int64_t hidden_width = 10, nnz = 50, hidden_layers = 1;
  bool mixed_signs = false;
  std::int32_t outputs = 1;  // several: a linear layer, and nnz / (layers + 1) nonzeros a layer
  std::uint64_t seed = 0;
};

/// Data of a hidden sparse net and 5,000 fresh samples of it: floor(nnz / layers) nonzeros a layer, all
/// output signs +1 or mixed. arXiv 2509.20323.
RecoverTask planted_task(const PlantedOptions& options);

/// y = A x, A ~ N(0, 1), x with `nnz` ones: tells whether a solver does what compressed sensing knows.
RecoverTask sensing_task(std::int64_t samples, std::int32_t features, std::int64_t nnz, std::uint64_t seed);

/// A picture as a function of pixel coordinates; intensities from 0 to 1.
RecoverTask image_task(const Picture& picture, const CoordinateOptions& options);
/// What f shows: clamped to 0..1, as bytes.
Picture picture_of(const ImageShape& shape, std::span<const double> outputs);

/// Two classes become 0 and 1 of one output, more one-hot outputs, regression one output of numbers. Takes
/// the data over. Throws tulle::Error (kConfig) for sparse inputs or label sets.
RecoverTask data_task(Dataset data, bool bias);

/// How well outputs meet what is wanted.
struct Fit {
  double mse = 0.0;             // over samples and outputs
  double psnr = 0.0;            // 20 log10(peak) - 10 log10(max(mse, 1e-30)), dB
  double relative_error = 0.0;  // ||f - y|| / ||y||
  std::optional<double> accuracy;
};
Fit measure(const RecoverTask& task, bool fresh, std::span<const double> outputs);
/// f(x) of what was found at the task's samples.
std::vector<double> task_outputs(const RecoverTask& task, bool fresh, const SparseNet& net);

/// What such a model is as fused weights of `neurons` neurons, for methods to start with; a bias of the
/// output takes one more. Throws tulle::Error (kConfig) for one that is not a hidden layer of at most so many
/// ReLUs and one linear output (of two classes: as to_model() makes it), has biases that the task has not,
/// other features or another scaling than the task's.
SparseWeights to_weights(const Model& model, const RecoverTask& task, std::int64_t neurons);

/// The net as a model like any other: present neurons alone, output weights +-1 by themselves.
Model to_model(const RecoverTask& task, const SparseNet& net, std::uint64_t seed);

}  // namespace tulle
