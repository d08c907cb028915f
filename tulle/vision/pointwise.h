#pragma once

#include <memory>
#include <optional>

#include "tulle/kernels/gemm.h"
#include "tulle/nn/layer.h"
#include "tulle/sparse/packing.h"
#include "tulle/vision/grid.h"

namespace tulle {

/// Memory in which sparse layers multiply, one after another.
struct PanelScratch {
  PanelBuffer x, g, dx;
};

/// A layer applied to every token: y = W x for rows of tokens, without bias or activation. Dense layers
/// multiply by packed matrices; sparse ones turn 64 tokens at a time into panels, where a connection is one
/// broadcast and a few multiply-adds. Neither ever makes a dense matrix of a sparse layer.
class Pointwise {
 public:
  /// `layer` must outlive it. bf16: inputs and weights of a dense layer are rounded as they are multiplied.
  explicit Pointwise(Layer& layer, bool bf16 = false);

  std::int32_t inputs() const { return layer_.inputs(); }
  std::int32_t outputs() const { return layer_.outputs(); }
  std::int64_t connections() const { return layer_.connections(); }
  const float* bias() const { return layer_.bias().value.data(); }
  bool is_sparse() const { return layer_.topology() != nullptr; }

  /// To be called when weights or connections have changed. with_back: backward() will follow.
  void prepare(bool with_back);
  /// Shapes: x rows x inputs(), y rows x outputs(). One thread; several may be at work on different rows.
  void forward(std::int64_t rows, const float* x, float* y) const;
  /// z = first(x) + its bias, y = second(GELU(z)) + its bias, of two sparse layers that were prepared without
  /// a way back: the hidden values stay in panels.
  static void forward_both(const Pointwise& first, const Pointwise& second, std::int64_t rows, const float* x,
                           float* y);
  /// From g = dL/dy of `rows` tokens: dx = dL/dx unless null, and the gradients of weight and, if the layer
  /// has one, bias; added to those of before unless `first`. All threads.
  void backward(std::int64_t rows, const float* x, const float* g, float* dx, bool first,
                PanelScratch& scratch);
  /// Whether a sparse layer keeps what backward() is given; off at first.
  void keep_panels(bool keep) {
    keeps_panels_ = keep;
    if (!keep) kept_ = {};
  }
  Panels<const float> last_inputs() { return kept_.x.view(inputs(), last_rows_, width_); }
  Panels<const float> last_errors() { return kept_.g.view(outputs(), last_rows_, width_); }

 private:
  void multiply_panel(int width, const float* x, const float* bias, float* y) const;
  void backward_dense(std::int64_t rows, const float* x, const float* g, float* dx, bool first);
  void backward_sparse(std::int64_t rows, const float* x, const float* g, float* dx, bool first,
                       PanelScratch& scratch);

  Layer& layer_;
  int width_;                                          // tokens of a panel
  std::optional<kernels::PackedMatrix> there_, back_;  // of dense layers
  std::optional<PackedRows> packed_;                   // of sparse layers without a way back
  bool bf16_;
  bool keeps_panels_ = false;
  std::int32_t last_rows_ = 0;
  PanelScratch kept_;                          // of the last backward()
  AlignedVector<float> before_, bias_before_;  // gradients of the chunks before
};

}  // namespace tulle
