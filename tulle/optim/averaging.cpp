#include "tulle/optim/averaging.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "tulle/base/parallel.h"
#include "tulle/optim/optimizer.h"

namespace tulle {
namespace {

struct Averaged {
  AlignedVector<float>* value;
  AlignedVector<float>* average;
};

std::vector<Averaged> averaged(Network& network) {
  std::vector<Averaged> all;
  for (Parameter* parameter : network.parameters()) all.push_back({&parameter->value, &parameter->average});
  if (Architecture* const architecture = network.architecture(); architecture != nullptr)
    for (const Statistic& statistic : architecture->statistics())
      all.push_back({statistic.value, statistic.average});
  return all;
}

void exchange(Network& network) {
  for (const auto& [value, average] : averaged(network))
    if (!average->empty()) std::swap(*value, *average);
}

}  // namespace

void update_averages(Network& network, double decay, std::int64_t step) {
  const auto t = static_cast<double>(step);
  const auto move = static_cast<float>(1.0 - std::min(decay, (1.0 + t) / (10.0 + t)));
  for (const Averaged& one : averaged(network)) {
    if (one.average->empty()) {
      *one.average = *one.value;
      continue;
    }
    parallel_ranges(std::ssize(*one.value), kGrain, [&](Range range) {
      float* __restrict a = one.average->data();
      const float* __restrict v = one.value->data();
      for (std::int64_t i = range.begin; i < range.end; ++i) a[i] += move * (v[i] - a[i]);
    });
  }
}

AveragesInPlace::AveragesInPlace(Network& network) : network_(network) { exchange(network_); }
AveragesInPlace::~AveragesInPlace() { exchange(network_); }

void take_averages(Network& network) {
  exchange(network);
  for (const auto& [value, average] : averaged(network)) AlignedVector<float>().swap(*average);
}

}  // namespace tulle
