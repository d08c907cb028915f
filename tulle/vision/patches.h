#pragma once

#include <functional>

#include "tulle/kernels/gemm.h"
#include "tulle/nn/architecture.h"
#include "tulle/vision/grid.h"

namespace tulle {

/// Non-overlapping square patches times a matrix, without bias: a convolution whose stride is its size. Files
/// have its weights as [outputs][inputs][side][side]; products read a patch as [row][column][input].
class Patches {
 public:
  Patches(const std::string& name, std::int32_t inputs, std::int32_t outputs, int side, bool bf16);

  std::int32_t inputs() const { return inputs_; }
  std::int32_t outputs() const { return outputs_; }
  int side() const { return side_; }
  std::int64_t patch_values() const { return std::int64_t{side_} * side_ * inputs_; }
  Parameter& weight() { return weight_; }
  const Parameter& weight() const { return weight_; }
  void add_arrays(std::vector<NamedArray>& arrays);

  void prepare(bool with_back);
  /// y = the products of `rows` patches. All threads.
  void forward(std::int64_t rows, const float* patches, float* y) const;
  /// take(rows, dpatches), on the threads that made them: dL/dpatches of some rows at a time, from g = dL/dy.
  void backward(std::int64_t rows, const float* g,
                const std::function<void(Range rows, const float* dpatches)>& take) const;
  /// The gradient of the weight, added to that of before unless `first`. All threads.
  void add_gradient(std::int64_t rows, const float* patches, const float* g, bool first);

 private:
  std::int32_t inputs_, outputs_;
  int side_;
  Parameter weight_;
  AlignedVector<float> ordered_, ordered_gradient_;  // [outputs][row][column][input]
  kernels::PackedMatrix there_, back_;
};

/// Of tokens [image][row][column][channel]: the patches of 2 x 2 tokens that make the next stage's; what an
/// odd side has too much is left out.
void gather_merge(const Grid& grid, std::int64_t images, const float* x, float* patches);
/// The way back of some patches, counted over all images; what is left out is not touched.
void scatter_merge(const Grid& grid, Range patches, const float* dpatches, float* dx);

}  // namespace tulle
