#include "tulle/train/build.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numeric>

#include "tulle/base/error.h"
#include "tulle/base/name_table.h"
#include "tulle/base/spill.h"
#include "tulle/checkpoint/model_file.h"
#include "tulle/evolve/rule.h"
#include "tulle/nn/bf16_weights.h"
#include "tulle/nn/dense_linear.h"
#include "tulle/nn/parts.h"
#include "tulle/nn/sparse_layer.h"
#include "tulle/sparse/budgets.h"
#include "tulle/sparse/numbering.h"
#include "tulle/sparse/sampling.h"
#include "tulle/train/build_smlp.h"

namespace tulle {
namespace {

// Connections of a network from which on one order is faster than two: activations no longer stay in caches.
constexpr std::int64_t kCompactFrom = std::int64_t{1} << 24;

// A layer as the config wants it with the connections, weights and activation of another.
std::unique_ptr<Layer> layer_like(const Layer& from, LayerOptions options) {
  options.activation = from.options().activation;
  options.alpha = from.options().alpha;
  std::unique_ptr<Layer> layer;
  if (from.topology() == nullptr)
    layer = std::make_unique<DenseLinear>(options);
  else
    layer = make_sparse_layer(options, *from.topology());
  const auto sources = const_cast<Layer&>(from).parameters(), targets = layer->parameters();
  for (std::size_t p = 0; p < sources.size(); ++p) set_values(*targets[p], sources[p]->value);
  return layer;
}

// The network of train.start_from, which must have these sizes.
Network start_network(const std::string& path, std::span<const std::int32_t> sizes,
                      const std::vector<LayerOptions>& options) {
  const LoadedModel loaded = load_model(path);
  const Network& network = loaded.model.network;
  std::vector<std::int32_t> found{network.inputs()};
  for (std::size_t l = 0; l < network.size(); ++l) found.push_back(network.layer(l).outputs());
  if (!std::ranges::equal(found, sizes))
    throw Error(ErrorKind::kConfig, {.file = path},
                fmt::format("layer sizes, found {}, expected {} as the data and model.hidden say",
                            fmt::join(found, "-"), fmt::join(sizes, "-")));
  std::vector<std::unique_ptr<Layer>> layers;
  for (std::size_t l = 0; l < network.size(); ++l) layers.push_back(layer_like(network.layer(l), options[l]));
  return Network(std::move(layers));
}

}  // namespace

TopologyOptions topology_options(const Config& config) {
  return {.distribution = config.topology.distribution,
          .epsilon = config.topology.epsilon,
          .density = config.topology.density,
          .fan_in = config.topology.fan_in,
          .budgets = config.topology.budgets,
          .dense_layers = config.topology.dense_layers,
          .pattern = config.topology.pattern,
          .rewire = config.topology.rewire,
          .window = {config.topology.window, config.topology.window_share}};
}

DataOptions data_options(const Config& config) {
  DataOptions options;
  options.format = config.data.format;
  options.train = config.data.train;
  options.train_labels = config.data.train_labels;
  options.test = config.data.test;
  options.test_labels = config.data.test_labels;
  options.valid_fraction = config.data.valid_fraction;
  options.scale = config.data.scale;
  options.sep = config.data.sep;
  options.header = config.data.header;
  options.label_column = config.data.label_column;
  options.regression = config.data.task == "regression";
  options.arrays = config.data.arrays;
  options.index_base = config.data.index_base == "auto" ? -1 : config.data.index_base == "0" ? 0 : 1;
  options.features = static_cast<std::int32_t>(config.data.features);
  options.duplicates = config.data.duplicates;
  options.max_rows = config.data.max_rows;
  options.resize = static_cast<int>(config.data.resize);
  options.skip_bad_images = config.data.bad_images == "skip";
  options.decode_late = config.data.decode == "late";
  options.scratch = config.data.scratch;
  options.nan = config.data.nan;
  options.seed = static_cast<std::uint64_t>(config.run.seed);
  options.ignore_unknown_labels = config.data.ignore_unknown_labels;
  const Config::Synthetic& s = config.synthetic;
  constexpr std::int32_t kSyntheticFeatures = 65536;  // unless data.features says something else
  options.synthetic = {.features = options.features > 0 ? options.features : kSyntheticFeatures,
                       .classes = static_cast<std::int32_t>(s.classes),
                       .informative = static_cast<std::int32_t>(s.informative),
                       .redundant = static_cast<std::int32_t>(s.redundant),
                       .clusters = static_cast<std::int32_t>(s.clusters),
                       .separation = s.separation,
                       .flip = s.flip,
                       .samples = s.samples,
                       .test_samples = s.test_samples,
                       .seed = options.seed};
  return options;
}

WeightLaw weight_law(const Config& config) {
  return {.law = &find_name(weight_inits(), "topology.weight_init", config.topology.weight_init),
          .sparse_fan = config.topology.fan == "sparse"};
}

std::unique_ptr<Optimizer> make_optimizer(const Config::Train& config) {
  return find_name(optimizers(), "train.optimizer", config.optimizer)
      .make({.momentum = config.momentum,
             .nesterov = config.nesterov,
             .weight_decay = config.weight_decay,
             .beta1 = config.beta1,
             .beta2 = config.beta2});
}

std::int64_t planned_connections(const Config& config, const Dataset& data) {
  const std::vector<std::int64_t> budgets =
      layer_budgets(topology_options(config), layer_sizes(config, data));
  return std::accumulate(budgets.begin(), budgets.end(), std::int64_t{0});
}

bool is_compact(const Network& network) {
  for (std::size_t l = 0; l < network.size(); ++l)
    if (network.layer(l).options().storage == Storage::kCompact) return true;
  return false;
}

bool spreads_neurons(const Config& config) { return config.parallel.mode == "rows"; }

namespace {

// What needs gradients of weights; empty: nothing does.
std::string needs_gradients_for(const Config& config) {
  if (config.model.kind != "mlp") return "model.kind = \"" + config.model.kind + "\"";
  if (config.train.clip_norm > 0.0 || config.train.clip_value > 0.0) return "clipped gradients";
  const Config::Parallel& p = config.parallel;
  if (!spreads_neurons(config) && (p.ranks > 1 || p.mode != "none" || p.virtual_shards > 0))
    return "gradients shared by ranks";
  const Evolution how = evolution_of(config);
  if (how.drop != nullptr && how.drop->needs_gradients) return "evolve.rule = \"" + config.evolve.rule + "\"";
  return "";
}

bool keeps_more_than_momentum(const Config& config) {
  Parameter one("", Parameter::Kind::kWeight, 1);
  make_optimizer(config.train)->prepare(one);
  return !one.m2.empty() || !one.age.empty();
}

}  // namespace

bool needs_gradients(const Config& config) { return !needs_gradients_for(config).empty(); }

Storage storage_of(const Config& config, std::int64_t connections) {
  const Evolution how = evolution_of(config);
  std::string needs = needs_gradients_for(config);
  if (config.model.dtype != "f32" && spreads_neurons(config))
    needs = "model.dtype = \"" + config.model.dtype + "\"";
  if (how.steps_looked_at() > 0) needs = "evolve.rule = \"" + config.evolve.rule + "\"";
  const std::string& wanted = config.run.storage;
  const bool spill = !config.run.spill.empty(), bf16 = config.model.weights == "bf16";
  if (spill || bf16) {  // for the compact form alone
    if (wanted == "fast") needs = "run.storage = \"fast\"";
    if (config.train.ema_decay > 0.0) needs = "train.ema_decay";
    if (spill && !config.train.start_from.empty()) needs = "train.start_from";
    if (bf16 && keeps_more_than_momentum(config))
      needs = "train.optimizer = \"" + config.train.optimizer + "\"";
    if (bf16 && config.evolve.importance_percentile > 0.0) needs = "evolve.importance_percentile";
    if (needs.empty()) return Storage::kCompact;
    throw Error(ErrorKind::kConfig,
                bf16 ? fmt::format("model.weights, found 'bf16', expected 'f32' with {}", needs)
                     : fmt::format("run.spill, found '{}', expected none with {}", config.run.spill, needs));
  }
  if (wanted == "auto")
    return needs.empty() && (connections >= kCompactFrom || spreads_neurons(config)) ? Storage::kCompact
                                                                                     : Storage::kFast;
  const Storage storage = find_name(storages(), "run.storage", wanted).storage;
  if (storage == Storage::kCompact && !needs.empty())
    throw Error(ErrorKind::kConfig,
                fmt::format("run.storage, found 'compact', expected 'fast' with {}", needs));
  return storage;
}

namespace {

// Events that renew each row by itself know one way to do it.
void check_rows(const Config& config, const Evolution& how) {
  const Config::Evolve& e = config.evolve;
  const auto refuse = [](std::string_view key, const auto& found, std::string_view expected) {
    throw Error(ErrorKind::kConfig,
                fmt::format("{}, found {}, expected {} with evolve.scope = \"row\"", key, found, expected));
  };
  if (config.model.kind != "mlp") refuse("model.kind", "'" + config.model.kind + "'", "'mlp'");
  if (how.drop->name != "magnitude")
    refuse("evolve.drop", fmt::format("'{}'", how.drop->name), "'magnitude'");
  if (how.grow->name != "random") refuse("evolve.grow", fmt::format("'{}'", how.grow->name), "'random'");
  if (e.redistribute != "none") refuse("evolve.redistribute", "'" + e.redistribute + "'", "'none'");
  if (e.chain_removal) refuse("evolve.chain_removal", true, "false");
  if (!e.regrow_dropped) refuse("evolve.regrow_dropped", false, "true");
  if (e.min_fan_in > 0) refuse("evolve.min_fan_in", e.min_fan_in, "0");
  if (e.final_density > 0.0) refuse("evolve.final_density", e.final_density, "0");
  if (e.evolve_dense) refuse("evolve.evolve_dense", true, "false");
  if (config.topology.window > 0) refuse("topology.window", config.topology.window, "0");
  if (config.log.input_links) refuse("log.input_links", true, "false");
  if (spreads_neurons(config)) refuse("parallel.mode", "'" + config.parallel.mode + "'", "another");
}

}  // namespace

Evolution evolution_of(const Config& config) {
  const Config::Evolve& e = config.evolve;
  const RuleInfo& rule = find_name(rules(), "evolve.rule", e.rule);
  Evolution how;
  if (rule.drop.empty()) return how;
  how.drop = &find_name(drop_rules(), "evolve.drop", e.drop == "rule" ? rule.drop : e.drop);
  how.grow = &find_name(grow_rules(), "evolve.grow", e.grow == "rule" ? rule.grow : e.grow);
  how.law = weight_law(config);
  if (e.grow_init == "zero" || (e.grow_init == "auto" && how.grow->zero_start))
    how.law = {.law = &find_name(weight_inits(), "evolve.grow_init", "zero")};
  how.global = e.scope == "global";
  how.in_rows = e.scope == "row";
  how.min_links = e.min_links;
  how.min_fan_in = e.min_fan_in;
  how.chain_removal = e.chain_removal;
  how.regrow_dropped = e.regrow_dropped;
  how.max_density = e.max_density;
  how.dense_layers = e.evolve_dense;
  how.redistribute = find_name(redistributions(), "evolve.redistribute", e.redistribute).by;
  how.soft_beta = e.soft_beta;
  how.mest_gamma = e.mest_gamma;
  how.threshold = e.drop_below;
  how.candidates = e.gse_candidates;
  how.window = {config.topology.window, config.topology.window_share};
  how.momentum = config.train.momentum;
  how.momentum_steps = e.momentum_steps;
  how.distribution = config.topology.distribution == "uniform" ? "uniform" : "erk";
  if (how.in_rows) check_rows(config, how);
  if (how.global && how.drop->score == nullptr)
    throw Error(
        ErrorKind::kConfig,
        fmt::format("evolve.scope, found 'global', expected 'layer' with the drop rule '{}', which ranks "
                    "no connections of different layers",
                    how.drop->name));
  return how;
}

double initial_density(const Config& config, std::span<const std::int32_t> sizes) {
  const std::vector<std::int64_t> budgets = layer_budgets(topology_options(config), sizes);
  double connections = 0.0, cells = 0.0;
  for (std::size_t l = 0; l + 1 < budgets.size(); ++l) {
    const double of_layer = LayerShape{sizes[l], sizes[l + 1]}.cells();
    if (static_cast<double>(budgets[l]) == of_layer) continue;
    connections += static_cast<double>(budgets[l]);
    cells += of_layer;
  }
  return cells > 0.0 ? connections / cells : 1.0;
}

void check_evolution(const Config& config, std::span<const std::int32_t> sizes) {
  const Evolution how = evolution_of(config);
  if (how.drop == nullptr) return;
  const double initial = initial_density(config, sizes), wanted = config.evolve.final_density;
  if (config.evolve.rule == "granet" ? !(wanted > 0.0 && wanted < initial) : wanted > initial)
    throw Error(
        ErrorKind::kConfig,
        fmt::format("evolve.final_density, found {}, expected above 0 and below {:.4g}, the density at "
                    "the start of the layers that evolve",
                    wanted, initial));
  for (std::size_t l = 0; l + 2 < sizes.size(); ++l) {
    const double cells = LayerShape{sizes[l], sizes[l + 1]}.cells();
    if (how.grow->every_cell && cells > static_cast<double>(config.evolve.grow_max_cells))
      throw Error(ErrorKind::kConfig,
                  fmt::format("evolve.grow, found '{}' with {:.0f} cells in layer {}, expected at most {} "
                              "(evolve.grow_max_cells); 'gse-estimate' looks at a sample of them",
                              how.grow->name, cells, l, config.evolve.grow_max_cells));
  }
}

std::vector<std::int32_t> layer_sizes(const Config& config, const Dataset& data) {
  std::vector<std::int32_t> sizes{data.train.inputs.features};
  for (const std::int64_t neurons : config.model.hidden) sizes.push_back(static_cast<std::int32_t>(neurons));
  const std::size_t outputs =
      data.class_names.empty() ? static_cast<std::size_t>(data.train.target_width) : data.class_names.size();
  sizes.push_back(static_cast<std::int32_t>(outputs));
  return sizes;
}

std::vector<float> class_weights(const Config& config, const Dataset& data) {
  const std::string& text = config.train.class_weights;
  if (text == "none") return {};
  const std::size_t classes = data.class_names.size();
  if (data.train.classes.empty())
    throw Error(ErrorKind::kConfig,
                "train.class_weights, found some, expected none where samples have no class each");
  std::vector<float> weights;
  if (text == "balanced") {
    const Split& train = data.train;
    std::vector<double> counts(classes, 0.0);
    double all = 0.0;
    for (std::size_t i = 0; i < train.classes.size(); ++i) {
      const double weight = train.weights.empty() ? 1.0 : train.weights[i];
      counts[static_cast<std::size_t>(train.classes[i])] += weight;
      all += weight;
    }
    for (const double count : counts)
      weights.push_back(
          static_cast<float>(all / (static_cast<double>(classes) * (count > 0.0 ? count : 1.0))));
    return weights;
  }
  for (const char *at = text.data(), *end = at + text.size(); at <= end;) {
    float weight = 0.0f;
    const auto [next, error] = std::from_chars(at, end, weight);
    if (error != std::errc{} || !(weight >= 0.0f) || !std::isfinite(weight) ||
        (next != end && *next != ',')) {
      weights.clear();
      break;
    }
    weights.push_back(weight);
    at = next + 1;
  }
  if (weights.size() != classes)
    throw Error(ErrorKind::kConfig,
                fmt::format("train.class_weights, found '{}', expected none, balanced or {} numbers "
                            "of 0 or more between commas",
                            text, classes));
  return weights;
}

DataFacts facts_of(const Model& model) {
  return {.class_names = model.class_names,
          .features = model.network.inputs(),
          .index_base = model.index_base,
          .image = model.image,
          .one_label = model.loss == "cross-entropy"};
}

Model build_model(const Config& config, const Dataset& data, const Share& share) {
  if (config.model.loss == "cross-entropy" && (data.class_names.empty() || !data.train.sets.empty()))
    throw Error(
        ErrorKind::kConfig,
        fmt::format("model.loss, found 'cross-entropy', expected {}",
                    data.class_names.empty() ? "'mse' for regression"
                                             : "'bce' or 'mse' where a sample may have several labels"));
  if (config.model.kind == "smlp") {
    const Evolution how = evolution_of(config);
    if (how.drop != nullptr && config.evolve.final_density > 0.0)
      throw Error(ErrorKind::kConfig,
                  "evolve.final_density, found some, expected 0 with model.kind = \"smlp\"");
    return {.network = build_smlp(config, data),
            .loss = config.model.loss,
            .scaling = data.scaling,
            .class_names = data.class_names,
            .index_base = data.index_base,
            .image = data.image,
            .seed = static_cast<std::uint64_t>(config.run.seed),
            .config = {}};
  }
  const std::vector<std::int32_t> sizes = layer_sizes(config, data);
  check_evolution(config, sizes);
  const TopologyOptions options = topology_options(config);
  const std::vector<std::int64_t> budgets = layer_budgets(options, sizes);
  const auto seed = static_cast<std::uint64_t>(config.run.seed);

  const Storage storage = storage_of(config, planned_connections(config, data));
  const Precision precision = find_name(training_precisions(), "model.dtype", config.model.dtype).precision;
  const Repair repair =
      find_name(repairs(), "topology.repair_isolated", config.topology.repair_isolated).repair;
  const NumberingInfo& numbering = find_name(numberings(), "topology.numbering", config.topology.numbering);
  std::vector<LayerOptions> options_of;
  for (std::size_t l = 0; l + 1 < sizes.size(); ++l) {
    const bool last = l + 2 == sizes.size();
    options_of.push_back({.index = static_cast<std::int32_t>(l),
                          .inputs = sizes[l],
                          .outputs = sizes[l + 1],
                          .activation = last ? "identity" : config.model.activation,
                          .alpha = config.model.alpha,
                          .dropout = last ? 0.0 : config.model.dropout,
                          .seed = seed,
                          .precision = precision,
                          .storage = storage,
                          .bf16_weights = config.model.weights == "bf16"});
  }
  Model model{.network = {},
              .loss = config.model.loss,
              .scaling = data.scaling,
              .class_names = data.class_names,
              .index_base = data.index_base,
              .image = data.image,
              .seed = seed,
              .config = {}};
  if (!config.train.start_from.empty()) {
    model.network = start_network(config.train.start_from, sizes, options_of);
    if (share.ranks > 1) model.network = part_of(model.network, share);
    return model;
  }
  // A layer is whole for a moment: what of it is another rank's goes at once.
  const WeightLaw law = weight_law(config);
  std::vector<std::unique_ptr<Layer>> layers;
  std::vector<Spread::LayerInfo> infos;
  for (std::size_t l = 0; l + 1 < sizes.size(); ++l) {
    const auto index = static_cast<std::uint32_t>(l);
    const bool dense = budgets[l] == std::int64_t{sizes[l]} * sizes[l + 1];
    std::unique_ptr<Layer> layer;
    if (dense) {  // density 1: stored and computed as a dense matrix
      layer = std::make_unique<DenseLinear>(options_of[l]);
    } else {
      Topology topology =
          repair_isolated(draw_topology(options, sizes[l + 1], sizes[l], budgets[l], seed, index), repair,
                          {.seed = seed, .stream = Stream::kTopology, .layer = index});
      const bool hidden = l + 2 < sizes.size();  // the layer after it is drawn for any numbers of its neurons
      if (hidden && numbering.order != nullptr) topology = with_rows(topology, numbering.order(topology));
      layer = make_sparse_layer(options_of[l], std::move(topology));
    }
    const Topology all = dense ? full_topology(layer->outputs(), layer->inputs()) : Topology();
    const Topology& topology = dense ? all : *layer->topology();
    set_values(layer->weight(),
               initial_weights(*law.law, init_context(l > 0 ? layers.back().get() : nullptr, topology, law),
                               {.seed = seed, .stream = Stream::kValue, .layer = index}));
    if (share.ranks > 1) {
      infos.push_back(spread_info(*layer));
      layer = part_of(*layer, Spread(share, infos).own_neurons(l));
    }
    layers.push_back(std::move(layer));
    release_spilled();
  }
  model.network = share.ranks > 1
                      ? Network(std::move(layers), std::make_unique<Spread>(share, std::move(infos)))
                      : Network(std::move(layers));
  return model;
}

}  // namespace tulle
