#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "tulle/base/random.h"
#include "tulle/kernels/draws.h"
#include "tulle/sparse/row_share.h"
#include "tulle/sparse/topology.h"

namespace tulle {

/// A keyed bijection of [0, n): the images of 0, 1, ..., m-1 are a random sample of m without replacement,
/// each image computed alone in O(1), without memory. Below 2^16 a stored Fisher-Yates shuffle, because small
/// Feistel networks mix poorly; from there on an alternating Feistel network of 8 rounds with cycle walking
/// (at most 2 steps expected).
class Bijection {
 public:
  Bijection(std::uint64_t n, const Random& key);
  std::uint64_t operator()(std::uint64_t i) const;
  std::uint64_t size() const { return n_; }
  /// The images of first, first + 1, ..., in vectors and on all threads.
  void images(std::uint64_t first, std::span<std::uint64_t> out) const;

 private:
  std::uint64_t n_;
  std::vector<std::uint32_t> shuffled_;
  kernels::Feistel network_;
};

/// Sorts keys below `limit`, in parallel. Radix sort by two digits, after which keys spread evenly lie in
/// groups of a few: O(count) then, O(count log count) at most; memory: as much again.
void sort_keys(std::span<std::uint64_t> keys, std::uint64_t limit);

/// Exactly m of the rows x cols cells, every m-subset equally likely. Cost: O(m) time and memory.
/// Throws std::invalid_argument if m exceeds the cells.
Topology random_topology(std::int32_t rows, std::int32_t cols, std::int64_t m, const Random& key);

/// Every target has exactly fan_in distinct sources, uniformly drawn (Floyd's algorithm per row). Cost: O(nnz
/// log fan_in), and O(nnz * fan_in) for moving a row's sources aside, in whole vectors, as each one is
/// inserted in order.
Topology fixed_fan_in_topology(std::int32_t rows, std::int32_t cols, std::int32_t fan_in, const Random& key);

/// Which neurons get a connection although none was drawn for them.
enum class Repair { kNone, kIn, kOut, kBoth };
struct RepairInfo {
  std::string_view name;
  std::string_view help;
  Repair repair;
};
std::span<const RepairInfo> repairs();

/// The topology with one connection moved from a neuron of the highest degree to each neuron without any, as
/// far as there are neurons with two or more; the number of connections stays. kIn: targets without inputs (a
/// connection keeps its source), kOut: sources without outputs (it keeps its target). Ties by number, which
/// connection moves is drawn from `key`. Cost: O((nnz + neurons) log neurons).
Topology repair_isolated(Topology topology, Repair repair, const Random& key);

/// Takes out of the sorted keys `cells` those that `topology` holds. Cost: O(cells + connections of the rows
/// that they are in).
void strike_out_existing(const Topology& topology, std::vector<std::uint64_t>& cells);

/// Every cell.
Topology full_topology(std::int32_t rows, std::int32_t cols);

/// A part of a layer's cells, numbered in any way.
struct CellPart {
  std::uint64_t cells = 0;                                          // how many
  std::uint64_t taken = 0;                                          // of these: connections
  std::function<void(std::span<std::uint64_t>)> to_keys = nullptr;  // from numbers to keys; null: they are
  RowShare share{};  // where only some rows are here: of all cells of the layer alone
};
CellPart all_cells(const Topology& topology, const RowShare& share = {});

/// `count` cells of this part that `topology` lacks and `others` (sorted cells of the part that it lacks)
/// does not hold, uniformly drawn without replacement, as sorted keys; all of them if there are fewer. Cost:
/// that of random_absent_cells() for a layer of the part's cells. Of a share of rows: those that lie in them.
std::vector<std::uint64_t> absent_cells(const Topology& topology, const CellPart& part, std::int64_t count,
                                        std::span<const std::uint64_t> others, const Random& key);

/// `count` cells that `topology` lacks, uniformly drawn without replacement, as sorted keys; all of them if
/// there are fewer. Cost: below half density expected O(count / (1 - density)) and the connections of the
/// rows that are drawn, O(nnz) above. Where the topology is some rows of a layer: those of the cells drawn
/// for all of it that lie in them; every rank draws all.
std::vector<std::uint64_t> random_absent_cells(const Topology& topology, std::int64_t count,
                                               const Random& key, const RowShare& share = {});

}  // namespace tulle
