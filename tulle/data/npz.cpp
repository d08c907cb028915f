#include <algorithm>
#include <deque>
#include <string>
#include <vector>

#include "tulle/data/archive.h"
#include "tulle/data/gzip.h"
#include "tulle/data/npy.h"

namespace tulle {

ReadBytes read_npz;
FitsBytes is_npz;

bool is_npz(std::span<const std::byte> bytes) {
  return std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size())
      .starts_with("PK\x03\x04");
}

// NPZ: a zip archive of .npy members, as NumPy's savez and SciPy's save_npz write it.
RawSplit read_npz(std::span<const std::byte> bytes, const std::string& name, const ReadOptions& options) {
  // A deflated byte gives at most 1032: more is a lie of the archive.
  const std::uint64_t limit =
      std::min<std::uint64_t>(content_limit(), 1032 * std::uint64_t{bytes.size()} + (1 << 16));
  std::deque<Member> members;  // arrays point into them
  std::vector<Array> arrays;
  for_members(
      bytes, name, limit, [](const std::string& member) { return member != "_is_array.npy"; },
      [&](Member member) {
        members.push_back(std::move(member));
        std::string array_name = members.back().name;
        if (array_name.ends_with(".npy")) array_name.resize(array_name.size() - 4);
        arrays.push_back(parse_npy(members.back().bytes, array_name, name));
      });
  return split_of(arrays, name, options);
}

}  // namespace tulle
