#pragma once

#include <cstdint>

#include "tulle/base/aligned.h"

namespace tulle {

/// A row-major matrix somebody else owns: row r starts at data + r * stride.
template <class T>
struct MatrixView {
  T* data = nullptr;
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  std::int64_t stride = 0;

  T* row(std::int64_t r) const { return data + r * stride; }
  T& operator()(std::int64_t r, std::int64_t c) const { return data[r * stride + c]; }
  operator MatrixView<const T>() const { return {data, rows, cols, stride}; }
};

/// An owning row-major matrix, 64-byte aligned, zero at the start.
class Matrix {
 public:
  Matrix() = default;
  Matrix(std::int64_t rows, std::int64_t cols)
      : values_(static_cast<std::size_t>(rows * cols), 0.0f), rows_(rows), cols_(cols) {}

  std::int64_t rows() const { return rows_; }
  std::int64_t cols() const { return cols_; }
  MatrixView<float> view() { return {values_.data(), rows_, cols_, cols_}; }
  MatrixView<const float> view() const { return {values_.data(), rows_, cols_, cols_}; }
  float& operator()(std::int64_t r, std::int64_t c) {
    return values_[static_cast<std::size_t>(r * cols_ + c)];
  }
  float operator()(std::int64_t r, std::int64_t c) const {
    return values_[static_cast<std::size_t>(r * cols_ + c)];
  }

 private:
  AlignedVector<float> values_;
  std::int64_t rows_ = 0;
  std::int64_t cols_ = 0;
};

}  // namespace tulle
