#include "tulle/report/curves.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <optional>
#include <utility>

#include "tulle/report/chart.h"

namespace tulle {
namespace {

using EpochMeasure = std::function<std::optional<double>(const EpochRecord&)>;

// The three splits keep their colours in every chart of one run; several runs have one each.
enum Color { kTrain = 0, kTest = 1, kValid = 2, kOther = 3 };

struct SplitMeasure {
  const char* name;
  Color color;
  EpochMeasure value;
};

EpochMeasure number(std::optional<double> EpochRecord::*value) {
  return [value](const EpochRecord& e) { return e.*value; };
}

EpochMeasure percent(std::optional<double> EpochRecord::*share) {
  return
      [share](const EpochRecord& e) { return e.*share ? std::optional(100.0 * *(e.*share)) : std::nullopt; };
}

const std::vector<SplitMeasure>& losses() {
  static const std::vector<SplitMeasure> kLosses{
      {"train", kTrain, [](const EpochRecord& e) { return std::optional(e.train_loss); }},
      {"validation", kValid, number(&EpochRecord::valid_loss)},
      {"test", kTest, number(&EpochRecord::test_loss)}};
  return kLosses;
}

const std::vector<SplitMeasure>& accuracies() {
  static const std::vector<SplitMeasure> kAccuracies{
      {"train", kTrain, percent(&EpochRecord::train_accuracy)},
      {"validation", kValid, percent(&EpochRecord::valid_accuracy)},
      {"test", kTest, percent(&EpochRecord::test_accuracy)}};
  return kAccuracies;
}

using ByEpoch = std::map<int, double>;  // by epoch; NaN: nothing known

ByEpoch by_epoch(const RunRecord& run, const EpochMeasure& measure) {
  ByEpoch values;
  for (const EpochRecord& epoch : run.epochs) values[epoch.epoch] = measure(epoch).value_or(std::nan(""));
  return values;
}

// One line for the values of all seeds: their mean, and how far they reach.
Series series_of(const std::vector<ByEpoch>& seeds, std::string name, int color) {
  struct Spread {
    double sum = 0, low = 0, high = 0;
    int count = 0;
  };
  std::map<int, Spread> spreads;
  for (const ByEpoch& values : seeds) {
    for (const auto& [epoch, value] : values) {
      Spread& spread = spreads[epoch];
      if (!std::isfinite(value)) continue;
      spread.low = spread.count == 0 ? value : std::min(spread.low, value);
      spread.high = spread.count == 0 ? value : std::max(spread.high, value);
      spread.sum += value;
      ++spread.count;
    }
  }
  Series series{.name = std::move(name), .color = color, .points = {}};
  for (const auto& [epoch, spread] : spreads) {
    series.points.push_back(
        {static_cast<double>(epoch), spread.count > 0 ? spread.sum / spread.count : std::nan("")});
    if (seeds.size() > 1 && spread.count > 0)
      series.band.push_back({static_cast<double>(epoch), spread.low, spread.high});
  }
  return series;
}

Series series_of(const ReportRun& run, const EpochMeasure& measure, std::string name, int color) {
  std::vector<ByEpoch> seeds;
  for (const RunRecord& seed : run.seeds) seeds.push_back(by_epoch(seed, measure));
  return series_of(seeds, std::move(name), color);
}

bool any_known(const Series& series) {
  return std::any_of(series.points.begin(), series.points.end(),
                     [](const Point& point) { return std::isfinite(point.y); });
}

// "" unless some series has something to tell; those without are left out of a chart of several.
std::string figure_of(Chart chart, std::vector<Series> series) {
  for (Series& one : series)
    if (!one.points.empty() && any_known(one)) chart.series.push_back(std::move(one));
  return chart.series.empty() ? "" : chart_figure(chart);
}

std::vector<Series> of_runs(const std::vector<ReportRun>& runs, const EpochMeasure& measure) {
  std::vector<Series> series;
  for (std::size_t i = 0; i < runs.size(); ++i)
    series.push_back(series_of(runs[i], measure, runs[i].name, static_cast<int>(i)));
  return series;
}

// All splits of one run in one chart, or one chart for each split of several runs.
std::string split_figures(const std::vector<ReportRun>& runs, const std::string& title,
                          const std::string& unit, const std::vector<SplitMeasure>& measures) {
  const auto chart = [&](std::string of) {
    return Chart{.title = std::move(of), .unit = unit, .x_label = "epoch", .series = {}};
  };
  if (runs.size() == 1) {
    std::vector<Series> series;
    for (const SplitMeasure& measure : measures)
      series.push_back(series_of(runs[0], measure.value, measure.name, measure.color));
    return figure_of(chart(title), std::move(series));
  }
  std::string html;
  for (auto measure = measures.rbegin(); measure != measures.rend(); ++measure)
    html += figure_of(chart(fmt::format("{}, {}", title, measure->name)), of_runs(runs, measure->value));
  return html;
}

bool any_epoch(const std::vector<ReportRun>& runs) {
  for (const ReportRun& run : runs)
    for (const RunRecord& seed : run.seeds)
      if (!seed.epochs.empty()) return true;
  return false;
}

// Whether any finite loss is known: a chart that says "No finite values." tells of a run that diverged.
std::string loss_figures(const std::vector<ReportRun>& runs) {
  const std::string figures = split_figures(runs, "Loss", "", losses());
  if (!figures.empty()) return figures;
  return chart_figure({.title = "Loss", .unit = "", .x_label = "epoch", .series = {}});
}

bool is_alone(const std::vector<ReportRun>& runs) { return runs.size() == 1 && runs[0].seeds.size() == 1; }

// `value(epoch, layer)` of every layer of one run.
std::vector<Series> of_layers(
    const RunRecord& run, std::size_t layers,
    const std::function<std::optional<double>(const EpochRecord&, std::size_t)>& value) {
  std::vector<Series> series;
  for (std::size_t layer = 0; layer < layers; ++layer)
    series.push_back(series_of({by_epoch(run, [&](const EpochRecord& e) { return value(e, layer); })},
                               fmt::format("layer {}", layer), static_cast<int>(layer)));
  return series;
}

template <class Number>
std::optional<double> at(const std::vector<Number>& values, std::size_t layer) {
  return layer < values.size() ? std::optional(static_cast<double>(values[layer])) : std::nullopt;
}

// Evolution events by layer and epoch: sums of the events of an epoch, or what the last one of it found.
std::map<int, ByEpoch> by_layer(const RunRecord& run, double (*value)(const EvolveRecord&), bool add) {
  std::map<int, ByEpoch> layers;
  for (const EvolveRecord& event : run.evolutions) {
    double& of_epoch = layers[event.layer][event.epoch];
    of_epoch = (add ? of_epoch : 0.0) + value(event);
  }
  return layers;
}

ByEpoch sum_of(const std::map<int, ByEpoch>& layers) {
  ByEpoch sum;
  for (const auto& [layer, values] : layers)
    for (const auto& [epoch, value] : values) sum[epoch] += value;
  return sum;
}

double dropped(const EvolveRecord& event) { return static_cast<double>(event.dropped); }
double grown(const EvolveRecord& event) { return static_cast<double>(event.grown); }

// Dropped and grown of one run on two sides of zero, with a gap for epochs without an event.
std::string turnover_figure(const RunRecord& run) {
  if (run.evolutions.empty()) return "";
  ByEpoch up, down;
  for (const EpochRecord& epoch : run.epochs) up[epoch.epoch] = down[epoch.epoch] = 0.0;
  for (const auto& [epoch, sum] : sum_of(by_layer(run, grown, true))) up[epoch] = sum;
  for (const auto& [epoch, sum] : sum_of(by_layer(run, dropped, true))) down[epoch] = -sum;
  return chart_figure({.title = "Dropped and grown",
                       .unit = "connections",
                       .x_label = "epoch",
                       .series = {series_of({up}, "grown", kValid), series_of({down}, "dropped", kTest)},
                       .bars = true,
                       .mirrored = true});
}

std::string turnover_figure(const std::vector<ReportRun>& runs) {
  std::vector<Series> series;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    std::vector<ByEpoch> seeds;
    for (const RunRecord& seed : runs[i].seeds) seeds.push_back(sum_of(by_layer(seed, grown, true)));
    series.push_back(series_of(seeds, runs[i].name, static_cast<int>(i)));
  }
  return figure_of({.title = "Grown", .unit = "connections", .x_label = "epoch", .series = {}},
                   std::move(series));
}

std::string exploration_figure(const std::vector<ReportRun>& runs) {
  const Chart chart{.title = "Explored", .unit = "% of all cells, R\u209b", .x_label = "epoch", .series = {}};
  if (!is_alone(runs)) return figure_of(chart, of_runs(runs, percent(&EpochRecord::exploration)));
  std::vector<Series> series;
  const auto share = [](const EvolveRecord& event) { return 100.0 * event.explored; };
  for (const auto& [layer, values] : by_layer(runs[0].seeds[0], share, false))
    series.push_back(series_of({values}, fmt::format("layer {}", layer), layer));
  return figure_of(chart, std::move(series));
}

// Neurons of evolving layers that receive or send nothing; "" if there never was one.
std::string dead_figure(const RunRecord& run) {
  const auto receive = [](const EvolveRecord& event) { return static_cast<double>(event.no_inputs); };
  const auto send = [](const EvolveRecord& event) { return static_cast<double>(event.no_outputs); };
  const ByEpoch receiving = sum_of(by_layer(run, receive, false)),
                sending = sum_of(by_layer(run, send, false));
  const auto none = [](const auto& of_epoch) { return of_epoch.second == 0.0; };
  if (std::all_of(receiving.begin(), receiving.end(), none) &&
      std::all_of(sending.begin(), sending.end(), none))
    return "";
  return figure_of(
      {.title = "Neurons without connections", .unit = "", .x_label = "epoch", .series = {}},
      {series_of({receiving}, "receive none", kTrain), series_of({sending}, "send none", kTest)});
}

}  // namespace

std::string learning_figures(const std::vector<ReportRun>& runs) {
  if (!any_epoch(runs)) return "";
  const EpochMeasure rate = [](const EpochRecord& e) { return std::optional(e.learning_rate); };
  std::vector<Series> rates = of_runs(runs, rate);
  if (runs.size() == 1) rates[0].color = kOther;
  return split_figures(runs, "Accuracy", "%", accuracies()) + loss_figures(runs) +
         figure_of({.title = "Learning rate", .unit = "", .x_label = "epoch", .series = {}},
                   std::move(rates));
}

std::string density_figures(const std::vector<ReportRun>& runs) {
  const Chart nnz{.title = "Connections", .unit = "", .x_label = "epoch", .series = {}};
  std::int64_t fewest = -1, most = -1;
  for (const ReportRun& run : runs)
    for (const RunRecord& seed : run.seeds)
      for (const EpochRecord& epoch : seed.epochs) {
        fewest = fewest < 0 ? epoch.nnz : std::min(fewest, epoch.nnz);
        most = std::max(most, epoch.nnz);
      }
  if (!is_alone(runs)) {
    const EpochMeasure count = [](const EpochRecord& e) { return std::optional(static_cast<double>(e.nnz)); };
    return fewest == most ? "" : figure_of(nnz, of_runs(runs, count));
  }
  const RunRecord& run = runs[0].seeds[0];
  const auto changes = [&](const EpochRecord& e) {
    return e.layer_density != run.epochs.front().layer_density;
  };
  if (std::none_of(run.epochs.begin(), run.epochs.end(), changes)) return "";
  const std::size_t layers = run.epochs.back().layer_density.size();
  return figure_of({.title = "Density of each layer", .unit = "%", .x_label = "epoch", .series = {}},
                   of_layers(run, layers,
                             [](const EpochRecord& e, std::size_t layer) {
                               const std::optional<double> share = at(e.layer_density, layer);
                               return share ? std::optional(100.0 * *share) : std::nullopt;
                             })) +
         figure_of({.title = "Connections of each layer", .unit = "", .x_label = "epoch", .series = {}},
                   of_layers(run, layers,
                             [](const EpochRecord& e, std::size_t layer) { return at(e.layer_nnz, layer); }));
}

std::string evolution_figures(const std::vector<ReportRun>& runs) {
  if (!is_alone(runs)) return turnover_figure(runs) + exploration_figure(runs);
  const RunRecord& run = runs[0].seeds[0];
  return turnover_figure(run) + exploration_figure(runs) + dead_figure(run);
}

}  // namespace tulle
