#include "tulle/train/topology_events.h"

#include <algorithm>

#include "tulle/base/clock.h"
#include "tulle/base/name_table.h"
#include "tulle/base/spill.h"
#include "tulle/evolve/importance.h"
#include "tulle/train/build.h"
#include "tulle/train/evolving.h"
#include "tulle/train/exploration.h"
#include "tulle/train/rank_checks.h"

namespace tulle {

TopologyEvents::TopologyEvents(Replica& replica, const Dataset& data, Mode& mode, const Course& course,
                               Communicator& comm, Journal& journal)
    : replica_(replica),
      data_(data),
      mode_(mode),
      course_(course),
      comm_(comm),
      journal_(journal),
      evolution_(evolution_of(run().config)),
      initial_density_(run().config.model.kind == "mlp"
                           ? initial_density(run().config, layer_sizes(run().config, data))
                           : run().config.topology.density) {
  evolution_.tells_inputs = journal.has_input_links();
}

void TopologyEvents::begin() {
  if (evolution_.drop != nullptr) start_exploring(run());
}

void TopologyEvents::look(double rate) {
  if (!evolution_.gathers()) return;
  const Clock clock;
  if (!mode_.sees_whole_batch()) make_signals_anew();
  gather(run().model.network, evolution_, event_at(rate), run().state.gathered);
  replica_.phases.evolve += clock.seconds();
}

bool TopologyEvents::evolve_if_due(bool epoch_done, double rate) {
  if (!course_.event_is_due(epoch_done)) return false;
  const LongPhase phase(comm_, mode_.who_waits());
  Clock clock;
  mode_.gather_state();
  if (looks_at_last_step() && !mode_.sees_whole_batch()) make_signals_anew();
  Network& network = run().model.network;
  const Spilling files(run().spill);
  const std::vector<LayerEvolution> events = evolve(network, evolution_, event_at(rate));
  run().state.gathered.clear();
  mode_.topology_changed(events);
  if (mode_.alike() && network.spread() == nullptr) compare_networks(comm_, network, run().state.step);
  replica_.phases.evolve += clock.seconds();
  journal_.write_input_links(events);
  for (const LayerEvolution& event : events) tell(event);
  note_survivors(events);
  return true;
}

void TopologyEvents::tell(const LayerEvolution& event) {
  explore(run(), event.layer, event.grown_cells);
  journal_.tell(
      EvolveRecord{.epoch = static_cast<int>(run().state.epoch) + 1,
                   .step = run().state.step,
                   .layer = static_cast<int>(event.layer),
                   .dropped = event.dropped,
                   .grown = event.grown,
                   .before = event.before,
                   .after = event.after,
                   .regrown = event.regrown,
                   .no_inputs = event.no_inputs,
                   .no_outputs = event.no_outputs,
                   .explored = explored_count(run(), event.layer) /
                               static_cast<double>(run().model.network.original_cells(event.layer))});
}

// The topology stays once the last events left most of it as it was.
void TopologyEvents::note_survivors(std::span<const LayerEvolution> events) {
  const Config::Evolve& e = run().config.evolve;
  TrainingState& state = run().state;
  if (e.stable_events == 0) return;
  const auto share = stable_share(state.stability, events, e.stable_events, e.stable_share);
  if (!share) return;
  state.stability.stable_step = state.step;
  journal_.write(StableRecord{.epoch = static_cast<int>(state.epoch) + 1,
                              .step = state.step,
                              .events = e.stable_events,
                              .survivors = *share});
}

// Whether an event itself looks at inputs and errors; what was gathered has seen them before.
bool TopologyEvents::looks_at_last_step() const {
  return evolution_.steps_looked_at() > 0 && !evolution_.gathers();
}

bool TopologyEvents::eliminate_if_due() {
  if (!course_.elimination_is_due() || !mode_.together()) return false;
  const LongPhase phase(comm_, mode_.who_waits());
  Clock clock;
  mode_.gather_state();
  const Spilling files(run().spill);
  const Network& network = run().model.network;
  ImportanceRecord record{.epoch = static_cast<int>(run().state.epoch) + 1,
                          .step = run().state.step,
                          .connections_before = network.connections()};
  eliminate(record);
  mode_.topology_changed({});
  record.connections = network.connections();
  replica_.phases.evolve += clock.seconds();
  journal_.tell(record);
  return true;
}

void TopologyEvents::eliminate(ImportanceRecord& record) {
  const Config::Evolve& e = run().config.evolve;
  Network& network = run().model.network;
  if (e.importance_form == "published") {
    prune_as_published(network, e.importance_percentile);
    for (std::size_t l = 0; l < network.size(); ++l)
      if (network.follows(l + 1)) record.neurons.push_back(network.layer(l).outputs());
    return;
  }
  // The mean over the training samples as the network is now: that over the epoch's steps is the same but for
  // dropout and weights on their way, and would have to be in every checkpoint.
  const bool fold = e.fold == "mean";
  const std::vector<std::vector<double>> means =
      fold ? mean_activations(run().model, data_.train, run().config.train.batch_size)
           : std::vector<std::vector<double>>{};
  const ImportanceOptions options{
      .percentile = e.importance_percentile,
      .strength = &find_name(strengths(), "evolve.importance_strength", e.importance_strength),
      .min_neurons = e.min_neurons,
      .cascade = e.cascade,
      .means = means};
  bool smaller = false;
  std::vector<CellScores>& gathered = run().state.gathered;
  rename_cells(gathered, [&](std::size_t l, std::uint64_t cell) { return network.original_key(l, cell); });
  for (const LayerElimination& layer : eliminate_neurons(network, options)) {
    record.neurons.push_back(layer.after);
    smaller = smaller || layer.after < layer.before;
  }
  rename_cells(gathered, [&](std::size_t l, std::uint64_t cell) { return network.current_key(l, cell); });
  if ((smaller || fold) && looks_at_last_step() && mode_.sees_whole_batch() &&
      course_.event_is_due(/*epoch_done=*/true))
    make_signals_anew();
}

// Inputs and errors of the last batch, all of it, as the network sees it now. Every rank computes the same:
// that is cheaper than to say, and no more than one step's work an event.
void TopologyEvents::make_signals_anew() {
  const TrainingState& state = run().state;
  if (!loader_) loader_.emplace(replica_.make_loader());
  loader_->start_epoch(static_cast<int>(state.epoch), /*shuffled=*/true);
  const std::int64_t index = std::min(state.batch_in_epoch, loader_->batches()) - 1;
  replica_.network().keep_errors(true);
  const Batch batch = replica_.get(*loader_, index, {}, /*whole=*/true);
  // A step has measured this batch already.
  std::vector<AlignedVector<float>> statistics;
  Architecture* const net = replica_.network().architecture();
  const std::vector<Statistic> running = net != nullptr ? net->statistics() : std::vector<Statistic>{};
  for (const Statistic& statistic : running) statistics.push_back(*statistic.value);
  replica_.look(
      batch,
      {.training = true, .seed = run().model.seed, .step = static_cast<std::uint32_t>(state.step - 1)});
  for (std::size_t s = 0; s < running.size(); ++s) *running[s].value = statistics[s];
}

EvolveEvent TopologyEvents::event_at(double rate) const {
  const Config::Evolve& e = run().config.evolve;
  EvolveEvent event{.seed = mode_.event_seed(),
                    .step = static_cast<std::uint32_t>(run().state.step),
                    .zeta = course_.zeta(rate),
                    .learning_rate = rate,
                    .optimizer = &replica_.optimizer(),
                    .gathered = run().state.gathered};
  if (e.final_density > 0.0)
    event.density = cubic_density(initial_density_, e.final_density, course_.share() / e.density_until);
  return event;
}

}  // namespace tulle
