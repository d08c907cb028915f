#include "tulle/report/structure.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "tulle/base/spill.h"
#include "tulle/nn/bf16_weights.h"
#include "tulle/report/axis.h"
#include "tulle/report/chart.h"

namespace tulle {
namespace {

constexpr std::int64_t kMostDegreeBins = 48;
constexpr int kWeightBins = 61;  // odd: one of them around zero
constexpr std::size_t kMostLayers = 12;

Histogram degree_histogram(std::span<const std::int32_t> degrees) {
  const auto [low, high] = std::minmax_element(degrees.begin(), degrees.end());
  const std::int64_t width = (*high - *low) / kMostDegreeBins + 1;
  Histogram histogram{.low = static_cast<double>(*low), .width = static_cast<double>(width), .counts = {}};
  histogram.counts.resize(static_cast<std::size_t>((*high - *low) / width + 1));
  for (const std::int32_t degree : degrees)
    ++histogram.counts[static_cast<std::size_t>((degree - *low) / width)];
  return histogram;
}

Histogram weight_histogram(std::span<const float> weights) {
  float largest = 0.0f;
  for (const float weight : weights)
    if (std::isfinite(weight)) largest = std::max(largest, std::abs(weight));
  if (largest == 0.0f) return {};
  Histogram histogram{.low = -static_cast<double>(largest),
                      .width = 2.0 * static_cast<double>(largest) / kWeightBins,
                      .counts = std::vector<std::int64_t>(kWeightBins)};
  for (const float weight : weights) {
    if (!std::isfinite(weight)) continue;
    const int bin = static_cast<int>((static_cast<double>(weight) - histogram.low) / histogram.width);
    ++histogram.counts[static_cast<std::size_t>(std::clamp(bin, 0, kWeightBins - 1))];
  }
  return histogram;
}

void add_degrees(const Topology& topology, LayerStructure& layer) {
  std::vector<std::int32_t> in_degrees, out_degrees(static_cast<std::size_t>(topology.cols()));
  for (std::int32_t row = 0; row < topology.rows(); ++row)
    in_degrees.push_back(static_cast<std::int32_t>(topology.row(row).size()));
  for (const std::int32_t column : topology.columns()) ++out_degrees[static_cast<std::size_t>(column)];
  layer.in_degree = degree_histogram(in_degrees);
  layer.out_degree = degree_histogram(out_degrees);
  layer.outputs_without = std::count(in_degrees.begin(), in_degrees.end(), 0);
  layer.inputs_without = std::count(out_degrees.begin(), out_degrees.end(), 0);
}

std::string figure_of(const std::string& title, const std::string& unit, const std::string& x_label,
                      const Histogram& histogram, int color, bool counts) {
  if (histogram.counts.empty()) return "";
  Chart chart{.title = title, .unit = unit, .x_label = x_label, .series = {}, .bars = true, .counts = counts};
  if (counts && histogram.width > 1.0) chart.x_label += fmt::format(", {:.0f} a bar", histogram.width);
  Series bars{.name = unit, .color = color, .points = {}};
  // The middle of a bin: of whole numbers, of the first and the last.
  const double middle = 0.5 * (histogram.width - (counts ? 1.0 : 0.0));
  for (std::size_t bin = 0; bin < histogram.counts.size(); ++bin)
    bars.points.push_back({histogram.low + middle + static_cast<double>(bin) * histogram.width,
                           static_cast<double>(histogram.counts[bin])});
  chart.series.push_back(std::move(bars));
  return chart_figure(chart);
}

std::string without(std::int64_t count, const char* what) {
  return count == 0 ? "" : fmt::format(" · {} {}", grouped(count), what);
}

}  // namespace

std::vector<LayerStructure> structure_of(const Network& network) {
  std::vector<LayerStructure> layers;
  for (std::size_t l = 0; l < network.size(); ++l) {
    const Layer& layer = network.layer(l);
    const Topology* topology = layer.topology();
    LayerStructure structure{.inputs = layer.inputs(),
                             .outputs = layer.outputs(),
                             .connections = layer.connections(),
                             .sparse = topology != nullptr,
                             .weights = weight_histogram(values_of(layer.weight()))};
    if (topology != nullptr && topology->rows() > 0 && topology->cols() > 0)
      add_degrees(*topology, structure);
    release(std::as_bytes(std::span(layer.weight().value)));
    release(std::as_bytes(std::span(layer.weight().bf16_value)));
    if (topology != nullptr) release(std::as_bytes(topology->columns()));
    layers.push_back(std::move(structure));
  }
  return layers;
}

std::string structure_figures(const std::vector<LayerStructure>& layers) {
  std::string html;
  for (std::size_t l = 0; l < std::min(layers.size(), kMostLayers); ++l) {
    const LayerStructure& layer = layers[l];
    html += fmt::format("<p class=\"row\"><b>Layer {}</b> {} \u00d7 {} · {} connections{}{}{}</p>", l,
                        grouped(layer.outputs), grouped(layer.inputs), grouped(layer.connections),
                        layer.sparse ? "" : ", all there are",
                        without(layer.outputs_without, "neurons that receive none"),
                        without(layer.inputs_without, "inputs that send none"));
    html += figure_of("In-degree", "neurons", "connections received", layer.in_degree, 0, true);
    html += figure_of("Out-degree", "inputs", "connections sent", layer.out_degree, 2, true);
    html += figure_of("Weights", "connections", "weight", layer.weights, 3, false);
  }
  if (layers.size() > kMostLayers)
    html += fmt::format("<p class=\"row\">and {} more layers</p>", layers.size() - kMostLayers);
  return html;
}

}  // namespace tulle
