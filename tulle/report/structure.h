#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tulle/nn/network.h"

namespace tulle {

/// Counts of equally wide bins; the first begins at `low`.
struct Histogram {
  double low = 0, width = 1;
  std::vector<std::int64_t> counts;
};

/// What a layer looks like: its connections by neuron and by weight. Layers where all connections exist have
/// no degrees.
struct LayerStructure {
  std::int64_t inputs = 0, outputs = 0, connections = 0;
  bool sparse = false;
  Histogram in_degree, out_degree;                       // neurons by connections they receive, and send
  std::int64_t outputs_without = 0, inputs_without = 0;  // neurons without any
  Histogram weights;
};

/// Cost: O(connections + neurons); memory: a number for each input of the widest layer.
std::vector<LayerStructure> structure_of(const Network& network);

/// In- and out-degree histograms, dead neurons and weight histograms of each layer, of the first twelve if
/// there are more. "" for no layers. Cost: O(layers).
std::string structure_figures(const std::vector<LayerStructure>& layers);

}  // namespace tulle
