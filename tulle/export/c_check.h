#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "tulle/checkpoint/model.h"
#include "tulle/export/c_net.h"

namespace tulle {

/// How far the C code is from the engine that it was made from.
struct CComparison {
  std::int64_t rows = 0;
  double largest_difference = 0.0;  // of an output before softmax
  std::int64_t same_arg_max = 0;    // rows whose largest output is the same one
  std::int64_t labelled = 0;        // samples whose class is known: all of them, not `rows` alone
  std::int64_t correct_engine = 0, correct_c = 0;
};

/// Runs the engine in floats and CNet::run() on the first `rows` samples of `data`, raw; on all of them if
/// they have classes. `net` was made with model.scaling, or `scaled`: without, so that it is given scaled
/// features. Cost: a pass of the samples through the network, one at a time. Throws std::invalid_argument
/// unless the samples are of the network's features.
CComparison compare_with_engine(const CNet& net, const Model& model, bool scaled, const Split& data,
                                std::int64_t rows = 256);

/// What bytes should mean that stand for the inputs of each layer of `net`, by some 1,000 samples of `data`
/// that lie evenly in it. Arguments as above; at least one sample.
std::vector<kernels::ByteScale> calibrate(const CNet& net, const Model& model, bool scaled,
                                          const Split& data);

/// An input and what the C code must answer, to be stored in it.
struct CSelfCheck {
  std::vector<float> input;
  std::vector<double> output;
  double tolerance = 0.0;  // what rounding in floats can do to any output
  bool from_data = false;

  /// Whether every input is a whole number from 0 to 255, as pixels are.
  bool fits_bytes() const;
};

/// The first sample of `data`, raw; with no samples a fixed pattern, up to a deviation above the mean of each
/// feature, in whole numbers where these are fine enough. Arguments as above.
CSelfCheck make_self_check(const CNet& net, const Model& model, bool scaled, const Split& data);

}  // namespace tulle
