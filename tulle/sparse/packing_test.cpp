#include "tulle/sparse/packing.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>

#include "tulle/kernels/narrow.h"
#include "tulle/sparse/topology_testing.h"

namespace tulle::kernels {
namespace {

class Packed : public EveryTarget {};

struct Bias {
  Guarded<float> values;
  explicit Bias(const Problem& p) : values(p.rows) {
    Dice dice;
    for (float& b : values.all()) b = dice.value();
  }
  Epilogue epilogue() const { return {.bias = values.data(), .slope = -0.6f, .cap = 2.0f}; }
};

Guarded<float> expected_of(const Problem& p, const Epilogue& epilogue) {
  Guarded<float> y = p.for_rows();
  spmm_forward(p.csr(), {0, p.rows}, p.width, p.x.data(), y.data(), epilogue);
  return y;
}

TEST_P(Packed, RowsGiveTheBitsOfTheForwardProductWithAnyTilesAndPieces) {
  for_every_problem([](const Problem& p) {
    const Bias bias(p);
    const Guarded<float> expected = expected_of(p, bias.epilogue());
    const Topology topology = topology_of(p);
    for (const std::int32_t width : {7, 16, 128, 65536}) {
      if (p.cols / width > 100) continue;
      Guarded<float> y = p.for_rows(kUntouched);
      for (const Range rows : {Range{0, p.rows / 3}, Range{p.rows / 3, p.rows}})
        PackedRows(topology, p.values.all(), rows, width)
            .for_tiles([&](std::int64_t first, const PackedTile& w, Tile tile) {
              packed_forward(w, p.width, p.x.data() + first * p.width, y.data(), bias.epilogue(), tile);
            });
      EXPECT_TRUE(y.same_bits(expected)) << "tiles of " << width;
      EXPECT_TRUE(y.guards_intact());
    }
  });
}

TEST_P(Packed, RowsOfBfloat16GiveTheBitsOfTheForwardProductOfTheRoundedInputs) {
  for_every_problem([](const Problem& original) {
    Problem p = original;
    if (p.width < 32) return;
    Guarded<Bf16Pair> pairs(p.cols * p.width / 2);
    narrow(p.x.data(), p.cols * p.width, pairs.data());
    for (std::size_t i = 0; i < p.x.size(); ++i) {
      const std::uint32_t pair = pairs[i / 32 * 16 + i % 16];
      p.x[i] = std::bit_cast<float>(i % 32 < 16 ? pair << 16 : pair & 0xffff0000u);
    }
    const Bias bias(p);
    const Guarded<float> expected = expected_of(p, bias.epilogue());
    for (const std::int32_t width : {16, 65536}) {
      if (p.cols / width > 100) continue;
      Guarded<float> y = p.for_rows(kUntouched);
      PackedRows(topology_of(p), p.values.all(), {0, p.rows}, width)
          .for_tiles([&](std::int64_t first, const PackedTile& w, Tile tile) {
            packed_forward(w, p.width, pairs.data() + first * p.width / 2, y.data(), bias.epilogue(), tile);
          });
      EXPECT_TRUE(y.same_bits(expected)) << "tiles of " << width;
      EXPECT_TRUE(y.guards_intact());
    }
  });
}

TEST_P(Packed, SlicesGiveASingleSampleTheBitsOfTheForwardProduct) {
  for_every_problem([](const Problem& p) {
    const Bias bias(p);
    const Guarded<float> expected = expected_of(p, bias.epilogue());
    Guarded<float> x(p.cols), y(p.rows, kUntouched);
    const int sample = p.width - 1;
    for (std::int64_t c = 0; c < p.cols; ++c)
      x[static_cast<std::size_t>(c)] = p.x[reference::at(c, p.width, sample)];
    const Topology topology = topology_of(p);
    for (const Range rows : {Range{0, p.rows / 3}, Range{p.rows / 3, p.rows}})
      SlicedRows(topology, p.values.all(), rows)
          .for_tiles([&](std::int64_t first, const SlicedTile& w, Tile tile) {
            spmv_forward(w, x.data() + first, y.data(), bias.epilogue(), tile);
          });
    EXPECT_TRUE(y.guards_intact());
    for (std::int64_t r = 0; r < p.rows; ++r)
      ASSERT_EQ(y[static_cast<std::size_t>(r)], expected[reference::at(r, p.width, sample)]) << "row " << r;
  });
}

TEST_P(Packed, BytesGiveExactSumsAndTheEpilogueOfTheirFloats) {
  for_every_problem([](const Problem& p) {
    if (p.width != 64 || p.cols > 65536) return;
    Dice dice;
    const Bias bias(p);
    const ByteScale scale{.scale = 0.02f, .zero = 77};
    Guarded<std::uint8_t> bytes(p.cols * kByteWidth);
    for (std::uint8_t& byte : bytes.all()) byte = static_cast<std::uint8_t>(dice.below(256));
    const ByteRows rows(topology_of(p), p.values.all(), {0, p.rows}, scale);
    Guarded<float> y = p.for_rows(kUntouched);
    packed_forward(rows.tile(), bytes.data(), y.data(), bias.epilogue());
    EXPECT_TRUE(y.guards_intact());
    for (std::int64_t r = 0; r < p.rows; ++r) {
      const auto begin = static_cast<std::size_t>(p.row_ptr[static_cast<std::size_t>(r)]);
      const auto end = static_cast<std::size_t>(p.row_ptr[static_cast<std::size_t>(r) + 1]);
      float largest = 0.0f;
      for (std::size_t k = begin; k < end; ++k) largest = std::max(largest, std::abs(p.values[k]));
      const float unit = largest / 127.0f;
      for (std::size_t s = 0; s < kByteWidth; ++s) {
        std::int64_t sum = 0;
        for (std::size_t k = begin; k < end; ++k) {
          const auto c = static_cast<std::size_t>(p.columns[k]);
          const int byte = bytes[c * kByteWidth + s / 4 % 4 * 16 + s / 16 * 4 + s % 4];
          sum += std::lround(p.values[k] / unit) * (byte - scale.zero);
        }
        const double z = static_cast<double>(static_cast<float>(sum) * (unit * scale.scale));
        const double wanted = reference::epilogue(bias.epilogue(), r, kByteWidth, static_cast<int>(s), z);
        ASSERT_NEAR(y[reference::at(r, kByteWidth, static_cast<int>(s))], wanted, 1e-5 * (1.0 + std::abs(z)))
            << p.name << ", row " << r << ", sample " << s;
      }
    }
  });
}

TEST_P(Packed, BytesOfASingleLinkOfAllOnesTellTheirSamplesApart) {
  // One link, one bias: sample s of the panel must come out as sample s.
  const Topology one(1, 1, {0, 1}, {0});
  const std::vector<float> weight{127.0f};  // a unit of 1
  Guarded<float> x(kByteWidth), y(kByteWidth);
  for (std::size_t s = 0; s < kByteWidth; ++s) x[s] = static_cast<float>(s);
  Guarded<std::uint8_t> bytes(kByteWidth);
  narrow_bytes(x.data(), 1, {.scale = 1.0f, .zero = 0}, bytes.data());
  packed_forward(ByteRows(one, weight, {0, 1}, {.scale = 1.0f, .zero = 0}).tile(), bytes.data(), y.data(),
                 {});
  for (std::size_t s = 0; s < kByteWidth; ++s) EXPECT_EQ(y[s], 127.0f * static_cast<float>(s));
}

INSTANTIATE_TEST_SUITE_P(Targets, Packed, ::testing::ValuesIn(available_targets()), target_name);

TEST(PackedTileWidth, KeepsRowsLongEnoughAndActivationsNear) {
  EXPECT_EQ(packed_tile_width(1000, 0.01, 4), 1000);  // 10 connections a row: one tile
  EXPECT_EQ(packed_tile_width(1000, 0.20, 4), 125);
  EXPECT_EQ(packed_tile_width(4000, 0.05, 4), 400);
  EXPECT_EQ(packed_tile_width(4000, 0.05, 2), 800);
  EXPECT_EQ(packed_tile_width(1'000'000, 1e-5, 4), 62'500) << "16-bit numbers";
  EXPECT_EQ(packed_tile_width(1, 1.0, 4), 1);
}

TEST(Packing, RefusesValuesRowsAndTilesThatDoNotFit) {
  const Topology topology(2, 3, {0, 1, 3}, {0, 1, 2});
  const std::vector<float> values{1, 2, 3};
  EXPECT_THROW(PackedRows(topology, std::span(values).first(2), {0, 2}, 3), std::invalid_argument);
  EXPECT_THROW(PackedRows(topology, values, {0, 3}, 3), std::invalid_argument);
  EXPECT_THROW(PackedRows(topology, values, {0, 2}, 0), std::invalid_argument);
  EXPECT_THROW(PackedRows(topology, values, {0, 2}, 65'537), std::invalid_argument);
  const Topology wide(1, 65'537, {0, 0}, {});
  EXPECT_THROW(ByteRows(wide, {}, {0, 1}, {}), std::invalid_argument);
}

}  // namespace
}  // namespace tulle::kernels
