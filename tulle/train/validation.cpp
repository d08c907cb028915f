#include "tulle/train/validation.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <utility>

#include "tulle/nn/compaction.h"
#include "tulle/train/build.h"

namespace tulle {

void BestModel::judge(const Evaluation& valid, Run& run) {
  ValidationState& seen = run.state.validation;
  const std::int64_t epoch = run.state.epoch + 1;
  if (seen.best_loss_epoch == 0 || valid.loss < seen.best_loss) {
    seen.best_loss = valid.loss;
    seen.best_loss_epoch = epoch;
  }
  const std::int64_t waited = epoch - std::max(seen.best_loss_epoch, seen.reduced_epoch);
  if (run.config.train.schedule == "plateau" && waited >= run.config.train.plateau_patience) {
    seen.rate_factor *= run.config.train.gamma;
    seen.reduced_epoch = epoch;
  }

  if (run.config.checkpoint.best == "last") return;
  const double score = run.config.checkpoint.best == "valid_loss" ? -valid.loss : valid.accuracy;
  if (seen.best_epoch > 0 && !(score > seen.best_score)) return;
  const std::int64_t before = std::exchange(seen.best_epoch, epoch);
  seen.best_score = score;
  if (directory_ == nullptr) {
    network_ = copy_of(run.model.network);
    return;
  }
  save_model(path(epoch), run.model, nullptr, directory_->files());
  std::error_code ignored;
  if (before > 0) std::filesystem::remove(path(before), ignored);
}

void BestModel::restore(Run& run) {
  const std::int64_t best = run.state.validation.best_epoch;
  if (best == 0 || best == run.state.epoch) return;
  const Storage storage = is_compact(run.model.network) ? Storage::kCompact : Storage::kFast;
  if (network_)
    run.model.network = std::move(*network_);
  else if (directory_ != nullptr)
    run.model.network =
        std::move(load_model(path(best), storage, run.config.model.weights == "bf16").model.network);
}

std::string BestModel::path(std::int64_t epoch) const {
  return fmt::format("{}/best-{:06}.safetensors", directory_->path(), epoch);
}

bool patience_is_over(const Run& run) {
  const std::int64_t patience = run.config.train.early_stopping;
  return patience > 0 && run.state.epoch > 0 &&
         run.state.epoch - run.state.validation.best_loss_epoch >= patience;
}

}  // namespace tulle
