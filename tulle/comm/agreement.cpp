#include "tulle/comm/agreement.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "tulle/comm/collectives.h"

namespace tulle {

void together(Communicator& comm, const std::function<void()>& work) {
  std::optional<Error> failure;
  try {
    work();
  } catch (const Error& error) {
    if (comm.size() == 1) throw;
    failure = error;
  }
  if (comm.size() == 1) return;
  const std::string own = failure ? failure->what() : "";
  const auto kinds = gather_all(comm, failure ? static_cast<int>(failure->kind()) : -1);
  const std::vector<std::vector<std::byte>> texts = gather_all(comm, std::as_bytes(std::span(own)));
  const auto first = std::ranges::find_if(kinds, [](int kind) { return kind >= 0; });
  if (first == kinds.end()) return;
  const auto rank = static_cast<std::size_t>(first - kinds.begin());
  const std::string text(reinterpret_cast<const char*>(texts[rank].data()), texts[rank].size());
  const bool alike = std::ranges::all_of(texts, [&](const auto& other) { return other == texts[rank]; });
  throw AgreedError(static_cast<ErrorKind>(*first), alike ? text : fmt::format("rank {}: {}", rank, text));
}

void agree(Communicator& comm, std::span<const Item> items, ErrorKind kind) {
  std::vector<std::uint64_t> own;
  for (const auto& [name, hash] : items) own.push_back(hash);
  const std::vector<std::vector<std::byte>> all = gather_all(comm, std::as_bytes(std::span(own)));
  for (std::size_t rank = 1; rank < all.size(); ++rank)
    for (std::size_t i = 0; i < items.size(); ++i) {
      const auto hash_of = [&](std::size_t of) {
        std::uint64_t hash = 0;
        if (all[of].size() == own.size() * sizeof hash)
          std::copy_n(all[of].data() + i * sizeof hash, sizeof hash, reinterpret_cast<std::byte*>(&hash));
        return hash;
      };
      if (hash_of(rank) != hash_of(0))
        throw AgreedError(kind, fmt::format("rank {}: {}, found hash {:016x}, expected {:016x} as on rank 0",
                                            rank, items[i].first, hash_of(rank), hash_of(0)));
    }
}

}  // namespace tulle
