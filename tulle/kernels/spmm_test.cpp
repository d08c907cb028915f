#include "tulle/kernels/spmm.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>

#include "tulle/base/half.h"
#include "tulle/kernels/test_problem.h"

namespace tulle::kernels {
namespace {

Guarded<float> forward(const Problem& p, const Epilogue& epilogue = {}) {
  Guarded<float> y = p.for_rows(kUntouched);
  spmm_forward(p.csr(), {0, p.rows}, p.width, p.x.data(), y.data(), epilogue);
  EXPECT_TRUE(y.guards_intact());
  return y;
}

struct Backward {
  Guarded<float> dx, dw;
};

// The kernel writes dw by source; here, as in the tests, dw[k] belongs to p.links[k].
void run_backward(const Problem& p, Range sources, Guarded<float>* dx, const Gate& gate, bool add,
                  Guarded<float>& dw) {
  Guarded<float> by_source = p.for_links();
  for (std::size_t k = 0; k < dw.size(); ++k) by_source[k] = dw[p.positions[k]];
  SourceView w = p.by_source(sources.begin);
  if (dx == nullptr) w.values = nullptr;  // the first layer's gradient needs no weights
  spmm_backward(w, sources, p.width, p.x.data(), p.dz.data(), dx == nullptr ? nullptr : dx->data(), gate, add,
                by_source.data() + p.source_ptr[static_cast<std::size_t>(sources.begin)]);
  EXPECT_TRUE(by_source.guards_intact());
  for (std::size_t k = 0; k < dw.size(); ++k) dw[p.positions[k]] = by_source[k];
}

Backward backward(const Problem& p, const Gate& gate = {}) {
  Backward b{p.for_sources(kUntouched), p.for_links(kUntouched)};
  run_backward(p, {0, p.cols}, &b.dx, gate, false, b.dw);
  EXPECT_TRUE(b.dx.guards_intact());
  return b;
}

Problem small_problem(int width, Dice& dice) {
  return make_problem(random_shape("small", 23, 31, 0.3, dice), width, dice);
}

class SpmmForward : public EveryTarget {};

TEST_P(SpmmForward, GivesTheSameBitsWhereInputsLieFarAway) {
  for_every_problem(
      [](const Problem& p) {
        Guarded<float> far = p.for_rows(kUntouched);
        spmm_forward(p.csr(), {0, p.rows}, p.width, p.x.data(), far.data(), {}, {.far = true});
        EXPECT_TRUE(far.same_bits(forward(p)));
      },
      kAllWidths);
}

TEST_P(SpmmForward, EqualsTheDoubleSumWithinItsRoundingErrors) {
  for_every_problem(
      [](const Problem& p) {
        EXPECT_TRUE(within_bounds(forward(p), reference::forward(p.csr(), p.rows, p.width, p.x.data())));
      },
      kAllWidths);
}

TEST_P(SpmmForward, WithWeightsInBfloat16HasTheBitsOfTheirFloats) {
  for_every_problem(
      [](const Problem& original) {
        Problem p = original;
        Guarded<std::uint16_t> bits(p.nnz());
        for (std::size_t k = 0; k < bits.size(); ++k) {
          bits[k] = float_to_bf16(p.values[k]);
          p.values[k] = bf16_to_float(bits[k]);
        }
        Guarded<float> y = p.for_rows(kUntouched);
        spmm_forward(Bf16CsrView{p.row_ptr.data(), p.row_ptr.data() + 1, p.columns.data(), bits.data()},
                     {0, p.rows}, p.width, p.x.data(), y.data(), {});
        EXPECT_TRUE(y.same_bits(forward(p)));
      },
      kAllWidths);
}

TEST_P(SpmmForward, WritesOnlyItsRowsAndAnySplitGivesTheSameBits) {
  Dice dice;
  for (const int width : kAllWidths) {
    const Problem p = small_problem(width, dice);
    const Guarded<float> whole = forward(p);
    Guarded<float> parts = p.for_rows(kUntouched);
    const auto run = [&](Range rows) { spmm_forward(p.csr(), rows, width, p.x.data(), parts.data(), {}); };
    run({5, 11});
    run({3, 3});
    for (std::int64_t row = 0; row < p.rows; ++row) {
      const float expected = row >= 5 && row < 11 ? whole[reference::at(row, width, width - 1)] : kUntouched;
      EXPECT_EQ(parts[reference::at(row, width, width - 1)], expected) << "row " << row;
      EXPECT_EQ(parts[reference::at(row, width, 0)] == kUntouched, row < 5 || row >= 11) << "row " << row;
    }
    run({11, p.rows});
    run({0, 5});
    EXPECT_TRUE(parts.same_bits(whole)) << p.name;
  }
}

TEST_P(SpmmForward, FusedEpilogueEqualsTheUnfusedSequenceBitwise) {
  Dice dice;
  for (const int width : kAllWidths) {
    const Problem p = small_problem(width, dice);
    Guarded<float> bias(p.rows);
    for (float& b : bias.all()) b = dice.value();
    const Guarded<std::uint16_t> keep = random_bits(p.rows, width, dice);
    for (int variant = 0; variant < 16; ++variant) {
      SCOPED_TRACE(p.name + ", variant " + std::to_string(variant));
      const bool with_keep = (variant & 2) != 0;
      const Epilogue base{.bias = (variant & 1) != 0 ? bias.data() : nullptr,
                          .slope = (variant & 4) != 0 ? -0.6f : 0.0f,
                          .zero_is_negative = (variant & 4) == 0,
                          .keep_bits = with_keep ? keep.data() : nullptr,
                          .keep_scale = with_keep ? 1.0f / 0.7f : 1.0f};
      Guarded<std::uint16_t> fused_bits = random_bits(p.rows, width, dice), unfused_bits = fused_bits;
      Epilogue fused = base, unfused = base;
      if ((variant & 8) != 0) {
        fused.positive_bits = fused_bits.data();
        unfused.positive_bits = unfused_bits.data();
      }
      const Guarded<float> once = forward(p, fused);
      Guarded<float> twice = forward(p);
      apply_epilogue({0, p.rows}, width, twice.data(), unfused);
      EXPECT_TRUE(once.same_bits(twice));
      EXPECT_TRUE(fused_bits.same_bits(unfused_bits));
      EXPECT_TRUE(fused_bits.guards_intact());
    }
  }
}

TEST_P(SpmmForward, TilesOfSourcesGiveTheSameBits) {
  for_every_problem([](const Problem& p) {
    Dice dice;
    Guarded<float> bias(p.rows);
    for (float& b : bias.all()) b = dice.value();
    const Epilogue epilogue{.bias = bias.data(), .slope = -0.6f};
    const Guarded<float> whole = forward(p, epilogue);
    for (const std::int64_t tile_width : {std::int64_t{7}, std::int64_t{16}, p.cols}) {
      if (p.cols / tile_width > 100) continue;
      Guarded<float> y = p.for_rows(kUntouched);
      std::vector<std::int64_t> begin(p.row_ptr.begin(), p.row_ptr.end() - 1), end = begin;
      for (std::int64_t first = 0; first < p.cols; first += tile_width) {
        for (std::size_t r = 0; r < end.size(); ++r) {
          begin[r] = end[r];
          while (end[r] < p.row_ptr[r + 1] &&
                 p.columns[static_cast<std::size_t>(end[r])] < first + tile_width)
            ++end[r];
        }
        spmm_forward({begin.data(), end.data(), p.columns.data(), p.values.data()}, {0, p.rows}, p.width,
                     p.x.data(), y.data(), epilogue,
                     {.first = first == 0, .last = first + tile_width >= p.cols});
      }
      EXPECT_TRUE(y.same_bits(whole)) << "tiles of " << tile_width;
    }
  });
}

TEST_P(SpmmForward, NaNOfOneSampleStaysInItsSampleAndFollowsConnectionsOnly) {
  Dice dice;
  for (const int width : kAllWidths) {
    Problem p = small_problem(width, dice);
    const int sick = width / 2;
    p.x[reference::at(7, width, sick)] = NAN;
    const Guarded<float> y = forward(p);
    for (std::int64_t row = 0; row < p.rows; ++row) {
      const bool linked = std::find(p.links.begin(), p.links.end(), Link{row, 7}) != p.links.end();
      for (int s = 0; s < width; ++s)
        ASSERT_EQ(std::isnan(y[reference::at(row, width, s)]), linked && s == sick) << p.name;
    }
  }
}

TEST_P(SpmmForward, AStoredZeroTimesInfinityIsNaN) {
  Dice dice;
  Problem p = make_problem({"two cells", 2, 1, {{0, 0}}}, 16, dice);
  p.values[0] = 0.0f;
  p.x[5] = INFINITY;
  const Guarded<float> y = forward(p);
  EXPECT_TRUE(std::isnan(y[5]));
  EXPECT_EQ(y[16 + 5], 0.0f);
}

class SpmmBackward : public EveryTarget {};

TEST_P(SpmmBackward, EqualsTheDoubleSumsWithinTheirRoundingErrors) {
  for_every_problem([](const Problem& p) {
    const Backward b = backward(p);
    EXPECT_TRUE(within_bounds(b.dx, reference::backward_data(p.csr(), p.rows, p.cols, p.width, p.dz.data())));
    EXPECT_TRUE(
        within_bounds(b.dw, reference::backward_weights(p.csr(), p.rows, p.width, p.x.data(), p.dz.data())));
  });
}

TEST_P(SpmmBackward, AgreesWithTheForwardPassInTheIdentitiesOfTheTranspose) {
  for_every_problem([](const Problem& p) {
    const Guarded<float> y = forward(p);
    const Backward b = backward(p);
    const auto y_exact = reference::forward(p.csr(), p.rows, p.width, p.x.data());
    const auto dx_exact = reference::backward_data(p.csr(), p.rows, p.cols, p.width, p.dz.data());
    const auto dw_exact = reference::backward_weights(p.csr(), p.rows, p.width, p.x.data(), p.dz.data());
    // Each product takes over the errors of its computed factor.
    double by_forward = 0, by_dx = 0, by_dw = 0, dx_bound = 0, dw_bound = 0;
    for (std::size_t i = 0; i < y.size(); ++i) {
      by_forward += double{p.dz[i]} * y[i];
      dx_bound += std::abs(p.dz[i]) * y_exact[i].bound();
    }
    dw_bound = dx_bound;
    for (std::size_t i = 0; i < b.dx.size(); ++i) {
      by_dx += double{p.x[i]} * b.dx[i];
      dx_bound += std::abs(p.x[i]) * dx_exact[i].bound();
    }
    for (std::size_t k = 0; k < b.dw.size(); ++k) {
      by_dw += double{p.values[k]} * b.dw[k];
      dw_bound += std::abs(p.values[k]) * dw_exact[k].bound();
    }
    EXPECT_NEAR(by_dx, by_forward, dx_bound) << "<W^T dZ, X> = <dZ, W X>";
    EXPECT_NEAR(by_dw, by_forward, dw_bound) << "sum w dW = <dZ, W X>";
  });
}

TEST_P(SpmmBackward, WithoutDxGivesTheSameDwBits) {
  for_every_problem([](const Problem& p) {
    Guarded<float> dw = p.for_links(kUntouched);
    run_backward(p, {0, p.cols}, nullptr, {}, false, dw);
    EXPECT_TRUE(dw.same_bits(backward(p).dw));
  });
}

TEST_P(SpmmBackward, AddPutsTheNewGradientOnTopOfTheOld) {
  Dice dice;
  for (const int width : kWidths) {
    const Problem p = small_problem(width, dice);
    Guarded<float> dw = p.for_links(), dx = p.for_sources(), expected = p.for_links();
    const Backward fresh = backward(p);
    for (std::size_t k = 0; k < dw.size(); ++k) {
      dw[k] = dice.value();
      expected[k] = dw[k] + fresh.dw[k];
    }
    run_backward(p, {0, p.cols}, &dx, {}, true, dw);
    EXPECT_TRUE(dw.same_bits(expected)) << p.name;
    EXPECT_TRUE(dx.same_bits(fresh.dx)) << "dx is overwritten, not added to";
  }
}

TEST_P(SpmmBackward, WritesOnlyItsSourcesAndAnySplitGivesTheSameBits) {
  Dice dice;
  for (const int width : kWidths) {
    const Problem p = small_problem(width, dice);
    const Backward whole = backward(p);
    Backward parts{p.for_sources(kUntouched), p.for_links(kUntouched)};
    const auto run = [&](Range sources) { run_backward(p, sources, &parts.dx, {}, false, parts.dw); };
    run({4, 9});
    run({20, 20});
    for (std::int64_t source = 0; source < p.cols; ++source)
      for (int s = 0; s < width; ++s)
        ASSERT_EQ(parts.dx[reference::at(source, width, s)] == kUntouched, source < 4 || source >= 9);
    for (std::size_t k = 0; k < parts.dw.size(); ++k)
      ASSERT_EQ(parts.dw[k] == kUntouched, p.links[k].second < 4 || p.links[k].second >= 9);
    run({9, p.cols});
    run({0, 4});
    EXPECT_TRUE(parts.dx.same_bits(whole.dx) && parts.dw.same_bits(whole.dw)) << p.name;
  }
}

TEST_P(SpmmBackward, TilesOfTargetsGiveTheSameBits) {
  Dice dice;
  for (const int width : kWidths) {
    const Problem p = small_problem(width, dice);
    const Guarded<std::uint16_t> positive = random_bits(p.cols, width, dice);
    const Gate gate{.slope = -0.6f, .positive_bits = positive.data()};
    const Backward whole = backward(p, gate);
    constexpr std::int32_t kTile = 7;
    Backward tiled{p.for_sources(kUntouched), p.for_links(kUntouched)};
    for (std::int32_t first = 0; first < p.rows; first += kTile) {
      std::vector<std::int64_t> begin{0};
      std::vector<std::int32_t> targets;
      std::vector<std::uint32_t> positions;
      std::vector<float> values;
      for (std::size_t source = 0; source < static_cast<std::size_t>(p.cols); ++source) {
        for (auto k = static_cast<std::size_t>(p.source_ptr[source]);
             k < static_cast<std::size_t>(p.source_ptr[source + 1]); ++k) {
          if (p.targets[k] < first || p.targets[k] >= first + kTile) continue;
          targets.push_back(p.targets[k] - first);
          positions.push_back(p.positions[k]);
          values.push_back(p.values_by_source[k]);
        }
        begin.push_back(static_cast<std::int64_t>(targets.size()));
      }
      std::vector<float> dw(targets.size());
      spmm_backward({begin.data(), targets.data(), values.data()}, {0, p.cols}, width, p.x.data(),
                    p.dz.data() + std::int64_t{first} * width, tiled.dx.data(), gate, false, dw.data(),
                    {.first = first == 0, .last = first + kTile >= p.rows});
      for (std::size_t k = 0; k < dw.size(); ++k) tiled.dw[positions[k]] = dw[k];
    }
    EXPECT_TRUE(tiled.dx.same_bits(whole.dx) && tiled.dw.same_bits(whole.dw)) << p.name;
  }
}

TEST_P(SpmmBackward, FusedGateEqualsTheUnfusedSequenceBitwise) {
  Dice dice;
  for (const int width : kWidths) {
    const Problem p = small_problem(width, dice);
    const Guarded<std::uint16_t> positive = random_bits(p.cols, width, dice);
    const Guarded<std::uint16_t> keep = random_bits(p.cols, width, dice);
    for (int variant = 0; variant < 4; ++variant) {
      const Gate gate{.slope = -0.6f,
                      .positive_bits = (variant & 1) != 0 ? positive.data() : nullptr,
                      .keep_bits = (variant & 2) != 0 ? keep.data() : nullptr,
                      .keep_scale = (variant & 2) != 0 ? 1.0f / 0.7f : 1.0f};
      Guarded<float> unfused = backward(p).dx;
      apply_gate({0, p.cols}, width, unfused.data(), gate);
      EXPECT_TRUE(backward(p, gate).dx.same_bits(unfused)) << p.name << ", variant " << variant;
    }
  }
}

TEST_P(SpmmBackward, NaNOfOneSampleReachesNoOtherSampleAndOnlyItsOwnConnections) {
  Dice dice;
  for (const int width : kWidths) {
    Problem p = small_problem(width, dice);
    const int sick = width - 3;
    p.dz[reference::at(7, width, sick)] = NAN;
    const Backward b = backward(p);
    for (std::int64_t source = 0; source < p.cols; ++source) {
      const bool linked = std::find(p.links.begin(), p.links.end(), Link{7, source}) != p.links.end();
      for (int s = 0; s < width; ++s)
        ASSERT_EQ(std::isnan(b.dx[reference::at(source, width, s)]), linked && s == sick) << p.name;
    }
    for (std::size_t k = 0; k < b.dw.size(); ++k)
      ASSERT_EQ(std::isnan(b.dw[k]), p.links[k].first == 7) << p.name;
  }
}

TEST_P(SpmmBackward, SamplesWithZeroErrorAddNothingToDw) {
  // The last panel of a batch is padded with samples whose error is zero.
  Dice dice;
  Problem p = small_problem(32, dice), padded = p;
  for (std::int64_t row = 0; row < p.rows; ++row)
    for (int s = 20; s < 32; ++s) p.dz[reference::at(row, 32, s)] = 0.0f;
  padded.dz = p.dz;
  for (std::int64_t source = 0; source < p.cols; ++source)
    for (int s = 20; s < 32; ++s) padded.x[reference::at(source, 32, s)] = 1e30f;
  EXPECT_TRUE(backward(padded).dw.same_bits(backward(p).dw));
}

TEST_P(SpmmBackward, DwOfOneLineFollowsTheFixedTreeBitwise) {
  // 16 samples need no sum of lines, hence no fused multiply-add: the bits are the same on every target.
  Dice dice;
  const Problem p = small_problem(16, dice);
  const Guarded<float> dw = backward(p).dw;
  for (std::size_t k = 0; k < dw.size(); ++k) {
    float products[16];
    for (int s = 0; s < 16; ++s)
      products[s] =
          p.x[reference::at(p.links[k].second, 16, s)] * p.dz[reference::at(p.links[k].first, 16, s)];
    ASSERT_EQ(dw[k], reference::sum_in_fixed_tree(products, 16)) << "connection " << k;
  }
}

// Activations in bfloat16 as the kernels read them, and the floats that they stand for.
struct Rounded {
  Guarded<Bf16Pair> pairs;
  Guarded<float> values;
  explicit Rounded(const Guarded<float>& x)
      : pairs(static_cast<std::int64_t>(x.size()) / 2), values(static_cast<std::int64_t>(x.size())) {
    narrow(x.data(), static_cast<std::int64_t>(x.size()), pairs.data());
    for (std::size_t i = 0; i < x.size(); ++i) {
      const Bf16Pair pair = pairs[i / 32 * 16 + i % 16];
      values[i] = std::bit_cast<float>(i % 32 < 16 ? pair << 16 : pair & 0xffff0000u);
    }
  }
};

TEST_P(SpmmForward, InBfloat16HasTheBitsOfTheProductOfTheRoundedInputs) {
  for_every_problem([](const Problem& original) {
    if (original.width < 32) return;
    Problem p = original;
    const Rounded x(p.x);
    p.x = x.values;
    Guarded<float> y = p.for_rows(kUntouched);
    spmm_forward(p.csr(), {0, p.rows}, p.width, x.pairs.data(), y.data(), {});
    EXPECT_TRUE(y.same_bits(forward(p)));
    EXPECT_TRUE(y.guards_intact());
  });
}

TEST_P(SpmmForward, ReadsAndStoresBfloat16WithTheBitsOfTheWidenedProductRounded) {
  for_every_problem(
      [](const Problem& original) {
        Problem p = original;
        Guarded<std::uint16_t> x(static_cast<std::int64_t>(p.x.size())),
            weights(static_cast<std::int64_t>(p.values.size())),
            rounded(static_cast<std::int64_t>(p.for_rows().size()));
        for (std::size_t i = 0; i < p.x.size(); ++i) p.x[i] = bf16_to_float(x[i] = float_to_bf16(p.x[i]));
        const Guarded<float> y = forward(p);
        spmm_forward(p.csr(), {0, p.rows}, p.width, x.data(), nullptr, {.rounded = rounded.data()},
                     {.far = true});
        for (std::size_t i = 0; i < y.size(); ++i) ASSERT_EQ(rounded[i], float_to_bf16(y[i]));
        EXPECT_TRUE(rounded.guards_intact());
        for (std::size_t k = 0; k < p.values.size(); ++k)
          p.values[k] = bf16_to_float(weights[k] = float_to_bf16(p.values[k]));
        Guarded<float> both = p.for_rows(kUntouched);
        spmm_forward({p.row_ptr.data(), p.row_ptr.data() + 1, p.columns.data(), weights.data()}, {0, p.rows},
                     p.width, x.data(), both.data(), {});
        EXPECT_TRUE(both.same_bits(forward(p)) && both.guards_intact());
      },
      kAllWidths);
}

TEST_P(SpmmBackward, InBfloat16HasTheBitsOfTheRoundedErrorsAndSumsWithinTheirBound) {
  for_every_problem([](const Problem& original) {
    if (original.width < 32) return;
    Problem p = original;
    const Rounded x(p.x), dz(p.dz);
    p.x = x.values, p.dz = dz.values;
    const Backward expected = backward(p);
    for (const bool with_dx : {true, false}) {
      Guarded<float> dx = p.for_sources(kUntouched), by_source = p.for_links(kUntouched), dw = p.for_links();
      spmm_backward(p.by_source(), {0, p.cols}, p.width, x.pairs.data(), dz.pairs.data(),
                    with_dx ? dx.data() : nullptr, {}, false, by_source.data());
      EXPECT_TRUE(dx.guards_intact() && by_source.guards_intact());
      EXPECT_TRUE(!with_dx || dx.same_bits(expected.dx));
      for (std::size_t k = 0; k < dw.size(); ++k) dw[p.positions[k]] = by_source[k];
      EXPECT_TRUE(
          within_bounds(dw, reference::backward_weights(p.csr(), p.rows, p.width, p.x.data(), p.dz.data())));
    }
  });
}

INSTANTIATE_TEST_SUITE_P(Targets, SpmmForward, ::testing::ValuesIn(available_targets()), target_name);
INSTANTIATE_TEST_SUITE_P(Targets, SpmmBackward, ::testing::ValuesIn(available_targets()), target_name);

// Sums run in one order everywhere, so instruction sets that multiply and add with the same rounding give the
// same bits at the same panel width: those with fused multiply-add (one rounding) and those without (two).
TEST(Spmm, TargetsWithTheSameMultiplyAddAgreeBitwise) {
  const std::vector<std::vector<std::string>> families{{"avx2", "avx512", "avx512_dl"},
                                                       {"scalar", "ssse3", "sse4"}};
  const auto available = available_targets();
  for (const auto& family : families) {
    for_every_problem([&](const Problem& p) {
      std::vector<Guarded<float>> first;  // y, dx, dw of the first target of the family
      for (const std::string& target : family) {
        if (std::find(available.begin(), available.end(), target) == available.end()) continue;
        SCOPED_TRACE(target);
        force_target(target);
        const Backward b = backward(p);
        const std::vector<Guarded<float>> results{forward(p), b.dx, b.dw};
        force_target("");
        if (first.empty()) first = results;
        for (std::size_t i = 0; i < results.size(); ++i)
          EXPECT_TRUE(results[i].same_bits(first[i])) << "result " << i << " differs";
      }
    });
  }
}

}  // namespace
}  // namespace tulle::kernels
