#include "tulle/recover/compare.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace tulle {

namespace {

// A neuron's nonzeros.
struct Neuron {
  std::int32_t sign = 1;
  std::vector<std::int32_t> features;
  std::vector<double> values;
};

bool parallel(const Neuron& a, const Neuron& b) {
  if (a.sign != b.sign || a.features != b.features) return false;
  const double ratio = b.values[0] / a.values[0];
  if (!(ratio > 0.0)) return false;
  for (std::size_t k = 1; k < a.values.size(); ++k)
    if (std::abs(b.values[k] - ratio * a.values[k]) > 1e-6 * std::abs(b.values[k])) return false;
  return true;
}

std::vector<Neuron> distinct(const SparseWeights& layer) {
  std::vector<Neuron> neurons;
  for (const SparseWeights::Block& block : layer.blocks()) {
    Neuron neuron{.sign = block.sign, .features = {}, .values = {}};
    for (std::int64_t k = block.begin; k < block.end; ++k) {
      neuron.features.push_back(layer.feature()[static_cast<std::size_t>(k)]);
      neuron.values.push_back(layer.values()[static_cast<std::size_t>(k)]);
    }
    const auto same =
        std::ranges::find_if(neurons, [&](const Neuron& other) { return parallel(other, neuron); });
    if (same == neurons.end())
      neurons.push_back(std::move(neuron));
    else
      for (std::size_t k = 0; k < neuron.values.size(); ++k) same->values[k] += neuron.values[k];
  }
  return neurons;
}

double norm2(const Neuron& a) {
  double sum = 0.0;
  for (const double v : a.values) sum += v * v;
  return sum;
}

// ||a - b||^2 and the number of common places; neurons of different signs have nothing in common.
double distance2(const Neuron& a, const Neuron& b, std::int64_t* common = nullptr) {
  double sum = 0.0;
  std::size_t i = 0, j = 0;
  while (i < a.features.size() || j < b.features.size()) {
    const bool only_a = j == b.features.size() || (i < a.features.size() && a.features[i] < b.features[j]);
    const bool only_b = i == a.features.size() || (j < b.features.size() && b.features[j] < a.features[i]);
    double difference = 0.0;
    if (only_a)
      difference = a.values[i++];
    else if (only_b)
      difference = b.values[j++];
    else {
      if (a.sign == b.sign && common != nullptr) ++*common;
      difference = a.values[i++] - b.values[j++];
    }
    sum += difference * difference;
  }
  return a.sign == b.sign ? sum : norm2(a) + norm2(b);
}

// The column of each row of a square cost matrix so that the sum is least.
std::vector<std::size_t> assign(const std::vector<std::vector<double>>& cost) {
  const std::size_t n = cost.size();
  constexpr double kFar = std::numeric_limits<double>::infinity();
  std::vector<double> row_price(n + 1, 0.0), column_price(n + 1, 0.0);
  std::vector<std::size_t> row_of(n + 1, 0), way(n + 1, 0);  // from 1; 0: none
  for (std::size_t row = 1; row <= n; ++row) {
    row_of[0] = row;
    std::size_t column = 0;
    std::vector<double> least(n + 1, kFar);
    std::vector<bool> used(n + 1, false);
    do {
      used[column] = true;
      const std::size_t at = row_of[column];
      double step = kFar;
      std::size_t next = 0;
      for (std::size_t j = 1; j <= n; ++j) {
        if (used[j]) continue;
        const double here = cost[at - 1][j - 1] - row_price[at] - column_price[j];
        if (here < least[j]) {
          least[j] = here;
          way[j] = column;
        }
        if (least[j] < step) {
          step = least[j];
          next = j;
        }
      }
      for (std::size_t j = 0; j <= n; ++j) {
        if (used[j]) {
          row_price[row_of[j]] += step;
          column_price[j] -= step;
        } else {
          least[j] -= step;
        }
      }
      column = next;
    } while (row_of[column] != 0);
    for (; column != 0; column = way[column]) row_of[column] = row_of[way[column]];
  }
  std::vector<std::size_t> column_of(n);
  for (std::size_t j = 1; j <= n; ++j) column_of[row_of[j] - 1] = j - 1;
  return column_of;
}

}  // namespace

LayerMatch match_layers(const SparseWeights& found, const SparseWeights& planted) {
  std::vector<Neuron> ours = distinct(found), theirs = distinct(planted);
  LayerMatch match;
  double whole = 0.0, missed = 0.0;
  for (const Neuron& neuron : ours) match.found += static_cast<std::int64_t>(neuron.values.size());
  for (const Neuron& neuron : theirs) {
    match.planted += static_cast<std::int64_t>(neuron.values.size());
    whole += norm2(neuron);
  }
  const std::size_t n = std::max(ours.size(), theirs.size());
  ours.resize(n);
  theirs.resize(n);
  std::vector<std::vector<double>> cost(n, std::vector<double>(n));
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t j = 0; j < n; ++j) cost[i][j] = distance2(ours[i], theirs[j]);
  const std::vector<std::size_t> partner = assign(cost);
  for (std::size_t i = 0; i < n; ++i) missed += distance2(ours[i], theirs[partner[i]], &match.common);
  match.weight_error = whole > 0.0 ? std::sqrt(missed / whole) : std::sqrt(missed);
  return match;
}

}  // namespace tulle
