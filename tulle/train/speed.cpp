#include "tulle/train/speed.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <optional>

#include "tulle/base/check.h"
#include "tulle/base/clock.h"
#include "tulle/base/random.h"
#include "tulle/nn/dense_linear.h"
#include "tulle/train/predictor.h"

namespace tulle {
namespace {

void copy_values(Layer& from, Layer& to) {
  const std::vector<Parameter*> sources = from.parameters(), targets = to.parameters();
  for (std::size_t p = 1; p < sources.size(); ++p) targets[p]->value = sources[p]->value;  // 0: the weights
  AlignedVector<float>& dense = to.weight().value;
  const AlignedVector<float>& values = from.weight().value;
  if (from.topology() == nullptr) {
    dense = values;
    return;
  }
  const auto width = static_cast<std::size_t>(from.inputs());
  std::size_t k = 0;
  for (std::int32_t row = 0; row < from.outputs(); ++row)
    for (const std::int32_t column : from.topology()->row(row))
      dense[static_cast<std::size_t>(row) * width + static_cast<std::size_t>(column)] = values[k++];
}

double largest_difference(Panels<const float> a, Panels<const float> b) {
  double difference = 0.0, largest = 0.0;
  for (std::int32_t sample = 0; sample < a.batch; ++sample)
    for (std::int32_t output = 0; output < a.features; ++output) {
      const double x = a.at(sample, output), y = b.at(sample, output);
      difference = std::max(difference, std::abs(x - y));
      largest = std::max(largest, std::abs(y));
    }
  return largest > 0.0 ? difference / largest : difference;
}

// A network as users run it, on random inputs that are the same for every network of its shape.
class Timed {
 public:
  Timed(const Network& network, int batch)
      : inference_(network, {.batch = batch, .precision = trained_precision(network)}) {
    inputs_ = memory_.view(network.inputs(), batch, inference_.panel_width());
    const Random random{.seed = 1, .stream = Stream::kData};
    for (std::int32_t f = 0; f < inputs_.features; ++f)
      for (std::int32_t b = 0; b < batch; ++b)
        inputs_.at(b, f) = random.normal(static_cast<std::uint64_t>(f) * static_cast<std::uint64_t>(batch) +
                                         static_cast<std::uint64_t>(b));
  }

  Panels<const float> pass() {
    const Clock clock;
    const Panels<const float> outputs = inference_.forward(inputs_);
    best_ = std::min(best_, clock.seconds());
    return outputs;
  }
  double best() const { return best_; }

 private:
  Inference inference_;
  PanelBuffer memory_;
  Panels<float> inputs_;
  double best_ = std::numeric_limits<double>::infinity();
};

}  // namespace

Network dense_copy(Network& network) {
  std::vector<std::unique_ptr<Layer>> layers;
  for (std::size_t l = 0; l < network.size(); ++l) {
    layers.push_back(std::make_unique<DenseLinear>(network.layer(l).options()));
    copy_values(network.layer(l), *layers.back());
  }
  return Network(std::move(layers), network);
}

std::vector<Speed> measure_speed(Network& network, std::span<const int> batches,
                                 std::uint64_t dense_limit_bytes) {
  constexpr int kLeastPasses = 3;
  constexpr double kLeastSeconds = 0.6;  // of both together
  std::optional<Network> dense;
  if (network.cells() <= dense_limit_bytes / sizeof(float)) dense = dense_copy(network);
  std::vector<Speed> speeds;
  for (const int batch : batches) {
    require(batch > 0, "measure_speed: batches must be positive");
    Timed sparse_run(network, batch);
    std::optional<Timed> dense_run;
    if (dense) dense_run.emplace(*dense, batch);
    Speed speed{.batch = batch};
    const Panels<const float> outputs = sparse_run.pass();
    if (dense_run) speed.difference = largest_difference(outputs, dense_run->pass());
    const Clock whole;
    for (int i = 0; i < kLeastPasses || whole.seconds() < kLeastSeconds; ++i) {
      sparse_run.pass();
      if (dense_run) dense_run->pass();
    }
    speed.seconds = sparse_run.best();
    if (dense_run) {
      speed.dense_seconds = dense_run->best();
      speed.break_even = network.density() * speed.dense_seconds / speed.seconds;
    }
    speeds.push_back(speed);
  }
  return speeds;
}

}  // namespace tulle
