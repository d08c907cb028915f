// What recovery takes beyond the data, beside pruning of a dense net: bytes allocated at the peak, counted at
// every operator new, of planted nets of one output or more; see --help.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "tulle/base/allocations_testing.h"
#include "tulle/base/parallel.h"
#include "tulle/recover/planted.h"
#include "tulle/recover/recovery.h"

namespace {

using namespace tulle;

struct Problem {
  SparseNet net;
  Samples x;
  std::vector<double> y;
};

Problem planted(std::int64_t samples, std::int32_t features, std::int64_t m, std::int64_t s,
                std::int32_t outputs) {
  SparseNet net{.weights = planted_weights(m, features, outputs == 1 ? s : s / 2, false, 0)};
  if (outputs > 1) net.output = planted_weights(outputs, static_cast<std::int32_t>(m), s / 2, false, 0, 1);
  Samples x = planted_samples(samples, features, 0, 0);
  std::vector<double> y = net_outputs(x, net);
  return {std::move(net), std::move(x), std::move(y)};
}

double megabytes(const Problem& problem, const std::string& method, std::int32_t outputs,
                 RecoverOptions options) {
  const std::size_t before = tulle::testing::g_live_bytes;
  tulle::testing::g_peak_bytes = before;
  (void)recover(method, {.x = problem.x, .y = problem.y, .outputs = outputs}, options);
  return static_cast<double>(tulle::testing::g_peak_bytes - before) * 1e-6;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{
      "Bytes allocated at the peak beyond the data: sparse recovery and fair pruning of a dense net, side by "
      "side."};
  std::vector<std::int64_t> widths{10, 50, 200}, budgets{10, 50, 200};
  std::int64_t samples = 5000;
  std::int32_t features = 100, outputs = 1;
  int threads = 1;
  std::string method = "strong";
  app.add_option("--widths", widths, "hidden neurons")->delimiter(',');
  app.add_option("--budgets", budgets, "nonzeros")->delimiter(',');
  app.add_option("--samples", samples);
  app.add_option("--features", features);
  app.add_option("--outputs", outputs);
  app.add_option("--threads", threads);
  app.add_option("--method", method, "beside imp");
  CLI11_PARSE(app, argc, argv);
  set_thread_count(threads);
  // The library of dense products makes its code once, at the first of them.
  fmt::print("once in a process: {:.2f} MB\n\n", megabytes(planted(64, 16, 2, 4, outputs), method, outputs,
                                                           {.hidden_width = 2, .nnz = 4, .steps = 1}));
  fmt::print("| m | s | {}, MB | imp, fair, MB | times as much |\n|---|---|---|---|---|\n", method);
  for (const std::int64_t m : widths)
    for (const std::int64_t s : budgets) {
      const Problem problem = planted(samples, features, m, s, outputs);
      // A few steps reach the peak of either: what they take does not depend on how many follow.
      const double ours =
          megabytes(problem, method, outputs, {.hidden_width = m, .nnz = s, .steps = 10, .starts = 10});
      const double theirs = megabytes(problem, "imp", outputs, {.hidden_width = m, .nnz = s, .steps = 1});
      fmt::print("| {} | {} | {:.2f} | {:.2f} | {:.1f} |\n", m, s, ours, theirs, theirs / ours);
    }
}
