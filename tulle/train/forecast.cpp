#include "tulle/train/forecast.h"

#include <algorithm>
#include <bit>
#include <numeric>

#include "tulle/comm/sum_exchange.h"
#include "tulle/train/modes.h"

namespace tulle {
namespace {

// What ranks tell each other beside values: Counts of gradient_sum.cpp and of mode_local_sgd.cpp to every
// other rank, and both headers of mode_wasap.cpp.
constexpr std::int64_t kSyncCounts = 24, kLocalCounts = 32, kModelHeader = 32;
constexpr std::int64_t kSaves = 1;  // whether to save, where no rank can alone
// A packed connection of mode_two_phases.cpp: its key and its value.
constexpr std::int64_t kPackedConnection = 12;

std::int64_t sum_bytes(const RankTask& task, SumExchange::Wire wire) {
  std::int64_t bytes = 0;
  for (const std::int64_t length : task.arrays)
    bytes += SumExchange::sent_bytes(length, /*rank=*/0, task.ranks, wire);
  return bytes;
}

// Gradients to the owner of each part, and its values back as floats.
std::int64_t own_sum_bytes(const RankTask& task, SumExchange::Wire wire) {
  std::int64_t bytes = 0;
  for (const std::int64_t length : task.arrays) {
    const Range own = even_range(length, task.ranks, /*part=*/0);
    bytes += (length - (own.end - own.begin)) * (wire == SumExchange::Wire::kFloat ? 4 : 2) +
             (own.end - own.begin) * (task.ranks - 1) * 4;
  }
  return bytes;
}

// What SumExchange holds of each value.
std::int64_t exchange_bytes(const RankTask& task, SumExchange::Wire wire) {
  return (wire == SumExchange::Wire::kFloat ? 4 : 6) * task.values();
}

// Sums over the ranks, of `arrays` kinds one after the other: two messages of latency each, nothing of them
// behind the way back.
double exchange_seconds(const Link& link, std::int64_t bytes, std::int64_t arrays) {
  return static_cast<double>(bytes) / link.bandwidth + 2.0 * static_cast<double>(arrays) * link.latency;
}

// Of steps that wait for others so long, on average.
Forecast waiting(const RankTask& task, double seconds, std::int64_t sent_bytes, std::int64_t extra_bytes) {
  return {.sent_bytes = sent_bytes,
          .extra_bytes = extra_bytes,
          .seconds = task.compute_seconds + seconds,
          .efficiency = task.compute_seconds / (task.compute_seconds + seconds)};
}

// Of local-sgd: values as parallel.wire says, states as floats.
std::int64_t outer_step_bytes(const RankTask& task, const Config::Parallel& config) {
  return sum_bytes(task, wire_of(config)) + task.states * sum_bytes(task, SumExchange::Wire::kFloat) +
         kLocalCounts * (task.ranks - 1);
}

// Rank 0 averages the replicas at the end: all packed, and those of a layer unpacked.
std::int64_t average_bytes(const RankTask& task) {
  return task.ranks * (kPackedConnection * task.values() + 8 * task.largest_layer);
}

}  // namespace

std::int64_t RankTask::values() const {
  return std::accumulate(arrays.begin(), arrays.end(), std::int64_t{0});
}

Forecast forecast_single(const RankTask& task, const Config::Parallel&) {
  return {.seconds = task.compute_seconds};
}

Forecast forecast_sync(const RankTask& task, const Config::Parallel& config) {
  const std::int64_t shards = std::max<std::int64_t>(config.virtual_shards, task.ranks),
                     own = (shards + task.ranks - 1) / task.ranks;
  const std::int64_t levels = std::bit_width(static_cast<std::uint64_t>(own - 1));  // GradientSum::levels_
  const bool shares_state = config.shard_momentum && task.ranks > 1;
  const std::int64_t bytes = (shares_state ? own_sum_bytes(task, wire_of(config)) + kSaves * (task.ranks - 1)
                                           : sum_bytes(task, wire_of(config))) +
                             kSyncCounts * (task.ranks - 1);
  Forecast forecast = waiting(task, exchange_seconds(task.link, bytes, 1), bytes,
                              exchange_bytes(task, wire_of(config)) + 4 * levels * task.values());
  for (std::size_t l = 0; shares_state && l < task.layers.size(); ++l) {
    const std::int64_t connections = task.layers[l].connections;
    const Range own = even_range(connections, task.ranks, /*part=*/0);
    forecast.spared_bytes += task.state_bytes * (connections - (own.end - own.begin));
  }
  return forecast;
}

// Activations of the hidden layers twice, of the last of them and of the outputs once, and errors of the
// hidden layers once. Memory is the plan's.
Forecast forecast_rows(const RankTask& task, const Config::Parallel&) {
  constexpr std::int64_t kWords = 2;  // bytes: whether to stop, and whether to save
  const Spread spread({.rank = 0, .ranks = task.ranks}, task.layers);
  std::int64_t lines = 0, messages = 2;
  for (std::size_t l = 0; l < task.layers.size(); ++l) {
    const Range own = spread.own_neurons(l);
    const std::int64_t neurons = own.end - own.begin;
    const bool output = l + 1 == task.layers.size(), stays = l + 2 >= task.layers.size();
    lines += neurons * (task.ranks - 1) * (stays ? 1 : 2);
    if (!output) lines += task.layers[l].neurons - neurons;
    messages += (stays ? 1 : 2) + (output ? 0 : 1);
  }
  const std::int64_t bytes = lines * task.lanes * 4 + kWords * (task.ranks - 1);
  return waiting(
      task,
      static_cast<double>(bytes) / task.link.bandwidth + static_cast<double>(messages) * task.link.latency,
      bytes, 0);
}

double outer_step_seconds(const RankTask& task, const Config::Parallel& config) {
  return exchange_seconds(task.link, outer_step_bytes(task, config), task.states > 0 ? 2 : 1);
}

Forecast forecast_local_sgd(const RankTask& task, const Config::Parallel& config) {
  const std::int64_t moves = 4 * task.values() * (config.outer_momentum > 0.0 ? 2 : 1);
  const std::int64_t extra = moves + exchange_bytes(task, wire_of(config)) +
                             task.states * exchange_bytes(task, SumExchange::Wire::kFloat);
  return waiting(task, outer_step_seconds(task, config) / static_cast<double>(config.local_steps),
                 outer_step_bytes(task, config) / config.local_steps, extra);
}

Forecast forecast_wassp(const RankTask& task, const Config::Parallel& config) {
  Config::Parallel one_shard = config;
  one_shard.virtual_shards = 0;
  Forecast forecast = forecast_sync(task, one_shard);
  forecast.extra_bytes = std::max(forecast.extra_bytes, average_bytes(task));
  return forecast;
}

// A step is one worker's gradient. The server has a worker beside it that needs no link; the link carries a
// model to, and a gradient from, each of the others.
Forecast forecast_wasap(const RankTask& task, const Config::Parallel&) {
  const std::int64_t model = 4 * task.values() + kModelHeader;
  const auto others = static_cast<double>(task.ranks - 1);
  const double message = static_cast<double>(model) / task.link.bandwidth;
  const double turn = task.compute_seconds + 2.0 * (message + task.link.latency);
  const double remote = std::min(others / turn, 1.0 / message);  // gradients a second
  const double rate = 1.0 / task.compute_seconds + remote;
  return {.sent_bytes = model * (task.ranks - 1) / task.ranks,
          // Worker 0's network, and the copy that is evaluated.
          .extra_bytes = std::max(2 * task.replica_bytes + 2 * task.ranks * model, average_bytes(task)),
          .seconds = 1.0 / rate,
          .efficiency = rate * task.compute_seconds / task.ranks};
}

}  // namespace tulle
