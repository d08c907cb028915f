#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "tulle/kernels/packed_bytes.h"
#include "tulle/nn/network.h"
#include "tulle/nn/precision.h"

namespace tulle {

/// What a layer needs to run, laid out for its kernel; one subclass per kernel (inference.cpp).
class Stage;
/// The activations of one panel on their way (inference.cpp).
struct Scratch;

/// A network ready to run forward again and again: weights packed in the order of their use
/// (sparse/packing.h), memory taken once, nothing kept for a backward pass. It holds copies of the sparse
/// weights and refers to `network` for the rest, which must stay alive and as it is.
///
/// Batches of at least as many panels as threads go panel by panel through all layers, each on one thread, so
/// that activations stay in its caches; smaller ones share out the rows of each layer. Outputs do not depend
/// on the number of threads; those of sparse layers in kFloat and kBf16 have the bits of Network::forward().
class Inference {
 public:
  struct Options {
    std::int32_t batch = 512;  // at most as many samples a call; for 1 there are kernels of their own
    Precision precision = Precision::kFloat;
    std::span<const kernels::ByteScale> scales;  // of each layer's inputs, for kInt8: byte_scales()
  };

  /// Throws std::invalid_argument for kInt8 without one scale per layer. Cost: O(connections).
  Inference(const Network& network, const Options& options);
  Inference(Inference&&) noexcept;
  ~Inference();

  /// The width that forward() wants of its inputs: 16 to 64, or 1 where single samples have their own
  /// kernels.
  int panel_width() const { return width_; }
  /// The outputs for x; the view is valid until the next call. Allocates nothing after the first call with
  /// options.batch samples. Throws std::invalid_argument for panels of another shape.
  Panels<const float> forward(Panels<const float> x);

 private:
  void run_panel(Panels<const float> x, std::int32_t p, Panels<float> output, Scratch& scratch) const;
  void run_pieces(Panels<const float> x, Panels<float> output);

  std::int32_t inputs_, outputs_, batch_;
  int width_ = 0, pieces_ = 0;
  std::unique_ptr<Runner> runner_;  // of an architecture, which then does all of it
  std::vector<std::unique_ptr<Stage>> stages_;
  std::vector<Scratch> scratch_;  // one for each panel that is at work at the same time
  PanelBuffer output_;
};

/// What bytes mean that stand for numbers like these: they span what all but one in ten thousand of them need
/// at either end, and 0 is exact. Values that are not finite do not count.
kernels::ByteScale byte_scale(std::vector<float> values);
/// That of each layer's inputs, from an example batch (at least some 1,000 samples). Cost: one forward pass.
std::vector<kernels::ByteScale> byte_scales(Network& network, Panels<const float> x);

}  // namespace tulle
