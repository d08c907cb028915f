#pragma once

#include <cstdint>
#include <vector>

#include "tulle/nn/spread.h"
#include "tulle/train/config.h"

namespace tulle {

/// What ranks are connected by.
struct Link {
  double bandwidth = 1e9;  // bytes a second of a rank, each way
  double latency = 1e-3;   // seconds of a message
};

/// A training as the modes of parallel.mode see it before it is there.
struct RankTask {
  int ranks = 1;
  std::vector<std::int64_t> arrays;         // lengths of Network::parameters()
  std::int64_t states = 0;                  // arrays as long that the optimizer keeps of each
  std::int64_t state_bytes = 0;             // of all it keeps of a value
  std::int64_t largest_layer = 0;           // connections
  std::int64_t replica_bytes = 0;           // memory of one network at work
  std::vector<Spread::LayerInfo> layers{};  // of a network that is spread over the ranks
  std::int64_t lanes = 0;                   // samples of a step as its panels hold them
  double compute_seconds = 0.0;             // of a rank's step
  Link link;

  std::int64_t values() const;
};

/// A step on several ranks, as docs/distributed.md has it.
struct Forecast {
  std::int64_t sent_bytes = 0;    // by rank 0, a step on average, topology events and ends of epochs aside
  std::int64_t extra_bytes = 0;   // memory of the rank that needs most, beyond a network that learns alone
  std::int64_t spared_bytes = 0;  // what other ranks keep of the optimizer's state for it
  double seconds = 0.0;
  double efficiency = 1.0;  // share of the seconds in which a rank computes
};

using ForecastMode = Forecast(const RankTask& task, const Config::Parallel& config);

ForecastMode forecast_single, forecast_sync, forecast_local_sgd, forecast_rows;
/// Phase 1; in phase 2 nothing is sent.
ForecastMode forecast_wassp, forecast_wasap;

/// Seconds that the ranks of local-sgd wait for each other at an outer step.
double outer_step_seconds(const RankTask& task, const Config::Parallel& config);

}  // namespace tulle
