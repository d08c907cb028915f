#include <fmt/format.h>
#include <unistd.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "commands.h"
#include "exit_codes.h"
#include "options.h"
#include "tulle/base/parallel.h"
#include "tulle/checkpoint/model_file.h"
#include "tulle/kernels/gemm.h"
#include "tulle/kernels/targets.h"
#include "tulle/train/speed.h"

namespace tulle::cli {
namespace {

struct BenchOptions {
  std::string model;
  std::vector<int> batches{1, 32, 128, 1024};
  bool json = false;
};

// Half of what is free: the dense network must not push anybody else out.
std::uint64_t dense_limit() {
  const long pages = sysconf(_SC_AVPHYS_PAGES), bytes = sysconf(_SC_PAGESIZE);
  return pages > 0 && bytes > 0 ? static_cast<std::uint64_t>(pages) * static_cast<std::uint64_t>(bytes) / 2
                                : 0;
}

void print_json(const Network& network, const std::vector<Speed>& speeds) {
  nlohmann::json rows = nlohmann::json::array();
  for (const Speed& speed : speeds) {
    nlohmann::json row{{"batch", speed.batch}, {"seconds", speed.seconds}};
    if (speed.dense_seconds > 0.0)
      row.update({{"dense_seconds", speed.dense_seconds},
                  {"ratio", speed.dense_seconds / speed.seconds},
                  {"break_even_density", speed.break_even},
                  {"difference", speed.difference}});
    rows.push_back(std::move(row));
  }
  const nlohmann::json out{{"isa", kernels::current_target()},         {"threads", thread_count()},
                           {"connections", network.connections()},     {"density", network.density()},
                           {"dense_library", kernels::gemm_library()}, {"forward", std::move(rows)}};
  fmt::print("{}\n", out.dump(2));
}

void print_markdown(const Network& network, const std::vector<Speed>& speeds) {
  fmt::print("{} connections ({:.2f} %), {}, {} threads, dense by {}; forward pass, fastest of several\n\n",
             network.connections(), 100.0 * network.density(), kernels::current_target(), thread_count(),
             kernels::gemm_library());
  fmt::print("| batch | sparse, ms | samples/s | dense, ms | ratio | break-even density |\n");
  fmt::print("|---|---|---|---|---|---|\n");
  for (const Speed& speed : speeds) {
    fmt::print("| {} | {:.4f} | {:.0f} |", speed.batch, 1e3 * speed.seconds, speed.batch / speed.seconds);
    if (speed.dense_seconds > 0.0)
      fmt::print(" {:.4f} | {:.1f} | {:.1f} % |\n", 1e3 * speed.dense_seconds,
                 speed.dense_seconds / speed.seconds, 100.0 * speed.break_even);
    else
      fmt::print(" - | - | - |\n");
  }
  if (!speeds.empty() && speeds[0].dense_seconds == 0.0)
    fmt::print("\nThe dense network does not fit: {} weights.\n", network.cells());
}

int bench_model(const BenchOptions& options, const Config& config) {
  set_thread_count(static_cast<int>(config.run.threads));
  LoadedModel loaded = load_model(options.model);
  Network& network = loaded.model.network;
  const std::vector<Speed> speeds = measure_speed(network, options.batches, dense_limit());
  options.json ? print_json(network, speeds) : print_markdown(network, speeds);
  return kOk;
}

}  // namespace

Command bench_command(CLI::App& app) {
  auto options = std::make_shared<BenchOptions>();
  app.add_option("model", options->model, "model file or checkpoint")->required();
  app.add_option("--batch", options->batches, "batch sizes, separated by commas")
      ->delimiter(',')
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
  app.add_flag("--json", options->json, "print one JSON document");
  auto flags = std::make_shared<ConfigFlags>(app, std::initializer_list<std::string_view>{"run.threads"});
  return [options, flags] {
    Config config;
    flags->apply(config);
    return bench_model(*options, config);
  };
}

}  // namespace tulle::cli
