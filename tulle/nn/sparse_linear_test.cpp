#include "tulle/nn/sparse_linear.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tulle/base/parallel.h"
#include "tulle/base/random.h"
#include "tulle/nn/dense_linear.h"
#include "tulle/sparse/sampling.h"

namespace tulle {
namespace {

constexpr std::int32_t kInputs = 300, kOutputs = 420, kBatch = 40, kWidth = 32;

void fill(Panels<float> panels, std::uint64_t seed) {
  const Random random{.seed = seed, .stream = Stream::kData};
  for (std::int32_t f = 0; f < panels.features; ++f)
    for (std::int32_t b = 0; b < panels.batch; ++b)
      panels.at(b, f) = random.normal(static_cast<std::uint64_t>(f * panels.batch + b));
}

// One pass forward and back with the same inputs and errors.
struct PassOf {
  PanelBuffer memory[4];
  Panels<float> x = memory[0].view(kInputs, kBatch, kWidth), y = memory[1].view(kOutputs, kBatch, kWidth),
                dz = memory[2].view(kOutputs, kBatch, kWidth), dx = memory[3].view(kInputs, kBatch, kWidth);

  explicit PassOf(Layer& layer) {
    fill(x, 1);
    fill(dz, 2);
    layer.forward({.training = true}, x, y);
    layer.backward(x, dz, dx, nullptr);
  }
};

void expect_near(Panels<float> found, Panels<float> expected) {
  for (std::int32_t f = 0; f < found.features; ++f)
    for (std::int32_t b = 0; b < found.batch; ++b)
      ASSERT_NEAR(found.at(b, f), expected.at(b, f), 1e-3) << "neuron " << f << ", sample " << b;
}

TEST(SparseLinear, CutIntoTilesEqualsTheDenseLayerOnEveryConnection) {
  const LayerOptions options{.inputs = kInputs, .outputs = kOutputs, .activation = "all-relu"};
  const Topology topology = random_topology(kOutputs, kInputs, kInputs * kOutputs / 2, {.seed = 3});
  ASSERT_LT(tile_width(kInputs, topology.density()), kInputs) << "several tiles each way";
  ASSERT_LT(tile_width(kOutputs, topology.density()), kOutputs);
  SparseLinear sparse(options, topology);
  DenseLinear dense(options);
  const std::vector<std::uint64_t> keys = topology.keys();
  const Random random{.seed = 4, .stream = Stream::kData};
  for (std::size_t k = 0; k < keys.size(); ++k)
    dense.weight().value[keys[k]] = sparse.weight().value[k] = random.normal(k);
  for (const int threads : {1, 3}) {
    set_thread_count(threads);
    const PassOf found(sparse), expected(dense);
    expect_near(found.y, expected.y);
    expect_near(found.dx, expected.dx);
    for (std::size_t k = 0; k < keys.size(); ++k)
      ASSERT_NEAR(sparse.weight().gradient[k], dense.weight().gradient[keys[k]], 1e-3) << "connection " << k;
  }
  set_thread_count(0);
}

// The float that is nearest to v among those of 8 bits.
float rounded(float v) {
  int exponent = 0;
  const float fraction = std::frexp(v, &exponent);
  return std::ldexp(std::nearbyint(fraction * 256.0f) / 256.0f, exponent);
}

TEST(SparseLinear, InBfloat16EqualsTheFloatLayerOnRoundedInputsAndErrorsForAnyNumberOfThreads) {
  const Topology topology = random_topology(kOutputs, kInputs, kInputs * kOutputs / 10, {.seed = 3});
  SparseLinear floats({.inputs = kInputs, .outputs = kOutputs}, topology);
  SparseLinear pairs({.inputs = kInputs, .outputs = kOutputs, .precision = Precision::kBf16}, topology);
  const Random random{.seed = 4, .stream = Stream::kData};
  for (std::size_t k = 0; k < floats.weight().value.size(); ++k)
    floats.weight().value[k] = pairs.weight().value[k] = random.normal(k);
  PassOf expected(floats);
  for (std::int32_t b = 0; b < kBatch; ++b) {
    for (std::int32_t f = 0; f < kInputs; ++f) expected.x.at(b, f) = rounded(expected.x.at(b, f));
    for (std::int32_t f = 0; f < kOutputs; ++f) expected.dz.at(b, f) = rounded(expected.dz.at(b, f));
  }
  floats.forward({.training = true}, expected.x, expected.y);
  floats.backward(expected.x, expected.dz, expected.dx, nullptr);
  AlignedVector<float> gradient_of_one;
  for (const int threads : {1, 3}) {
    set_thread_count(threads);
    const PassOf found(pairs);
    for (std::int32_t b = 0; b < kBatch; ++b) {
      for (std::int32_t f = 0; f < kOutputs; ++f) ASSERT_EQ(found.y.at(b, f), expected.y.at(b, f));
      for (std::int32_t f = 0; f < kInputs; ++f) ASSERT_EQ(found.dx.at(b, f), expected.dx.at(b, f));
    }
    for (std::size_t k = 0; k < floats.weight().gradient.size(); ++k)
      ASSERT_NEAR(pairs.weight().gradient[k], floats.weight().gradient[k], 1e-4) << "connection " << k;
    if (threads == 1) gradient_of_one = pairs.weight().gradient;
    EXPECT_EQ(pairs.weight().gradient, gradient_of_one);
  }
  set_thread_count(0);
}

TEST(SparseLinear, InBfloat16RefusesPanelsOfOneLineAndTrainingInBytes) {
  SparseLinear layer({.inputs = 3, .outputs = 2, .precision = Precision::kBf16}, full_topology(2, 3));
  PanelBuffer memory[2];
  EXPECT_THROW(layer.forward({}, memory[0].view(3, 16, 16), memory[1].view(2, 16, 16)),
               std::invalid_argument);
  EXPECT_THROW(SparseLinear({.inputs = 3, .outputs = 2, .precision = Precision::kInt8}, full_topology(2, 3)),
               std::invalid_argument);
}

}  // namespace
}  // namespace tulle
