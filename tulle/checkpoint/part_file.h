#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "tulle/base/file_ops.h"
#include "tulle/checkpoint/safetensors_header.h"
#include "tulle/comm/communicator.h"

namespace tulle {

/// A rank's part of a tensor: some of its elements, one after another.
struct TensorPart {
  std::string name;
  DType dtype = DType::U8;
  std::vector<std::int64_t> shape;   // of the whole
  std::int64_t first = 0;            // element that `bytes` begin with
  std::span<const std::byte> bytes;  // may be none
};

/// Saves a file with `metadata`, a hash of every tensor ("xxh3"), and tensors of which each rank has a part:
/// byte for byte what write_safetensors() would make of the whole, but every rank writes its part where it
/// belongs, under a temporary name. Rank 0 then reads the file for its checksums, and renames it. Names,
/// types and shapes are the same on all ranks; `path` and `metadata` are rank 0's. Returns the file's size,
/// or nothing if a rank does not see what rank 0 writes: the folder is not shared, and nothing was done.
/// Cost: one write of a rank's own part; on rank 0 two reads of the file. Memory: a few MiB.
/// Throws AgreedError on all ranks, naming one, if any of them cannot write: what `path` was, it still is.
std::optional<std::int64_t> write_parts(Communicator& comm, const std::string& path, const Metadata& metadata,
                                        std::vector<TensorPart> parts, FileOps& files = real_file_ops());

}  // namespace tulle
