#include "tulle/kernels/tokens.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "tulle/base/random.h"
#include "tulle/kernels/gelu.h"
#include "tulle/kernels/gemm.h"
#include "tulle/kernels/mixing.h"
#include "tulle/kernels/targets.h"

namespace tulle::kernels {
namespace {

using Floats = std::vector<float>;

Floats numbers(std::size_t count, std::uint64_t seed, float scale = 1.0f) {
  Floats x(count);
  const Random random{.seed = seed, .stream = Stream::kData};
  for (std::size_t i = 0; i < count; ++i) x[i] = scale * random.normal(i);
  return x;
}

double gelu_of(double z) { return 0.5 * z * (1.0 + std::erf(z / std::sqrt(2.0))); }
double slope_of(double z) {
  return 0.5 * (1.0 + std::erf(z / std::sqrt(2.0))) +
         z * std::exp(-0.5 * z * z) / std::sqrt(2.0 * std::acos(-1.0));
}

void expect_near(const Floats& found, const std::vector<double>& wanted, double tolerance = 2e-6) {
  ASSERT_EQ(found.size(), wanted.size());
  for (std::size_t i = 0; i < found.size(); ++i)
    EXPECT_NEAR(static_cast<double>(found[i]), wanted[i], tolerance * std::max(1.0, std::abs(wanted[i])))
        << i;
}

// Rows and channels with tails on every instruction set.
constexpr std::int64_t kTokens = 7, kChannels = 37, kAll = kTokens * kChannels;

class Tokens : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { force_target(GetParam()); }
  void TearDown() override { force_target(""); }

  const Floats x = numbers(kAll, 1), g = numbers(kAll, 2), scale = numbers(kChannels, 3),
               shift = numbers(kChannels, 4);
  static std::size_t at(std::int64_t r, std::int64_t c) {
    return static_cast<std::size_t>(r * kChannels + c);
  }
  static std::size_t size(std::int64_t n) { return static_cast<std::size_t>(n); }
};

TEST_P(Tokens, GeluIsExactToRoundingFromFarBelowToFarAbove) {
  Floats z;
  for (int i = -4000; i <= 4000; ++i) z.push_back(static_cast<float>(i) * 0.005f);
  for (const float far : {-1e30f, -100.0f, 100.0f, 1e30f}) z.push_back(far);
  Floats out(z.size()), again(z.size()), slope(z.size());
  gelu(z.data(), static_cast<std::int64_t>(z.size()), out.data());
  gelu_and_slope(z.data(), static_cast<std::int64_t>(z.size()), again.data(), slope.data());
  for (std::size_t i = 0; i < z.size(); ++i) {
    const double at_z = static_cast<double>(z[i]);
    EXPECT_NEAR(static_cast<double>(out[i]), gelu_of(at_z), 5e-7 * std::max(1.0, std::abs(at_z))) << at_z;
    EXPECT_NEAR(static_cast<double>(again[i]), gelu_of(at_z), 5e-7 * std::max(1.0, std::abs(at_z))) << at_z;
    EXPECT_NEAR(static_cast<double>(slope[i]), slope_of(at_z), 1e-6) << at_z;
  }
}

TEST_P(Tokens, GeluPassesNanOn) {
  Floats z(20, std::nanf("")), out(20);
  gelu(z.data(), 20, out.data());
  for (const float value : out) EXPECT_TRUE(std::isnan(value));
}

TEST_P(Tokens, AffineAndBiasedGelu) {
  Floats out(size(2 * kAll), -7.0f), slope(x.size()), again(size(2 * kAll)), z = x, active(x.size());
  affine_gelu(x.data(), scale.data(), shift.data(), kTokens, kChannels, out.data(), 2 * kChannels);
  affine_gelu_and_slope(x.data(), scale.data(), shift.data(), kTokens, kChannels, again.data(), 2 * kChannels,
                        slope.data());
  bias_gelu(z.data(), shift.data(), kTokens, kChannels, active.data());
  for (std::int64_t r = 0; r < kTokens; ++r)
    for (std::int64_t c = 0; c < kChannels; ++c) {
      const double sum = double(x[at(r, c)]) * double(scale[size(c)]) + double(shift[size(c)]);
      EXPECT_NEAR(out[size(2 * r * kChannels + c)], gelu_of(sum), 3e-6);
      EXPECT_NEAR(again[size(2 * r * kChannels + c)], gelu_of(sum), 3e-6);
      EXPECT_NEAR(slope[at(r, c)], slope_of(sum), 3e-6);
      EXPECT_EQ(out[size((2 * r + 1) * kChannels + c)], -7.0f);  // between rows
      EXPECT_FLOAT_EQ(z[at(r, c)], x[at(r, c)] + shift[size(c)]);
      EXPECT_NEAR(active[at(r, c)], gelu_of(double(x[at(r, c)]) + double(shift[size(c)])), 3e-6);
    }
}

TEST_P(Tokens, StatisticsOfChannels) {
  Floats mean(kChannels), deviations(kChannels), sums(kChannels), dots(kChannels), added(kChannels, 1.0f);
  Floats far = x;
  for (float& value : far) value += 1000.0f;  // deviations do not cancel
  channel_moments(far.data(), kTokens, kChannels, mean.data(), deviations.data());
  channel_dots(g.data(), x.data(), scale.data(), shift.data(), kTokens, kChannels, sums.data(), dots.data());
  add_channel_sums(x.data() + 1, kChannels, kTokens, kChannels - 2, added.data());
  for (std::int64_t c = 0; c < kChannels; ++c) {
    double m = 0.0, d = 0.0, s = 0.0, p = 0.0;
    for (std::int64_t r = 0; r < kTokens; ++r) {
      m += double(far[at(r, c)]) / double(kTokens);
      s += double(g[at(r, c)]);
      p += double(g[at(r, c)]) * (double(x[at(r, c)]) * double(scale[size(c)]) + double(shift[size(c)]));
    }
    for (std::int64_t r = 0; r < kTokens; ++r) d += std::pow(double(far[at(r, c)]) - m, 2);
    EXPECT_NEAR(mean[size(c)], m, 2e-4);
    EXPECT_NEAR(deviations[size(c)], d, 1e-4 * d);
    EXPECT_NEAR(sums[size(c)], s, 1e-5);
    EXPECT_NEAR(dots[size(c)], p, 1e-5);
    double total = 1.0;
    for (std::int64_t r = 0; r < kTokens && c < kChannels - 2; ++r) total += double(x[at(r, c + 1)]);
    EXPECT_NEAR(added[size(c)], total, 1e-5);
  }
}

TEST_P(Tokens, LayerNormAndItsWayBack) {
  Floats out(x.size()), mean(kTokens), rstd(kTokens), dx(x.size()), gammas(kChannels, 1.0f),
      betas(kChannels, 2.0f);
  const Floats before = numbers(kAll, 9);
  layer_norm(x.data(), scale.data(), shift.data(), kTokens, kChannels, out.data(), mean.data(), rstd.data());
  layer_norm_back(g.data(), x.data(), scale.data(), mean.data(), rstd.data(), before.data(), kTokens,
                  kChannels, dx.data(), gammas.data(), betas.data());
  std::vector<double> wanted, back(x.size()), dgamma(kChannels, 1.0), dbeta(kChannels, 2.0);
  for (std::int64_t r = 0; r < kTokens; ++r) {
    double m = 0.0, v = 0.0, e_mean = 0.0, dot = 0.0;
    for (std::int64_t c = 0; c < kChannels; ++c) m += double(x[at(r, c)]) / double(kChannels);
    for (std::int64_t c = 0; c < kChannels; ++c)
      v += std::pow(double(x[at(r, c)]) - m, 2) / double(kChannels);
    const double factor = 1.0 / std::sqrt(v + 1e-5);
    const auto normal = [&](std::int64_t c) { return (double(x[at(r, c)]) - m) * factor; };
    for (std::int64_t c = 0; c < kChannels; ++c) {
      wanted.push_back(normal(c) * double(scale[size(c)]) + double(shift[size(c)]));
      const double e = double(g[at(r, c)]) * double(scale[size(c)]);
      e_mean += e / double(kChannels);
      dot += e * normal(c) / double(kChannels);
      dgamma[size(c)] += double(g[at(r, c)]) * normal(c);
      dbeta[size(c)] += double(g[at(r, c)]);
    }
    for (std::int64_t c = 0; c < kChannels; ++c)
      back[at(r, c)] = double(before[at(r, c)]) +
                       factor * (double(g[at(r, c)]) * double(scale[size(c)]) - e_mean - normal(c) * dot);
  }
  expect_near(out, wanted);
  Floats again(x.size());
  layer_norm_again(x.data(), scale.data(), shift.data(), mean.data(), rstd.data(), kTokens, kChannels,
                   again.data());
  EXPECT_EQ(again, out);
  expect_near(dx, back, 5e-6);
  expect_near(gammas, dgamma, 5e-6);
  expect_near(betas, dbeta, 5e-6);
}

TEST_P(Tokens, BranchesScaledRowsAndCombinedChannels) {
  const Floats rows = numbers(kTokens, 5), third = numbers(kChannels, 6);
  Floats sum(x.size()), plain(x.size()), scaled(x.size()), combined(x.size()), product(x.size());
  add_branch(x.data(), g.data(), shift.data(), rows.data(), kTokens, kChannels, sum.data());
  add_branch(x.data(), g.data(), nullptr, nullptr, kTokens, kChannels, plain.data());
  scale_rows(x.data(), rows.data(), kTokens, kChannels, scaled.data());
  combine_channels(g.data(), x.data(), scale.data(), shift.data(), third.data(), x.data(), kTokens, kChannels,
                   combined.data());
  multiply_rows(x.data(), kChannels, g.data(), kTokens, kChannels, product.data());
  for (std::int64_t r = 0; r < kTokens; ++r)
    for (std::int64_t c = 0; c < kChannels; ++c) {
      const double a = double(x[at(r, c)]), b = double(g[at(r, c)]), by = double(rows[size(r)]);
      EXPECT_NEAR(sum[at(r, c)], a + by * (b + double(shift[size(c)])), 1e-5);
      EXPECT_NEAR(plain[at(r, c)], a + b, 1e-6);
      EXPECT_NEAR(scaled[at(r, c)], a * by, 1e-6);
      EXPECT_NEAR(product[at(r, c)], a * b, 1e-6);
      EXPECT_NEAR(combined[at(r, c)],
                  a + b * double(scale[size(c)]) + a * double(shift[size(c)]) + double(third[size(c)]), 1e-5);
    }
}

TEST_P(Tokens, DepthwiseRowsWithAndWithoutNeighbours) {
  const Floats rows[3] = {numbers(kAll, 11), numbers(kAll, 12), numbers(kAll, 13)};
  const Floats weights = numbers(9 * kChannels, 14);
  for (const int missing : {-1, 0, 2, 3}) {  // 3: both neighbours
    const float* around[3];
    for (int r = 0; r < 3; ++r)
      around[r] = r == missing || (missing == 3 && r != 1) ? nullptr : rows[r].data();
    Floats out(x.size()), gradient(9 * kChannels, 0.5f);
    depthwise_row(around, weights.data(), shift.data(), kTokens, kChannels, out.data());
    depthwise_row_gradient(around, g.data(), kTokens, kChannels, gradient.data());
    std::vector<double> wanted(x.size()), tap_sums(9 * kChannels, 0.5);
    for (std::int64_t w = 0; w < kTokens; ++w)
      for (std::int64_t c = 0; c < kChannels; ++c) {
        wanted[at(w, c)] = double(shift[size(c)]);
        for (std::int64_t r = 0; r < 3; ++r)
          for (std::int64_t s = 0; s < 3; ++s) {
            if (around[r] == nullptr || w + s < 1 || w + s > kTokens) continue;
            const double value = double(around[r][at(w + s - 1, c)]);
            wanted[at(w, c)] += double(weights[size((3 * r + s) * kChannels + c)]) * value;
            tap_sums[size((3 * r + s) * kChannels + c)] += value * double(g[at(w, c)]);
          }
      }
    expect_near(out, wanted, 5e-6);
    expect_near(gradient, tap_sums, 5e-6);
  }
}

TEST_P(Tokens, MixesLinesBothWays) {
  constexpr std::int64_t kLength = 11, kStride = kChannels + 5;
  const Floats p = numbers(kLength * kLength, 15), u = numbers(kLength * kStride, 16),
               bias = numbers(kLength, 17);
  const Floats other = numbers(kLength * kStride, 18);
  Floats out(u.size(), 3.0f), back = out, sums(kLength * kLength, 0.25f), totals(kLength, 1.0f);
  mix_line(p.data(), false, bias.data(), kLength, kChannels, u.data(), kStride, false, out.data(), kStride);
  mix_line(p.data(), true, nullptr, kLength, kChannels, u.data(), kStride, true, back.data(), kStride);
  const float* gs[] = {other.data(), u.data()};
  const float* xs[] = {u.data(), other.data()};
  mix_gradient(gs, xs, 2, kStride, kChannels, kLength, sums.data());
  add_channel_totals(u.data(), kStride, kLength, kChannels, totals.data());
  for (std::int64_t v = 0; v < kLength; ++v) {
    double total = 1.0;
    for (std::int64_t c = 0; c < kChannels; ++c) {
      double there = double(bias[size(v)]), here = 3.0;
      for (std::int64_t w = 0; w < kLength; ++w) {
        there += double(p[size(v * kLength + w)]) * double(u[size(w * kStride + c)]);
        here += double(p[size(w * kLength + v)]) * double(u[size(w * kStride + c)]);
      }
      EXPECT_NEAR(out[size(v * kStride + c)], there, 1e-5);
      EXPECT_NEAR(back[size(v * kStride + c)], here, 1e-5);
      total += double(u[size(v * kStride + c)]);
    }
    EXPECT_NEAR(totals[size(v)], total, 1e-5);
    EXPECT_EQ(out[size(v * kStride + kChannels)], 3.0f);
    for (std::int64_t w = 0; w < kLength; ++w) {
      double wanted = 0.25;
      for (std::int64_t c = 0; c < kChannels; ++c)
        wanted += double(other[size(v * kStride + c)]) * double(u[size(w * kStride + c)]) +
                  double(u[size(v * kStride + c)]) * double(other[size(w * kStride + c)]);
      EXPECT_NEAR(sums[size(v * kLength + w)], wanted, 3e-5);
    }
  }
}

TEST_P(Tokens, PanelsThereAndBack) {
  Floats panel(size(kChannels * 16), 9.0f), again(x.size());
  // In two parts, as threads do.
  to_panel(x.data(), kChannels, kTokens, 4, 16, panel.data());
  to_panel(x.data() + 4, kChannels, kTokens, kChannels - 4, 16, panel.data() + 4 * 16);
  for (std::int64_t c = 0; c < kChannels; ++c)
    for (std::int64_t i = 0; i < 16; ++i)
      EXPECT_EQ(panel[size(c * 16 + i)], i < kTokens ? x[at(i, c)] : 0.0f);
  from_panel(panel.data(), kTokens, kChannels, 16, again.data());
  EXPECT_EQ(again, x);
}

TEST_P(Tokens, PackedMatricesMultiplyAsTheyAre) {
  constexpr std::int64_t kInner = 21, kWide = 19;
  const Floats a = numbers(kTokens * (kInner + 3), 20), b = numbers(kInner * kWide, 21);
  Floats turned(b.size());
  for (std::int64_t k = 0; k < kInner; ++k)
    for (std::int64_t n = 0; n < kWide; ++n) turned[size(n * kInner + k)] = b[size(k * kWide + n)];
  for (const bool bf16 : {false, true})
    for (const bool transposed : {false, true}) {
      PackedMatrix matrix(kInner, kWide, bf16);
      matrix.pack(transposed ? turned.data() : b.data(), transposed ? kInner : kWide, transposed);
      Floats c(kTokens * (kWide + 1), 2.0f);
      matrix.multiply(kTokens, a.data(), kInner + 3, false, c.data(), kWide + 1);
      matrix.multiply(kTokens, a.data(), kInner + 3, true, c.data(), kWide + 1);
      for (std::int64_t i = 0; i < kTokens; ++i) {
        for (std::int64_t n = 0; n < kWide; ++n) {
          double wanted = 0.0, size_of = 0.0;
          for (std::int64_t k = 0; k < kInner; ++k) {
            const double product = double(a[size(i * (kInner + 3) + k)]) * double(b[size(k * kWide + n)]);
            wanted += 2.0 * product;
            size_of += 2.0 * std::abs(product);
          }
          EXPECT_NEAR(c[size(i * (kWide + 1) + n)], wanted, (bf16 ? 8e-3 : 1e-6) * size_of);
        }
        EXPECT_EQ(c[size(i * (kWide + 1) + kWide)], 2.0f);
      }
    }
}

INSTANTIATE_TEST_SUITE_P(Targets, Tokens, ::testing::ValuesIn(available_targets()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace tulle::kernels
