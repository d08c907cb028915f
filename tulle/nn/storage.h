#pragma once

#include <span>
#include <string_view>

namespace tulle {

/// How a sparse layer keeps its connections while it trains. Both give the same bits, but for other roundings
/// of sparse samples (kFast multiplies them as they are) and of Precision::kBf16 (which rounds at other
/// places).
///   kFast     in the order of targets and in that of sources: 22 bytes a connection with momentum, 26 where
///             gradients are kept, and 4 for each of the largest layer's
///   kCompact  in the order of targets alone; the optimizer's step is taken as the backward pass goes by, and
///             no gradient is ever kept: 12 bytes a connection with momentum
enum class Storage { kFast, kCompact };

struct StorageInfo {
  std::string_view name;
  std::string_view help;
  Storage storage;
};
std::span<const StorageInfo> storages();

}  // namespace tulle
