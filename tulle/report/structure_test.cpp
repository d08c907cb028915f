#include "tulle/report/structure.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <memory>
#include <numeric>

#include "tulle/nn/dense_linear.h"
#include "tulle/nn/sparse_linear.h"

namespace tulle {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

/// 4 inputs, 3 neurons of which the last receives nothing, then all connections to 2 outputs.
Network small_network(std::vector<float> weights) {
  std::vector<std::unique_ptr<Layer>> layers;
  layers.push_back(std::make_unique<SparseLinear>(LayerOptions{.index = 0, .inputs = 4, .outputs = 3},
                                                  Topology(3, 4, {0, 2, 3, 3}, {0, 1, 1})));
  layers.push_back(std::make_unique<DenseLinear>(LayerOptions{.index = 1, .inputs = 3, .outputs = 2}));
  std::copy(weights.begin(), weights.end(), layers[0]->weight().value.begin());
  return Network(std::move(layers));
}

TEST(Structure, CountsNeuronsByTheConnectionsTheyReceiveAndSend) {
  const LayerStructure layer = structure_of(small_network({1, 2, 3}))[0];
  EXPECT_EQ(layer.connections, 3);
  EXPECT_EQ(layer.in_degree.low, 0);
  EXPECT_THAT(layer.in_degree.counts, ElementsAre(1, 1, 1));   // neurons with none, one and two
  EXPECT_THAT(layer.out_degree.counts, ElementsAre(2, 1, 1));  // inputs 2 and 3, input 0, input 1
  EXPECT_EQ(layer.outputs_without, 1);
  EXPECT_EQ(layer.inputs_without, 2);
}

TEST(Structure, WeightsFallIntoBinsAroundZero) {
  const Histogram weights = structure_of(small_network({-1, 0, 1}))[0].weights;
  ASSERT_EQ(weights.counts.size(), 61u);
  EXPECT_EQ(weights.low, -1);
  EXPECT_EQ(weights.counts[0], 1);
  EXPECT_EQ(weights.counts[30], 1);
  EXPECT_EQ(weights.counts[60], 1);
}

TEST(Structure, WeightsThatAreNotFiniteAreNotCounted) {
  const float infinity = std::numeric_limits<float>::infinity();
  const Histogram weights = structure_of(small_network({infinity, std::nanf(""), 1}))[0].weights;
  EXPECT_EQ(std::accumulate(weights.counts.begin(), weights.counts.end(), std::int64_t{0}), 1);
  EXPECT_TRUE(structure_of(small_network({infinity, 0, 0}))[0].weights.counts.empty());
}

TEST(StructureFigures, TellDeadNeuronsAndLayersWithAllConnections) {
  const std::string html = structure_figures(structure_of(small_network({1, 2, 3})));
  EXPECT_THAT(html, HasSubstr("1 neurons that receive none"));
  EXPECT_THAT(html, HasSubstr("2 inputs that send none"));
  EXPECT_THAT(html, HasSubstr("6 connections, all there are"));
  EXPECT_THAT(html, HasSubstr("In-degree"));
}

TEST(StructureFigures, OfManyLayersShowTheFirstTwelve) {
  const std::string html = structure_figures(std::vector<LayerStructure>(40));
  EXPECT_THAT(html, HasSubstr("<b>Layer 11</b>"));
  EXPECT_THAT(html, Not(HasSubstr("<b>Layer 12</b>")));
  EXPECT_THAT(html, HasSubstr("and 28 more layers"));
}

}  // namespace
}  // namespace tulle
