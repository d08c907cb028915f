#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>

#include "tulle/base/error.h"
#include "tulle/base/name_table.h"
#include "tulle/base/spill.h"
#include "tulle/nn/bf16_weights.h"
#include "tulle/train/build_smlp.h"
#include "tulle/train/modes.h"
#include "tulle/train/plan.h"
#include "tulle/train/replica.h"
#include "tulle/train/train.h"
#include "tulle/vision/smlp_net.h"

namespace tulle {
namespace {

std::int64_t batches_per_epoch(const Config& config, const Dataset& data) {
  const std::int64_t samples = data.train.inputs.samples, batch = config.train.batch_size;
  if (config.train.last_batch == "keep") return (samples + batch - 1) / batch;
  if (samples < batch)
    throw Error(ErrorKind::kConfig,
                fmt::format("train.batch_size, found {}, expected at most {}, the training samples, as "
                            "train.last_batch is \"drop\"",
                            batch, samples));
  return samples / batch;
}

// The config a checkpoint was written under.
Config stored_config(const Model& model, const std::string& checkpoint) {
  Config stored;
  try {
    read_config_text(stored, model.config, checkpoint, "");
  } catch (const Error& error) {
    throw Error(ErrorKind::kBadData, {.file = checkpoint},
                fmt::format("metadata 'config', {}", error.what()));
  }
  return stored;
}

void check_network(const Network& network, const Config& config, const Dataset& data,
                   const std::string& checkpoint) {
  if (const SmlpNet* const net = smlp_of(network); (net != nullptr) != (config.model.kind == "smlp"))
    throw Error(ErrorKind::kConfig, {.file = checkpoint},
                fmt::format("model.kind, found '{}', expected '{}'", net != nullptr ? "smlp" : "mlp",
                            config.model.kind));
  else if (net != nullptr) {  // the keys that make its shape are compared with all others
    const SmlpShape shape = smlp_shape(config, data);
    if (net->inputs() == data.train.inputs.features && net->shape().classes == shape.classes) return;
    throw Error(ErrorKind::kConfig, {.file = checkpoint},
                fmt::format("network, found {} inputs and {} classes, expected {} and {}, as the data have",
                            net->inputs(), net->shape().classes, data.train.inputs.features, shape.classes));
  }
  const std::vector<std::int32_t> sizes = layer_sizes(config, data);
  std::vector<std::int32_t> stored{network.inputs()};
  for (std::size_t l = 0; l < network.size(); ++l) stored.push_back(network.layer(l).original_outputs());
  if (sizes != stored)
    throw Error(ErrorKind::kConfig, {.file = checkpoint},
                fmt::format("layer sizes, found {}, expected {} as the config and the data say; this "
                            "checkpoint is of another net",
                            fmt::join(stored, "-"), fmt::join(sizes, "-")));
}

// Whether the config leaves to the checkpoint how ranks share the training.
bool is_open(const KeyInfo& key, const Config& config) {
  const Config::Parallel& p = config.parallel;
  return (key.name == "parallel.mode" && p.mode == "none") ||
         (key.name == "parallel.virtual_shards" && (p.mode == "none" || p.virtual_shards == 0));
}
// Averages come after steps whose number depends on the ranks.
bool has_two_phases(const Config& config) {
  return config.parallel.mode == "wasap" || config.parallel.mode == "wassp";
}

void check_config(const Config& stored, const Config& config, const std::string& checkpoint) {
  for (const KeyInfo& key : config_keys()) {
    if (!changes_result(key) || key.name == "train.epochs" || is_open(key, config)) continue;
    const std::string now = config_value(key, config), then = config_value(key, stored);
    if (now != then)
      throw Error(ErrorKind::kConfig, {.file = checkpoint},
                  fmt::format("{}, found {}, expected {} as in the config; a training resumes only unchanged",
                              key.name, then, now));
  }
}

// Without its state an optimizer would quietly start anew.
void check_optimizer_state(Network& network, const Config& config, const std::string& checkpoint) {
  const auto optimizer = make_optimizer(config.train);
  for (const Parameter* parameter : network.parameters()) {
    Parameter wanted(parameter->name, parameter->kind, parameter->size());
    if (parameter->is_bf16()) narrow(wanted);
    optimizer->prepare(wanted);
    if (parameter->m1.size() != wanted.m1.size() || parameter->bf16_m1.size() != wanted.bf16_m1.size() ||
        parameter->m2.size() != wanted.m2.size() || parameter->age.size() != wanted.age.size())
      throw Error(ErrorKind::kBadData, {.file = checkpoint},
                  fmt::format("state of '{}', found other tensors, expected those of {}", parameter->name,
                              config.train.optimizer));
  }
}

void check_counters(const TrainingState& state, const Config& config, const Dataset& data,
                    const std::string& checkpoint) {
  const std::int64_t batches = batches_per_epoch(config, data);
  const bool together =
      has_two_phases(config) || (state.epoch <= state.step / batches && state.batch_in_epoch < batches &&
                                 state.step == state.epoch * batches + state.batch_in_epoch);
  if (!together)
    throw Error(ErrorKind::kBadData, {.file = checkpoint},
                fmt::format("metadata 'step', found {}, expected that of epoch {} and batch {} of {}",
                            state.step, state.epoch, state.batch_in_epoch, batches));
  if (const std::int64_t begun = state.epoch + (state.batch_in_epoch > 0); begun > config.train.epochs)
    throw Error(ErrorKind::kConfig, {.file = checkpoint},
                fmt::format("train.epochs, found {}, expected at least {}, where this checkpoint stands",
                            config.train.epochs, begun));
}

}  // namespace

Run start_run(const Config& config, const Dataset& data, const Share& share) {
  batches_per_epoch(config, data);  // at least one
  const bool parts = spreads_neurons(config);
  if (parts) (void)mode_of(config, share.ranks);  // refused before it is built
  const std::string spill = spill_of(config, data);
  const Spilling files(spill);
  Run run{.config = config,
          .model = build_model(config, data, parts ? share : Share{}),
          .state = {},
          .spill = spill};
  run.model.config = learning_config(config);
  run.state.data_identity = data_identity(data.train);
  return run;
}

namespace {

// Whose arrays lie in `folder`, if any.
Run resume_whole(const Config& config, const Dataset& data, const std::string& checkpoint,
                 const std::string& folder) {
  const Spilling files(folder);
  LoadedModel loaded = load_model(
      checkpoint, storage_of(config, config.model.kind == "mlp" ? planned_connections(config, data) : 0),
      config.model.weights == "bf16");
  if (!loaded.state)
    throw Error(ErrorKind::kBadData, {.file = checkpoint},
                "found a model without training state, expected a checkpoint");
  check_network(loaded.model.network, config, data, checkpoint);
  const Config stored = stored_config(loaded.model, checkpoint);
  check_config(stored, config, checkpoint);
  if (const std::string identity = data_identity(data.train); identity != loaded.state->data_identity)
    throw Error(
        ErrorKind::kConfig, {.file = checkpoint},
        fmt::format("training data, found hash {}, expected {}; the data has changed since this checkpoint",
                    identity, loaded.state->data_identity));
  check_optimizer_state(loaded.model.network, config, checkpoint);
  check_counters(*loaded.state, config, data, checkpoint);
  Run run{.config = config, .model = std::move(loaded.model), .state = *loaded.state, .spill = {}};
  if (config.parallel.mode == "none") run.config.parallel.mode = stored.parallel.mode;
  if (config.parallel.mode == "none" || config.parallel.virtual_shards == 0)
    run.config.parallel.virtual_shards = stored.parallel.virtual_shards;
  run.model.config = learning_config(run.config);  // train.epochs may differ
  return run;
}

}  // namespace

Run resume_run(const Config& config, const Dataset& data, const std::string& checkpoint, const Share& share) {
  if (spreads_neurons(config)) (void)mode_of(config, share.ranks);
  if (spreads_neurons(config) && share.ranks > 1) {  // the whole lies in files beside the checkpoint
    const std::filesystem::path folder = std::filesystem::absolute(checkpoint).parent_path();
    Run whole = resume_whole(config, data, checkpoint, folder.string());
    return part_of(whole, share);
  }
  const std::string spill = spill_of(config, data);
  Run run = resume_whole(config, data, checkpoint, spill);
  run.spill = spill;
  return run;
}

std::optional<std::string> newest_checkpoint(const std::string& directory,
                                             std::vector<std::string>& skipped) {
  const auto checkpoints = list_checkpoints(directory);  // newest first
  std::string newest_fault;
  for (const CheckpointFile& candidate : checkpoints) {
    std::string fault = candidate.path + ": found a model without training state, expected a checkpoint";
    try {
      if (load_model(candidate.path, Storage::kCompact).state) return candidate.path;
    } catch (const Error& error) {
      fault = error.what();
    }
    if (newest_fault.empty()) newest_fault = fault;
    skipped.push_back(std::move(fault));
  }
  if (!checkpoints.empty())
    throw Error(ErrorKind::kBadData, {.file = directory},
                fmt::format("checkpoints, found {} of which none loads, expected a good one; newest: {}",
                            checkpoints.size(), newest_fault));
  return std::nullopt;
}

}  // namespace tulle
