#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace tulle {

/// Which connections of a layer exist: CSR, row = target neuron, column = source neuron, columns strictly
/// increasing within a row. Values (weights, gradients, momenta) are separate arrays of nnz() entries in this
/// order, so a weight that becomes exactly 0 stays a connection. The order is that of the keys target * cols
/// + source.
class Topology {
 public:
  Topology() = default;
  /// Throws std::invalid_argument unless the arrays are a valid CSR pattern of rows x cols. Cost: O(rows +
  /// nnz).
  Topology(std::int32_t rows, std::int32_t cols, std::vector<std::int64_t> row_ptr,
           std::vector<std::int32_t> columns);
  /// From keys target * cols + source. Throws std::invalid_argument unless they are strictly increasing and
  /// inside. Cost: O(rows + nnz).
  static Topology from_keys(std::int32_t rows, std::int32_t cols, std::span<const std::uint64_t> keys);

  std::int32_t rows() const { return rows_; }
  std::int32_t cols() const { return cols_; }
  std::int64_t nnz() const { return static_cast<std::int64_t>(columns_.size()); }
  std::uint64_t cells() const {
    return static_cast<std::uint64_t>(rows_) * static_cast<std::uint64_t>(cols_);
  }
  double density() const {
    return cells() == 0 ? 0.0 : static_cast<double>(nnz()) / static_cast<double>(cells());
  }

  std::span<const std::int64_t> row_ptr() const { return row_ptr_; }
  std::span<const std::int32_t> columns() const { return columns_; }
  std::span<const std::int32_t> row(std::int32_t r) const {
    const auto begin = static_cast<std::size_t>(row_ptr_[static_cast<std::size_t>(r)]);
    const auto end = static_cast<std::size_t>(row_ptr_[static_cast<std::size_t>(r) + 1]);
    return std::span(columns_).subspan(begin, end - begin);
  }
  /// Whether the connection source -> target exists. Cost: O(log of the row's length).
  bool contains(std::int32_t target, std::int32_t source) const;
  /// All keys in order. Cost: O(nnz).
  std::vector<std::uint64_t> keys() const;
  /// The same for equal topologies, on every machine (XXH3-64 of the arrays).
  std::uint64_t hash() const;

  bool operator==(const Topology&) const = default;

 private:
  std::int32_t rows_ = 0;
  std::int32_t cols_ = 0;
  std::vector<std::int64_t> row_ptr_{0};
  std::vector<std::int32_t> columns_;
};

/// A topology read by source neuron: the connections of source s are [source_ptr[s], source_ptr[s + 1]), each
/// with its target and its position in the topology's own order. The backward pass walks it.
struct SourceIndex {
  std::vector<std::int64_t> source_ptr;
  std::vector<std::int32_t> targets;
  std::vector<std::uint32_t> positions;
};

/// Cost: O(cols + nnz). Throws std::invalid_argument from 2^32 connections on.
SourceIndex make_source_index(const Topology& topology);

}  // namespace tulle
