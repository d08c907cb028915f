#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <set>

#include "tulle/kernels/neuron.h"
#include "tulle/nn/activation.h"
#include "tulle/nn/oracle.h"
#include "tulle/nn/test_network.h"

namespace tulle {

MakeActivation make_relu, make_leaky_relu, make_all_relu, make_srelu, make_sigmoid, make_tanh, make_identity;

namespace {

constexpr std::int32_t kNeurons = 5;
constexpr std::int32_t kSamples = 48;  // exactly three lines: no padding
constexpr int kLanes = 16;

// An activation in one layer, with its definition. Trained parameters get values of either sign.
struct Subject {
  std::unique_ptr<Activation> activation;
  oracle::Activation definition;

  oracle::Srelu parameters(std::int32_t neuron) const {
    oracle::Srelu numbers{};
    const std::vector<Parameter*> arrays = activation->parameters();
    for (std::size_t i = 0; i < arrays.size(); ++i)
      numbers[i] = arrays[i]->value[static_cast<std::size_t>(neuron)];
    return numbers;
  }
  double to_kink(double z, std::int32_t neuron) const { return definition.to_kink(z, parameters(neuron)); }
};

Subject make_subject(const ActivationInfo& info, std::int32_t position, Dice& dice) {
  Subject subject{info.make({.alpha = 0.75, .position = position, .neurons = kNeurons, .seed = 3}),
                  {.name = std::string(info.name), .slope = 0.75}};
  if (info.name == "all-relu" && position % 2 == 0) subject.definition.slope = -0.75;
  for (Parameter* parameter : subject.activation->parameters())
    for (float& value : parameter->value) value = dice.value();
  return subject;
}

// a = f(z) and dz = da * f'(z), the way the layers compute them.
struct Computed {
  std::vector<float> a, dz;
};
Computed compute(Activation& activation, const std::vector<float>& z, const std::vector<float>& da) {
  const AlignedVector<float> sums(z.begin(), z.end());
  AlignedVector<float> a(z.begin(), z.end()), grad(da.begin(), da.end());
  if (const auto form = activation.piecewise()) {
    std::vector<std::uint16_t> bits(z.size() / kLanes);
    const auto rows = static_cast<std::int64_t>(bits.size());
    kernels::apply_epilogue(
        {0, rows}, kLanes, a.data(),
        {.slope = form->slope, .zero_is_negative = form->zero_is_negative, .positive_bits = bits.data()});
    kernels::apply_gate({0, rows}, kLanes, grad.data(), {.slope = form->slope, .positive_bits = bits.data()});
  } else {
    const auto samples = static_cast<std::int32_t>(z.size()) / kNeurons;
    activation.forward({sums.data(), kNeurons, samples, kLanes}, {a.data(), kNeurons, samples, kLanes});
    activation.backward({sums.data(), kNeurons, samples, kLanes}, {grad.data(), kNeurons, samples, kLanes});
  }
  return {{a.begin(), a.end()}, {grad.begin(), grad.end()}};
}

// The neuron of entry i of panels [panel][neuron][width].
std::int32_t neuron_of(std::size_t i) { return static_cast<std::int32_t>(i / kLanes) % kNeurons; }

class EveryActivation : public ::testing::TestWithParam<ActivationInfo> {};

TEST_P(EveryActivation, ValueIsItsDefinitionInEveryLayer) {
  Dice dice;
  for (std::int32_t position = 2; position <= 5; ++position) {
    const Subject subject = make_subject(GetParam(), position, dice);
    for (int i = 0; i < 500; ++i) {
      const double z = i == 0 ? 0.0 : 6.0 * dice.value();
      const std::int32_t neuron = between(dice, 0, kNeurons - 1);
      const double wanted = subject.definition.value(z, subject.parameters(neuron));
      EXPECT_NEAR(subject.activation->value(z, neuron), wanted, 1e-14)
          << "z = " << z << ", layer " << position;
    }
  }
}

TEST_P(EveryActivation, SlopeIsTheCentralDifferenceOfItsValue) {
  Dice dice;
  constexpr double kStep = 1e-5;
  for (std::int32_t position = 2; position <= 5; ++position) {
    const Subject subject = make_subject(GetParam(), position, dice);
    int tested = 0;
    while (tested < 500) {
      const double z = 6.0 * dice.value();
      const std::int32_t neuron = between(dice, 0, kNeurons - 1);
      if (subject.to_kink(z, neuron) < 1e-4) continue;
      ++tested;
      const Activation& f = *subject.activation;
      const double difference = (f.value(z + kStep, neuron) - f.value(z - kStep, neuron)) / (2 * kStep);
      EXPECT_NEAR(f.slope(z, neuron), difference, 1e-9) << "z = " << z << ", layer " << position;
    }
  }
}

TEST_P(EveryActivation, PanelsAreComputedFromValueAndSlope) {
  Dice dice;
  const Subject subject = make_subject(GetParam(), 2, dice);
  std::vector<float> z(kNeurons * kSamples), da(z.size());
  for (float& v : z) v = 6.0f * dice.value();
  for (float& v : da) v = dice.value();
  const float special[] = {0.0f, -0.0f, 1e-30f, -1e-30f, 0x1p-149f, 50.0f, -50.0f, 1e4f, -1e4f};
  for (std::size_t i = 0; i < std::size(special); ++i) z[i * 7] = special[i];
  const Computed found = compute(*subject.activation, z, da);
  for (std::size_t i = 0; i < z.size(); ++i) {
    const std::int32_t neuron = neuron_of(i);
    if (subject.to_kink(z[i], neuron) > 0 && subject.to_kink(z[i], neuron) < 1e-6) continue;
    const double a = subject.activation->value(z[i], neuron);
    const double slope = subject.activation->slope(z[i], neuron);
    // A few roundings of numbers up to z: gelu multiplies z by a share that has cancelled against 1.
    EXPECT_NEAR(found.a[i], a, 8 * kEpsilon * (1 + std::abs(z[i]))) << "z = " << z[i];
    EXPECT_NEAR(found.dz[i], da[i] * slope, 16 * kEpsilon * std::abs(da[i]) * (1 + std::abs(slope)))
        << "z = " << z[i];
  }
}

TEST_P(EveryActivation, LetsNanThrough) {
  Dice dice;
  const Subject subject = make_subject(GetParam(), 2, dice);
  std::vector<float> z(kNeurons * kSamples, 0.5f);
  z[17] = std::numeric_limits<float>::quiet_NaN();
  const Computed found = compute(*subject.activation, z, std::vector<float>(z.size(), 1.0f));
  for (std::size_t i = 0; i < z.size(); ++i) EXPECT_EQ(std::isnan(found.a[i]), i == 17) << i;
}

TEST_P(EveryActivation, GradientsOfItsParametersAreCentralDifferences) {
  Dice dice;
  constexpr float kStep = 0x1p-10f;
  const Subject subject = make_subject(GetParam(), 3, dice);
  std::vector<float> z(kNeurons * kSamples), da(z.size());
  for (std::size_t i = 0; i < z.size(); ++i) {
    do z[i] = 3.0f * dice.value();
    while (subject.to_kink(z[i], neuron_of(i)) < 4 * kStep);
    da[i] = dice.value();
  }
  (void)compute(*subject.activation, z, da);
  for (Parameter* parameter : subject.activation->parameters()) {
    EXPECT_EQ(parameter->kind, Parameter::Kind::kActivation);
    for (std::size_t j = 0; j < kNeurons; ++j) {
      const float start = parameter->value[j];
      const auto weighted = [&](float value) {  // what da is the derivative by the outputs of
        parameter->value[j] = value;
        double sum = 0;
        for (std::size_t i = 0; i < z.size(); ++i)
          if (neuron_of(i) == static_cast<std::int32_t>(j))
            sum += da[i] * subject.activation->value(z[i], neuron_of(i));
        return sum;
      };
      const float above = start + kStep, below = start - kStep;
      const double difference = (weighted(above) - weighted(below)) / (double{above} - below);
      parameter->value[j] = start;
      EXPECT_NEAR(parameter->gradient[j], difference, 2e-5) << parameter->name << " of neuron " << j;
    }
  }
}

TEST_P(EveryActivation, IsNamedOnce) {
  int same = 0;
  for (const ActivationInfo& info : activations()) same += info.name == GetParam().name;
  EXPECT_EQ(same, 1);
}

INSTANTIATE_TEST_SUITE_P(Activations, EveryActivation,
                         ::testing::ValuesIn(activations().begin(), activations().end()),
                         [](const auto& info) { return test_name(info.param.name); });

TEST(AllRelu, HasSlopeMinusAlphaInTheFirstHiddenLayerAndAlternates) {
  constexpr double kAlpha = 0.75;  // exact in float
  for (const auto& [layer, slope] : {std::pair{2, -kAlpha}, {3, kAlpha}, {4, -kAlpha}, {5, kAlpha}}) {
    const auto f = make_all_relu({.alpha = kAlpha, .position = layer});
    SCOPED_TRACE("layer " + std::to_string(layer));
    EXPECT_EQ(f->value(-2.0, 0), slope * -2.0);
    EXPECT_EQ(f->slope(-2.0, 0), slope);
    for (const double zero : {-0.0, 0.0}) {
      EXPECT_EQ(f->value(zero, 0), 0.0);
      EXPECT_EQ(f->slope(zero, 0), 1.0);
    }
    EXPECT_EQ(f->value(3.0, 0), 3.0);
    EXPECT_EQ(f->slope(3.0, 0), 1.0);
  }
}

TEST(AllRelu, FirstHiddenLayerOfANetworkIsLayerTwo) {
  DenseLinear first({.index = 0, .inputs = 1, .outputs = 1, .activation = "all-relu", .alpha = 0.5});
  DenseLinear second({.index = 1, .inputs = 1, .outputs = 1, .activation = "all-relu", .alpha = 0.5});
  EXPECT_EQ(first.activation().value(-2.0, 0), 1.0);
  EXPECT_EQ(second.activation().value(-2.0, 0), -1.0);
}

TEST(Relu, IsFlatAtZeroWhereLeakyReluIsNot) {
  EXPECT_EQ(make_relu({})->slope(0.0, 0), 0.0);
  EXPECT_EQ(make_leaky_relu({.alpha = 0.25})->slope(0.0, 0), 1.0);
}

TEST(Srelu, StartsAtItsPublishedValuesAndDiffersBetweenSeedsAndLayers) {
  const auto start = [](std::int32_t position, std::uint64_t seed) {
    std::vector<float> numbers;
    const auto f = make_srelu({.position = position, .neurons = 200, .seed = seed});
    for (const Parameter* p : f->parameters())
      numbers.insert(numbers.end(), p->value.begin(), p->value.end());
    return numbers;
  };
  const std::vector<float> numbers = start(2, 1);
  ASSERT_EQ(numbers.size(), 800u);
  std::set<float> slopes;
  double slope_sum = 0, distance_sum = 0;
  for (std::size_t j = 0; j < 200; ++j) {
    EXPECT_EQ(numbers[j], 0.0f) << "t_l";
    EXPECT_TRUE(numbers[200 + j] >= 0.0f && numbers[200 + j] < 1.0f) << "a_l";
    EXPECT_TRUE(numbers[400 + j] >= 0.0f && numbers[400 + j] < 5.0f) << "t_hat";
    EXPECT_EQ(numbers[600 + j], 1.0f) << "a_r";
    slopes.insert(numbers[200 + j]);
    slope_sum += numbers[200 + j];
    distance_sum += numbers[400 + j];
  }
  EXPECT_GT(slopes.size(), 190u);
  EXPECT_NEAR(slope_sum / 200, 0.5, 0.1);  // 5 sigma
  EXPECT_NEAR(distance_sum / 200, 2.5, 0.5);
  EXPECT_NE(start(2, 2), numbers);
  EXPECT_NE(start(3, 1), numbers);
}

TEST(SecondMoment, IsTheClosedFormWhereThereIsOne) {
  const auto leaky = (1 + 0.75 * 0.75) / 2;
  EXPECT_NEAR(second_moment(*make_identity({})), 1.0, 1e-6);
  EXPECT_NEAR(second_moment(*make_relu({})), 0.5, 1e-6);
  EXPECT_NEAR(second_moment(*make_leaky_relu({.alpha = 0.75})), leaky, 1e-6);
  EXPECT_NEAR(second_moment(*make_all_relu({.alpha = 0.75, .position = 2})), leaky, 1e-6);
  EXPECT_NEAR(second_moment(*make_all_relu({.alpha = 0.75, .position = 3})), leaky, 1e-6);
  // By a midpoint sum of 400,000 terms.
  EXPECT_NEAR(second_moment(*make_sigmoid({})), 0.293379036, 1e-6);
  EXPECT_NEAR(second_moment(*make_tanh({})), 0.394294490, 1e-6);
}

}  // namespace
}  // namespace tulle
