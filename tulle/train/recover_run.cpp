#include "tulle/train/recover_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <numeric>
#include <utility>

#include "tulle/base/clock.h"
#include "tulle/base/name_table.h"
#include "tulle/checkpoint/atomic_file.h"
#include "tulle/checkpoint/model_file.h"
#include "tulle/data/load.h"
#include "tulle/recover/compare.h"
#include "tulle/recover/gated_design.h"
#include "tulle/report/memory.h"
#include "tulle/train/build.h"

namespace tulle {

namespace {

using Json = nlohmann::json;

// A sample of the training data as a picture.
Picture sample_of(const Config& config) {
  const auto no_image = [](std::string_view instead) {
    return Error(ErrorKind::kConfig,
                 fmt::format("recover.image, found none and {}, expected an image file or images", instead));
  };
  if (config.data.train.empty() && config.data.format == "auto") throw no_image("no data.train");
  Config raw = config;
  raw.data.scale = "none";
  const Dataset data = load_dataset(data_options(raw));
  const Features& inputs = data.train.inputs;
  if (data.image.width == 0) throw no_image("data.train without pixels");
  if (config.recover.sample >= inputs.samples)
    throw Error(ErrorKind::kConfig, fmt::format("recover.sample, found {}, expected below {}",
                                                config.recover.sample, inputs.samples));
  Picture picture{.shape = data.image, .bytes = {}};
  for (std::int32_t f = 0; f < inputs.features; ++f)
    picture.bytes.push_back(static_cast<std::uint8_t>(inputs.at(config.recover.sample, f)));
  return picture;
}

double decibels(double peak, double mse) {
  return 20.0 * std::log10(peak) - 10.0 * std::log10(std::max(mse, 1e-30));
}

// The PSNR after each step.
std::vector<double> psnr_by_step(const RecoverTask& task, std::span<const double> losses) {
  std::vector<double> psnr;
  const double n = static_cast<double>(task.x.count() * task.outputs);
  for (const double loss : losses) psnr.push_back(decibels(task.peak, loss / n));
  return psnr;
}

// PSNR of no weights at all, and of the mean.
void add_trivial(const RecoverTask& task, Json& record) {
  const double n = static_cast<double>(task.x.count() * task.outputs);
  const double sum = std::accumulate(task.y.begin(), task.y.end(), 0.0);
  const double squares = std::inner_product(task.y.begin(), task.y.end(), task.y.begin(), 0.0);
  record["zero_psnr"] = decibels(task.peak, squares / n);
  record["mean_psnr"] = decibels(task.peak, squares / n - sum / n * (sum / n));
}

// What the net takes as numbers of 4 bytes and places in as few bits as they need, beside other ways to store
// the picture.
void add_bytes(const RecoverTask& task, const SparseNet& net, std::span<const double> outputs, Json& record) {
  std::vector<double> clean(task.y.begin(), task.y.end());
  const Picture original = picture_of(task.image, clean);
  const double cells = static_cast<double>(net.weights.neurons()) * net.weights.features();
  const auto bytes = static_cast<std::int64_t>(std::ceil(
      static_cast<double>(net.nonzeros()) * (32.0 + std::ceil(std::log2(std::max(cells, 2.0)))) / 8.0));
  Json jpeg;
  for (int quality = 1; quality <= 100; ++quality) {  // the best that is no larger; the smallest if none is
    const std::string file = encode_jpeg(original, quality);
    if (!jpeg.is_null() && static_cast<std::int64_t>(file.size()) > bytes) break;
    const Picture shown = decode_picture(std::as_bytes(std::span(file)), "JPEG", "image");
    double squares = 0.0;
    for (std::size_t i = 0; i < shown.bytes.size(); ++i)
      squares += std::pow((shown.bytes[i] - original.bytes[i]) / 255.0, 2);
    jpeg = Json{{"bytes", file.size()},
                {"psnr", decibels(1.0, squares / static_cast<double>(shown.bytes.size()))}};
  }
  double squares = 0.0;
  const Picture shown = picture_of(task.image, outputs);
  for (std::size_t i = 0; i < shown.bytes.size(); ++i)
    squares += std::pow((shown.bytes[i] - original.bytes[i]) / 255.0, 2);
  record["bytes"] = {{"net", bytes},
                     {"png", encode_png(original).size()},
                     {"jpeg", jpeg["bytes"]},
                     {"jpeg_psnr", jpeg["psnr"]}};
  record["picture_psnr"] =
      decibels(1.0, squares / static_cast<double>(shown.bytes.size()));  // of bytes, as others count it
}

// f(x) of what was found. A net with fixed gates is A w for these, no ReLU net of its own weights.
std::vector<double> outputs_of(const Config& config, const RecoverTask& task, bool fresh,
                               const SparseNet& net) {
  if (config.recover.gates == "sequential" || task.linear) return task_outputs(task, fresh, net);
  const Samples& x = fresh ? task.fresh_x : task.x;
  GatedDesign design(x, net.weights.neurons(), config.recover.workspace << 20);
  design.set_random_gates(static_cast<std::uint64_t>(config.run.seed));
  design.bind(net.weights);
  std::vector<double> y(static_cast<std::size_t>(x.padded()));
  design.multiply(net.weights.values(), y);
  return y;
}

void check_sensing(const Config::Recover& r) {
  const auto refuse = [](std::string_view key, const std::string& found, std::string_view expected) {
    throw Error(ErrorKind::kConfig, fmt::format("recover.{}, found {}, expected {} with recover.task = "
                                                "\"sensing\"",
                                                key, found, expected));
  };
  if (!find_name(recover_methods(), "recover.method", r.method).any_gates)
    refuse("method", "'" + r.method + "'", "iht, aiht or htp");
  if (r.hidden_layers != 1) refuse("hidden_layers", fmt::format("{}", r.hidden_layers), "1");
  if (r.outputs != 1) refuse("outputs", fmt::format("{}", r.outputs), "1");
}

}  // namespace

void check_recovery(const Config& config) {
  const Config::Recover& r = config.recover;
  if (r.task == "sensing") check_sensing(r);
  const std::int64_t layers = r.hidden_layers + (r.outputs > 1 ? 1 : 0);
  if (r.task == "planted" && r.nnz < layers)
    throw Error(ErrorKind::kConfig,
                fmt::format("recover.nnz, found {}, expected at least one for each of {} planted layers",
                            r.nnz, layers));
}

void check_recovery_folder(const std::string& folder, bool grid) {
  std::error_code none;
  for (const auto& entry : std::filesystem::directory_iterator(folder, none)) {
    const std::string name = entry.path().filename().string();
    const bool other_grid = name == "grid.jsonl" && !grid;
    if (name == "metrics.jsonl" || name.starts_with("ckpt-") || other_grid)
      throw Error(ErrorKind::kConfig, {.file = folder},
                  fmt::format("run folder, found {} of a {}, expected none; choose another --name", name,
                              other_grid ? "grid" : "training"));
  }
}

RecoverTask task_of(const Config& config) {
  check_recovery(config);
  const Config::Recover& r = config.recover;
  const auto seed = static_cast<std::uint64_t>(config.run.seed);
  if (r.task == "planted")
    return planted_task({.samples = r.n,
                         .features = r.d,
                         .hidden_width = r.hidden_width,
                         .nnz = r.nnz,
                         .hidden_layers = r.hidden_layers,
                         .mixed_signs = r.planted_signs == "mixed",
                         .outputs = static_cast<std::int32_t>(r.outputs),
                         .seed = seed});
  if (r.task == "sensing") return sensing_task(r.n, static_cast<std::int32_t>(r.d), r.nnz, seed);
  if (r.task == "image")
    return image_task(
        crop(r.image.empty() ? sample_of(config) : read_picture(r.image), static_cast<int>(r.crop)),
        {.frequencies = r.frequencies,
         .sigma = r.sigma,
         .integer = r.coordinates == "integer",
         .seed = seed});
  return data_task(load_dataset(data_options(config)), r.bias);
}

Json recover_once(const Config& config, const RecoverTask& task, const std::atomic<bool>& stop,
                  Recovery& found, const RecoverWatch& watch) {
  const Config::Recover& r = config.recover;
  RecoverOptions options{.hidden_width = task.linear ? 1 : r.hidden_width,
                         .nnz = r.nnz,
                         .steps = r.steps,
                         .batch = r.batch,
                         .signs = task.linear ? "positive" : r.signs,
                         .gates = task.linear ? "open" : r.gates,
                         .hidden_layers = r.hidden_layers,
                         .starts = r.starts,
                         .tolerance = r.tolerance,
                         .time_limit = r.time_limit,
                         .published = r.published,
                         .imp = r.imp,
                         .select = r.select,
                         .seed = static_cast<std::uint64_t>(config.run.seed),
                         .workspace = r.workspace << 20};
  options.stop = &stop;
  if (task.linear) options.descent_steps = 3;
  if (!r.start_from.empty())
    options.start = to_weights(load_model(r.start_from).model, task, options.hidden_width);
  if (options.steps == 0 && r.task == "image" && r.method != "imp")
    options.steps = r.method == "strong" ? 0 : 100;
  const MemoryGrowth memory;
  const Clock clock;
  found =
      recover(r.method, task.problem(), options, [&](std::int64_t step, double loss, std::int64_t nonzeros) {
        watch({.step = step,
               .psnr = decibels(task.peak, loss / static_cast<double>(task.x.count() * task.outputs)),
               .nonzeros = nonzeros,
               .seconds = clock.seconds()});
        return !stop;
      });
  const double seconds = clock.seconds();
  const SparseNet& net = found.net;
  Json record{{"task", r.task},
              {"method", r.method},
              {"seed", config.run.seed},
              {"samples", task.x.count()},
              {"features", task.x.features()},
              {"hidden_width", options.hidden_width},
              {"hidden_layers", r.hidden_layers},
              {"budget", r.nnz},
              {"nnz", net.nonzeros()},
              {"unfused_nnz", net.unfused_nonzeros()},
              {"alive", net.weights.blocks().size()},
              {"steps", found.steps},
              {"starts", found.starts},
              {"seconds", seconds},
              {"bytes_beyond_data", memory.peak()},
              {"peak_rss", peak_rss_bytes()}};
  const std::vector<double> outputs = outputs_of(config, task, false, net);
  const auto add_fit = [&](bool fresh, std::span<const double> of, const std::string& prefix) {
    const Fit fit = measure(task, fresh, of);
    if (!task.classify) {  // of several classes outputs are no estimates of labels
      record[prefix + "psnr"] = fit.psnr;
      record[prefix + "relative_error"] = fit.relative_error;
    }
    if (fit.accuracy) record[prefix + "accuracy"] = *fit.accuracy;
  };
  add_fit(false, outputs, "");
  if (!task.classify) add_trivial(task, record);
  if (task.fresh_x.count() > 0) add_fit(true, outputs_of(config, task, true, net), "fresh_");
  if (task.planted && task.planted->below.empty() && net.below.empty() && net.fused() &&
      std::max(net.weights.blocks().size(), task.planted->weights.blocks().size()) <= kMostMatched) {
    const LayerMatch match = match_layers(net.weights, task.planted->weights);
    record["support_precision"] = match.precision();
    record["support_recall"] = match.recall();
    record["support_f1"] = match.f1();
    record["weight_error"] = match.weight_error;
    record["exact"] = match.exact();
  }
  if (r.task == "image") add_bytes(task, net, outputs, record);
  return record;
}

Json recover_into(const Config& config, const RecoverTask& task, const std::string& folder,
                  const std::atomic<bool>& stop, const RecoverWatch& watch) {
  Recovery found;
  Json record = recover_once(config, task, stop, found, watch);
  SparseNet& net = found.net;
  write_file_atomically(folder + "/config.toml", effective_config(config, {}, kRecoverSections));
  std::error_code none;  // what an earlier recovery left here would look like this one's
  if (config.recover.gates == "sequential") {
    Model model = to_model(task, net, static_cast<std::uint64_t>(config.run.seed));
    save_model(folder + "/model.safetensors", model);
  } else {  // a net with random gates is no ReLU net
    std::filesystem::remove(folder + "/model.safetensors", none);
  }
  if (config.recover.task == "image") {
    const std::vector<double> original(task.y.begin(), task.y.end());
    write_file_atomically(folder + "/original.png", encode_png(picture_of(task.image, original)));
    write_file_atomically(folder + "/reconstruction.png",
                          encode_png(picture_of(task.image, outputs_of(config, task, false, net))));
  } else {
    for (const char* name : {"/original.png", "/reconstruction.png"})
      std::filesystem::remove(folder + name, none);
  }
  if (!task.classify) record["psnr_by_step"] = psnr_by_step(task, found.losses);
  write_file_atomically(folder + "/result.json", record.dump(2) + "\n");
  return record;
}

}  // namespace tulle
