// No product touches memory beyond its arrays: every array ends where a page begins that nobody may touch, or
// begins where one ends. A kernel that strays ends this program.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <memory>

#include "tulle/kernels/gather.h"
#include "tulle/sparse/packing.h"
#include "tulle/sparse/topology_testing.h"

namespace tulle::kernels {
namespace {

enum class Side { kBefore, kBehind };

// A copy of an array with a forbidden page at one side.
template <class T>
class Fenced {
 public:
  Fenced(const T* values, std::size_t count, Side side) : bytes_(count * sizeof(T)) {
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    inner_ = (bytes_ + page - 1) / page * page;
    whole_ = inner_ + 2 * page;
    memory_ = static_cast<char*>(mmap(nullptr, whole_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    EXPECT_NE(memory_, MAP_FAILED);
    EXPECT_TRUE(inner_ == 0 || mprotect(memory_ + page, inner_, PROT_READ | PROT_WRITE) == 0);
    char* const begin = memory_ + page + (side == Side::kBehind ? inner_ - bytes_ : 0);
    if (bytes_ > 0) std::memcpy(begin, values, bytes_);
    data_ = reinterpret_cast<T*>(begin);
  }
  Fenced(const Guarded<T>& values, Side side) : Fenced(values.data(), values.size(), side) {}
  Fenced(const std::vector<T>& values, Side side) : Fenced(values.data(), values.size(), side) {}
  ~Fenced() { munmap(memory_, whole_); }
  Fenced(const Fenced&) = delete;
  Fenced& operator=(const Fenced&) = delete;
  T* data() const { return data_; }

 private:
  std::size_t bytes_, inner_, whole_;
  char* memory_;
  T* data_;
};

template <class Test>
void on_both_sides(Test test) {
  for_every_problem([&](const Problem& p) {
    for (const Side side : {Side::kBefore, Side::kBehind}) test(p, side);
  });
}

class GuardPages : public EveryTarget {};

TEST_P(GuardPages, ForwardAndBackwardStayInside) {
  on_both_sides([](const Problem& p, Side side) {
    const Fenced<std::int64_t> row_ptr(p.row_ptr, side), source_ptr(p.source_ptr, side);
    const Fenced<std::int32_t> columns(p.columns, side), targets(p.targets, side);
    const Fenced<float> values(p.values, side), by_source(p.values_by_source, side), x(p.x, side),
        dz(p.dz, side);
    const Fenced<float> y(p.for_rows(), side), dx(p.for_sources(), side), dw(p.for_links(), side);
    const CsrView rows{row_ptr.data(), row_ptr.data() + 1, columns.data(), values.data()};
    const SourceView sources{source_ptr.data(), targets.data(), by_source.data()};
    spmm_forward(rows, {0, p.rows}, p.width, x.data(), y.data(), {});
    spmm_backward(sources, {0, p.cols}, p.width, x.data(), dz.data(), dx.data(), {}, false, dw.data());
    if (p.width < 32) return;
    Guarded<Bf16Pair> x_pairs(p.cols * p.width / 2), dz_pairs(p.rows * p.width / 2);
    const Fenced<Bf16Pair> xh(x_pairs, side), dzh(dz_pairs, side);
    narrow(x.data(), p.cols * p.width, xh.data());
    narrow(dz.data(), p.rows * p.width, dzh.data());
    spmm_forward(rows, {0, p.rows}, p.width, xh.data(), y.data(), {});
    spmm_backward(sources, {0, p.cols}, p.width, xh.data(), dzh.data(), dx.data(), {}, true, dw.data());
  });
}

TEST_P(GuardPages, PackedRowsStayInside) {
  on_both_sides([](const Problem& p, Side side) {
    const Fenced<float> x(p.x, side), y(p.for_rows(), side);
    const auto nnz = static_cast<std::size_t>(p.nnz()), count = static_cast<std::size_t>(p.rows);
    if (p.cols > 65536) return;
    PackedRows(topology_of(p), p.values.all(), {0, p.rows}, 65536)
        .for_tiles([&](std::int64_t, const PackedTile& w, Tile tile) {
          const Fenced<std::int32_t> rows(w.rows, count, side);
          const Fenced<std::uint16_t> columns(w.columns, nnz, side);
          const Fenced<float> values(w.values, nnz, side);
          packed_forward({w.runs, rows.data(), columns.data(), values.data()}, p.width, x.data(), y.data(),
                         {}, tile);
        });
    SlicedRows(topology_of(p), p.values.all(), {0, p.rows})
        .for_tiles([&](std::int64_t, const SlicedTile& w, Tile tile) {
          const auto slice_rows = static_cast<std::size_t>(w.slices) * kSliceRows;
          const Fenced<std::int32_t> rows(w.rows, slice_rows, side), lengths(w.lengths, slice_rows, side);
          const Fenced<std::uint16_t> columns(w.columns, nnz, side);
          const Fenced<float> values(w.values, nnz, side);
          spmv_forward({w.slices, rows.data(), lengths.data(), columns.data(), values.data()}, x.data(),
                       y.data(), {}, tile);
        });
    if (p.width != kByteWidth) return;
    const ByteRows packed(topology_of(p), p.values.all(), {0, p.rows}, {.scale = 0.1f, .zero = 3});
    const ByteTile w = packed.tile();
    std::size_t links = 0;
    for (const PackedRun& run : w.runs)
      links += static_cast<std::size_t>(run.rows) * static_cast<std::size_t>(run.length) * kByteGroup;
    const Fenced<std::int32_t> rows(w.rows, count, side), offsets(w.offsets, count, side);
    const Fenced<std::uint16_t> columns(w.columns, links, side);
    const Fenced<std::int8_t> values(w.values, links, side);
    const Fenced<float> scales(w.scales, count, side);
    const Guarded<std::uint8_t> none(p.cols * kByteWidth);
    const Fenced<std::uint8_t> bytes(none, side);
    narrow_bytes(x.data(), p.cols, {.scale = 0.1f, .zero = 3}, bytes.data());
    packed_forward({w.runs, rows.data(), columns.data(), values.data(), scales.data(), offsets.data()},
                   bytes.data(), y.data(), {});
  });
}

TEST_P(GuardPages, GatherAndNeuronsStayInside) {
  Dice dice;
  for (const Side side : {Side::kBefore, Side::kBehind})
    for (const int width : kWidths)
      for (const std::size_t samples : {1, 15, 16, 17, 100}) {
        constexpr std::int64_t kFeatures = 37;
        std::vector<float> rows(samples * kFeatures), ones(kFeatures, 1.0f);
        std::vector<std::uint32_t> order;
        for (std::size_t s = 0; s < std::min(samples, static_cast<std::size_t>(width)); ++s)
          order.push_back(static_cast<std::uint32_t>(dice.below(samples)));
        const std::vector<std::uint8_t> raw(rows.size());
        const Fenced<float> from(rows, side), mean(ones, side), factor(ones, side);
        const Fenced<std::uint8_t> bytes(raw, side);
        const std::vector<float> none(kFeatures * static_cast<std::size_t>(width));
        const Fenced<float> panel(none, side), sums(ones, side);
        gather_panel(from.data(), kFeatures, order, {0, kFeatures}, mean.data(), factor.data(), panel.data(),
                     width);
        gather_panel(bytes.data(), kFeatures, order, {0, kFeatures}, mean.data(), factor.data(), panel.data(),
                     width);
        const std::vector<std::uint16_t> words(kFeatures * static_cast<std::size_t>(width) / 16);
        const Fenced<std::uint16_t> bits(words, side), keep(words, side);
        dropout_bits({0, kFeatures}, width, {}, 20000, nullptr, keep.data());
        apply_epilogue(
            {0, kFeatures}, width, panel.data(),
            {.bias = mean.data(), .slope = 0.5f, .positive_bits = bits.data(), .keep_bits = keep.data()});
        apply_gate({0, kFeatures}, width, panel.data(),
                   {.positive_bits = bits.data(), .keep_bits = keep.data()});
        sum_rows({0, kFeatures}, width, panel.data(), {}, false, sums.data());
      }
}

TEST(GuardPagesDeathTest, AFenceStopsAReadBeyondIt) {
  const std::vector<float> values(5, 1.0f);
  const Fenced<float> behind(values, Side::kBehind), before(values, Side::kBefore);
  const volatile float* const end = behind.data() + 5;
  const volatile float* const start = before.data() - 1;
  EXPECT_DEATH(static_cast<void>(*end), "");
  EXPECT_DEATH(static_cast<void>(*start), "");
}

INSTANTIATE_TEST_SUITE_P(Targets, GuardPages, ::testing::ValuesIn(available_targets()), target_name);

}  // namespace
}  // namespace tulle::kernels
