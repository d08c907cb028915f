#pragma once

#include <cstdint>
#include <optional>

#include "tulle/data/loader.h"
#include "tulle/evolve/evolve.h"
#include "tulle/train/course.h"
#include "tulle/train/journal.h"
#include "tulle/train/replica.h"

namespace tulle {

/// What changes the topology while a training goes on: evolution, and elimination of neurons by importance.
class TopologyEvents {
 public:
  /// All outlive it. Throws tulle::Error (kConfig) for rules that do not go together.
  TopologyEvents(Replica& replica, const Dataset& data, Mode& mode, const Course& course, Communicator& comm,
                 Journal& journal);

  /// Before the first step.
  void begin();
  /// Whether an event will ask for inputs and errors of the step that comes now.
  bool look_at_next_step() const { return course_.event_follows_within(evolution_.steps_looked_at()); }
  /// After such a step: its scores, where an event goes by those of several. `rate`: the learning rate now,
  /// as below.
  void look(double rate);
  /// Whether there was an event.
  bool evolve_if_due(bool epoch_done, double rate);
  /// Neurons go before connections do; only between epochs. Whether any were looked for.
  bool eliminate_if_due();

 private:
  Run& run() const { return replica_.run(); }
  bool looks_at_last_step() const;
  void make_signals_anew();
  EvolveEvent event_at(double rate) const;
  void tell(const LayerEvolution& event);
  void note_survivors(std::span<const LayerEvolution> events);
  void eliminate(ImportanceRecord& record);

  Replica& replica_;
  const Dataset& data_;
  Mode& mode_;
  const Course& course_;
  Communicator& comm_;
  Journal& journal_;
  Evolution evolution_;
  double initial_density_;  // of the layers that evolve
  std::optional<Loader> loader_;
};

}  // namespace tulle
