#include "tulle/train/validation.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <utility>

#include "tulle/nn/compaction.h"
#include "tulle/train/build.h"

namespace tulle {

BestModel::BestModel(RunDirectory* directory, Run& run) : directory_(directory) {
  ValidationState& seen = run.state.validation;
  // A later training of the same run may have found a better one, and taken the file away.
  if (directory != nullptr && seen.best_epoch > 0 && !std::filesystem::exists(path(seen.best_epoch)))
    seen.best_epoch = 0;
}

void BestModel::judge(const Evaluation& valid, Run& run) {
  // What is no number is no better than any: it must not stand in the way of later ones.
  const double loss = std::isfinite(valid.loss) ? valid.loss : std::numeric_limits<double>::max();
  ValidationState& seen = run.state.validation;
  const std::int64_t epoch = run.state.epoch + 1;
  if (seen.best_loss_epoch == 0 || loss < seen.best_loss) {
    seen.best_loss = loss;
    seen.best_loss_epoch = epoch;
  }
  const std::int64_t waited = epoch - std::max(seen.best_loss_epoch, seen.reduced_epoch);
  if (run.config.train.schedule == "plateau" && waited >= run.config.train.plateau_patience) {
    seen.rate_factor *= run.config.train.gamma;
    seen.reduced_epoch = epoch;
  }

  if (run.config.checkpoint.best == "last") return;
  const double score = run.config.checkpoint.best == "valid_loss" ? -loss : valid.accuracy;
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

void BestModel::restore(Run& run, bool changed) {
  const std::int64_t best = run.state.validation.best_epoch;
  if (best == 0 || (best == run.state.epoch && !changed)) return;
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

bool patience_is_over(const Run& run, std::int64_t epochs) {
  const std::int64_t patience = run.config.train.early_stopping;
  return patience > 0 && epochs > 0 && epochs - run.state.validation.best_loss_epoch >= patience;
}

}  // namespace tulle
