#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "tulle/evolve/drop.h"
#include "tulle/evolve/grow.h"
#include "tulle/evolve/redistribute.h"
#include "tulle/nn/network.h"
#include "tulle/optim/optimizer.h"
#include "tulle/sparse/pattern_change.h"
#include "tulle/sparse/weight_init.h"

namespace tulle {

/// How grown connections, and all of them at the start, get their values.
struct WeightLaw {
  const WeightInitInfo* law = nullptr;
  bool sparse_fan = false;
};

/// The context of layer l's law in this network: the topology and the second moment of the source layer's
/// outputs.
InitContext init_context(const Network& network, std::size_t l, const Topology& topology,
                         const WeightLaw& law);
/// The same where only `source`, the layer before (null: none), is there yet.
InitContext init_context(const Layer* source, const Topology& topology, const WeightLaw& law);

/// How the topology of one training changes.
struct Evolution {
  const DropInfo* drop = nullptr;  // null: never
  const GrowInfo* grow = nullptr;
  WeightLaw law;               // start values of grown connections
  bool global = false;         // one ranking over all layers; needs a drop rule with a score
  bool in_rows = false;        // each target by itself, in place: weakest go, random ones come (renew_rows.h)
  std::int64_t min_links = 1;  // connections that every layer keeps
  std::int64_t min_fan_in = 0;  // largest weights of every target that stay
  bool chain_removal = false;   // also drop connections that lead to or from nowhere
  bool regrow_dropped = true;   // what was just dropped may grow again
  double max_density = 1.0;     // denser layers stay as they are
  bool tells_inputs = false;    // LayerEvolution::kept of the first layer
  bool dense_layers = false;    // hidden layers of density 1 draw their dropped weights anew
  Redistribute redistribute = Redistribute::kNone;
  double soft_beta = 1.0, mest_gamma = 0.0, threshold = 0.001, candidates = 1.0;  // DropInput, GrowInput
  WindowLaw window{};                // of cells that grow at random
  std::string distribution = "erk";  // of the connections at a scheduled density: erk or uniform
  double momentum = 0.9;             // of sums that are gathered
  std::int64_t momentum_steps = 10;  // over which they are

  /// How many steps before an event are looked at: their inputs and errors (Network::keep_errors).
  std::int64_t steps_looked_at() const {
    if (grow == nullptr || !grow->needs_errors) return 0;
    return gathers() ? momentum_steps : 1;
  }
  /// Whether gather() is to be called in each of these.
  bool gathers() const { return grow != nullptr && grow->gather != nullptr; }
};

/// One event of a training.
struct EvolveEvent {
  std::uint64_t seed = 0;
  std::uint32_t step = 0;  // optimizer steps before it
  double zeta = 0.3;
  double learning_rate = 0.01;
  std::optional<double>
      density{};  // of all layers that evolve together; nothing: as many connections as before
  const Optimizer* optimizer = nullptr;    // for rules that look at momentum
  std::span<const CellScores> gathered{};  // of each layer, as gather() left them; or none
};

/// From what layer `l` draws the cells that grow at random in the event of this seed and step.
CellDraw grow_draw(const Evolution& how, std::uint64_t seed, std::uint32_t step, std::size_t l);

/// Which sources of a layer have connections, and how strong: with those of a network's first layer, how much
/// it looks at each input.
struct SourceUse {
  std::vector<std::int64_t> connections;  // out of each source
  std::vector<double> strength;           // sum of their magnitudes
};
/// Cost: O(connections + sources).
SourceUse source_use(const Topology& topology, std::span<const float> weights);

/// What one event did to one layer.
struct LayerEvolution {
  std::size_t layer = 0;
  std::int64_t before = 0, after = 0, dropped = 0, grown = 0;
  std::int64_t regrown = 0;                  // of `grown`: dropped by the same event
  std::int64_t no_inputs = 0;                // targets without a connection
  std::int64_t no_outputs = 0;               // sources without a connection
  std::vector<std::uint64_t> grown_cells{};  // sorted; of a part of a network, those that lie in it
  std::optional<SourceUse> kept{};           // before anything grew, if asked for
};

/// One topology event on every sparse layer but the last of a chain. Weights and optimizer states of kept
/// connections are untouched; grown ones are drawn from the law (Stream::kGrowValue, at their cell). With a
/// density, each layer first loses its weakest weights down to its budget. The same (seed, step) on the same
/// network always gives the same result, with any number of threads. Cost: O(nnz) and that of the rules.
/// Of a network that is spread over ranks (nn/spread.h) every rank calls it: it comes to the parts of what
/// the same event makes of the whole. The rules must be `by_rows`, and none of global, chain_removal,
/// redistribute, tells_inputs and dense_layers be wanted.
std::vector<LayerEvolution> evolve(Network& network, const Evolution& how, const EvolveEvent& event);

/// For rules that gather: in each of the last steps before an event, after the backward pass, whose inputs
/// and errors must be there. `scores` has one entry per layer, or none before the first of these steps; the
/// cells are drawn from (seed, step) then. Cost: that of the rule.
void gather(Network& network, const Evolution& how, const EvolveEvent& event,
            std::vector<CellScores>& scores);

}  // namespace tulle
