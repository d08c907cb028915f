#pragma once

#include <string>

#include "tulle/base/clock.h"
#include "tulle/train/train.h"

namespace tulle::cli {

/// Shows a training on standard error: one redrawn line on a terminal; elsewhere one line
/// per epoch, and one a minute while an epoch lasts.
class Progress final : public Observer {
 public:
  enum class Style { kNone, kLines, kBar };

  /// `style`: auto, bar, line or none, as log.progress says; `verbose` keeps the line of every finished
  /// epoch.
  Progress(const std::string& style, bool verbose, std::int64_t epochs, std::int64_t first_epoch);
  ~Progress() override;

  void on_batch(const Batch& batch) override;
  bool on_epoch(const EpochRecord& record) override;

  /// Wipes the redrawn line, if there is one. Call it before anything else is written to standard error.
  void clear();

 private:
  void draw(const std::string& line);
  std::string eta(double epochs_left) const;

  Style style_;
  bool verbose_;
  std::int64_t epochs_, first_epoch_;
  Clock since_start_, since_draw_;
  double best_accuracy_ = -1.0;
  std::string last_figures_;  // accuracy, nnz, speed of the last finished epoch
  bool drawn_ = false;
};

}  // namespace tulle::cli
