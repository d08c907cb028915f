#pragma once

#include "tulle/base/random.h"
#include "tulle/evolve/evolve.h"
#include "tulle/nn/sparse_layer.h"

namespace tulle {

/// What an event that renews rows draws from.
struct RowEvent {
  double zeta = 0.3;
  const WeightInitInfo* law = nullptr;  // of what grows, for connections into ...
  InitContext context;                  // ... this layer
  Random drops, sources, values;        // at the row; at row << 32 | attempt; at the cell
};

/// Each target loses its weakest connections, ties by position, and grows as many to sources drawn anew among
/// all that it then lacks. Of k connections zeta * k go, rounded up or down at random so that this is the
/// mean: of 2 at zeta 0.3 one goes with probability 0.6. In place: rows stay as long, row pointers stay as
/// they are, and weights in bfloat16 too. Kept connections keep their weights and states; others start as in
/// evolve(). Fills dropped, grown, regrown, after and grown_cells of `result`. Cost: O(nnz log k); memory: 8
/// bytes for each connection that grows. The same for any number of threads.
void renew_rows(SparseLayer& layer, const RowEvent& event, LayerEvolution& result);

}  // namespace tulle
