#include "tulle/vision/smlp_net.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tulle/base/parallel.h"
#include "tulle/sparse/sampling.h"
#include "tulle/vision/reference_testing.h"

namespace tulle {
namespace {

using testing::Reference;
using testing::StateDict;

SmlpShape tiny(int channels, int height, int width, std::vector<int> depths, std::int32_t classes,
               double drop_path = 0.0) {
  return {.channels = channels,
          .height = height,
          .width = width,
          .patch = 4,
          .embedding = 8,
          .depths = std::move(depths),
          .expansion = 2,
          .classes = classes,
          .drop_path = drop_path};
}

// 28 tokens: 112 images make a chunk.
SmlpShape narrow() {
  SmlpShape shape = tiny(1, 16, 28, {1}, 2);
  shape.embedding = 4;
  shape.expansion = 1;
  return shape;
}

struct Case {
  std::string name;
  SmlpShape shape;
  int images;
  double density = 1.0;
};

const std::vector<Case> kCases{
    {"NotSquare", tiny(3, 16, 24, {1, 1}, 5), 3},
    {"OddSide", tiny(1, 28, 28, {1, 1}, 4), 2},
    {"OneRow", tiny(1, 4, 20, {2}, 3), 5},
    {"OneColumn", tiny(2, 12, 4, {1}, 3), 4},
    {"DropPath", tiny(1, 16, 16, {1, 2}, 3, 0.5), 6},
    {"Sparse", tiny(1, 16, 24, {1, 1}, 4), 3, 0.3},
    {"TwoChunks", narrow(), 120},
    {"TwoChunksSparse", narrow(), 120, 0.4},
    {"OneConnectionInFour", tiny(3, 8, 8, {1}, 3), 70, 0.25},
};

Network make(const Case& c) {
  std::vector<std::optional<Topology>> topologies;
  if (c.density < 1.0)
    for (const LayerOptions& options : smlp_layer_options(c.shape)) {
      const auto cells = static_cast<double>(options.inputs) * options.outputs;
      topologies.push_back(random_topology(options.outputs, options.inputs, std::llround(c.density * cells),
                                           {.seed = 3, .layer = static_cast<std::uint32_t>(options.index)}));
    }
  Network network = make_smlp(c.shape, {}, std::move(topologies), 7);
  testing::randomize(network, 11);
  return network;
}

std::vector<double> pixels(const Case& c) {
  std::vector<double> all(
      static_cast<std::size_t>(c.images * c.shape.channels * c.shape.height * c.shape.width));
  const Random random{.seed = 5, .stream = Stream::kData};
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<double>(random.normal(i));
  return all;
}

// The same as panels of 16 images.
Panels<const float> panels_of(const std::vector<double>& pixels, int images, PanelBuffer& memory) {
  const auto features = static_cast<std::int32_t>(pixels.size() / static_cast<std::size_t>(images));
  const Panels<float> panels = memory.view(features, images, 16);
  for (std::int32_t b = 0; b < images; ++b)
    for (std::int32_t f = 0; f < features; ++f)
      panels.at(b, f) = static_cast<float>(pixels[static_cast<std::size_t>(b * features + f)]);
  return panels;
}

double largest(const std::vector<double>& values) {
  double most = 0.0;
  for (const double value : values) most = std::max(most, std::abs(value));
  return most;
}

class SmlpNetOf : public ::testing::TestWithParam<Case> {
 protected:
  // What stochastic depth drew in the last training pass, for the reference to follow.
  static void follow_drop_path(Reference& reference, const Case& c, const Pass& pass) {
    for (int k = 0; k < c.shape.blocks(); ++k)
      for (int branch = 0; branch < 2; ++branch) {
        const double rate = c.shape.drop_path_of(k);
        const Random random{.seed = pass.seed,
                            .stream = Stream::kDropout,
                            .layer = 0x800000u + static_cast<std::uint32_t>(2 * k + branch),
                            .event = pass.step};
        for (int image = 0; image < c.images; ++image)
          reference.scales[2 * k + branch].push_back(
              static_cast<double>(random.uniform(static_cast<std::uint64_t>(image))) >= rate
                  ? 1.0 / (1.0 - rate)
                  : 0.0);
      }
  }

  static constexpr Pass kPass{.training = true, .seed = 9, .step = 4};
};

TEST_P(SmlpNetOf, EvaluatesAsTheFormulasSay) {
  const Case& c = GetParam();
  Network network = make(c);
  PanelBuffer memory;
  const std::vector<double> images = pixels(c);
  const auto wanted = Reference(c.shape, testing::state_dict(network), false).logits(images, c.images);
  const Panels<const float> found = network.forward(Pass{}, panels_of(images, c.images, memory));
  for (int b = 0; b < c.images; ++b)
    for (int k = 0; k < c.shape.classes; ++k)
      EXPECT_NEAR(found.at(b, k), wanted[static_cast<std::size_t>(b * c.shape.classes + k)],
                  1e-5 * largest(wanted));
}

TEST_P(SmlpNetOf, TrainsAsTheFormulasSay) {
  const Case& c = GetParam();
  Network network = make(c);
  PanelBuffer memory;
  const std::vector<double> images = pixels(c);
  Reference reference(c.shape, testing::state_dict(network), true);
  follow_drop_path(reference, c, kPass);
  const std::vector<double> wanted = reference.logits(images, c.images);
  const Panels<const float> found = network.forward(kPass, panels_of(images, c.images, memory));
  for (int b = 0; b < c.images; ++b)
    for (int k = 0; k < c.shape.classes; ++k)
      EXPECT_NEAR(found.at(b, k), wanted[static_cast<std::size_t>(b * c.shape.classes + k)],
                  1e-5 * largest(wanted));
  const StateDict after = testing::state_dict(network);
  for (const auto& [name, values] : reference.dict())
    for (std::size_t i = 0; i < values.size(); ++i)
      EXPECT_NEAR(after.at(name)[i], values[i], 1e-5 * std::max(1.0, largest(values))) << name;
}

// dL/dlogits are fixed random numbers; the loss is their product with the logits.
TEST_P(SmlpNetOf, GradientsAreFiniteDifferences) {
  const Case& c = GetParam();
  Network network = make(c);
  PanelBuffer memory;
  const std::vector<double> images = pixels(c);
  const StateDict start = testing::state_dict(network);
  const Random weights_of_loss{.seed = 21, .stream = Stream::kData};
  network.forward(kPass, panels_of(images, c.images, memory));
  const Panels<float> gradient = network.output_gradient();
  const auto coefficient = [&](int b, int k) {
    return static_cast<double>(weights_of_loss.normal(static_cast<std::uint64_t>(b * c.shape.classes + k)));
  };
  for (int b = 0; b < c.images; ++b)
    for (int k = 0; k < c.shape.classes; ++k) gradient.at(b, k) = static_cast<float>(coefficient(b, k));
  network.backward();

  const auto loss = [&](const StateDict& dict) {
    Reference reference(c.shape, dict, true);
    follow_drop_path(reference, c, kPass);
    const std::vector<double> logits = reference.logits(images, c.images);
    double sum = 0.0;
    for (int b = 0; b < c.images; ++b)
      for (int k = 0; k < c.shape.classes; ++k)
        sum += coefficient(b, k) * logits[static_cast<std::size_t>(b * c.shape.classes + k)];
    return sum;
  };
  constexpr double kStep = 1e-5;
  double overall = 0.0;  // gradients that are 0 in truth are rounding of sums of this size
  for (const Parameter* parameter : network.parameters())
    overall = std::max(overall, largest({parameter->gradient.begin(), parameter->gradient.end()}));
  for (Parameter* parameter : network.parameters()) {
    // The place in the matrix of each entry.
    std::vector<std::uint64_t> places(parameter->value.size());
    for (std::size_t i = 0; i < places.size(); ++i) places[i] = i;
    for (std::size_t l = 0; l < network.size(); ++l)
      if (&network.layer(l).weight() == parameter && network.layer(l).topology() != nullptr)
        places = network.layer(l).topology()->keys();
    const double most = largest({parameter->gradient.begin(), parameter->gradient.end()});
    const std::size_t step = std::max<std::size_t>(1, places.size() / 6);
    for (std::size_t i = 0; i < places.size(); i += step) {
      StateDict up = start, down = start;
      up.at(parameter->name)[places[i]] += kStep;
      down.at(parameter->name)[places[i]] -= kStep;
      const double wanted = (loss(up) - loss(down)) / (2.0 * kStep);
      EXPECT_NEAR(parameter->gradient[i], wanted, 1e-4 * std::max(most, 0.02 * overall))
          << parameter->name << " " << i;
    }
  }
}

TEST_P(SmlpNetOf, GivesTheSameBitsForAnyNumberOfThreads) {
  const Case& c = GetParam();
  const int before = thread_count();
  std::vector<float> all[2];
  for (const int threads : {1, 3}) {
    set_thread_count(threads);
    Network network = make(c);
    PanelBuffer memory;
    const std::vector<double> images = pixels(c);
    const Panels<const float> found = network.forward(kPass, panels_of(images, c.images, memory));
    const Panels<float> gradient = network.output_gradient();
    for (int b = 0; b < c.images; ++b)
      for (int k = 0; k < c.shape.classes; ++k) gradient.at(b, k) = 0.1f * found.at(b, k) + 0.5f;
    network.backward();
    for (const Parameter* parameter : network.parameters())
      all[threads == 3].insert(all[threads == 3].end(), parameter->gradient.begin(),
                               parameter->gradient.end());
  }
  set_thread_count(before);
  EXPECT_EQ(all[0], all[1]);
}

TEST_P(SmlpNetOf, RecomputingGivesTheSameBits) {
  const Case& c = GetParam();
  std::vector<float> all[2];
  for (const bool recompute : {false, true}) {
    Network network = make(c);
    smlp_of(network)->recompute(recompute);
    PanelBuffer memory;
    const std::vector<double> images = pixels(c);
    network.forward(kPass, panels_of(images, c.images, memory));
    const Panels<float> gradient = network.output_gradient();
    for (int b = 0; b < c.images; ++b)
      for (int k = 0; k < c.shape.classes; ++k) gradient.at(b, k) = static_cast<float>(b - k);
    network.backward();
    for (const Parameter* parameter : network.parameters())
      all[recompute].insert(all[recompute].end(), parameter->gradient.begin(), parameter->gradient.end());
  }
  EXPECT_EQ(all[0], all[1]);
}

INSTANTIATE_TEST_SUITE_P(Shapes, SmlpNetOf, ::testing::ValuesIn(kCases),
                         [](const auto& info) { return info.param.name; });

// A network that adds pixels around its images is one that gets them with the pixels.
// 125 images make a chunk of 59 tiles; the 123 that are left make one of 60.
TEST(SmlpNet, CountsAllTokensOfALastChunkThatHasMoreTilesThanTheFirst) {
  const SmlpShape shape{
      .channels = 1, .height = 20, .width = 20, .embedding = 224, .depths = {1}, .classes = 2};
  const Case c{"", shape, 248};
  std::vector<double> images = pixels(c);
  const auto pixels_of_image = static_cast<std::ptrdiff_t>(images.size()) / c.images;
  std::vector<std::vector<float>> gradients[2];
  for (const bool last_first : {false, true}) {
    if (last_first) std::rotate(images.begin(), images.end() - 123 * pixels_of_image, images.end());
    Network network = make(c);
    PanelBuffer memory;
    network.forward({.training = true}, panels_of(images, c.images, memory));
    const Panels<float> gradient = network.output_gradient();
    for (int b = 0; b < c.images; ++b)
      for (int k = 0; k < 2; ++k) gradient.at(b, k) = k == 0 ? 1.0f : -1.0f;
    network.backward();
    for (const Parameter* parameter : network.parameters())
      gradients[last_first].emplace_back(parameter->gradient.begin(), parameter->gradient.end());
  }
  double overall = 0.0;  // gradients that are 0 in truth are rounding of sums of this size
  for (const std::vector<float>& of : gradients[0])
    overall = std::max(overall, largest({of.begin(), of.end()}));
  for (std::size_t p = 0; p < gradients[0].size(); ++p) {
    const double most = largest({gradients[0][p].begin(), gradients[0][p].end()});
    for (std::size_t i = 0; i < gradients[0][p].size(); ++i)
      ASSERT_NEAR(gradients[0][p][i], gradients[1][p][i], 1e-3 * std::max(most, 0.02 * overall))
          << p << ' ' << i;
  }
}

TEST(SmlpNet, PadsImagesOnAllSidesWithTheValueOfEachChannel) {
  const SmlpShape shape = tiny(2, 16, 12, {1}, 3);
  Network whole = make_smlp(shape, {}, {}, 7);
  Network padding = make_smlp(shape, {.height = 12, .width = 9, .padding = {-0.5f, 2.0f}}, {}, 7);
  const Random random{.seed = 5, .stream = Stream::kData};
  PanelBuffer small_memory, large_memory;
  const Panels<float> small = small_memory.view(2 * 12 * 9, 3, 16),
                      large = large_memory.view(2 * 16 * 12, 3, 16);
  for (std::int32_t b = 0; b < 3; ++b)
    for (int c = 0; c < 2; ++c) {
      for (int p = 0; p < 16 * 12; ++p) large.at(b, c * 16 * 12 + p) = c == 0 ? -0.5f : 2.0f;
      for (int y = 0; y < 12; ++y)
        for (int x = 0; x < 9; ++x) {
          const float value = random.normal(static_cast<std::uint64_t>(((b * 2 + c) * 12 + y) * 9 + x));
          small.at(b, (c * 12 + y) * 9 + x) = value;
          large.at(b, (c * 16 + y + 2) * 12 + x + 1) = value;  // 4 rows and 3 columns more
        }
    }
  for (const bool training : {false, true}) {
    const Panels<const float> found = padding.forward({.training = training}, small);
    const Panels<const float> wanted = whole.forward({.training = training}, large);
    for (std::int32_t b = 0; b < 3; ++b)
      for (std::int32_t k = 0; k < 3; ++k) EXPECT_EQ(found.at(b, k), wanted.at(b, k));
  }
}

}  // namespace
}  // namespace tulle
