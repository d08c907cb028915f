#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "tulle/data/dataset.h"
#include "tulle/kernels/packed_bytes.h"
#include "tulle/nn/network.h"

namespace tulle {

enum class CScale { kRow, kLayer };
enum class CGap { kAuto, k8, k16 };

template <class Choice>
struct CChoice {
  std::string_view name;
  std::string_view help;
  Choice choice;
};
std::span<const CChoice<CScale>> c_scales();
std::span<const CChoice<CGap>> c_gaps();

struct CNetOptions {
  bool int8 = false;
  bool int8_activations = false;  // with int8: take_bytes() will follow
  CScale scale = CScale::kRow;    // of int8
  CGap gap = CGap::kAuto;
};

/// Numbers in bytes, as C makes them: byte = x * per_step + offset, rounded down, from 0 to 255.
struct CBytes {
  float per_step = 1.0f;
  float offset = 0.5f;  // the byte of 0, and 1/2 so that rounding is to nearest

  std::uint8_t of(float x) const;
};

/// One layer as C has it: y[r] = f(scale * sum of weight * x over row r + bias[r]), f(z) = z, below 0 slope *
/// z. With bytes, x are whole numbers and so is the sum; what they mean is in scale and bias.
struct CLayer {
  std::int32_t inputs = 0, outputs = 0;
  std::int64_t connections = 0;        // of the network: weights less those that only fill large gaps
  std::vector<std::uint32_t> row_ptr;  // outputs + 1; empty: a dense layer
  std::vector<std::uint16_t> gap;      // of each weight: its column less the one before it in its row, or 0
  std::vector<float> weight;           // of int8: whole numbers from -127 to 127
  std::vector<float> scale;            // outputs, 1, or none for floats
  std::vector<float> bias;             // outputs
  float slope = 1.0f;
  std::optional<CBytes> bytes;  // that its inputs become; none: they are floats
  int gap_bytes = 1, row_ptr_bytes = 2;

  bool dense() const { return row_ptr.empty(); }
};

/// A perceptron ready to be written as C: what is stored, how much that is, and what it computes. Outputs are
/// those before softmax and sigmoid.
///
/// Raw features go in: their scaling, (raw - mean) * factor, is moved into the first layer.
///   factor  into the weights. Where features have different ones, bytes would lose the weights of features
///           with small factors beside those with large ones; then only what a power of two leaves of it goes
///           into the weight, and the input is multiplied by that power, which is exact: a byte per feature.
///   mean    into the bias; but where a mean is more than 32 deviations from 0, that would cost floats more
///           than 5 of their 24 bits. It is then subtracted from the input: four bytes per feature. Bytes
///           have fewer bits to lose: there from 2 deviations on.
struct CNet {
  struct Input {
    std::vector<float> mean;         // subtracted; empty: nothing is
    std::vector<std::uint8_t> code;  // of each feature, into `power`; empty: nothing is multiplied
    std::vector<float> power;
  };
  CNetOptions options;
  Input input;
  std::vector<CLayer> layers;

  /// Throws tulle::Error (kBadData) for an image model, an activation that is not piecewise linear, and
  /// weights that are no finite numbers. Cost: O(connections).
  CNet(const Network& network, const Scaling& scaling, const CNetOptions& options);

  std::int32_t inputs() const { return layers.front().inputs; }
  std::int32_t outputs() const { return layers.back().outputs; }
  /// Turns the inputs of every layer into bytes that mean what `scales` say, one for each layer, and its sums
  /// into 32-bit whole numbers. Once, for a net with int8_activations. Throws tulle::Error (kBadData) for a
  /// row whose sum they could not hold.
  void take_bytes(std::span<const kernels::ByteScale> scales);
  bool takes_bytes() const { return layers.front().bytes.has_value(); }

  /// Floats that hold the outputs of two neighbouring hidden layers, in bytes or not: those of even ones come
  /// first.
  std::int64_t scratch() const { return takes_bytes() ? (even_ + odd_ + 3) / 4 : even_ + odd_; }
  std::int64_t odd_scratch_begin() const { return even_; }

  /// Bytes of all arrays, to the byte.
  std::int64_t constant_bytes() const;
  /// What every weight in a dense float array would take, without biases.
  std::int64_t dense_bytes() const;

  /// What the C code computes from raw features: the same float operations in the same order. see(layer, its
  /// inputs) is called for each layer.
  using See = std::function<void(std::size_t, std::span<const float>)>;
  std::vector<float> run(std::span<const float> x, const See& see = nullptr) const;

  /// The same in double precision, and for each output how far floats may be from it, whatever the order of
  /// their sums: the rounding errors of each layer, and those of its inputs on their way through it. A number
  /// that rounding errors may bring to the other side of the border between two bytes may be either.
  struct Exact {
    std::vector<double> output, bound;
  };
  Exact run_exactly(std::span<const float> x) const;

 private:
  std::int64_t even_ = 0, odd_ = 0;
};

}  // namespace tulle
