#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "tulle/base/error.h"
#include "tulle/train/train.h"

namespace tulle {

Run resume_run(const Config& config, const Dataset& data, const std::string& checkpoint) {
  LoadedModel loaded = load_model(checkpoint);
  if (!loaded.state)
    throw Error(ErrorKind::kBadData, {.file = checkpoint},
                "found a model without training state, expected a checkpoint");

  const std::vector<std::int32_t> sizes = layer_sizes(config, data);
  std::vector<std::int32_t> stored{loaded.model.network.inputs()};
  for (std::size_t l = 0; l < loaded.model.network.size(); ++l)
    stored.push_back(loaded.model.network.layer(l).outputs());
  if (sizes != stored)
    throw Error(
        ErrorKind::kConfig, {.file = checkpoint},
        fmt::format(
            "layer sizes, found {}, expected {} as the config and the data say; this checkpoint is of "
            "another net",
            fmt::join(stored, "-"), fmt::join(sizes, "-")));
  Config written;
  read_config_text(written, loaded.model.config, checkpoint, "");
  for (const KeyInfo& key : config_keys()) {
    if (!changes_result(key) || key.name == "train.epochs") continue;  // more epochs are more of the same
    const std::string now = config_value(key, config), then = config_value(key, written);
    if (now != then)
      throw Error(ErrorKind::kConfig, {.file = checkpoint},
                  fmt::format("{}, found {}, expected {} as in the config; a training resumes only unchanged",
                              key.name, then, now));
  }
  if (const std::string identity = data_identity(data.train); identity != loaded.state->data_identity)
    throw Error(
        ErrorKind::kConfig, {.file = checkpoint},
        fmt::format("training data, found hash {}, expected {}; the data has changed since this checkpoint",
                    identity, loaded.state->data_identity));
  loaded.model.config = learning_config(config);  // more epochs, perhaps
  return {.config = config, .model = std::move(loaded.model), .state = *loaded.state};
}

std::optional<std::string> newest_checkpoint(const std::string& directory,
                                             std::vector<std::string>& skipped) {
  const auto checkpoints = list_checkpoints(directory);  // newest first
  for (const CheckpointFile& candidate : checkpoints) {
    try {
      load_model(candidate.path);
      return candidate.path;
    } catch (const Error& error) {
      skipped.emplace_back(error.what());
    }
  }
  if (!checkpoints.empty())
    throw Error(ErrorKind::kBadData, {.file = directory},
                fmt::format("checkpoints, found {} of which none loads, expected a good one; newest: {}",
                            checkpoints.size(), skipped.front()));
  return std::nullopt;
}

}  // namespace tulle
