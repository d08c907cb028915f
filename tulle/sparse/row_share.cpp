#include "tulle/sparse/row_share.h"

#include <cstring>
#include <numeric>
#include <vector>

#include "tulle/comm/collectives.h"

namespace tulle {

std::int64_t RowShare::sum(std::int64_t own) const {
  sum(std::span(&own, 1));
  return own;
}

void RowShare::sum(std::span<std::int64_t> counts) const {
  if (comm == nullptr) return;
  const auto all = gather_all(*comm, std::as_bytes(counts));
  std::vector<std::int64_t> of_rank(counts.size());
  for (std::size_t rank = 0; rank < all.size(); ++rank) {
    std::memcpy(of_rank.data(), all[rank].data(), all[rank].size());
    for (std::size_t i = 0; i < counts.size(); ++i) counts[i] = (rank == 0 ? 0 : counts[i]) + of_rank[i];
  }
}

double RowShare::sum(double own) const {
  if (comm == nullptr) return own;
  const std::vector<double> all = gather_all(*comm, own);
  return std::accumulate(all.begin(), all.end(), 0.0);
}

void RowShare::unite(std::span<std::uint8_t> flags) const {
  if (comm == nullptr) return;
  std::vector<std::byte> bits((flags.size() + 7) / 8);
  for (std::size_t i = 0; i < flags.size(); ++i) bits[i / 8] |= static_cast<std::byte>(flags[i] << i % 8);
  for (const std::vector<std::byte>& of_rank : gather_all(*comm, bits))
    for (std::size_t i = 0; i < flags.size(); ++i)
      flags[i] =
          static_cast<std::uint8_t>(flags[i] | (std::to_integer<unsigned>(of_rank[i / 8]) >> i % 8 & 1));
}

std::int64_t RowShare::before(std::int64_t own) const {
  if (comm == nullptr) return 0;
  const std::vector<std::int64_t> all = gather_all(*comm, own);
  return std::accumulate(all.begin(), all.begin() + comm->rank(), std::int64_t{0});
}

}  // namespace tulle
