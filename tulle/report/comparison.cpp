#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "tulle/report/axis.h"
#include "tulle/report/escape.h"
#include "tulle/report/sections.h"

namespace tulle {
namespace {

enum class Kind { kShare, kLoss, kCount, kSeconds, kBytes };

// A column, by the name its row has in the result table; `last` tells it of a run that is not finished.
struct Measure {
  const char* name;
  Kind kind;
  std::optional<double> (*last)(const RunRecord&);
};

template <auto Value>
std::optional<double> of_last_epoch(const RunRecord& run) {
  return run.epochs.empty() ? std::nullopt : std::optional<double>(run.epochs.back().*Value);
}

std::optional<double> test_or_train_loss(const RunRecord& run) {
  if (run.epochs.empty()) return std::nullopt;
  return run.epochs.back().test_loss.value_or(run.epochs.back().train_loss);
}

std::optional<double> test_accuracy(const RunRecord& run) {
  return run.epochs.empty() ? std::nullopt : run.epochs.back().test_accuracy;
}

std::optional<double> seconds_so_far(const RunRecord& run) {
  double seconds = 0.0;
  for (const EpochRecord& epoch : run.epochs) seconds += epoch.seconds;
  return seconds;
}

std::optional<double> unknown(const RunRecord&) { return std::nullopt; }

constexpr Measure kMeasures[] = {{"test accuracy", Kind::kShare, test_accuracy},
                                 {"loss", Kind::kLoss, test_or_train_loss},
                                 {"connections", Kind::kCount, of_last_epoch<&EpochRecord::nnz>},
                                 {"density", Kind::kShare, of_last_epoch<&EpochRecord::density>},
                                 {"model file", Kind::kBytes, unknown},
                                 {"peak memory", Kind::kBytes, unknown},
                                 {"training seconds", Kind::kSeconds, seconds_so_far}};

struct SparseAndDense {
  std::optional<double> sparse, dense;
};

SparseAndDense pair_of(const RunRecord& run, const Measure& measure) {
  if (run.result)
    for (const ResultRow& row : run.result->rows)
      if (row.name == measure.name) return {row.sparse, row.dense};
  return {run.result ? std::nullopt : measure.last(run), std::nullopt};
}

std::string text_of(double value, Kind kind) {
  if (!std::isfinite(value)) return "-";
  switch (kind) {
    case Kind::kShare:
      return fmt::format("{:.2f}\u202f%", 100.0 * value);
    case Kind::kLoss:
      return fmt::format("{:.4f}", value);
    case Kind::kCount:
      return grouped(std::llround(std::min(value, 1e18)));
    case Kind::kSeconds:
      return duration(value);
    case Kind::kBytes:
      return value < 1e6   ? fmt::format("{:.1f} kB", 1e-3 * value)
             : value < 1e9 ? fmt::format("{:.2f} MB", 1e-6 * value)
                           : fmt::format("{:.2f} GB", 1e-9 * value);
  }
  return "";
}

// Mean of what is known, with its deviation where several differ: "90.57 % ± 0.12".
std::string cell_of(const std::vector<double>& values, Kind kind) {
  if (values.empty()) return "";
  const auto count = static_cast<double>(values.size());
  double mean = 0.0, squares = 0.0;
  for (const double value : values) mean += value / count;
  for (const double value : values) squares += (value - mean) * (value - mean);
  const double deviation = values.size() > 1 ? std::sqrt(squares / (count - 1.0)) : 0.0;
  const std::string text = text_of(mean, kind);
  return deviation > 0.0 ? fmt::format("{} <small>\u00b1\u202f{}</small>", text, text_of(deviation, kind))
                         : text;
}

std::string row_of(const std::string& head, const std::vector<RunRecord>& seeds,
                   const std::vector<bool>& shown, bool is_mean = false) {
  std::string html = fmt::format("<tr{}><th>{}</th>", is_mean ? " class=\"mean\"" : "", head);
  for (std::size_t m = 0; m < std::size(kMeasures); ++m) {
    if (!shown[m]) continue;
    std::vector<double> sparse, dense;
    for (const RunRecord& seed : seeds) {
      const SparseAndDense values = pair_of(seed, kMeasures[m]);
      if (values.sparse) sparse.push_back(*values.sparse);
      if (values.dense) dense.push_back(*values.dense);
    }
    html += fmt::format("<td>{}", cell_of(sparse, kMeasures[m].kind));
    if (!dense.empty())
      html += fmt::format("<small class=\"dense\">dense {}</small>", cell_of(dense, kMeasures[m].kind));
    html += "</td>";
  }
  return html + "</tr>";
}

}  // namespace

std::string comparison_table(const std::vector<ReportRun>& runs) {
  std::vector<bool> shown;
  std::string head;
  for (const Measure& measure : kMeasures) {
    bool known = false;
    for (const ReportRun& run : runs)
      known = known || std::any_of(run.seeds.begin(), run.seeds.end(), [&](const RunRecord& seed) {
                return pair_of(seed, measure).sparse.has_value();
              });
    shown.push_back(known);
    if (known) head += fmt::format("<th>{}</th>", measure.name);
  }
  if (head.empty()) return "";
  std::string rows;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const ReportRun& run = runs[i];
    if (run.seeds.empty()) continue;
    if (runs.size() == 1)
      for (const RunRecord& seed : run.seeds)
        rows += row_of(fmt::format("seed {}", seed.start.seed), {seed}, shown);
    const std::string several =
        run.seeds.size() > 1 ? fmt::format(" <small>{} seeds</small>", run.seeds.size()) : "";
    rows += row_of(runs.size() == 1
                       ? fmt::format("mean{}", several)
                       : fmt::format("<i class=\"b{}\"></i>{}{}", i % 8, escape_html(run.name), several),
                   run.seeds, shown, runs.size() == 1);
  }
  return fmt::format(
      "<div class=\"card\"><div class=\"wide\"><table "
      "class=\"compare\"><thead><tr><th></th>{}</tr></thead><tbody>{}"
      "</tbody></table></div></div>\n",
      head, rows);
}

}  // namespace tulle
