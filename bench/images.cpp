// How long does an sMLPNet take, and how near is it to what the machine can do?
//   bench_images infer|train [--variant smlpnet_t] [--size 224] [--batch 1] [--threads N] [--dtype f32|bf16]
//                            [--density 1] [--repeats 5]
// Prints one line of JSON. bench/compare/images.py runs it beside PyTorch and ONNX Runtime.
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
  const auto runner = network.architecture()->make_runner(options.dtype == "bf16" ? Precision::kBf16
                                                                                  : Precision::kFloat);
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

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app("times of an sMLPNet");
  app.add_option("task", options.task)->check(CLI::IsMember({"infer", "train"}));
  app.add_option("--variant", options.variant);
  app.add_option("--size", options.size);
  app.add_option("--batch", options.batch);
  app.add_option("--threads", options.threads);
  app.add_option("--dtype", options.dtype)->check(CLI::IsMember({"f32", "bf16"}));
  app.add_option("--density", options.density);
  app.add_option("--repeats", options.repeats);
  CLI11_PARSE(app, argc, argv);
  set_thread_count(options.threads);

  SmlpShape shape = find_name(smlp_variants(), "variant", options.variant).shape;
  if (options.size > 0) shape.height = shape.width = options.size;
  const double peak = bench::fma_peak();
  Network network = make_network(shape, options.density);
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
  const double sparse_flop =
      flop - 2.0 * passes * (1.0 - options.density) * static_cast<double>(counts.fuse + counts.channel_mix) *
                 options.batch;
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
