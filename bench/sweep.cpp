// Which tiles and panels suit the packed forward product (kernels/packed.h)? GFLOP/s of one thread for every
// tile width and panel width, beside the choice of packed_tile_width(); see --help.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <string>
#include <vector>

#include "bench/machine.h"
#include "tulle/base/clock.h"
#include "tulle/base/panels.h"
#include "tulle/base/parallel.h"
#include "tulle/kernels/narrow.h"
#include "tulle/kernels/targets.h"
#include "tulle/sparse/packing.h"
#include "tulle/sparse/sampling.h"

namespace {

using namespace tulle;

constexpr int kBatch = 128;

struct Problem {
  Topology topology;
  std::vector<float> values;
};

// GFLOP/s of the whole batch, the narrowing of bfloat16 included.
double rate(const Problem& problem, std::int32_t tile_width, int width, bool bf16) {
  const PackedRows rows(problem.topology, problem.values, {0, problem.topology.rows()}, tile_width);
  const std::int64_t inputs = problem.topology.cols(), outputs = problem.topology.rows();
  AlignedVector<float> x(static_cast<std::size_t>(inputs * kBatch), 0.5f),
      y(static_cast<std::size_t>(outputs * kBatch));
  AlignedVector<kernels::Bf16Pair> pairs(x.size() / 2);
  const auto panel = [&](std::int64_t p) {
    const float* const from = x.data() + p * inputs * width;
    float* const to = y.data() + p * outputs * width;
    if (bf16) kernels::narrow(from, inputs * width, pairs.data());
    rows.for_tiles([&](std::int64_t first, const kernels::PackedTile& w, kernels::Tile tile) {
      if (bf16)
        kernels::packed_forward(w, width, pairs.data() + first * width / 2, to, {}, tile);
      else
        kernels::packed_forward(w, width, from + first * width, to, {}, tile);
    });
  };
  double best = 1e9;
  const Clock whole;
  for (int i = 0; i < 4 || whole.seconds() < 0.1; ++i) {
    const Clock clock;
    for (std::int64_t p = 0; p < kBatch / width; ++p) panel(p);
    if (i > 0) best = std::min(best, clock.seconds());
  }
  return 2.0 * static_cast<double>(problem.topology.nnz()) * kBatch / best * 1e-9;
}

void sweep(const std::string& shape, double density, bool bf16) {
  const int inputs = std::atoi(shape.c_str()), outputs = std::atoi(shape.substr(shape.find('x') + 1).c_str());
  const auto nnz = static_cast<std::int64_t>(density * inputs * outputs);
  const Problem problem{random_topology(outputs, inputs, nnz, {.seed = 1}),
                        std::vector<float>(static_cast<std::size_t>(nnz), 0.01f)};
  const std::int32_t chosen = packed_tile_width(inputs, density, bf16 ? 2 : 4);
  fmt::print("{} {:g} % {}: tiles of {} at 64 samples chosen: {:.1f}\n", shape, 100 * density,
             bf16 ? "bf16" : "f32", chosen, rate(problem, chosen, 64, bf16));
  for (const int width : {32, 64, 128}) {
    fmt::print("  {:>3} samples ", width);
    for (std::int32_t tile = 64; tile < 2 * inputs && tile <= 65536; tile *= 2)
      fmt::print("  {}: {:.1f}", std::min(tile, inputs), rate(problem, tile, width, bf16));
    fmt::print("\n");
  }
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Tile and panel widths of the packed forward product, one thread, batch 128");
  std::vector<std::string> shapes{"1000x1000", "4000x4000", "65536x4096"};
  std::vector<double> densities{1, 5, 20};
  app.add_option("--shapes", shapes, "inputs x outputs")->delimiter(',')->capture_default_str();
  app.add_option("--densities", densities, "per cent")->delimiter(',')->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  set_thread_count(1);
  fmt::print("{}   FMA peak {:.1f} GFLOP/s\n", kernels::current_target(), bench::fma_peak());
  for (const std::string& shape : shapes)
    for (const double density : densities)
      for (const bool bf16 : {false, true}) sweep(shape, density / 100, bf16);
  return 0;
}
