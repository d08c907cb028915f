#pragma once

#include <functional>
#include <initializer_list>
#include <span>
#include <vector>

#include "tulle/kernels/rounding.h"
#include "tulle/nn/sparse_layer.h"

namespace tulle {

/// Sparse layer of Storage::kCompact, for networks whose connections would not fit otherwise, or whose
/// activations lie in main memory. Each thread owns a range of sources: it walks all connections in the order
/// of targets, takes those from its sources, adds to dx of these sources alone and takes the optimizer's step
/// at once, and that on the biases of a range of targets. So nothing has two writers, no gradient needs a
/// place, and no bit depends on the number of threads. The price: every thread reads all errors. Memory: for
/// each row its bias, with what the optimizer keeps of it, and 4 bytes, none where all rows have as many
/// connections; 8 bytes a connection (source, weight) and what the optimizer keeps of it (4 with momentum);
/// with weights in bfloat16 6, and 2 for momentum: the step is taken on floats and rounded
/// (kernels/rounding.h). With Precision::kBf16 its outputs are kept in bfloat16 (Network): signs are those of
/// the floats, errors are floats, and the gradient is that of the rounded inputs. Arrays that lie in files
/// (base/spill.h) are walked a window at a time: the next ones are read meanwhile, those before written. A
/// window is kWindow connections, or one target's if these are more. Source: column-owned update,
/// docs/scale.md.
class CompactLinear final : public SparseLayer {
 public:
  static constexpr std::int64_t kWindow = 1 << 20;
  static constexpr std::size_t kWindowsAhead = 2;  // are read meanwhile; and as many behind are written

  /// Throws std::invalid_argument if the topology is not outputs x inputs.
  CompactLinear(const LayerOptions& options, Topology topology);

 protected:
  using Layer::multiply;
  void multiply(Panels<const float> x, Panels<float> y, const kernels::Epilogue& epilogue) override;
  void multiply(Panels<const std::uint16_t> x, Panels<float> y, const kernels::Epilogue& epilogue) override;
  bool rounds_outputs() const override { return true; }
  /// Throws std::logic_error without a weight step.
  void multiply_back(Panels<const float> x, Panels<const float> dz, Panels<float> dx,
                     const kernels::Gate& gate) override;
  void multiply_back(Panels<const std::uint16_t> x, Panels<const float> dz, Panels<float> dx,
                     const kernels::Gate& gate) override;
  void forget_index() override { shared_among_ = 0; }
  void index() override { topology_.shrink_row_ptr(); }

 private:
  struct Block;
  struct Walk;
  struct Window {
    std::int64_t first, last;           // connections
    std::vector<std::int64_t> targets;  // of each thread, nearly equal numbers of connections
  };

  void add_costs(std::int64_t group, std::span<std::int64_t> costs) const;
  void share_out();
  void for_windows(std::initializer_list<std::span<const std::byte>> arrays,
                   const std::function<void(const Window&)>& body) const;
  template <class Element>
  void forward_rows(Panels<const Element> x, Panels<float> y, const kernels::Epilogue& epilogue);
  template <class Element>
  void forward_some(Range rows, Panels<const Element> x, Panels<float> y,
                    const kernels::Epilogue& epilogue) const;
  template <class Element>
  void back(Panels<const Element> x, Panels<const float> dz, Panels<float> dx, const kernels::Gate& gate);
  template <class Element>
  void walk_back(const Window& window, int part, Panels<const Element> x, Panels<const float> dz,
                 Panels<float> dx);
  bool fill(Walk& walk, Block& block) const;
  void step_biases(Walk& walk, Range rows);
  kernels::RoundingPlace rounding_place() const {
    return {pass().seed, static_cast<std::uint32_t>(options().index), pass().step};
  }
  template <class Element>
  void learn(Walk& walk, Block& block, Panels<const Element> x, Panels<const float> dz, Panels<float> dx);

  int shared_among_ = 0;  // threads the ranges below are for
  std::vector<Window> windows_;
  std::vector<std::int64_t> source_ranges_;  // of each thread, nearly equal numbers of connections
};

}  // namespace tulle
