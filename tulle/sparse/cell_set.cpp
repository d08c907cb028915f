#include "tulle/sparse/cell_set.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "tulle/base/check.h"

namespace tulle {
namespace {

constexpr int kRegisterBits = 14;
constexpr std::size_t kRegisters = std::size_t{1} << kRegisterBits;

// The finalizer of SplitMix64: every bit of the key moves every bit of the hash.
std::uint64_t hash(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15ull;
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ x >> 27) * 0x94d049bb133111ebull;
  return x ^ x >> 31;
}

}  // namespace

std::uint64_t CellSet::size_in_bytes(std::uint64_t cells) {
  return cells <= kExactCells ? (cells + 7) / 8 : kRegisters;
}

CellSet::CellSet(std::uint64_t cells)
    : cells_(cells), exact_(cells <= kExactCells), bytes_(size_in_bytes(cells)) {}

CellSet::CellSet(std::uint64_t cells, std::span<const std::uint8_t> bytes)
    : cells_(cells), exact_(cells <= kExactCells), bytes_(bytes.begin(), bytes.end()) {
  require(bytes.size() == size_in_bytes(cells), "CellSet: another number of bytes");
  if (!exact_) {
    require(std::ranges::all_of(bytes, [](std::uint8_t r) { return r <= 64 - kRegisterBits + 1; }),
            "CellSet: a register is too large");
    return;
  }
  for (const std::uint8_t byte : bytes) count_ += std::popcount(byte);
  require(cells % 8 == 0 || bytes.empty() || bytes.back() >> (cells % 8) == 0,
          "CellSet: a bit beyond the last cell");
}

void CellSet::insert(std::span<const std::uint64_t> keys) {
  for (const std::uint64_t key : keys) {
    require(key < cells_, "CellSet: a cell outside");
    if (exact_) {
      std::uint8_t& byte = bytes_[key / 8];
      const auto bit = static_cast<std::uint8_t>(1u << key % 8);
      count_ += (byte & bit) == 0 ? 1 : 0;
      byte = static_cast<std::uint8_t>(byte | bit);
    } else {
      const std::uint64_t h = hash(key);
      const auto rank =
          static_cast<std::uint8_t>(std::countl_zero(h << kRegisterBits | 1ull << (kRegisterBits - 1)) + 1);
      std::uint8_t& r = bytes_[h >> (64 - kRegisterBits)];
      r = std::max(r, rank);
    }
  }
}

double CellSet::count() const {
  if (exact_) return static_cast<double>(count_);
  double sum = 0.0;
  for (const std::uint8_t r : bytes_) sum += std::ldexp(1.0, -r);
  const auto m = static_cast<double>(kRegisters);
  const double estimate = 0.7213 / (1.0 + 1.079 / m) * m * m / sum;
  const auto empty = std::count(bytes_.begin(), bytes_.end(), std::uint8_t{0});
  // Few cells: count the registers that were never hit.
  if (estimate <= 2.5 * m && empty > 0) return m * std::log(m / static_cast<double>(empty));
  return estimate;
}

}  // namespace tulle
