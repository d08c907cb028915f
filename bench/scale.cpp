// How long do steps, topology events and checkpoints of the largest networks take, how much memory do they
// need, and how near is that to what the machine's memory can do?
//   bench_scale --hidden 5000000,5000000 --epsilon 1 --batch 16 [--storage compact] [--steps 5] [--events 1]
//               [--dtype bf16] [--weights bf16] [--momentum 0] [--fan-in 2] [--numbering by-source]
//               [--scope row] [--save FOLDER] [--threads N] [--json] [--spill FOLDER --memory-limit 2G]
// Synthetic data of 65,536 features and 2 classes. ./run scale goes through the table of docs/scale.md.
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "tulle/base/clock.h"
#include "tulle/base/parallel.h"
#include "tulle/base/spill.h"
#include "tulle/report/memory.h"
#include "tulle/train/build.h"
#include "tulle/train/machine_rates.h"
#include "tulle/train/plan.h"
#include "tulle/train/replica.h"

namespace {

using namespace tulle;

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("steps, events and checkpoints of the largest networks");
  Config config;
  config.data.format = "synthetic";
  config.data.scale = "none";
  config.model.hidden = {500000, 500000};
  config.model.dropout = 0.0;
  config.topology.epsilon = 1.0;
  config.train.batch_size = 32;
  int steps = 5, events = 0, threads = 2;
  std::string folder;
  bool json = false;
  app.add_option("--hidden", config.model.hidden, "neurons of the hidden layers")->delimiter(',');
  app.add_option("--epsilon", config.topology.epsilon, "epsilon of the connections");
  app.add_option("--fan-in", config.topology.fan_in, "connections of each neuron, in place of epsilon");
  app.add_option("--numbering", config.topology.numbering, "topology.numbering");
  app.add_option("--dtype", config.model.dtype, "model.dtype");
  app.add_option("--weights", config.model.weights, "model.weights");
  app.add_option("--momentum", config.train.momentum, "train.momentum");
  app.add_option("--batch", config.train.batch_size, "samples of a step");
  app.add_option("--storage", config.run.storage, "run.storage");
  app.add_option("--spill", config.run.spill, "run.spill");
  app.add_option("--memory-limit", config.run.memory_limit, "run.memory_limit");
  app.add_option("--optimizer", config.train.optimizer, "train.optimizer");
  app.add_option("--scope", config.evolve.scope, "evolve.scope");
  app.add_option("--features", config.data.features, "features of a sample");
  app.add_option("--steps", steps, "steps that are timed, after one that is not; 0: the first");
  app.add_option("--events", events, "topology events");
  app.add_option("--threads", threads, "threads");
  app.add_option("--save", folder, "write a checkpoint into this folder");
  app.add_flag("--json", json, "one line of JSON");
  CLI11_PARSE(app, argc, argv);
  if (app.count("--fan-in") > 0) config.topology.distribution = "fixed-fan-in";
  config.checkpoint.save_every = "never";  // the plan is that of steps and events
  if (events == 0) config.evolve.rule = "none";
  if (config.evolve.scope == "row") config.evolve.drop = "magnitude";
  const int steps_after = events > 0 ? steps : 0;  // the events
  config.synthetic.samples = config.train.batch_size * (1 + steps + steps_after);
  config.synthetic.test_samples = 0;
  finish_config(config);
  set_thread_count(threads);

  const double lines = random_lines_per_second(std::size_t{1} << 30);
  const Dataset data = load_dataset(data_options(config));
  const Plan plan = make_plan(config, data);
  const double planned_step = predicted_step_seconds(config, data, plan);
  const DiskRates disk = plan.spill.empty() ? DiskRates{} : disk_rates(plan.spill, std::size_t{1} << 30);
  const MemoryGrowth memory;
  Clock clock;
  Run run = start_run(config, data);
  const double init = clock.seconds();
  const std::int64_t built = memory.peak();
  Replica replica(run, data);
  Loader loader = replica.make_loader();
  std::vector<double> whole, forward, backward, update;
  double first = 0.0, loss = 0.0;
  const auto take_step = [&](int step) {
    const Batch batch = replica.get(loader, step);
    replica.phases = {};
    const Clock step_clock;
    replica.prepare_step(0.01);
    const LossResult result =
        replica.learn(batch, {.training = true, .seed = 1, .step = static_cast<std::uint32_t>(step)});
    replica.step(0.01);
    loss = result.loss_sum / batch.inputs.batch;
    return step_clock.seconds();
  };
  for (int step = 0; step <= steps; ++step) {
    const double seconds = take_step(step);
    if (step == 0) first = seconds;
    if (step == 0 && steps > 0) continue;
    whole.push_back(seconds);
    forward.push_back(replica.phases.forward);
    backward.push_back(replica.phases.backward);
    update.push_back(replica.phases.update);
  }
  const std::int64_t training = memory.peak();
  std::vector<double> event_seconds;
  for (int event = 0; event < events; ++event) {
    clock.restart();
    const Spilling files(run.spill);
    evolve(run.model.network, evolution_of(config),
           {.seed = 1, .step = static_cast<std::uint32_t>(event), .zeta = config.evolve.zeta});
    event_seconds.push_back(clock.seconds());
  }
  const std::int64_t after_events = memory.peak();
  std::vector<double> whole_after;
  for (int step = 1; step <= steps_after; ++step) whole_after.push_back(take_step(steps + step));
  double save_seconds = 0.0;
  std::int64_t save_bytes = 0;
  if (!folder.empty()) {
    std::filesystem::create_directories(folder);
    const std::string path = folder + "/scale.safetensors";
    clock.restart();
    save_bytes = save_model(path, run.model, &run.state);
    save_seconds = clock.seconds();
    std::filesystem::remove(path);
  }

  std::int64_t neurons = run.model.network.outputs();
  for (const std::int64_t hidden : config.model.hidden) neurons += hidden;
  const double step = median(whole);
  nlohmann::json out{{"neurons", neurons},
                     {"connections", run.model.network.connections()},
                     {"batch", config.train.batch_size},
                     {"threads", threads},
                     {"lines_per_s", lines},
                     {"init_s", init},
                     {"first_step_s", first},
                     {"step_s", step},
                     {"step_min_s", *std::ranges::min_element(whole)},
                     {"plan_step_s", planned_step},
                     {"step_of_plan", step / planned_step},
                     {"forward_s", median(forward)},
                     {"backward_s", median(backward)},
                     {"update_s", median(update)},
                     // What the reference machine would have taken: 183 million lines a second.
                     {"step_scaled_s", step * lines / 183e6},
                     {"init_gib", static_cast<double>(built) / (1 << 30)},
                     {"training_gib", static_cast<double>(training) / (1 << 30)},
                     {"plan_gib", static_cast<double>(plan.total()) / (1 << 30)},
                     {"loss", loss}};
  if (!plan.spill.empty()) {
    out["spilled_gb"] = 1e-9 * static_cast<double>(plan.spilled);
    out["step_read_gb"] = 1e-9 * static_cast<double>(plan.read);
    out["step_written_gb"] = 1e-9 * static_cast<double>(plan.written);
    out["disk_read_mb_per_s"] = 1e-6 * disk.read;
    out["disk_written_mb_per_s"] = 1e-6 * disk.written;
    // What the disk alone needs for a step.
    out["disk_s"] =
        static_cast<double>(plan.read) / disk.read + static_cast<double>(plan.written) / disk.written;
  }
  if (events > 0) {
    out["event_s"] = *std::ranges::min_element(event_seconds);
    if (steps_after > 0) out["step_after_events_s"] = median(whole_after);
    out["event_gib"] = static_cast<double>(after_events) / (1 << 30);
  }
  if (save_bytes > 0) {
    out["save_s"] = save_seconds;
    out["save_mb_per_s"] = static_cast<double>(save_bytes) * 1e-6 / save_seconds;
  }
  if (json) {
    fmt::print("{}\n", out.dump());
    return 0;
  }
  for (const auto& [name, value] : out.items()) fmt::print("{:<16} {}\n", name, value.dump());
  return 0;
}
