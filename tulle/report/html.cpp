#include "tulle/report/html.h"

#include <fmt/format.h>

#include <algorithm>

#include "tulle/report/axis.h"
#include "tulle/report/curves.h"
#include "tulle/report/escape.h"
#include "tulle/report/heat_map.h"
#include "tulle/report/page_data.h"
#include "tulle/report/page_script.h"
#include "tulle/report/page_style.h"
#include "tulle/report/sections.h"

namespace tulle {
namespace {

constexpr std::size_t kMostBytes = 450'000;  // of a page with the details of several runs

std::string section(const std::string& title, const std::string& cards, const char* layout = "cards") {
  if (cards.empty()) return "";
  return fmt::format("<section><h2>{}</h2><div class=\"{}\">{}</div></section>\n", title, layout, cards);
}

std::string state_of(const RunRecord& run) {
  if (run.epochs.empty()) return "No epoch is finished yet.";
  const EpochRecord& last = run.epochs.back();
  const std::string done = fmt::format("{} {}, {} steps", grouped(last.epoch),
                                       last.epoch == 1 ? "epoch" : "epochs", grouped(last.step));
  if (!run.end) return fmt::format("{}; not finished yet.", done);
  if (run.end->reason == "finished") return fmt::format("Trained for {}.", done);
  return fmt::format("{}; ended: {}.", done, escape_html(run.end->reason));
}

std::string state_of(const ReportRun& run) {
  if (run.seeds.empty()) return run.recovery ? "Recovery of sparse nets." : "No epoch is finished yet.";
  if (run.seeds.size() == 1) return state_of(run.seeds.front());
  return fmt::format("{} seeds; lines are means, bands reach from the lowest to the highest.",
                     run.seeds.size());
}

std::string summary_of(const std::vector<ReportRun>& runs) {
  if (runs.size() == 1) return state_of(runs.front());
  const bool has_seeds =
      std::any_of(runs.begin(), runs.end(), [](const ReportRun& run) { return run.seeds.size() > 1; });
  return fmt::format(
      "{} runs beside each other.{}", runs.size(),
      has_seeds ? " Of runs with several seeds lines are means, bands reach from the lowest to the highest."
                : "");
}

std::string machine_line(const StartRecord& start) {
  std::string line = start.version.empty() ? "tulle" : fmt::format("tulle {}", escape_html(start.version));
  if (!start.isa.empty()) line += fmt::format(" · {}", escape_html(start.isa));
  if (start.threads > 0) line += fmt::format(" · {} thread{}", start.threads, start.threads == 1 ? "" : "s");
  if (start.ranks > 1) line += fmt::format(" · {} ranks", start.ranks);
  line += fmt::format(" · seed {}", start.seed);
  if (!start.time.empty()) line += fmt::format(" · started {}", escape_html(start.time));
  return line;
}

// What only one training has, seen from its first seed.
std::string details(const ReportRun& run) {
  if (run.seeds.empty()) return "";
  const RunRecord& first = run.seeds.front();
  std::string html = section(
      "Cost", (first.result ? result_table(*first.result) : "") + phase_table(first) + layer_table(first));
  html += section("Inputs", first.inputs ? inputs_figure(*first.inputs) : "");
  html += section("Layers", structure_figures(run.structure), "cards three");
  html += section("Mixing", matrix_gallery(run.mixing), "cards one");
  if (first.result) html += section("Classes", confusion_section(*first.result));
  html += section("Samples", sample_gallery(run.samples), "cards one");
  std::string config = origin_table(run);
  if (!first.config.empty())
    config += fmt::format("<div class=\"card\"><pre>{}</pre></div>", escape_html(first.config));
  return html + section("Configuration", config, "cards one");
}

// The details of several runs, each folded away under its name, as long as there is room for them.
std::string folded_details(const std::vector<ReportRun>& runs, std::size_t room) {
  std::string html;
  for (const ReportRun& run : runs) {
    const std::string name = escape_html(run.name);
    const std::string inside =
        details(run) + (run.recovery ? section("Recovery", recovery_cards(*run.recovery)) : "");
    if (html.size() + inside.size() > room)
      html += fmt::format(
          "<p class=\"quiet\">{}: its details are left out here, a report of it alone has them.</p>\n", name);
    else if (!inside.empty())
      html += fmt::format(
          "<details{}><summary>{} <small>{}</small></summary>{}</details>\n",
          run.seeds.empty() ? " open" : "", name,
          run.seeds.size() > 1 ? fmt::format("the first of {} seeds", run.seeds.size()) : state_of(run),
          inside);
  }
  return html.empty() ? "" : fmt::format("<section><h2>Each run</h2></section>{}", html);
}

// The policy lets the page fetch and run nothing but its own script, whatever a name may have smuggled in.
std::string head(const std::string& title, const PageOptions& options) {
  return fmt::format(
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
      "img-src data:; script-src '{}'{}\">"
      "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">"
      "<meta name=\"color-scheme\" content=\"light dark\">{}<title>{} · "
      "tulle</title><style>{}</style></head>\n",
      page_script_hash(), options.live ? "; connect-src 'self'" : "",
      options.live ? "<noscript><meta http-equiv=\"refresh\" content=\"5\"></noscript>" : "", title,
      page_style());
}

}  // namespace

std::string html_report(const std::vector<ReportRun>& runs, const PageOptions& options) {
  std::string name = runs.empty() ? "run" : runs.front().name;
  for (std::size_t i = 1; i < runs.size(); ++i) name += (i + 1 < runs.size() ? ", " : " and ") + runs[i].name;
  name = escape_html(name);
  std::string html = head(name, options);
  html +=
      fmt::format("<body{}><main><header><h1>{}</h1><p>{}</p></header>\n", options.live ? " data-live" : "",
                  name, runs.empty() ? "No epoch is finished yet." : summary_of(runs));
  const bool is_alone = runs.size() == 1 && runs.front().seeds.size() == 1;
  if (is_alone)
    html += headline(runs.front().seeds.front());
  else
    html += section("Results", comparison_table(runs), "cards one");
  html += section("Epoch by epoch", learning_figures(runs) + density_figures(runs) + evolution_figures(runs));
  const std::string data = page_data(runs);
  if (runs.size() == 1) {
    if (runs.front().recovery) html += section("Recovery", recovery_cards(*runs.front().recovery));
    html += details(runs.front());
  } else {
    html += folded_details(runs, kMostBytes - std::min(kMostBytes, html.size() + data.size()));
  }
  html += fmt::format("{}<footer>{}</footer>\n</main>", data,
                      is_alone ? machine_line(runs.front().seeds.front().start) : "tulle");
  if (options.live || html.find("data-frame") != std::string::npos)  // something for it to add to
    html += fmt::format("<script>{}</script>", page_script());
  return html + "</body></html>\n";
}

}  // namespace tulle
