#include "tulle/train/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>
#include <numeric>
#include <set>

#include "tulle/base/error.h"
#include "tulle/base/name_table.h"
#include "tulle/base/parallel.h"
#include "tulle/base/spill.h"
#include "tulle/kernels/targets.h"
#include "tulle/nn/activation.h"
#include "tulle/nn/compact_linear.h"
#include "tulle/nn/dense_linear.h"
#include "tulle/optim/optimizer.h"
#include "tulle/report/memory.h"
#include "tulle/report/result.h"
#include "tulle/sparse/budgets.h"
#include "tulle/sparse/cell_set.h"
#include "tulle/sparse/topology.h"
#include "tulle/train/build.h"
#include "tulle/train/evaluate.h"
#include "tulle/train/saving.h"

namespace tulle {
namespace {

// What is known of a layer before it is built.
struct LayerPlan {
  std::int64_t inputs, outputs, connections;
  bool dense;
};

std::vector<LayerPlan> layers_of(const Config& config, const Dataset& data) {
  const std::vector<std::int32_t> sizes = layer_sizes(config, data);
  const std::vector<std::int64_t> budgets = layer_budgets(topology_options(config), sizes);
  std::vector<LayerPlan> layers;
  for (std::size_t l = 0; l < budgets.size(); ++l)
    layers.push_back(
        {sizes[l], sizes[l + 1], budgets[l], budgets[l] == std::int64_t{sizes[l]} * sizes[l + 1]});
  return layers;
}

Spread::LayerInfo spread_info(const LayerPlan& layer) {
  return {.neurons = static_cast<std::int32_t>(layer.outputs),
          .connections = layer.connections,
          .grain = layer.dense ? DenseLinear::kTile : 1};
}

// Of each layer the part of the rank that has most of it.
std::vector<LayerPlan> largest_parts(const std::vector<LayerPlan>& layers, int ranks) {
  std::vector<LayerPlan> parts;
  for (const LayerPlan& layer : layers) {
    const Spread spread({.rank = 0, .ranks = ranks}, {spread_info(layer)});
    std::int64_t most = 0;
    for (int rank = 0; rank < ranks; ++rank) {
      const Range own = spread.neurons_of(0, rank);
      most = std::max(most, own.end - own.begin);
    }
    const auto share = static_cast<double>(most) / static_cast<double>(layer.outputs);
    parts.push_back(
        {layer.inputs, most, std::llround(share * static_cast<double>(layer.connections)), layer.dense});
  }
  return parts;
}

// What joins the parts (nn/spread.h): activations and errors of the widest hidden layer, and those of the
// outputs.
std::int64_t joined_bytes(const std::vector<LayerPlan>& layers, std::int64_t lanes) {
  std::int64_t widest = 0;
  for (std::size_t l = 0; l + 1 < layers.size(); ++l) widest = std::max(widest, layers[l].outputs);
  return 2 * (widest + layers.back().outputs) * lanes * 4;
}

// The parts in which a batch goes through the network, of all ranks that are threads.
std::int64_t shards_of(const Config& config) {
  const Config::Parallel& p = config.parallel;
  return p.mode == "sync" ? std::max<std::int64_t>({p.virtual_shards, p.ranks, 1}) : 1;
}

// Samples that go through the network at once.
std::int64_t samples_at_once(const Config& config) {
  const std::int64_t batch = config.train.batch_size, shards = shards_of(config);
  constexpr std::int64_t kGrain = Loader::Part{}.grain;
  return shards == 1 ? batch
                     : std::min(batch, ((batch + kGrain - 1) / kGrain + shards - 1) / shards * kGrain);
}

// The same as panels hold them (Network::panel_width), filled up to whole panels.
std::int64_t lanes_of(const Config& config, Storage storage, const std::vector<LayerPlan>& layers) {
  const std::int64_t samples = samples_at_once(config);
  const bool narrow = storage == Storage::kCompact && std::ranges::none_of(layers, &LayerPlan::dense);
  const bool pairs = storage == Storage::kFast && config.model.dtype == "bf16";
  const std::int64_t width = kernels::panel_width(static_cast<int>(samples), pairs ? 32 : narrow ? 2 : 16);
  return (samples + width - 1) / width * width;
}

// One weight with what the optimizer keeps of it.
Parameter one_weight(const Config& config) {
  Parameter one("", Parameter::Kind::kWeight, 1);
  make_optimizer(config.train)->prepare(one);
  return one;
}

// Of what the optimizer keeps of one weight.
std::int64_t kept_bytes(const Parameter& one) {
  return static_cast<std::int64_t>(4 * (one.m1.size() + one.m2.size()) + 2 * one.age.size());
}

// Of the state, and of the average.
std::int64_t state_bytes(const Config& config) {
  const Parameter one = one_weight(config);
  return kept_bytes(one) + (config.train.ema_decay > 0.0 ? 4 : 0);
}

// Of a weight of a sparse layer.
std::int64_t weight_bytes(const Config& config) { return config.model.weights == "bf16" ? 2 : 4; }

// Of its state where that is bfloat16, too.
std::int64_t sparse_state_bytes(const Config& config) {
  return state_bytes(config) / (config.model.weights == "bf16" ? 2 : 1);
}

// Of one neuron.
std::unique_ptr<Activation> activation_of(const Config& config, bool last_layer) {
  return find_name(tulle::activations(), "model.activation",
                   last_layer ? "identity" : config.model.activation)
      .make({.alpha = config.model.alpha, .position = 2, .neurons = 1, .seed = 1});
}

// What is in memory.
std::int64_t split_bytes(const Split& split) {
  const Features& f = split.inputs;
  std::size_t stored = 0;
  for (const std::span<const std::byte> array : f.arrays())
    if (!is_spilled(array.data())) stored += array.size();
  return static_cast<std::int64_t>(
      stored + 8 * f.sparse.row_ptr.size() + 4 * f.generated.samples.size() +
      4 * (split.classes.size() + split.targets.size() + split.sets.labels.size()) +
      8 * split.sets.row_ptr.size());
}

// Of a row pointer of the compact form (RowPtr::shrink()).
std::int64_t row_ptr_bytes(const Config& config, const LayerPlan& layer) {
  const bool even =
      config.topology.distribution == "fixed-fan-in" && config.topology.repair_isolated == "none";
  const Evolution how = evolution_of(config);
  if (even && (how.drop == nullptr || how.in_rows)) return 0;
  return layer.connections < std::int64_t{1} << 32 ? 4 : 8;
}

// Of the connections by target and, in the fast form, by source: target, position and slot of each, and where
// each source's begin in each tile. `panels`: a first layer whose inputs are.
std::int64_t index_bytes(const LayerPlan& layer, Storage storage, std::int64_t row_bytes, bool panels) {
  if (layer.dense) return 0;
  const std::int64_t own = 4 * layer.connections + 8 * (layer.outputs + 1);
  if (storage == Storage::kCompact) return own - (8 - row_bytes) * (layer.outputs + 1);
  const double density = static_cast<double>(layer.connections) /
                         (static_cast<double>(layer.inputs) * static_cast<double>(layer.outputs));
  const auto tiles = [&](std::int64_t count) {
    const std::int64_t width = tile_width(static_cast<std::int32_t>(count), density);
    return (count + width - 1) / width;
  };
  if (panels && tiles(layer.inputs) == 1) return own;
  const bool near = tile_width(static_cast<std::int32_t>(layer.outputs), density) <= 1 << 16;
  return own + (near ? 10 : 12) * layer.connections + 8 * (tiles(layer.outputs) * layer.inputs + 1) +
         8 * (tiles(layer.inputs) - 1) * layer.outputs;
}

// Of the event on one layer, at its most (evolve.cpp): marks, cells that grow and the new topology with the
// places its connections had; then these, start values and one array of the layer, without the old topology;
// or, before, the topology that is kept and the cells that are drawn, sorted in a second array.
std::int64_t event_bytes(const Config& config, const LayerPlan& layer) {
  const double zeta = config.evolve.zeta;
  const double most = std::max({13.0 + 8.0 * zeta, 12.0 + 12.0 * zeta, 5.0 + 12.0 * zeta});
  // Weights and momentum in bfloat16 are floats meanwhile.
  const double widened =
      static_cast<double>(4 - weight_bytes(config) + state_bytes(config) - sparse_state_bytes(config));
  return static_cast<std::int64_t>((most + widened) * static_cast<double>(layer.connections)) +
         16 * layer.outputs;
}

// Of the candidates of one layer: a key and a sum each.
std::int64_t gathered_bytes(const Config& config, const LayerPlan& layer) {
  const double cells = static_cast<double>(layer.inputs) * static_cast<double>(layer.outputs);
  return static_cast<std::int64_t>(
      12.0 * std::min(config.evolve.gse_candidates * static_cast<double>(layer.connections), cells));
}

}  // namespace

std::int64_t Plan::total() const {
  return std::accumulate(items.begin(), items.end(), std::int64_t{0},
                         [](std::int64_t sum, const Item& item) { return sum + item.bytes; });
}

std::string Plan::text() const {
  std::string text;
  for (const Item& item : items) text += fmt::format("{} {}, ", item.name, bytes_text(item.bytes));
  return text + fmt::format("in all {}", bytes_text(total()));
}

Plan make_plan(const Config& config, const Dataset& data, int ranks) {
  if (config.model.kind != "mlp")
    throw Error(ErrorKind::kConfig,
                fmt::format("model.kind, found '{}', expected 'mlp' for a plan", config.model.kind));
  const std::vector<LayerPlan> whole = layers_of(config, data);
  const int parts = spreads_neurons(config) ? std::max(ranks, static_cast<int>(config.parallel.ranks)) : 1;
  const std::vector<LayerPlan> layers = parts > 1 ? largest_parts(whole, parts) : whole;
  const std::int64_t state = state_bytes(config), features = data.train.inputs.features;
  const std::int64_t weight = weight_bytes(config), sparse_state = sparse_state_bytes(config);
  Plan plan;
  plan.connections = planned_connections(config, data);
  plan.storage = storage_of(config, plan.connections);
  const std::int64_t lanes = lanes_of(config, plan.storage, layers);
  const bool fast = plan.storage == Storage::kFast, bf16 = config.model.dtype == "bf16";

  const bool keeps_gradients = needs_gradients(config);
  const std::int64_t replicas = std::max<std::int64_t>(config.parallel.ranks, 1);
  // Gradients of shards that wait for those of others (GradientSum::levels_).
  const std::int64_t sums =
      4 * std::bit_width(static_cast<std::uint64_t>((shards_of(config) - 1) / replicas));
  std::int64_t weights = 0, scratch = 0, index = 0, optimizer = 0, biases = 0, activations = 0, event = 0,
               explored = 0, keys = 0, gathered = 0, all_errors = 0;
  std::int64_t floats = 0;  // of layers that do not round as they go, where activations are bfloat16
  std::int64_t sparse = 0, largest = 0, longest = 0;  // connections of sparse layers, of one, of one target
  std::int64_t errors[2] = {0, 0};                    // of the layer at work and of the one below, in turn
  const Evolution how = evolution_of(config);
  for (std::size_t l = 0; l < layers.size(); ++l) {
    const LayerPlan& layer = layers[l];
    plan.neurons += whole[l].outputs;
    index += index_bytes(layer, plan.storage, row_ptr_bytes(config, layer),
                         l == 0 && !data.train.inputs.is_sparse());
    weights += (layer.dense || keeps_gradients ? 8 + sums : weight) * layer.connections;
    if (fast && !layer.dense) scratch = std::max(scratch, 4 * layer.connections);
    optimizer += (layer.dense ? state : sparse_state) * layer.connections;
    const bool last = l + 1 == layers.size();
    const auto activation = activation_of(config, last);
    const std::int64_t kept = (8 + state + (parts > 1 ? 4 : 0)) * layer.outputs;
    biases += kept * (1 + static_cast<std::int64_t>(activation->parameters().size()));
    if (!fast && !layer.dense) biases += (weight + sparse_state - 8 - state) * layer.outputs;  // no gradients
    const std::int64_t bits =
        (activation->piecewise() ? 1 : 0) + (!last && config.model.dropout > 0.0 ? 1 : 0);
    const bool rounded = bf16 && !fast && !last;
    activations += layer.outputs * lanes * ((rounded ? 2 : 4) + (activation->piecewise() ? 0 : 4)) +
                   layer.outputs * ((lanes + 15) / 16 * 2) * bits;
    if (bf16 && fast) activations += lanes * 2 * (layer.inputs + layer.outputs);
    if (bf16 && !fast && layer.dense && l > 0) activations += lanes * 4 * layer.inputs;  // widened
    if (rounded && (layer.dense || !activation->piecewise()))
      floats = std::max(floats, lanes * 4 * layer.outputs);
    errors[l % 2] = std::max(errors[l % 2], layer.outputs * lanes * 4);
    all_errors += layer.outputs * lanes * 4;
    if (layer.dense) continue;
    sparse += layer.connections;
    largest = std::max(largest, layer.connections);
    longest = std::max(longest, layer.connections / std::max<std::int64_t>(layer.outputs, 1));
    if (how.drop == nullptr || last) continue;
    event =
        std::max(event, how.in_rows ? layer.inputs : event_bytes(config, layer));  // marks of used sources
    keys = std::max(keys, 8 * layer.connections);
    explored += static_cast<std::int64_t>(CellSet::size_in_bytes(static_cast<std::uint64_t>(layer.inputs) *
                                                                 static_cast<std::uint64_t>(layer.outputs)));
    explored += static_cast<std::int64_t>(8.0 * config.evolve.zeta * static_cast<double>(layer.connections));
    if (how.gathers()) gathered += gathered_bytes(config, layer);
  }
  std::int64_t batch = features * lanes * 4;
  if (data.train.inputs.is_generated()) batch += features * samples_at_once(config) * 4;
  // What evaluation takes beside: inputs, and in the fast form packed weights and two layers' activations.
  std::int64_t evaluation = 0;
  if (data.test.inputs.samples + data.valid.inputs.samples > 0) {
    std::int64_t widest = features;
    for (const LayerPlan& layer : layers) widest = std::max(widest, layer.outputs);
    const std::int64_t samples = evaluation_batch(widest);
    evaluation = samples * features * 4 * (data.train.inputs.is_generated() ? 2 : 1);
    const std::int64_t width = std::clamp(kernels::panel_width(samples), 16, 64);  // nn/inference.cpp
    const std::int64_t panels = std::min<std::int64_t>(thread_count(), (samples + width - 1) / width);
    if (fast) evaluation += 8 * plan.connections + 2 * panels * width * widest * 4;
  }
  // A copy of what a checkpoint holds, if it is written meanwhile (train.cpp).
  const bool copied = parts == 1 && config.checkpoint.save_every != "never" &&
                      writes_meanwhile(config.checkpoint, plan.connections);
  const std::int64_t checkpoint =
      copied ? (4 + weight + sparse_state) * plan.connections + (12 + state) * plan.neurons : 0;
  plan.data_bytes = split_bytes(data.train) + split_bytes(data.valid) + split_bytes(data.test);
  std::set<const SampleSource*> sources;  // train and valid may share one
  for (const Split* split : {&data.train, &data.valid, &data.test})
    if (split->inputs.is_generated() && sources.insert(split->inputs.generated.source.get()).second)
      plan.data_bytes += split->inputs.generated.source->bytes();
  plan.items = {{"data", plan.data_bytes},
                {"connections", index * replicas},
                {"weights", (weights + scratch) * replicas},
                {"optimizer state", optimizer * replicas},
                {"biases", biases * replicas},
                {"activations", (activations + floats) * replicas},
                {"errors", (how.steps_looked_at() > 0 ? all_errors : errors[0] + errors[1]) * replicas},
                {"batch", batch * replicas},
                {"checkpoint", checkpoint},
                {"topology events", explored + (gathered + std::max(event, keys)) * replicas},
                {"evaluation", evaluation}};
  if (parts > 1) {
    plan.items.push_back({"gathered", joined_bytes(whole, lanes) * replicas});
    // At the start, and where a checkpoint is brought together; threads begin and end with all of them.
    std::int64_t at_once = 0;
    for (const LayerPlan& layer : whole)
      at_once = replicas > 1 ? at_once + (8 + state) * layer.connections
                             : std::max(at_once, 16 * layer.connections);
    plan.items.push_back({replicas > 1 ? "whole network" : "one layer whole", at_once});
  }
  const std::int64_t limit = config.run.spill.empty() ? -1 : memory_limit(config, plan);
  if (limit < 0 || plan.total() <= limit) return plan;

  // The connections go to files. At the start and in an event one layer is in memory as a whole.
  const std::int64_t link = 4 + weight + sparse_state;  // source, weight and state
  constexpr std::int64_t kWindows = 2 * CompactLinear::kWindowsAhead + 1;
  const std::int64_t windows = link * std::min(kWindows * std::max(CompactLinear::kWindow, longest), largest);
  const std::int64_t at_start = 16 * largest, in_event = event > 0 ? event + link * largest : 0;
  plan.spill = config.run.spill;
  plan.spilled = link * sparse;
  plan.read = (4 + weight + link) * sparse;         // sources and weights forward, all backward
  plan.written = (weight + sparse_state) * sparse;  // weights and state
  plan.items = {{"data", plan.data_bytes},
                {"connections", index - 4 * sparse},
                {"weights", weights - weight * sparse},
                {"optimizer state", optimizer - sparse_state * sparse},
                {"biases", biases},
                {"activations", activations + floats},
                {"errors", errors[0] + errors[1]},
                {"batch", batch},
                {"windows", windows},
                {"one layer whole", explored + std::max({at_start, in_event, keys})},
                {"evaluation", evaluation}};
  return plan;
}

RankTask rank_task(const Config& config, const Dataset& data) {
  const Parameter one = one_weight(config);
  const std::vector<LayerPlan> layers = layers_of(config, data);
  RankTask task{.states = static_cast<std::int64_t>(one.m1.size() + one.m2.size()),
                .state_bytes = kept_bytes(one),
                .lanes = lanes_of(config, storage_of(config, planned_connections(config, data)), layers)};
  for (std::size_t l = 0; l < layers.size(); ++l) {
    const std::size_t of_neurons = 1 + activation_of(config, l + 1 == layers.size())->parameters().size();
    task.layers.push_back(spread_info(layers[l]));
    task.arrays.push_back(layers[l].connections);
    task.arrays.insert(task.arrays.end(), of_neurons, layers[l].outputs);
    task.largest_layer = std::max(task.largest_layer, layers[l].connections);
  }
  return task;
}

std::int64_t largest_batch(Config config, const Dataset& data, std::int64_t limit, int ranks) {
  const auto fits = [&](std::int64_t batch) {
    config.train.batch_size = batch;
    return make_plan(config, data, ranks).total() <= limit;
  };
  std::int64_t low = 0, high = std::int64_t{1} << 24;  // fits, does not
  while (high - low > 1) {
    const std::int64_t middle = low + (high - low) / 2;
    (fits(middle) ? low : high) = middle;
  }
  return low;
}

double predicted_step_seconds(const Config& config, const Dataset& data, const Plan& plan,
                              const MachineRates& rates) {
  // Of each connection, lines of 64 bytes at random places: its x forward and back, and where it has a layer
  // below its error, read and written.
  const std::vector<LayerPlan> layers = layers_of(config, data);
  const std::int64_t lanes = lanes_of(config, plan.storage, layers);
  const bool rounded = plan.storage == Storage::kCompact && config.model.dtype == "bf16";
  const auto lines_of = [lanes](std::int64_t bytes) {
    return std::max(static_cast<double>(lanes * bytes) / 64.0, 1.0);
  };
  constexpr std::int64_t kNear = std::int64_t{1} << 20;  // bytes that stay in the nearest caches
  double seconds = 0.0;
  for (std::size_t l = 0; l < layers.size(); ++l) {
    const LayerPlan& layer = layers[l];
    const auto links = static_cast<double>(layer.connections);
    const std::int64_t x_bytes = rounded && l > 0 ? 2 : 4, error_bytes = l == 0 ? 0 : 4;
    const double lines = 2.0 * lines_of(x_bytes) + (l == 0 ? 0.0 : lines_of(error_bytes));
    const std::int64_t set = layer.inputs * lanes * (x_bytes + error_bytes);
    seconds += set <= kNear ? links * 16.0 * lines / rates.near_products() : links * lines / rates.lines(set);
    // A layer's neurons go by in order: made, read and made to errors; zeros first, where they add up.
    seconds += static_cast<double>(layer.outputs * lanes * 4) * 5.0 / rates.bytes();
  }
  const double updated =
      static_cast<double>(plan.connections * (sparse_state_bytes(config) + weight_bytes(config) + 4));
  seconds += updated / rates.bytes();
  if (plan.spill.empty()) return seconds;
  // Reads and writes go on while threads compute, but the system's part in them takes the same cores.
  const DiskRates& disk = rates.disk(plan.spill);
  return seconds + static_cast<double>(plan.read) / disk.read +
         static_cast<double>(plan.written) / disk.written;
}

std::int64_t memory_limit(const Config& config, const Plan& plan) {
  const std::string& text = config.run.memory_limit;
  if (text == "none") return -1;
  if (text == "auto") {
    const std::int64_t available = available_bytes();
    return available == 0
               ? -1
               : static_cast<std::int64_t>(0.95 * static_cast<double>(available)) + plan.data_bytes;
  }
  double number = 0.0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string_view unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
  constexpr std::string_view kUnits = "KMGT";
  const std::size_t power = unit.empty() ? 0 : kUnits.find(unit.front()) + 1;
  const bool known = unit.empty() || (power > 0 && (unit.size() == 1 || unit.substr(1) == "iB"));
  if (error != std::errc{} || !known || !(number > 0.0) || number > 1e15)
    throw Error(ErrorKind::kConfig,
                fmt::format("run.memory_limit, found '{}', expected bytes like 6G or 512M, auto "
                            "or none",
                            text));
  return static_cast<std::int64_t>(number * std::exp2(10.0 * static_cast<double>(power)));
}

std::string spill_of(const Config& config, const Dataset& data) {
  return config.run.spill.empty() ? "" : make_plan(config, data).spill;
}

void check_plan(const Config& config, const Dataset& data, int ranks) {
  if (config.model.kind != "mlp" || !config.train.start_from.empty()) return;
  const Plan plan = make_plan(config, data, ranks);
  const std::int64_t limit = memory_limit(config, plan);
  if (limit >= 0 && plan.total() > limit)
    throw Error(ErrorKind::kMemory,
                fmt::format("memory, found a need of {}, expected at most {} (run.memory_limit); the largest "
                            "batch that fits is {}",
                            plan.text(), bytes_text(limit), largest_batch(config, data, limit, ranks)));
}

}  // namespace tulle
