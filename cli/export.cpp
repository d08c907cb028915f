#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "commands.h"
#include "exit_codes.h"
#include "options.h"
#include "tulle/base/parallel.h"
#include "tulle/checkpoint/integrity.h"
#include "tulle/checkpoint/model_file.h"
#include "tulle/data/load.h"
#include "tulle/export/c_net.h"
#include "tulle/export/formats.h"
#include "tulle/export/onnx_forms.h"
#include "tulle/report/result.h"
#include "tulle/train/build.h"

namespace tulle::cli {
namespace {

struct ExportCommand {
  std::string model, data, labels;
  std::vector<std::string> files;  // of each format; "": not wanted
  ExportOptions how;
  bool json = false, quiet = false;
};

template <class Row>
std::vector<std::string> names_of(std::span<const Row> table) {
  std::vector<std::string> names;
  for (const Row& row : table) names.emplace_back(row.name);
  return names;
}

nlohmann::json row_of(const ExportFormat& format, const std::string& file, const Exported& written) {
  nlohmann::json row{{"format", format.name}, {"file", file}, {"bytes", written.bytes}};
  for (const ExportFact& fact : written.facts)
    std::visit([&](const auto& value) { row[fact.name] = value; }, fact.value);
  return row;
}

// The samples that the exported model is compared on; with classes unless there is no label column.
Split read_samples(const ExportCommand& options, const Model& model, Config config) {
  if (options.data.empty()) return {};
  config.data.train = options.data;
  config.data.train_labels = options.labels;
  if (config.data.label_column != "none") return load_labelled_split(data_options(config), facts_of(model));
  Split split;
  split.inputs = load_inputs(data_options(config), facts_of(model));
  return split;
}

std::string file_of(const ExportCommand& options, std::string_view format) {
  for (std::size_t f = 0; f < options.files.size(); ++f)
    if (export_formats()[f].name == format) return options.files[f];
  return "";
}

// What makes the C header again.
std::string c_command(const ExportCommand& options) {
  const ExportOptions::CHeader& c = options.how.c_header;
  std::string command = fmt::format("tulle export {} --c-header {} --name {}{}{} --scale {} --gap {}{}",
                                    options.model, file_of(options, "c-header"), c.name,
                                    c.int8 ? " --int8" : "", c.int8_activations ? " --int8-activations" : "",
                                    c.scale, c.gap, options.how.preprocess ? "" : " --no-preprocess");
  if (!options.data.empty()) command += " --data " + options.data;
  if (!options.labels.empty()) command += " --labels " + options.labels;
  return command;
}

int export_model(ExportCommand options, const Config& config) {
  set_thread_count(static_cast<int>(config.run.threads));
  std::string flags;
  for (const ExportFormat& format : export_formats()) flags += fmt::format(" --{}", format.name);
  if (std::ranges::all_of(options.files, &std::string::empty))
    throw Error(ErrorKind::kConfig,
                fmt::format("export, found no file to write, expected one or more of{}", flags));
  LoadedModel loaded = load_model(options.model, Storage::kCompact);
  if (!file_of(options, "c-header").empty()) {
    options.how.c_header.samples = read_samples(options, loaded.model, config);
    options.how.c_header.model_hash = file_hash(options.model);
    options.how.c_header.command = c_command(options);
  }
  // What one format refuses must not leave the file of another.
  options.how.check_only = true;
  if (options.files.size() - static_cast<std::size_t>(std::ranges::count(options.files, "")) > 1)
    for (std::size_t f = 0; f < options.files.size(); ++f)
      if (!options.files[f].empty()) export_formats()[f].write(options.files[f], loaded.model, options.how);
  options.how.check_only = false;
  nlohmann::json rows = nlohmann::json::array();
  for (std::size_t f = 0; f < options.files.size(); ++f) {
    const std::string& file = options.files[f];
    if (file.empty()) continue;
    const ExportFormat& format = export_formats()[f];
    const Exported written = format.write(file, loaded.model, options.how);
    rows.push_back(row_of(format, file, written));
    if (options.json || options.quiet) continue;
    fmt::print("{:<7} {} ({})\n", format.name, escape_control(file), bytes_text(written.bytes));
    for (const ExportFact& fact : written.facts)
      if (!fact.text.empty()) fmt::print("        {}\n", fact.text);
  }
  if (options.json) fmt::print("{}\n", rows.dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
  return kOk;
}

}  // namespace

Command export_command(CLI::App& app) {
  auto options = std::make_shared<ExportCommand>();
  app.add_option("model", options->model, "model file or checkpoint")->required();
  options->files.resize(export_formats().size());
  for (std::size_t f = 0; f < options->files.size(); ++f) {
    const ExportFormat& format = export_formats()[f];
    app.add_option(fmt::format("--{}", format.name), options->files[f], std::string(format.help));
  }
  CLI::Option *const onnx = app.get_option("--onnx"), *const c_header = app.get_option("--c-header");
  app.add_option("--onnx-form", options->how.onnx_form, "of sparse layers in ONNX")
      ->check(CLI::IsMember(names_of(onnx_forms())))
      ->needs(onnx)
      ->capture_default_str();
  ExportOptions::CHeader& c = options->how.c_header;
  app.add_flag("--int8", c.int8, "with --c-header: weights in bytes, activations in floats")->needs(c_header);
  app.add_flag("--int8-activations", c.int8_activations,
               "with --c-header: weights and activations in bytes, sums of whole numbers; needs --data")
      ->needs(c_header);
  app.add_option("--name", c.name, "with --c-header: what functions and macros begin with")
      ->needs(c_header)
      ->capture_default_str();
  app.add_option("--scale", c.scale, "with --int8: a scale for each row, or one for the layer")
      ->check(CLI::IsMember(names_of(c_scales())))
      ->needs(c_header)
      ->capture_default_str();
  app.add_option("--gap", c.gap, "with --c-header: bits of the distance between connections of a row")
      ->check(CLI::IsMember(names_of(c_gaps())))
      ->needs(c_header)
      ->capture_default_str();
  app.add_option("--data", options->data,
                 "with --c-header: samples that it is compared with the engine on and that ranges of bytes "
                 "are taken from, with labels unless "
                 "--label-column=none")
      ->needs(c_header);
  app.add_option("--labels", options->labels, "labels, if they are in a file of their own")->needs(c_header);
  app.add_flag("!--no-preprocess", options->how.preprocess,
               "the exported model takes scaled inputs, not raw ones");
  app.add_flag("!--no-softmax", options->how.probabilities,
               "the exported model gives sums, not probabilities (softmax or sigmoid left out)");
  app.add_flag("--json", options->json, "one JSON document");
  app.add_flag("-q,--quiet", options->quiet, "print nothing but errors");
  auto flags = std::make_shared<ConfigFlags>(
      app, std::initializer_list<std::string_view>{"data.format", "data.sep", "data.header",
                                                   "data.label_column", "data.index_base", "data.arrays",
                                                   "data.max_rows", "data.nan", "run.threads"});
  return [options, flags] {
    Config config;
    flags->apply(config);
    return export_model(*options, config);
  };
}

}  // namespace tulle::cli
