#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "tulle/nn/compaction.h"

namespace tulle {

/// A layer as somebody knows it who computes gradients for it: which connections it had, and by their
/// original numbers which outputs.
struct KnownLayer {
  Topology pattern;  // of 0 rows: dense
  std::vector<std::uint32_t> neurons;
};

std::vector<KnownLayer> known_layers(const Network& network);

/// Of each neuron that was known, whether the network still has it.
Alive still_alive(std::span<const KnownLayer> known, const Network& network);

/// Gradients that were computed at what was known, one array for each of Network::parameters(), into the
/// network's: those of connections and neurons that are no more are left out, connections that came since get
/// 0. A cell that was dropped and grew again keeps its entry. Cost: O(rows + both nnz).
/// Source: RetainValidUpdates of arXiv 2102.01732, algorithm 1.
void put_late(std::span<const KnownLayer> known, std::span<const std::vector<float>> gradients,
              Network& network);

}  // namespace tulle
