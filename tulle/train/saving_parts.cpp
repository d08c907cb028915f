#include "tulle/train/saving_parts.h"

#include <utility>
#include <vector>

#include "tulle/base/spill.h"
#include "tulle/checkpoint/model_parts.h"
#include "tulle/nn/parts.h"

namespace tulle {
namespace {

std::optional<Network> whole_network(Run& run, RunDirectory* directory) {
  const Spilling files(directory == nullptr ? "" : directory->path());
  return whole_of(run.model.network);
}

}  // namespace

void save_parts_of(Run& run, RunDirectory* directory, CheckpointWriter* checkpoints) {
  std::vector<CellSet> explored;
  std::swap(run.state.explored, explored);
  const auto write = [&](const std::string& path) {
    return save_parts(path, run.model, &run.state,
                      directory != nullptr ? directory->files() : real_file_ops());
  };
  const bool saved = checkpoints != nullptr ? checkpoints->save(write) : write("").has_value();
  if (!saved) {
    if (std::optional<Network> whole = whole_network(run, directory)) {
      std::swap(run.model.network, *whole);
      checkpoints->save();
      std::swap(run.model.network, *whole);
    }
  }
  std::swap(run.state.explored, explored);
}

bool bring_together(Run& run, RunDirectory* directory) {
  std::optional<Network> whole = whole_network(run, directory);
  run.state.explored.clear();
  if (whole) run.model.network = std::move(*whole);
  return whole.has_value();
}

}  // namespace tulle
