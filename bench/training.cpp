// How long does a training step of the Fashion-MNIST network, or of another one, take, and how near is it to
// what the machine can do? Epsilon 20, batch 128, All-ReLU, dropout 0.3, set-sgd, random input.
//   bench_training [--sizes 784,1000,1000,1000,10] [--threads N] [--json]
// compare/pytorch_training.py prints it beside PyTorch.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <vector>

#include "bench/machine.h"
#include "tulle/base/clock.h"
#include "tulle/base/name_table.h"
#include "tulle/base/parallel.h"
#include "tulle/data/loader.h"
#include "tulle/evolve/evolve.h"
#include "tulle/kernels/gemm.h"
#include "tulle/kernels/targets.h"
#include "tulle/nn/loss.h"
#include "tulle/optim/optimizer.h"
#include "tulle/report/memory.h"
#include "tulle/train/build.h"

namespace {

using namespace tulle;

struct Times {
  double forward = 1e9, backward = 1e9, update = 1e9, step = 1e9;
};

Dataset random_dataset(std::int64_t samples, std::int32_t features, std::int32_t classes) {
  Dataset data;
  data.train.inputs = {.samples = samples, .features = features, .bytes = {}, .floats = {}};
  const Random random{.seed = 5, .stream = Stream::kData};
  for (std::int64_t i = 0; i < samples * features; ++i)
    data.train.inputs.floats.push_back(random.normal(static_cast<std::uint64_t>(i)));
  for (std::int64_t i = 0; i < samples; ++i)
    data.train.classes.push_back(static_cast<std::int32_t>(i % classes));
  for (int c = 0; c < classes; ++c) data.class_names.push_back(std::to_string(c));
  return data;
}

Times time_steps(Model& model, const Dataset& data, int steps) {
  constexpr int kBatch = 128;
  const auto optimizer =
      find_name(optimizers(), "optimizer", "set-sgd").make({.momentum = 0.9, .weight_decay = 0.0002});
  for (Parameter* parameter : model.network.parameters()) optimizer->prepare(*parameter);
  for (std::size_t l = 0; l < model.network.size(); ++l)
    model.network.layer(l).set_weight_step(
        [&](const ParameterSlice& slice) { optimizer->step(slice, 0.01f); });
  const auto compute_loss = find_name(losses(), "loss", "cross-entropy").compute;
  Loader loader(data.train, data.scaling, kBatch, true, 1);
  loader.start_epoch(0, true);
  Times best;
  for (int step = 0; step < steps + 3; ++step) {
    const Batch batch = loader.get(step % loader.batches(), kernels::panel_width(kBatch));
    Clock clock;
    const Clock whole;
    const auto z = model.network.forward(
        {.training = true, .seed = 1, .step = static_cast<std::uint32_t>(step)}, batch.inputs);
    compute_loss(z, {.classes = batch.classes, .values = {}}, {}, model.network.output_gradient());
    const double forward = clock.restart();
    model.network.backward();
    const double backward = clock.restart();
    for (Parameter* parameter : model.network.parameters())
      if (parameter->gradient.size() == parameter->value.size()) optimizer->step(*parameter, 0.01f);
    const double update = clock.restart();
    if (step < 3) continue;  // warm-up
    best.forward = std::min(best.forward, forward);
    best.backward = std::min(best.backward, backward);
    best.update = std::min(best.update, update);
    best.step = std::min(best.step, whole.seconds());
  }
  for (std::size_t l = 0; l < model.network.size(); ++l) model.network.layer(l).set_weight_step({});
  return best;
}

// Of the layers, inputs first: "784,1000,10".
std::vector<std::int64_t> parse_sizes(const char* text) {
  std::vector<std::int64_t> sizes;
  std::istringstream numbers(text);
  for (std::string number; std::getline(numbers, number, ',');) sizes.push_back(std::stoll(number));
  if (sizes.size() >= 2) return sizes;
  fmt::print(stderr, "bench_training: --sizes, found '{}', expected numbers of neurons\n", text);
  std::exit(2);
}

std::string cpu_name() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);)
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  return "unknown CPU";
}

double load_average() {
  double load[1] = {0.0};
  return getloadavg(load, 1) == 1 ? load[0] : -1.0;
}

}  // namespace

int main(int argc, char** argv) {
  bool json = false;
  std::vector<std::int64_t> sizes{784, 1000, 1000, 1000, 10};
  set_thread_count(2);
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--json") == 0) json = true;
    if (std::strcmp(argv[i], "--sizes") == 0 && i + 1 < argc) sizes = parse_sizes(argv[++i]);
    if (std::strcmp(argv[i], "--threads") == 0 && i + 1 < argc) set_thread_count(std::atoi(argv[++i]));
  }
  const double peak_before = bench::fma_peak();
  const Dataset data =
      random_dataset(1280, static_cast<std::int32_t>(sizes.front()), static_cast<std::int32_t>(sizes.back()));

  Config config;
  config.model.hidden.assign(sizes.begin() + 1, sizes.end() - 1);
  finish_config(config);
  const MemoryGrowth memory;
  Model sparse = build_model(config, data);
  const Times ours = time_steps(sparse, data, 300);
  const std::int64_t training_bytes = memory.peak();

  const Evolution evolution = evolution_of(config);
  double evolve_seconds = 1e9;
  for (std::uint32_t event = 0; event < 5; ++event) {
    const Clock clock;
    evolve(sparse.network, evolution, {.seed = 1, .step = event, .zeta = config.evolve.zeta});
    evolve_seconds = std::min(evolve_seconds, clock.seconds());
  }

  config.topology.distribution = "uniform";
  config.topology.density = 1.0;
  Model dense = build_model(config, data);
  const Times full = time_steps(dense, data, 40);

  const double peak = std::max(peak_before, bench::fma_peak());
  const double nnz = static_cast<double>(sparse.network.connections());
  // Useful work: forward 2, gradient of weights 2, gradient of inputs 2 flop per connection and sample, the
  // last not in the first layer.
  const double first = static_cast<double>(sparse.network.layer(0).connections());
  const double forward_flop = 2.0 * 128 * nnz, backward_flop = 128 * (4.0 * nnz - 2.0 * first);

  nlohmann::json out{{"cpu", cpu_name()},
                     {"isa", kernels::current_target()},
                     {"threads", thread_count()},
                     {"load", load_average()},
                     {"fma_peak_gflops", peak},
                     {"fma_peak_drift", std::abs(peak - peak_before) / peak},
                     {"nnz", sparse.network.connections()},
                     {"forward_ms", 1e3 * ours.forward},
                     {"backward_ms", 1e3 * ours.backward},
                     {"update_ms", 1e3 * ours.update},
                     {"step_ms", 1e3 * ours.step},
                     {"forward_gflops", forward_flop / ours.forward * 1e-9},
                     {"backward_gflops", backward_flop / ours.backward * 1e-9},
                     {"step_gflops", (forward_flop + backward_flop) / ours.step * 1e-9},
                     {"evolve_ms", 1e3 * evolve_seconds},
                     {"evolve_steps", evolve_seconds / ours.step},
                     {"training_mb", static_cast<double>(training_bytes) * 1e-6},
                     {"dense_library", kernels::gemm_library()},
                     {"dense_step_ms", 1e3 * full.step}};
  if (json) {
    fmt::print("{}\n", out.dump());
    return 0;
  }
  fmt::print("{}   {}   {} threads   load {:.1f}\n", cpu_name(), kernels::current_target(), thread_count(),
             load_average());
  fmt::print("FMA peak {:.1f} GFLOP/s (moved by {:.1f} % during the run)\n", peak,
             100 * out["fma_peak_drift"].get<double>());
  fmt::print("\n{:<22} {:>14} {:>14}\n", "read bandwidth, GB/s", "in order", "random 512 B");
  for (const std::size_t kilobytes : {16, 512, 4096, 262144})
    fmt::print("{:>10} kB / thread {:>16.1f} {:>14.1f}\n", kilobytes,
               bench::read_bandwidth(kilobytes << 10, false), bench::read_bandwidth(kilobytes << 10, true));
  fmt::print("\n{}, epsilon 20 ({} connections), batch 128, dropout 0.3; minimum of 300 steps\n",
             fmt::join(sizes, "-"), sparse.network.connections());
  fmt::print("{:<10} {:>9} {:>10} {:>10}\n", "", "ms", "GFLOP/s", "of peak");
  const auto row = [&](const char* name, double seconds, double flop) {
    fmt::print("{:<10} {:>9.3f} {:>10.1f} {:>8.1f} %\n", name, 1e3 * seconds, flop / seconds * 1e-9,
               100.0 * flop / seconds * 1e-9 / peak);
  };
  row("forward", ours.forward, forward_flop);
  row("backward", ours.backward, backward_flop);
  fmt::print("{:<10} {:>9.3f}\n", "update", 1e3 * ours.update);
  row("step", ours.step, forward_flop + backward_flop);
  fmt::print("topology event over all layers {:.2f} ms = {:.1f} steps\n", 1e3 * evolve_seconds,
             evolve_seconds / ours.step);
  fmt::print("memory beyond the data {:.1f} MB\n", static_cast<double>(training_bytes) * 1e-6);
  fmt::print("our dense network ({}) {:.3f} ms per step = {:.1f} x ours\n", kernels::gemm_library(),
             1e3 * full.step, full.step / ours.step);
  return 0;
}
