#include "tulle/nn/storage.h"

namespace tulle {
namespace {

constexpr StorageInfo kStorages[] = {
    {"fast", "both orders of the connections, for speed", Storage::kFast},
    {"compact", "one order, the step taken within the backward pass: for the largest networks",
     Storage::kCompact},
};

}  // namespace

std::span<const StorageInfo> storages() { return kStorages; }

}  // namespace tulle
