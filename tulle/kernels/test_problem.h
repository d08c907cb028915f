#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <random>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "tulle/base/aligned.h"
#include "tulle/kernels/reference.h"
#include "tulle/kernels/targets.h"

/// What the kernel tests share: a fixture that runs each test on every instruction set, guarded arrays and
/// random problems.
namespace tulle::kernels {

class EveryTarget : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { force_target(GetParam()); }
  void TearDown() override { force_target(""); }
};

/// The last argument of INSTANTIATE_TEST_SUITE_P for such a fixture.
inline std::string target_name(const ::testing::TestParamInfo<std::string>& info) { return info.param; }

/// What an array holds before a kernel writes to it.
constexpr float kUntouched = -12345.0f;

constexpr int kWidths[] = {16, 32, 64, 128};
/// With those narrower than a line, which not every kernel takes.
constexpr int kAllWidths[] = {2, 4, 8, 16, 32, 64, 128};

/// Random numbers for tests; the environment variable TULLE_TEST_SEED picks other ones. Failures while it
/// lives tell the seed.
class Dice {
 public:
  float value() { return std::uniform_real_distribution<float>(-1.0f, 1.0f)(engine_); }
  std::uint64_t below(std::uint64_t n) { return engine_() % n; }
  static std::uint64_t seed() {
    const char* text = std::getenv("TULLE_TEST_SEED");
    return text == nullptr ? 1 : std::strtoull(text, nullptr, 10);
  }

 private:
  std::mt19937_64 engine_{seed()};
  ::testing::ScopedTrace trace_{__FILE__, __LINE__, "TULLE_TEST_SEED=" + std::to_string(seed())};
};

/// An aligned array with poison on both sides: NaN that is read reaches a result, and a write shows.
template <class T>
class Guarded {
 public:
  explicit Guarded(std::int64_t size, T fill = T{})
      : memory_(static_cast<std::size_t>(size) + 2 * kGuard, poison()) {
    for (std::int64_t i = 0; i < size; ++i) memory_[kGuard + static_cast<std::size_t>(i)] = fill;
  }
  T* data() { return memory_.data() + kGuard; }
  const T* data() const { return memory_.data() + kGuard; }
  std::size_t size() const { return memory_.size() - 2 * kGuard; }
  T& operator[](std::size_t i) { return data()[i]; }
  const T& operator[](std::size_t i) const { return data()[i]; }
  std::span<T> all() { return {data(), size()}; }
  std::span<const T> all() const { return {data(), size()}; }
  bool guards_intact() const {
    const T clean = poison();
    for (std::size_t i = 0; i < kGuard; ++i)
      if (std::memcmp(&memory_[i], &clean, sizeof(T)) != 0 ||
          std::memcmp(&memory_[memory_.size() - 1 - i], &clean, sizeof(T)) != 0)
        return false;
    return true;
  }
  bool same_bits(const Guarded& other) const {
    return size() == other.size() &&
           (size() == 0 || std::memcmp(data(), other.data(), size() * sizeof(T)) == 0);
  }

 private:
  static constexpr std::size_t kGuard = 256;  // more than the widest line, and keeps the alignment
  static T poison() {
    if constexpr (std::is_floating_point_v<T>) return std::numeric_limits<T>::quiet_NaN();
    return static_cast<T>(0xa5a5a5a5u);
  }
  AlignedVector<T> memory_;
};

using Link = std::pair<std::int32_t, std::int32_t>;  // row, column

/// A sparse matrix in both orders with a panel of inputs and one of errors, everything guarded.
struct Problem {
  std::string name;
  std::int64_t rows, cols;
  int width;
  std::vector<Link> links;  // sorted
  std::vector<std::int64_t> row_ptr, source_ptr;
  std::vector<std::int32_t> columns, targets;
  std::vector<std::uint32_t> positions;
  Guarded<float> values, values_by_source, x, dz;

  CsrView csr() const { return {row_ptr.data(), row_ptr.data() + 1, columns.data(), values.data()}; }
  SourceView by_source(std::int64_t first_source = 0) const {
    const std::int64_t first = source_ptr[static_cast<std::size_t>(first_source)];
    return {source_ptr.data(), targets.data() + first, values_by_source.data() + first};
  }
  std::int64_t nnz() const { return static_cast<std::int64_t>(links.size()); }
  Guarded<float> for_rows(float fill = 0.0f) const { return Guarded<float>(rows * width, fill); }
  Guarded<float> for_sources(float fill = 0.0f) const { return Guarded<float>(cols * width, fill); }
  Guarded<float> for_links(float fill = 0.0f) const { return Guarded<float>(nnz(), fill); }
};

struct Shape {
  std::string name;
  std::int32_t rows, cols;
  std::vector<Link> links;
};

inline Shape random_shape(std::string name, std::int32_t rows, std::int32_t cols, double density,
                          Dice& dice) {
  Shape shape{std::move(name), rows, cols, {}};
  for (std::int32_t r = 0; r < rows; ++r)
    for (std::int32_t c = 0; c < cols; ++c)
      if (static_cast<double>(dice.below(1'000'000)) < 1e6 * density) shape.links.emplace_back(r, c);
  return shape;
}

inline Problem make_problem(const Shape& shape, int width, Dice& dice) {
  Problem p{.name = shape.name + ", width " + std::to_string(width),
            .rows = shape.rows,
            .cols = shape.cols,
            .width = width,
            .links = shape.links,
            .row_ptr = std::vector<std::int64_t>(static_cast<std::size_t>(shape.rows) + 1, 0),
            .source_ptr = std::vector<std::int64_t>(static_cast<std::size_t>(shape.cols) + 1, 0),
            .columns = {},
            .targets = {},
            .positions = {},
            .values = Guarded<float>(static_cast<std::int64_t>(shape.links.size())),
            .values_by_source = Guarded<float>(static_cast<std::int64_t>(shape.links.size())),
            .x = Guarded<float>(std::int64_t{shape.cols} * width),
            .dz = Guarded<float>(std::int64_t{shape.rows} * width)};
  std::vector<std::pair<Link, std::uint32_t>> by_source;  // (column, row), position
  for (const auto& [row, column] : p.links) {
    ++p.row_ptr[static_cast<std::size_t>(row) + 1];
    ++p.source_ptr[static_cast<std::size_t>(column) + 1];
    by_source.push_back({{column, row}, static_cast<std::uint32_t>(p.columns.size())});
    p.columns.push_back(column);
  }
  std::sort(by_source.begin(), by_source.end());
  for (const auto& [link, position] : by_source) {
    p.targets.push_back(link.second);
    p.positions.push_back(position);
  }
  for (std::size_t r = 1; r < p.row_ptr.size(); ++r) p.row_ptr[r] += p.row_ptr[r - 1];
  for (std::size_t s = 1; s < p.source_ptr.size(); ++s) p.source_ptr[s] += p.source_ptr[s - 1];
  for (auto* array : {&p.values, &p.x, &p.dz})
    for (float& v : array->all()) v = dice.value();
  for (std::size_t k = 0; k < p.positions.size(); ++k) p.values_by_source[k] = p.values[p.positions[k]];
  return p;
}

/// The shapes every product must accept, on all `widths`: test(problem).
template <class Test>
void for_every_problem(Test test, std::span<const int> widths = kWidths) {
  Dice dice;
  std::vector<Shape> shapes{
      {"one cell", 1, 1, {{0, 0}}},
      {"no connections", 5, 7, {}},
      {"no rows", 0, 3, {}},
      random_shape("one row", 1, 37, 0.5, dice),
      random_shape("one column", 37, 1, 0.5, dice),
      random_shape("empty rows and columns", 40, 65, 0.02, dice),
      random_shape("half", 63, 17, 0.5, dice),
      random_shape("dense", 17, 33, 1.0, dice),
      {"all in one row", 9, 50, {}},
      {"all in one column", 50, 9, {}},
      // The long sums have wide bounds; the single connections far out tell whether indices are right.
      {"a row of 70000", 3, 70'000, {{0, 7}, {0, 65'543}}},
      {"a column of 70000", 70'000, 2, {{7, 0}, {65'543, 0}}},
  };
  for (std::int32_t i = 0; i < 50; ++i) {
    shapes[8].links.emplace_back(4, i);
    shapes[9].links.emplace_back(i, 4);
  }
  for (std::int32_t i = 0; i < 70'000; ++i) {
    shapes[10].links.emplace_back(1, i);
    shapes[11].links.emplace_back(i, 1);
  }
  for (Shape& shape : shapes) std::sort(shape.links.begin(), shape.links.end());
  for (const Shape& shape : shapes) {
    const bool large = shape.links.size() >= 70'000;
    for (const int width : widths) {
      if (large && width != 32) continue;  // they cost as much as all the others
      const Problem problem = make_problem(shape, width, dice);
      SCOPED_TRACE(problem.name);
      test(problem);
      if (::testing::Test::HasFailure()) return;  // one shape tells enough
    }
  }
}

/// Whether every entry lies within the bound of its exact sum; tells the first that does not.
inline ::testing::AssertionResult within_bounds(const Guarded<float>& found,
                                                const reference::Sums& expected) {
  if (found.size() != expected.size()) return ::testing::AssertionFailure() << "sizes differ";
  for (std::size_t i = 0; i < expected.size(); ++i)
    if (!(std::abs(double{found[i]} - expected[i].value) <= expected[i].bound()))
      return ::testing::AssertionFailure() << "entry " << i << " is " << found[i] << ", expected "
                                           << expected[i].value << " +- " << expected[i].bound();
  return ::testing::AssertionSuccess();
}

inline Guarded<std::uint16_t> random_bits(std::int64_t rows, int width, Dice& dice) {
  Guarded<std::uint16_t> bits(rows * bit_words(width));
  for (std::uint16_t& word : bits.all()) word = static_cast<std::uint16_t>(dice.below(65536));
  return bits;
}

}  // namespace tulle::kernels
