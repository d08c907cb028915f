#include <fmt/format.h>

#include "tulle/report/chart.h"
#include "tulle/report/escape.h"
#include "tulle/report/result.h"
#include "tulle/report/sections.h"

namespace tulle {

std::string origin_table(const ReportRun& run) {
  if (run.seeds.empty() || run.seeds.front().start.version.empty()) return "";
  const StartRecord& start = run.seeds.front().start;
  std::string rows;
  const auto add = [&](const char* name, const std::string& value) {
    if (!value.empty()) rows += fmt::format("<tr><th>{}</th><td>{}</td></tr>", name, escape_html(value));
  };
  add("command", start.command);
  add("started", start.time);
  add("machine", start.machine);
  add("tulle", fmt::format("{}{}{}", start.version, start.isa.empty() ? "" : ", " + start.isa,
                           start.threads > 0
                               ? fmt::format(", {} thread{}", start.threads, start.threads == 1 ? "" : "s")
                               : ""));
  if (start.ranks > 1) add("ranks", std::to_string(start.ranks));
  std::string seeds;
  for (const RunRecord& seed : run.seeds)
    seeds += fmt::format("{}{}", seeds.empty() ? "" : ", ", seed.start.seed);
  add(run.seeds.size() == 1 ? "seed" : "seeds", seeds);
  for (const DataFile& file : start.files)
    add("data file", fmt::format("{} ({})", file.path, bytes_text(file.bytes)));
  add("training data, hash", start.data);
  add("model file", run.model_bytes);
  add("model file, xxh128", run.model_hash);
  return fmt::format(
      "<div class=\"card\"><h3>Where it comes from</h3><table "
      "class=\"origin\"><tbody>{}</tbody></table></div>\n",
      rows);
}

std::string recovery_cards(const RecoveryRecord& recovery) {
  std::string html;
  if (!recovery.figures.empty()) {
    html += "<div class=\"card\"><h3>What was found</h3><table class=\"origin\"><tbody>";
    for (const auto& [name, value] : recovery.figures)
      html += fmt::format("<tr><th>{}</th><td>{}</td></tr>", escape_html(name), escape_html(value));
    html += "</tbody></table></div>\n";
  }
  if (!recovery.psnr.empty()) {
    Chart chart{.title = "PSNR", .unit = "dB", .x_label = "step", .series = {{.name = "PSNR"}}};
    for (std::size_t step = 0; step < recovery.psnr.size(); ++step)
      chart.series[0].points.push_back({static_cast<double>(step + 1), recovery.psnr[step]});
    html += chart_figure(chart);
  }
  const auto picture = [&](const char* title, const std::string& png) {
    if (!png.empty())
      html += fmt::format("<figure class=\"card picture\"><figcaption><h3>{}</h3></figcaption>{}</figure>\n",
                          title, inline_png(png, title));
  };
  picture("Original", recovery.original);
  picture("Recovered", recovery.reconstruction);
  for (const PhaseDiagram& diagram : recovery.diagrams) html += phase_figure(diagram);
  return html;
}

}  // namespace tulle
