#include "progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "say.h"

namespace tulle::cli {
namespace {

StatusLine::Style style_of(const std::string& name) {
  if (name == "none") return StatusLine::Style::kNone;
  if (name == "line") return StatusLine::Style::kLines;
  if (name == "bar") return StatusLine::Style::kBar;
  const char* terminal = std::getenv("TERM");
  const bool dumb = terminal == nullptr || std::strcmp(terminal, "dumb") == 0;
  return isatty(STDERR_FILENO) != 0 && !dumb ? StatusLine::Style::kBar : StatusLine::Style::kLines;
}

std::size_t terminal_width() {
  winsize size{};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

std::string figures(const EpochRecord& record) {
  std::string text;
  if (record.valid_accuracy) text += fmt::format("  valid {:.2f} %", 100.0 * *record.valid_accuracy);
  if (record.test_accuracy)
    text += fmt::format("  test {:.2f} %", 100.0 * *record.test_accuracy);
  else if (record.test_loss)
    text += fmt::format("  test loss {:.4f}", *record.test_loss);
  return text + fmt::format("  nnz {} ({:.2f} %)  {:.0f} M conn/s", record.nnz, 100.0 * record.density,
                            record.connections_per_second * 1e-6);
}

}  // namespace

StatusLine::StatusLine(const std::string& style) : style_(style_of(style)) {}

Progress::Progress(const std::string& style, bool verbose, std::int64_t epochs, std::int64_t first_epoch)
    : line_(style), verbose_(verbose), epochs_(epochs), first_epoch_(first_epoch) {}

void Progress::on_batch(const Batch& batch) {
  if (!line_.due()) return;
  constexpr int kBar = 20;
  const double part = static_cast<double>(batch.batch) / static_cast<double>(batch.batches);
  const auto filled = static_cast<std::size_t>(std::lround(kBar * part));
  std::string bar(filled, '=');
  if (filled < kBar) bar += '>';
  bar.resize(kBar, ' ');
  const double done = static_cast<double>(batch.epoch - 1 - first_epoch_) + part;
  const double left = static_cast<double>(epochs_ - first_epoch_) - done;
  line_.draw(fmt::format("epoch {:>3}/{} [{}] loss {:.4f}{}  ETA {}", batch.epoch, epochs_, bar, batch.loss,
                         last_figures_, clock_text(done > 0.0 ? since_start_.seconds() / done * left : 0.0)));
}

bool Progress::on_epoch(const EpochRecord& record) {
  last_figures_ = figures(record);
  if (line_.style() == StatusLine::Style::kNone) return true;
  const double accuracy = record.valid_accuracy.value_or(record.test_accuracy.value_or(0.0));
  const bool better = accuracy > best_accuracy_;
  best_accuracy_ = std::max(best_accuracy_, accuracy);
  if (line_.style() == StatusLine::Style::kBar && !verbose_ && !better) return true;
  line_.clear();
  line_.rest();
  say(fmt::format("epoch {:>3}/{}  loss {:.4f}{}  {:.2f} s\n", record.epoch, epochs_, record.train_loss,
                  last_figures_, record.seconds));
  return true;
}

std::string clock_text(double seconds) {
  const auto whole = static_cast<std::int64_t>(seconds);
  return whole >= 3600 ? fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60)
                       : fmt::format("{}:{:02}", whole / 60, whole % 60);
}

bool StatusLine::due() const {
  return style_ != Style::kNone && since_draw_.seconds() >= (style_ == Style::kBar ? 0.1 : 60.0);
}

void StatusLine::draw(const std::string& line) {
  since_draw_.restart();
  if (style_ == Style::kLines) return say(fmt::format("{}\n", line));
  say(fmt::format("\r{}\x1b[K", line.substr(0, terminal_width() - 1)));
  drawn_ = true;
}

void StatusLine::clear() {
  if (drawn_) say("\r\x1b[K");
  drawn_ = false;
}

}  // namespace tulle::cli
