#include "tulle/train/journal.h"

#include "tulle/train/evolving.h"

namespace tulle {

Journal::Journal(const Run& run, RunDirectory* directory, Observer& observer)
    : run_(run), observer_(observer) {
  if (directory == nullptr) return;
  metrics_.emplace(directory->path(), run.state.step);
  if (run.config.log.input_links) input_links_.emplace(directory->path(), run.state.step);
  if (run.config.log.tensorboard) tensorboard_.emplace(directory->path() + "/tb", run.state.step);
}

void Journal::tell(const EvolveRecord& record) {
  write(record);
  observer_.on_evolve(record);
}

void Journal::tell(const ImportanceRecord& record) {
  write(record);
  observer_.on_importance(record);
}

void Journal::tell(const CheckpointRecord& record) {
  write(record);
  observer_.on_checkpoint(record);
}

bool Journal::tell(const EpochRecord& record, const std::optional<ParallelRecord>& parallel,
                   bool histograms) {
  write(record);
  if (tensorboard_)
    tensorboard_->write(record, run_.state.explored, histograms ? &run_.model.network : nullptr);
  if (parallel) write(*parallel);
  return observer_.on_epoch(record);
}

void Journal::write_input_links(std::span<const LayerEvolution> events) {
  if (input_links_) tulle::write_input_links(*input_links_, run_.state.step, run_.model.network, events);
}

}  // namespace tulle
