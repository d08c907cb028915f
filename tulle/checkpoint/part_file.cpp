#include "tulle/checkpoint/part_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <functional>
#include <memory>
#include <random>

#include "tulle/base/aligned.h"
#include "tulle/base/check.h"
#include "tulle/base/error.h"
#include "tulle/base/spill.h"
#include "tulle/checkpoint/integrity.h"
#include "tulle/checkpoint/model_metadata.h"
#include "tulle/checkpoint/safetensors_layout.h"
#include "tulle/checkpoint/temporary_file.h"
#include "tulle/comm/agreement.h"
#include "tulle/comm/collectives.h"

namespace tulle {
namespace {

// Names the file that rank 0 has begun, and what it holds so far: who finds the same there writes to the same
// file, whatever the folder is called on its machine.
struct Begun {
  std::uint64_t token[2] = {};
  std::uint64_t data_begin = 0, size = 0;
};

std::vector<TensorEntry> entries_of(std::span<const TensorPart> parts) {
  std::vector<TensorEntry> entries;
  std::uint64_t end = 0;
  for (const TensorPart& part : parts) {
    const std::uint64_t begin = end;
    end += tensor_bytes(part.dtype, part.shape);
    entries.push_back(
        {.name = part.name, .dtype = part.dtype, .shape = part.shape, .begin = begin, .end = end});
  }
  return entries;
}

Metadata with_hashes(Metadata metadata, std::span<const TensorEntry> entries,
                     const std::function<std::string(const TensorEntry&)>& hash) {
  Json hashes = Json::object();
  for (const TensorEntry& entry : entries) hashes[entry.name] = hash(entry);
  metadata["xxh3"] = hashes.dump();
  return metadata;
}

// body(bytes) for [begin, end) of the file, in blocks of CRCs.
template <class Body>
void for_blocks(FileOps& files, const FileHandle& file, const std::string& path, std::uint64_t begin,
                std::uint64_t end, const Body& body) {
  std::vector<std::byte> block(std::min<std::uint64_t>(kCrcBlock, end - begin));
  for (std::uint64_t at = begin; at < end; at += block.size()) {
    block.resize(std::min<std::uint64_t>(kCrcBlock, end - at));
    read_exactly(files, file, path, at, block);
    body(std::span<const std::byte>(block));
  }
}

using HashState = std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)>;

HashState hash_state() {
  HashState state(XXH3_createState(), XXH3_freeState);
  if (state == nullptr) throw std::bad_alloc();
  return state;
}

// Rank 0, once all parts are there: hashes, header, checksums.
void complete(TemporaryFile& temporary, const std::string& path, const Metadata& metadata,
              std::span<const TensorEntry> entries, const Begun& begun, FileOps& files) {
  const std::uint64_t data_end = begun.data_begin + (entries.empty() ? 0 : entries.back().end);
  std::uint64_t seen = 0;
  const FileHandle file = open_for_reading(files, temporary.name(), &seen);
  const HashState state = hash_state();
  const std::string header = header_of(
      path,
      with_hashes(metadata, entries,
                  [&](const TensorEntry& entry) {
                    XXH3_64bits_reset(state.get());
                    if (entry.begin < entry.end)
                      for_blocks(files, file, path, begun.data_begin + entry.begin,
                                 begun.data_begin + entry.end, [&](std::span<const std::byte> bytes) {
                                   XXH3_64bits_update(state.get(), bytes.data(), bytes.size());
                                 });
                    return fmt::format("{:016x}", XXH3_64bits_digest(state.get()));
                  }),
      {entries.begin(), entries.end()});
  require(header.size() == begun.data_begin, "write_parts: hashes must not change the header's length");
  temporary.write_at(0, std::as_bytes(std::span(header)));

  std::vector<std::uint32_t> table;
  XXH3_128bits_reset(state.get());
  for_blocks(files, file, path, 0, data_end, [&](std::span<const std::byte> bytes) {
    table.push_back(crc32c(bytes));
    XXH3_128bits_update(state.get(), bytes.data(), bytes.size());
  });
  XXH3_128bits_update(state.get(), table.data(), table.size() * sizeof(std::uint32_t));
  XXH128_canonical_t digest;
  XXH128_canonicalFromHash(&digest, XXH3_128bits_digest(state.get()));
  temporary.write_at(data_end, std::as_bytes(std::span(table)));
  temporary.write(std::as_bytes(std::span(&digest, 1)));
  temporary.rename();
}

bool finds(FileOps& files, const FileHandle& file, const std::string& name, const Begun& begun) {
  if (!file) return false;
  Begun found;
  try {
    read_exactly(files, file, name, 0, std::as_writable_bytes(std::span(&found, 1)));
  } catch (const Error&) {
    return false;
  }
  return std::ranges::equal(found.token, begun.token);
}

}  // namespace

std::optional<std::int64_t> write_parts(Communicator& comm, const std::string& path, const Metadata& metadata,
                                        std::vector<TensorPart> parts, FileOps& files) {
  std::ranges::sort(parts, before_in_file<TensorPart>);
  const std::vector<TensorEntry> entries = entries_of(parts);
  const bool leads = comm.rank() == 0;
  std::optional<TemporaryFile> temporary;
  Begun begun;
  std::string name;
  together(comm, [&] {
    if (!leads) return;
    const std::string header = header_of(
        path, with_hashes(metadata, entries, [](const TensorEntry&) { return std::string(16, '0'); }),
        entries);
    const std::uint64_t data_end = header.size() + (entries.empty() ? 0 : entries.back().end);
    std::random_device random;
    begun = {.token = {std::uint64_t{random()} << 32 | random(), std::uint64_t{random()} << 32 | random()},
             .data_begin = header.size(),
             .size = data_end + crc_table_bytes(data_end) + sizeof(Digest)};
    temporary.emplace(path, files);
    temporary->reserve(begun.size);
    temporary->write(std::as_bytes(std::span(&begun, 1)));
    name = temporary->name();
  });
  begun = gather_all(comm, begun).front();
  const std::vector<std::byte> told = gather_all(comm, std::as_bytes(std::span(name))).front();
  name.assign(reinterpret_cast<const char*>(told.data()), told.size());
  const FileHandle file = open_file(files, AT_FDCWD, name, O_RDWR | O_NOFOLLOW);
  const std::vector<char> found = gather_all(comm, char{finds(files, file, name, begun)});
  if (std::ranges::find(found, char{0}) != found.end()) return std::nullopt;

  together(comm, [&] {
    for (std::size_t i = 0; i < parts.size(); ++i) {
      const std::uint64_t place =
          entries[i].begin + static_cast<std::uint64_t>(parts[i].first) * dtype_bytes(parts[i].dtype);
      require(place + parts[i].bytes.size() <= entries[i].end, "write_parts: a part must lie in its tensor");
      write_all_at(files, file, name, begun.data_begin + place, parts[i].bytes);
      release(parts[i].bytes);
    }
    if (uninterrupted([&] { return files.fsync(file.get()); }) == -1) throw write_error(errno, name, "sync");
  });
  together(comm, [&] {
    if (leads) complete(*temporary, path, metadata, entries, begun, files);
  });
  return static_cast<std::int64_t>(begun.size);
}

}  // namespace tulle
