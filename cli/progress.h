#pragma once

#include <string>

#include "tulle/base/clock.h"
#include "tulle/train/train.h"

namespace tulle::cli {

/// One line on standard error that tells how far something is: redrawn on a terminal, elsewhere written now
/// and then.
class StatusLine {
 public:
  enum class Style { kNone, kLines, kBar };

  /// `style`: auto, bar, line or none, as log.progress says.
  explicit StatusLine(const std::string& style);
  ~StatusLine() { clear(); }

  Style style() const { return style_; }
  /// Whether it is time to draw again: ten times a second on a terminal, else once a minute.
  bool due() const;
  void draw(const std::string& line);
  /// Wipes the redrawn line, if there is one. Call it before anything else is written to standard error.
  void clear();
  /// Draws no sooner than if it had just done so.
  void rest() { since_draw_.restart(); }

 private:
  Style style_;
  Clock since_draw_;
  bool drawn_ = false;
};

/// "1:02:03" or "2:03".
std::string clock_text(double seconds);

/// Shows a training on standard error: one redrawn line on a terminal; elsewhere one line
/// per epoch, and one a minute while an epoch lasts.
class Progress final : public Observer {
 public:
  /// `style`: of the line; `verbose` keeps the line of every finished
  /// epoch.
  Progress(const std::string& style, bool verbose, std::int64_t epochs, std::int64_t first_epoch);

  void on_batch(const Batch& batch) override;
  bool on_epoch(const EpochRecord& record) override;

  void clear() { line_.clear(); }

 private:
  StatusLine line_;
  bool verbose_;
  std::int64_t epochs_, first_epoch_;
  Clock since_start_;
  double best_accuracy_ = -1.0;
  std::string last_figures_;  // accuracy, nnz, speed of the last finished epoch
};

}  // namespace tulle::cli
