// The sparse products alone, each beside the limits of the machine measured in the same run; see --help.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "bench/machine.h"
#include "tulle/base/clock.h"
#include "tulle/base/panels.h"
#include "tulle/base/parallel.h"
#include "tulle/kernels/gemm.h"
#include "tulle/kernels/spmm.h"
#include "tulle/kernels/targets.h"
#include "tulle/nn/sparse_linear.h"
#include "tulle/sparse/sampling.h"

namespace {

using namespace tulle;

// The fastest of at least `repeats` calls that together last at least 0.1 s.
template <class Body>
double fastest(int repeats, const Body& body) {
  body();
  double best = 1e9;
  const Clock whole;
  for (int i = 0; i < repeats || whole.seconds() < 0.1; ++i) {
    const Clock clock;
    body();
    best = std::min(best, clock.seconds());
  }
  return best;
}

struct Row {
  std::string product;
  std::int32_t inputs, outputs;
  double density;
  int batch, threads;
  double seconds, flop;
};

void fill(Panels<float> panels, std::uint64_t seed) {
  const Random random{.seed = seed, .stream = Stream::kData};
  for (std::int32_t f = 0; f < panels.features; ++f)
    for (std::int32_t b = 0; b < panels.batch; ++b)
      panels.at(b, f) = random.normal(static_cast<std::uint64_t>(f) * 4096 + static_cast<std::uint64_t>(b));
}

std::vector<Row> time_layer(std::int32_t inputs, std::int32_t outputs, double density, int batch) {
  const auto nnz = static_cast<std::int64_t>(density * inputs * outputs);
  SparseLinear layer({.inputs = inputs, .outputs = outputs, .activation = "identity"},
                     random_topology(outputs, inputs, nnz, {.seed = 1}));
  Parameter& weight = *layer.parameters()[0];
  for (std::size_t k = 0; k < weight.value.size(); ++k) weight.value[k] = 0.01f * static_cast<float>(k % 7);
  const int width = kernels::panel_width(batch);
  PanelBuffer memory[4];
  const Panels<float> x = memory[0].view(inputs, batch, width), y = memory[1].view(outputs, batch, width),
                      dz = memory[2].view(outputs, batch, width), dx = memory[3].view(inputs, batch, width);
  fill(x, 1);
  fill(dz, 2);
  const double product = 2.0 * static_cast<double>(nnz) * batch;
  const auto row = [&](const char* name, double flop, const auto& body) {
    return Row{name, inputs, outputs, density, batch, thread_count(), fastest(3, body), flop};
  };
  return {row("forward", product, [&] { layer.forward({.training = false}, x, y); }),
          row("gradient of weights", product, [&] { layer.backward(x, dz, {}, nullptr); }),
          row("both gradients", 2 * product, [&] { layer.backward(x, dz, dx, nullptr); })};
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("The sparse products alone");
  std::vector<std::string> shapes{"1000x1000", "4000x4000"};
  std::vector<double> densities{1, 5, 20};
  int batch = 128, threads = 1;
  bool json = false;
  app.add_option("--shapes", shapes, "inputs x outputs")->delimiter(',')->capture_default_str();
  app.add_option("--densities", densities, "per cent")->delimiter(',')->capture_default_str();
  app.add_option("--batch", batch)->check(CLI::Range(1, 65536))->capture_default_str();
  app.add_option("--threads", threads)->capture_default_str();
  app.add_flag("--json", json, "one JSON object a line");
  CLI11_PARSE(app, argc, argv);
  set_thread_count(threads);
  const double peak = bench::fma_peak();
  if (!json) {
    fmt::print(
        "{}   {} threads   FMA peak {:.1f} GFLOP/s   read GB/s: 16 kB {:.0f}, 512 kB {:.0f}, 4 MB {:.0f}\n\n",
        kernels::current_target(), thread_count(), peak, bench::read_bandwidth(16 << 10, true),
        bench::read_bandwidth(512 << 10, true), bench::read_bandwidth(4 << 20, true));
    fmt::print("{:<20} {:>12} {:>8} {:>6} {:>10} {:>9} {:>8}\n", "product", "shape", "density", "batch", "ms",
               "GFLOP/s", "of peak");
  }
  for (const std::string& shape : shapes)
    for (const double density : densities) {
      const int inputs = std::atoi(shape.c_str()),
                outputs = std::atoi(shape.substr(shape.find('x') + 1).c_str());
      for (const Row& row : time_layer(inputs, outputs, density / 100.0, batch)) {
        const double rate = row.flop / row.seconds * 1e-9;
        if (json) {
          fmt::print("{}\n", nlohmann::json{{"product", row.product},
                                            {"inputs", row.inputs},
                                            {"outputs", row.outputs},
                                            {"density", row.density},
                                            {"batch", row.batch},
                                            {"threads", row.threads},
                                            {"seconds", row.seconds},
                                            {"gflops", rate},
                                            {"peak", peak}}
                                 .dump());
          continue;
        }
        fmt::print("{:<20} {:>12} {:>6.1f} % {:>6} {:>10.4f} {:>9.1f} {:>6.1f} %\n", row.product,
                   fmt::format("{}x{}", row.inputs, row.outputs), 100 * row.density, row.batch,
                   1e3 * row.seconds, rate, 100 * rate / peak);
      }
    }
  return 0;
}
