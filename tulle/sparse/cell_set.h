#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace tulle {

/// The cells of a layer that ever were connections: how much of it a training has explored (Liu et al. 2021,
/// "In-Time Over-Parameterization"). Up to kExactCells cells one bit each; beyond that a HyperLogLog of 2^14
/// registers (Flajolet et al. 2007) whose count is off by about 0.8 %.
class CellSet {
 public:
  static constexpr std::uint64_t kExactCells = std::uint64_t{1} << 28;  // 32 MiB

  CellSet() = default;
  explicit CellSet(std::uint64_t cells);
  /// From bytes(). Throws std::invalid_argument if they are not those of such a set.
  CellSet(std::uint64_t cells, std::span<const std::uint8_t> bytes);

  /// Cost: O(keys). Throws std::invalid_argument for a key outside.
  void insert(std::span<const std::uint64_t> keys);
  double count() const;
  bool exact() const { return exact_; }
  std::uint64_t cells() const { return cells_; }
  std::span<const std::uint8_t> bytes() const { return bytes_; }
  static std::uint64_t size_in_bytes(std::uint64_t cells);

  bool operator==(const CellSet&) const = default;

 private:
  std::uint64_t cells_ = 0;
  bool exact_ = true;
  std::int64_t count_ = 0;           // exact: cells inside
  std::vector<std::uint8_t> bytes_;  // a bit a cell, or a register a byte
};

}  // namespace tulle
