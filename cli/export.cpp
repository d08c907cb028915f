#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "commands.h"
#include "exit_codes.h"
#include "result.h"
#include "tulle/checkpoint/model_file.h"
#include "tulle/export/formats.h"
#include "tulle/export/onnx_forms.h"

namespace tulle::cli {
namespace {

struct CommandOptions {
  std::string model;
  std::vector<std::string> files;  // of each format; "": not wanted
  ExportOptions how;
  bool json = false, quiet = false;
};

nlohmann::json row_of(const ExportFormat& format, const std::string& file, const Exported& written) {
  nlohmann::json row{{"format", format.name}, {"file", file}, {"bytes", written.bytes}};
  for (const ExportFact& fact : written.facts)
    std::visit([&](const auto& value) { row[fact.name] = value; }, fact.value);
  return row;
}

int export_model(const CommandOptions& options) {
  std::string flags;
  for (const ExportFormat& format : export_formats()) flags += fmt::format(" --{}", format.name);
  if (std::ranges::all_of(options.files, &std::string::empty))
    throw Error(ErrorKind::kConfig,
                fmt::format("export, found no file to write, expected one or more of{}", flags));
  LoadedModel loaded = load_model(options.model, Storage::kCompact);
  nlohmann::json rows = nlohmann::json::array();
  for (std::size_t f = 0; f < options.files.size(); ++f) {
    const std::string& file = options.files[f];
    if (file.empty()) continue;
    const ExportFormat& format = export_formats()[f];
    const Exported written = format.write(file, loaded.model, options.how);
    rows.push_back(row_of(format, file, written));
    if (options.json || options.quiet) continue;
    fmt::print("{:<7} {} ({})\n", format.name, escape_control(file), bytes_text(written.bytes));
    for (const ExportFact& fact : written.facts) fmt::print("        {}\n", fact.text);
  }
  if (options.json) fmt::print("{}\n", rows.dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
  return kOk;
}

}  // namespace

Command export_command(CLI::App& app) {
  auto options = std::make_shared<CommandOptions>();
  app.add_option("model", options->model, "model file or checkpoint")->required();
  options->files.resize(export_formats().size());
  for (std::size_t f = 0; f < options->files.size(); ++f) {
    const ExportFormat& format = export_formats()[f];
    app.add_option(fmt::format("--{}", format.name), options->files[f], std::string(format.help));
  }
  std::vector<std::string> forms;
  for (const OnnxForm& form : onnx_forms()) forms.emplace_back(form.name);
  app.add_option("--onnx-form", options->how.onnx_form, "of sparse layers in ONNX")
      ->check(CLI::IsMember(forms))
      ->capture_default_str();
  app.add_flag("!--no-preprocess", options->how.preprocess,
               "the exported model takes scaled inputs, not raw ones");
  app.add_flag("!--no-softmax", options->how.probabilities,
               "the exported model gives sums, not probabilities (softmax or sigmoid left out)");
  app.add_flag("--json", options->json, "one JSON document");
  app.add_flag("-q,--quiet", options->quiet, "print nothing but errors");
  return [options] { return export_model(*options); };
}

}  // namespace tulle::cli
