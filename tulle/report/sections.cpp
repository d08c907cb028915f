#include "tulle/report/sections.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "tulle/report/axis.h"
#include "tulle/report/escape.h"

namespace tulle {
namespace {

std::string percent(double share) { return fmt::format("{:.2f}\u202f%", 100.0 * share); }

std::string tile(const std::string& name, const std::string& value, const std::string& below) {
  return fmt::format("<div class=\"tile\"><dt>{}</dt><dd>{}<small>{}</small></dd></div>", name, value, below);
}

// The measure shown first: accuracy of the most independent split there is, else its loss.
std::string quality_tile(const std::vector<EpochRecord>& epochs) {
  struct Measure {
    const char* name;
    std::optional<double> EpochRecord::*value;
    bool is_share;
  };
  constexpr Measure kMeasures[] = {{"Test accuracy", &EpochRecord::test_accuracy, true},
                                   {"Validation accuracy", &EpochRecord::valid_accuracy, true},
                                   {"Test loss", &EpochRecord::test_loss, false},
                                   {"Validation loss", &EpochRecord::valid_loss, false}};
  for (const Measure& measure : kMeasures) {
    if (!(epochs.back().*measure.value)) continue;
    const auto text = [&](double x) { return measure.is_share ? percent(x) : fmt::format("{:.4g}", x); };
    const EpochRecord* best = nullptr;
    for (const EpochRecord& epoch : epochs) {
      const double value = (epoch.*measure.value).value_or(std::nan(""));
      if (!std::isfinite(value)) continue;
      if (best == nullptr ||
          (measure.is_share ? value > *(best->*measure.value) : value < *(best->*measure.value)))
        best = &epoch;
    }
    const double last = *(epochs.back().*measure.value);
    return tile(measure.name, std::isfinite(last) ? text(last) : "-",
                best == nullptr
                    ? ""
                    : fmt::format("best {} in epoch {}", text(*(best->*measure.value)), best->epoch));
  }
  return tile("Training loss", fmt::format("{:.4g}", epochs.back().train_loss), "no test or validation data");
}

std::string rate(double per_second) {
  if (!std::isfinite(per_second)) return "-";
  if (per_second >= 1e9) return fmt::format("{:.1f} G/s", per_second * 1e-9);
  return fmt::format("{:.1f} M/s", per_second * 1e-6);
}

std::string bar(double share) {
  return fmt::format("<td class=\"meter\"><i style=\"width:{:.1f}%\"></i></td>",
                     std::isfinite(share) ? 100.0 * std::clamp(share, 0.0, 1.0) : 0.0);
}

}  // namespace

std::string headline(const RunRecord& run) {
  std::string html = "<dl class=\"tiles\">";
  if (!run.epochs.empty()) html += quality_tile(run.epochs);
  const std::int64_t nnz = run.epochs.empty() ? run.start.nnz : run.epochs.back().nnz;
  if (run.start.dense > 0)
    html += tile("Connections", grouped(nnz),
                 fmt::format("{} of {} possible",
                             percent(static_cast<double>(nnz) / static_cast<double>(run.start.dense)),
                             grouped(run.start.dense)));
  if (!run.epochs.empty()) {
    double seconds = 0.0, fastest = 0.0;
    for (const EpochRecord& epoch : run.epochs) {
      seconds += epoch.seconds;
      fastest = std::max(fastest, epoch.connections_per_second);
    }
    html += tile("Training time", duration(seconds),
                 fmt::format("{} an epoch", duration(seconds / static_cast<double>(run.epochs.size()))));
    html += tile("Speed", rate(fastest), "connections \u00d7 samples, fastest epoch");
  }
  return html + "</dl>\n";
}

std::string result_table(const ResultRecord& result) {
  if (result.rows.empty()) return "";
  const bool compared = std::any_of(result.rows.begin(), result.rows.end(),
                                    [](const ResultRow& row) { return !row.dense_text.empty(); });
  std::string html = fmt::format(
      "<div class=\"card tall\"><h3>{}</h3><table class=\"result\"><thead><tr><th></th><th>sparse</th>",
      compared ? "Sparse beside dense" : "What it learnt and cost");
  if (compared) html += "<th>dense</th><th>factor</th>";
  html += "</tr></thead><tbody>";
  for (const ResultRow& row : result.rows) {
    html += fmt::format("<tr><th>{}</th><td>{}</td>", escape_html(row.name), escape_html(row.sparse_text));
    if (compared)
      html += fmt::format("<td>{}</td><td class=\"factor\">{}</td>", escape_html(row.dense_text),
                          escape_html(row.factor));
    html += "</tr>";
  }
  return html + fmt::format("</tbody></table><p class=\"quiet\">{}</p></div>\n", escape_html(result.note));
}

std::string phase_table(const RunRecord& run) {
  if (run.epochs.empty()) return "";
  constexpr std::pair<const char*, double PhaseSeconds::*> kPhases[] = {
      {"data", &PhaseSeconds::data},         {"forward", &PhaseSeconds::forward},
      {"backward", &PhaseSeconds::backward}, {"update", &PhaseSeconds::update},
      {"evolve", &PhaseSeconds::evolve},     {"evaluate", &PhaseSeconds::eval}};
  const auto total = [&](double PhaseSeconds::*phase) {
    double seconds = 0.0;
    for (const EpochRecord& epoch : run.epochs) seconds += epoch.phases.*phase;
    return seconds;
  };
  double all = 0.0, longest = 0.0;
  for (const auto& [name, phase] : kPhases) all += total(phase), longest = std::max(longest, total(phase));
  std::string html = "<div class=\"card\"><h3>Time by phase</h3><table class=\"bars\"><tbody>";
  for (const auto& [name, phase] : kPhases) {
    const double seconds = total(phase);
    html += fmt::format("<tr><th>{}</th>{}<td>{}</td><td>{:.1f}\u202f%</td></tr>", name,
                        bar(longest > 0.0 ? seconds / longest : 0.0), duration(seconds),
                        all > 0.0 ? 100.0 * seconds / all : 0.0);
  }
  return html +
         fmt::format(
             "<tr class=\"sum\"><th>all</th><td></td><td>{}</td><td></td></tr></tbody></table></div>\n",
             duration(all));
}

std::string layer_table(const RunRecord& run) {
  if (run.epochs.empty() || run.epochs.back().layer_density.empty()) return "";
  std::map<int, EvolveRecord> sums;
  for (const EvolveRecord& event : run.evolutions) {
    sums[event.layer].dropped += event.dropped;
    sums[event.layer].grown += event.grown;
  }
  const std::vector<double>& density = run.epochs.back().layer_density;
  std::string html =
      "<div class=\"card\"><h3>Layers <small>at the end</small></h3><table "
      "class=\"bars\"><thead><tr><th>layer</th>"
      "<th></th><th>density</th><th>dropped</th><th>grown</th></tr></thead><tbody>";
  for (std::size_t layer = 0; layer < density.size(); ++layer) {
    const EvolveRecord& sum = sums[static_cast<int>(layer)];
    html += fmt::format("<tr><th>{}</th>{}<td>{}</td><td>{}</td><td>{}</td></tr>", layer, bar(density[layer]),
                        percent(density[layer]), grouped(sum.dropped), grouped(sum.grown));
  }
  html += "</tbody></table>";
  if (run.stable)
    html += fmt::format(
        "<p class=\"quiet\">The topology stays after epoch {}: {} of the connections outlived the "
        "last {} events.</p>",
        run.stable->epoch, percent(run.stable->survivors), run.stable->events);
  return html + "</div>\n";
}

}  // namespace tulle
