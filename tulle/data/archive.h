#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "tulle/data/gzip.h"

struct archive;  // libarchive's

namespace tulle {

/// A regular file in an archive.
struct Member {
  std::string name;
  Content bytes;
};

/// visit() for every regular file of a tar or zip archive in memory, in its order; nothing is ever written to
/// disk, and links, devices and folders are passed over. False from wanted() leaves a member unread.
/// Throws tulle::Error (kBadData) for a damaged or encrypted archive, names that are absolute or hold "..", a
/// name that occurs twice, and more than `limit` unpacked bytes in all.
void for_members(std::span<const std::byte> bytes, const std::string& file, std::uint64_t limit,
                 const std::function<bool(const std::string& name)>& wanted,
                 const std::function<void(Member)>& visit);

/// A zip archive in the making, in memory; members are stored as they are. The same members give the same
/// bytes.
class ZipWriter {
 public:
  ZipWriter();
  ZipWriter(const ZipWriter&) = delete;
  ZipWriter& operator=(const ZipWriter&) = delete;

  /// A regular file of these bytes one after the other. Cost: one copy.
  void add(const std::string& name, std::span<const std::span<const std::byte>> pieces);
  /// The archive; nothing can be added any more.
  std::string finish();

 private:
  std::string bytes_;
  std::unique_ptr<archive, int (*)(archive*)> writer_;
};

}  // namespace tulle
