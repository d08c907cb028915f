#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "tulle/data/dataset.h"
#include "tulle/data/readers.h"

namespace tulle {

/// A numeric array as a file stores it; what NPY, NPZ and MATLAB files are made of.
struct Array {
  enum class Type { kBool, kInt, kUnsigned, kFloat, kBytes };  // kBytes: text of fixed length

  std::string name;
  std::vector<std::int64_t> shape;  // empty: one value
  Type type = Type::kFloat;
  std::size_t item = 8;  // bytes of a value
  bool big_endian = false;
  bool column_major = false;  // first index fastest
  std::span<const std::byte> bytes;

  std::int64_t size() const;
  /// Value number i in row-major order, of any type but kBytes.
  double at(std::int64_t i) const;
  std::string text() const;  // kBytes
};

/// How many bytes an array of this shape and item size takes; refuses (kBadData) what does not fit 64 bits or
/// exceeds `available`, before any memory is taken.
std::size_t array_bytes(const Array& array, std::size_t available, const std::string& file);

/// Samples out of the arrays of a file. Inputs are the array called X (or the first name of options.arrays):
/// one row per sample, further dimensions flattened; or, as SciPy's save_npz writes them, a sparse matrix in
/// the arrays indptr, indices, data, shape and format (csr, csc), or row, col, data and shape (coo). Labels
/// are the array called y or Y (or the second name): one per sample, a row of 0 and 1 per sample for sets of
/// labels. Throws tulle::Error (kBadData) with the file, what was found and what was expected.
RawSplit split_of(std::span<const Array> arrays, const std::string& file, const ReadOptions& options);

}  // namespace tulle
