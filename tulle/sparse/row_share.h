#pragma once

#include <cstdint>
#include <span>

#include "tulle/comm/communicator.h"
#include "tulle/sparse/topology.h"

namespace tulle {

/// Which rows of a layer are here, where several ranks have a contiguous part of its targets each
/// (parallel.mode = "rows"). What is chosen among all connections of such a layer is chosen by all ranks
/// together, and counts are all that they tell each other. Every rank calls the same functions in the same
/// order. Rows and keys of what is here count from the first row that is.
struct RowShare {
  Communicator* comm = nullptr;  // null: all rows are here
  std::int32_t first = 0;        // row of the layer that is the first one here
  std::int32_t rows = 0;         // of the layer

  /// Sums over the ranks.
  std::int64_t sum(std::int64_t own) const;
  void sum(std::span<std::int64_t> counts) const;
  double sum(double own) const;
  /// Flags, 0 or 1: 1 where any rank has 1. One bit of each travels.
  void unite(std::span<std::uint8_t> flags) const;
  /// The sum over the ranks with the rows before these.
  std::int64_t before(std::int64_t own) const;

  /// Cells of the layer of which `topology` has these rows, and the first key in them that is here.
  std::uint64_t cells(const Topology& topology) const {
    return comm == nullptr ? topology.cells() : key_of(rows, topology);
  }
  std::uint64_t first_key(const Topology& topology) const { return key_of(first, topology); }

 private:
  static std::uint64_t key_of(std::int32_t row, const Topology& topology) {
    return static_cast<std::uint64_t>(row) * static_cast<std::uint64_t>(topology.cols());
  }
};

}  // namespace tulle
