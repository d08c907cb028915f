#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tulle/base/panels.h"
#include "tulle/kernels/neuron.h"
#include "tulle/nn/activation.h"
#include "tulle/nn/parameter.h"
#include "tulle/nn/precision.h"
#include "tulle/nn/storage.h"
#include "tulle/sparse/sparse_batch.h"
#include "tulle/sparse/topology.h"

namespace tulle {

/// What is going on around one forward pass; dropout masks depend on it and on nothing else.
struct Pass {
  bool training = false;
  std::uint64_t seed = 0;
  std::uint32_t step = 0;
  std::uint32_t worker = 0;
  std::int64_t first_position = 0;  // place of the batch's first sample in the step's global batch
};

/// What all layers of a perceptron are made from.
struct LayerOptions {
  std::int32_t index = 0;  // from 0; the layer after the input
  std::int32_t inputs = 0;
  std::int32_t outputs = 0;
  std::string activation = "identity";
  double alpha = 0.6;
  double dropout = 0.0;  // probability that an output is set to 0 in training, in [0, 1)
  std::uint64_t seed = 0;
  Precision precision = Precision::kFloat;  // of a sparse layer's products while training; not kInt8
  Storage storage = Storage::kFast;         // of a sparse layer's connections
  bool bf16_weights = false;                // of a compact layer: weights and momentum (nn/bf16_weights.h)
  bool has_bias = true;
  std::string name{};  // what the names of its parameters begin with; empty: "layers.<index>"
  // After neurons were removed (nn/compaction.h): what the outputs were called before, ascending, and how
  // many there were. Empty and 0: nothing was removed.
  std::vector<std::uint32_t> neurons{};
  std::int32_t original_outputs = 0;
  // Of a part of a layer (nn/spread.h): the outputs of all ranks; its own are `neurons`, maybe none. 0: it is
  // whole.
  std::int32_t whole_outputs = 0;
};

/// y = dropout(f(W x + b)). How W is stored is the subclass's business; bias, activation and dropout are
/// here. Activations are Panels of the network; forward() leaves behind what backward() needs: one sign bit
/// and one dropout bit per neuron and sample for piecewise linear activations, z for the others.
class Layer {
 public:
  virtual ~Layer() = default;
  Layer(const Layer&) = delete;
  Layer& operator=(const Layer&) = delete;

  std::int32_t inputs() const { return options_.inputs; }
  std::int32_t outputs() const { return options_.outputs; }
  /// outputs() before any neuron was removed.
  std::int32_t original_outputs() const {
    return options_.neurons.empty() ? outputs() : options_.original_outputs;
  }
  /// The number that an output had before any was removed. Dropout masks and records go by it.
  std::uint32_t original_neuron(std::int32_t output) const {
    return options_.neurons.empty() ? static_cast<std::uint32_t>(output)
                                    : options_.neurons[static_cast<std::size_t>(output)];
  }
  const LayerOptions& options() const { return options_; }
  const Activation& activation() const { return *activation_; }
  /// dropout quantised to 1/65536, as it is drawn.
  double dropout() const { return drop_threshold_ / 65536.0; }

  /// y = the layer applied to x. Shapes: x inputs() features, y outputs() features, same batch and width.
  void forward(const Pass& pass, Panels<const float> x, Panels<float> y);
  /// The same where x, y or both are kept in bfloat16: y is rounded to the nearest as it is stored, signs are
  /// those of the floats. A layer that cannot round as it goes takes scratch for y as floats, or a copy of x.
  void forward(const Pass& pass, Panels<const std::uint16_t> x, Panels<float> y);
  void forward(const Pass& pass, Panels<const float> x, Panels<std::uint16_t> y);
  void forward(const Pass& pass, Panels<const std::uint16_t> x, Panels<std::uint16_t> y);

  /// Whether a first layer can take sparse samples as they are.
  virtual bool takes_sparse() const { return false; }
  /// The same for sparse samples. Throws std::logic_error unless takes_sparse().
  void forward(const Pass& pass, const SparseBatch& x, Panels<float> y);
  /// Gradients of weight and bias from dz = dL/dz of the last forward pass on x.
  virtual void backward(const SparseBatch& x, Panels<const float> dz);

  /// From dz = dL/dz of this layer's last forward pass: fills the gradients of weight and bias (sums over the
  /// batch) and sets dx = dL/dz of `below`, the layer that made x. dx empty: not wanted (first layer).
  void backward(Panels<const float> x, Panels<const float> dz, Panels<float> dx, Layer* below);
  /// The same with x in bfloat16; the gradient is that of the rounded x.
  void backward(Panels<const std::uint16_t> x, Panels<const float> dz, Panels<float> dx, Layer* below);

  /// Turns dL/dy into dL/dz of the last forward pass, in place; activation parameters get their gradients.
  void backward_activation(Panels<float> grad);

  /// Whether backward() takes its errors as dL/da and puts this layer's derivative to them as it reads them.
  bool gates_errors() const { return options_.storage == Storage::kCompact && activation_->piecewise(); }
  /// The optimizer's step on the weights, for the backward passes to come: a sparse layer then takes it
  /// within them and keeps no gradient of its weights (Parameter::gradient is empty), a compact one none of
  /// its biases either. Dense layers, and all without a step, leave it to the caller. An empty function takes
  /// it back.
  virtual void set_weight_step(WeightStep) {}
  /// Memory that the layers of a network use in turn within their passes, in place of one's own.
  void share_scratch(const std::shared_ptr<AlignedVector<float>>& scratch) { scratch_ = scratch; }

  Parameter& weight() { return weight_; }
  const Parameter& weight() const { return weight_; }
  Parameter& bias() { return bias_; }
  const Parameter& bias() const { return bias_; }
  /// Weight, bias, activation parameters.
  std::vector<Parameter*> parameters();

  /// Which connections exist; null where all do (a dense layer).
  virtual const Topology* topology() const { return nullptr; }
  std::int64_t connections() const { return static_cast<std::int64_t>(weight_.size()); }

 protected:
  Layer(const LayerOptions& options, std::size_t weights, bool keeps_gradients = true);

  /// y = epilogue(W x), the epilogue's arrays belonging to panel 0.
  virtual void multiply(Panels<const float> x, Panels<float> y, const kernels::Epilogue& epilogue) = 0;
  virtual void multiply(const SparseBatch& x, Panels<float> y, const kernels::Epilogue& epilogue);
  /// From a widened copy unless the layer reads bfloat16 itself.
  virtual void multiply(Panels<const std::uint16_t> x, Panels<float> y, const kernels::Epilogue& epilogue);
  /// Whether multiply() does what Epilogue::rounded asks for.
  virtual bool rounds_outputs() const { return false; }
  /// Fills weight().gradient and, by sum_bias_gradients(), bias().gradient, and dx = gate(W^T dz) unless dx
  /// is empty.
  virtual void multiply_back(Panels<const float> x, Panels<const float> dz, Panels<float> dx,
                             const kernels::Gate& gate) = 0;
  virtual void multiply_back(Panels<const std::uint16_t> x, Panels<const float> dz, Panels<float> dx,
                             const kernels::Gate& gate);

  /// Of the last forward pass.
  const Pass& pass() const { return pass_; }
  /// What turns dL/da of this layer's last forward pass into dL/dz.
  kernels::Gate gate() const;

  /// Bias gradients of the outputs `rows`; to be called for all of them.
  void sum_bias_gradients(Range rows, Panels<const float> dz);

  /// The epilogue or gate of panel p, from that of panel 0.
  static kernels::Epilogue of_panel(kernels::Epilogue epilogue, std::int64_t p, std::int32_t features,
                                    int width);
  static kernels::Gate of_panel(kernels::Gate gate, std::int64_t p, std::int32_t features, int width);

  Parameter weight_;
  Parameter bias_;
  std::shared_ptr<AlignedVector<float>> scratch_ = std::make_shared<AlignedVector<float>>();

 private:
  template <class Inputs>
  void forward_from(const Pass& pass, const Inputs& x, Panels<float> y, std::uint16_t* rounded = nullptr);
  template <class Element>
  void forward_rounded(const Pass& pass, Panels<const Element> x, Panels<std::uint16_t> y);
  template <class Element>
  void backward_from(Panels<const Element> x, Panels<const float> dz, Panels<float> dx, Layer* below);
  void draw_dropout(const Pass& pass, Panels<const float> y);

  LayerOptions options_;
  std::unique_ptr<Activation> activation_;
  std::uint32_t drop_threshold_ = 0;                      // of 65536
  Pass pass_;                                             // the last forward pass
  bool dropped_ = false;                                  // whether the last forward pass had dropout
  std::vector<std::uint16_t> positive_bits_, keep_bits_;  // [panel][neuron][bit_words(width)]
  PanelBuffer z_;       // only for activations that are not piecewise linear
  PanelBuffer wide_x_;  // inputs in bfloat16, of a layer that reads floats
};

}  // namespace tulle
