#include "tulle/report/html.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <utility>

#include "tulle/report/axis.h"
#include "tulle/report/chart.h"
#include "tulle/report/escape.h"
#include "tulle/report/heat_map.h"
#include "tulle/report/page_style.h"
#include "tulle/report/sections.h"

namespace tulle {
namespace {

// The three splits keep their colours in every chart.
enum Color { kTrain = 0, kTest = 1, kValid = 2, kOther = 3 };

// `value(epoch)` of every epoch: a number, or nothing where there is none.
template <class Value>
Series by_epoch(const RunRecord& run, std::string name, int color, Value value) {
  Series series{.name = std::move(name), .color = color, .points = {}};
  for (const EpochRecord& epoch : run.epochs) {
    const std::optional<double> y = value(epoch);
    series.points.push_back({static_cast<double>(epoch.epoch), y.value_or(std::nan(""))});
  }
  return series;
}

bool any_known(const Series& series) {
  return std::any_of(series.points.begin(), series.points.end(),
                     [](const Point& point) { return std::isfinite(point.y); });
}

std::string figure_of(Chart chart, std::vector<Series> series) {
  for (Series& one : series)
    if (any_known(one)) chart.series.push_back(std::move(one));
  return chart_figure(chart);
}

std::string loss_figure(const RunRecord& run) {
  return figure_of({.title = "Loss", .unit = "", .x_label = "epoch", .series = {}},
                   {by_epoch(run, "train", kTrain, [](const EpochRecord& e) { return e.train_loss; }),
                    by_epoch(run, "validation", kValid, [](const EpochRecord& e) { return e.valid_loss; }),
                    by_epoch(run, "test", kTest, [](const EpochRecord& e) { return e.test_loss; })});
}

// "" if the run tells no accuracy at all: it learns numbers, not classes.
std::string accuracy_figure(const RunRecord& run) {
  const auto has_accuracy = [](const EpochRecord& e) {
    return e.train_accuracy || e.valid_accuracy || e.test_accuracy;
  };
  if (std::none_of(run.epochs.begin(), run.epochs.end(), has_accuracy)) return "";
  const auto percent = [&](const char* name, int color, std::optional<double> EpochRecord::*share) {
    return by_epoch(run, name, color, [share](const EpochRecord& e) {
      return e.*share ? std::optional(100.0 * *(e.*share)) : std::nullopt;
    });
  };
  return figure_of({.title = "Accuracy", .unit = "%", .x_label = "epoch", .series = {}},
                   {percent("train", kTrain, &EpochRecord::train_accuracy),
                    percent("validation", kValid, &EpochRecord::valid_accuracy),
                    percent("test", kTest, &EpochRecord::test_accuracy)});
}

std::string rate_figure(const RunRecord& run) {
  return figure_of(
      {.title = "Learning rate", .unit = "", .x_label = "epoch", .series = {}},
      {by_epoch(run, "learning rate", kOther, [](const EpochRecord& e) { return e.learning_rate; })});
}

// Density of each layer over time; "" if it never changes, for then the table of layers tells it all.
std::string density_figure(const RunRecord& run) {
  const auto changes = [&](const EpochRecord& e) {
    return e.layer_density != run.epochs.front().layer_density;
  };
  if (std::none_of(run.epochs.begin(), run.epochs.end(), changes)) return "";
  std::vector<Series> layers;
  for (std::size_t layer = 0; layer < run.epochs.back().layer_density.size(); ++layer)
    layers.push_back(
        by_epoch(run, fmt::format("layer {}", layer), static_cast<int>(layer), [layer](const EpochRecord& e) {
          return layer < e.layer_density.size() ? std::optional(100.0 * e.layer_density[layer])
                                                : std::nullopt;
        }));
  return figure_of({.title = "Density of each layer", .unit = "%", .x_label = "epoch", .series = {}},
                   std::move(layers));
}

std::string topology_figure(const RunRecord& run) {
  if (run.evolutions.empty()) return "";
  std::map<int, std::pair<double, double>> sums;  // of all layers, by epoch
  for (const EpochRecord& epoch : run.epochs) sums[epoch.epoch] = {};
  for (const EvolveRecord& event : run.evolutions) {
    sums[event.epoch].first += static_cast<double>(event.grown);
    sums[event.epoch].second -= static_cast<double>(event.dropped);
  }
  Series grown{.name = "grown", .color = kValid, .points = {}};
  Series dropped{.name = "dropped", .color = kTest, .points = {}};
  for (const auto& [epoch, sum] : sums) {
    grown.points.push_back({static_cast<double>(epoch), sum.first});
    dropped.points.push_back({static_cast<double>(epoch), sum.second});
  }
  return chart_figure({.title = "Dropped and grown",
                       .unit = "connections",
                       .x_label = "epoch",
                       .series = {std::move(grown), std::move(dropped)},
                       .bars = true,
                       .mirrored = true});
}

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

std::string machine_line(const StartRecord& start) {
  std::string line = start.version.empty() ? "tulle" : fmt::format("tulle {}", escape_html(start.version));
  if (!start.isa.empty()) line += fmt::format(" · {}", escape_html(start.isa));
  if (start.threads > 0) line += fmt::format(" · {} thread{}", start.threads, start.threads == 1 ? "" : "s");
  if (start.ranks > 1) line += fmt::format(" · {} ranks", start.ranks);
  line += fmt::format(" · seed {}", start.seed);
  if (!start.time.empty()) line += fmt::format(" · started {}", escape_html(start.time));
  return line;
}

// The last part of the run's folder; a path may end in a slash.
std::string run_name(const std::string& directory) {
  const std::size_t end = directory.find_last_not_of('/');
  if (end == std::string::npos) return "run";
  return std::filesystem::path(directory.substr(0, end + 1)).filename().string();
}

}  // namespace

std::string html_report(const RunRecord& run) {
  const std::string name = escape_html(run_name(run.directory));
  // The policy lets the page fetch and run nothing, whatever a name may have smuggled in.
  std::string html = fmt::format(
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src "
      "'unsafe-inline'\">"
      "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">"
      "<meta name=\"color-scheme\" content=\"light dark\"><title>{} · tulle</title><style>{}</style></head>\n"
      "<body><main><header><h1>{}</h1><p>{}</p></header>\n",
      name, page_style(), name, state_of(run));
  html += headline(run);
  html += section("Result", (run.result ? result_table(*run.result) : "") + phase_table(run));
  if (!run.epochs.empty())
    html += section("Training", loss_figure(run) + accuracy_figure(run) + rate_figure(run) +
                                    density_figure(run) + layer_table(run));
  html += section("Connections", (run.inputs ? inputs_figure(*run.inputs) : "") + topology_figure(run));
  if (run.result) html += section("Classes", confusion_section(*run.result));
  if (!run.config.empty())
    html +=
        section("Configuration",
                fmt::format("<div class=\"card\"><pre>{}</pre></div>", escape_html(run.config)), "cards one");
  return html + fmt::format("<footer>{}</footer>\n</main></body></html>\n", machine_line(run.start));
}

}  // namespace tulle
