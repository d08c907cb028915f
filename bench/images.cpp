// How long does an sMLPNet take, and how near is it to what the machine can do?
//   bench_images infer|train|mixing [--variant smlpnet_t] [--size 224] [--batch 1] [--threads N] [--dtype
//   f32|bf16]
//                            [--density 1] [--repeats 5] [--recompute]
// Prints one line of JSON; `mixing` a table of row and column mixing beside full token mixing.
// bench/compare/images.py runs it beside PyTorch and ONNX Runtime.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <vector>

#include "bench/machine.h"
#include "tulle/base/clock.h"
#include "tulle/base/name_table.h"
#include "tulle/base/parallel.h"
#include "tulle/kernels/gelu.h"
#include "tulle/kernels/gemm.h"
#include "tulle/kernels/mixing.h"
#include "tulle/nn/loss.h"
#include "tulle/optim/optimizer.h"
#include "tulle/report/memory.h"
#include "tulle/sparse/sampling.h"
#include "tulle/vision/smlp_net.h"

namespace {

using namespace tulle;

struct Options {
  std::string task = "infer", variant = "smlpnet_t", dtype = "f32";
  int size = 0, batch = 1, threads = 0, repeats = 5;
  double density = 1.0;
  bool recompute = false;
};

Network make_network(const SmlpShape& shape, double density) {
  std::vector<std::optional<Topology>> topologies;
  if (density < 1.0)
    for (const LayerOptions& layer : smlp_layer_options(shape))
      topologies.push_back(random_topology(
          layer.outputs, layer.inputs,
          std::llround(density * static_cast<double>(layer.inputs) * static_cast<double>(layer.outputs)),
          {.seed = 1, .layer = static_cast<std::uint32_t>(layer.index)}));
  return make_smlp(shape, {}, std::move(topologies), 1);
}

// Seconds of each of `repeats` runs after `warm_up` that are not counted.
template <class Body>
std::vector<double> time_runs(int warm_up, int repeats, const Body& body) {
  std::vector<double> seconds;
  for (int i = 0; i < warm_up + repeats; ++i) {
    const Clock clock;
    body(i);
    if (i >= warm_up) seconds.push_back(clock.seconds());
  }
  std::ranges::sort(seconds);
  return seconds;
}

std::vector<double> time_inference(Network& network, const Options& options, Panels<const float> images) {
  const auto runner =
      network.architecture()->make_runner(options.dtype == "bf16" ? Precision::kBf16 : Precision::kFloat);
  return time_runs(3, options.repeats, [&](int) { runner->forward(images); });
}

std::vector<double> time_training(Network& network, const Options& options, Panels<const float> images) {
  const auto optimizer = find_name(optimizers(), "optimizer", "adamw").make({.weight_decay = 0.05});
  const auto compute_loss = find_name(losses(), "loss", "cross-entropy").compute;
  const std::vector<Parameter*> parameters = network.parameters();
  for (Parameter* parameter : parameters) optimizer->prepare(*parameter);
  const std::vector<std::int32_t> classes(static_cast<std::size_t>(options.batch), 3);
  return time_runs(1, options.repeats, [&](int step) {
    const Pass pass{.training = true, .seed = 1, .step = static_cast<std::uint32_t>(step)};
    const Panels<const float> logits = network.forward(pass, images);
    compute_loss(logits, {.classes = classes}, {}, network.output_gradient());
    network.backward();
    for (Parameter* parameter : parameters) optimizer->step(*parameter, 1e-4f);
  });
}

// Mixing along rows and columns beside full token mixing (arXiv 2105.01601: two matrices of tokens x tokens /
// 2 with a GELU between them), one image of `side` x `side` tokens and 64 channels.
void compare_mixing(int side, int repeats) {
  constexpr std::int64_t kChannels = 64;
  const std::int64_t tokens = std::int64_t{side} * side, half = tokens / 2, step = 3 * kChannels;
  const auto floats = [](std::int64_t count) {
    return AlignedVector<float>(static_cast<std::size_t>(count), 0.01f);
  };
  AlignedVector<float> mixed = floats(tokens * step), weight = floats(tokens), bias = floats(side);
  const double lines =
      time_runs(2, repeats, [&](int) {
        parallel_ranges(2 * side, 1, [&](Range range) {
          for (std::int64_t i = range.begin; i < range.end; ++i) {
            const bool row = i < side;
            float* const u = mixed.data() + (row ? i * side : i - side) * step;
            kernels::mix_line(weight.data(), false, bias.data(), side, kChannels, u, row ? step : side * step,
                              false, u + (row ? 1 : 2) * kChannels, row ? step : side * step);
          }
        });
      }).front();
  AlignedVector<float> x = floats(tokens * kChannels), y = floats(tokens * kChannels);
  AlignedVector<float> hidden = floats(half * kChannels), first = floats(half * tokens),
                       second = floats(tokens * half);
  constexpr std::int64_t kRows = 64;
  const auto multiply = [&](const AlignedVector<float>& w, std::int64_t rows, std::int64_t inner,
                            const float* in, float* out, bool activate) {
    parallel_ranges((rows + kRows - 1) / kRows, 1, [&](Range tiles) {
      for (std::int64_t row = tiles.begin * kRows; row < std::min(rows, tiles.end * kRows); row += kRows) {
        const std::int64_t high = std::min(kRows, rows - row);
        kernels::gemm(false, false, high, kChannels, inner, w.data() + row * inner, inner, in, kChannels,
                      false, out + row * kChannels, kChannels);
        if (activate) kernels::gelu(out + row * kChannels, high * kChannels, out + row * kChannels);
      }
    });
  };
  const double full = time_runs(1, std::max(repeats / 4, 2), [&](int) {
                        multiply(first, half, tokens, x.data(), hidden.data(), true);
                        multiply(second, tokens, half, hidden.data(), y.data(), false);
                      }).front();
  const double line_bytes = 4.0 * 2.0 * static_cast<double>(tokens + side);
  const double full_bytes = 4.0 * (static_cast<double>(tokens * tokens) + 1.5 * static_cast<double>(tokens));
  fmt::print("| {0} x {0} | {1:.3f} | {2:.3f} | {3:.1f} | {4:.1f} | {5:.0f} | {6:.0f} |\n", side, 1e3 * lines,
             1e3 * full, full / lines, line_bytes / 1e3, full_bytes / 1e3, full_bytes / line_bytes);
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app("times of an sMLPNet");
  app.add_option("task", options.task)->check(CLI::IsMember({"infer", "train", "mixing"}));
  app.add_option("--variant", options.variant);
  app.add_option("--size", options.size);
  app.add_option("--batch", options.batch);
  app.add_option("--threads", options.threads);
  app.add_option("--dtype", options.dtype)->check(CLI::IsMember({"f32", "bf16"}));
  app.add_option("--density", options.density);
  app.add_option("--repeats", options.repeats);
  app.add_flag("--recompute", options.recompute, "train: hidden sums are computed again on the way back");
  CLI11_PARSE(app, argc, argv);
  set_thread_count(options.threads);

  if (options.task == "mixing") {
    fmt::print(
        "| tokens | rows and columns, ms | full, ms | ratio | weights, kB | full, kB | ratio |\n"
        "|---|---|---|---|---|---|---|\n");
    for (const int side : {14, 28, 56, 112}) compare_mixing(side, options.repeats * 4);
    return 0;
  }
  SmlpShape shape = find_name(smlp_variants(), "variant", options.variant).shape;
  if (options.size > 0) shape.height = shape.width = options.size;
  const double peak = bench::fma_peak();
  Network network = make_network(shape, options.density);
  smlp_of(network)->recompute(options.recompute);
  const int width = options.batch == 1 ? 1 : 16;
  const std::int32_t features = network.inputs();
  std::vector<float> pixels(static_cast<std::size_t>((options.batch + width - 1) / width * width) *
                            static_cast<std::size_t>(features));
  const Random random{.seed = 5, .stream = Stream::kData};
  for (std::size_t i = 0; i < pixels.size(); ++i) pixels[i] = random.normal(i);
  const Panels<const float> images{pixels.data(), features, options.batch, width};

  const std::vector<double> seconds = options.task == "infer" ? time_inference(network, options, images)
                                                              : time_training(network, options, images);
  SmlpCounts counts = multiplications_of(shape);
  const double passes = options.task == "infer" ? 1.0 : 3.0;
  const double flop = 2.0 * passes * static_cast<double>(counts.total()) * options.batch;
  const double sparse_flop = flop - 2.0 * passes * (1.0 - options.density) *
                                        static_cast<double>(counts.fuse + counts.channel_mix) * options.batch;
  std::fputs(nlohmann::json{{"task", options.task},
                            {"best_ms", 1e3 * seconds.front()},
                            {"median_ms", 1e3 * seconds[seconds.size() / 2]},
                            {"gflops", sparse_flop / seconds.front() / 1e9},
                            {"peak_gflops", peak},
                            {"share_of_peak", sparse_flop / seconds.front() / 1e9 / peak},
                            {"peak_rss_mib", static_cast<double>(peak_rss_bytes()) / (1 << 20)}}
                 .dump()
                 .append("\n")
                 .c_str(),
             stdout);
  return 0;
}
