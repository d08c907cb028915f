#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "commands.h"
#include "exit_codes.h"
#include "tulle/base/name_table.h"
#include "tulle/data/readers.h"
#include "tulle/evolve/evolve.h"
#include "tulle/evolve/importance.h"
#include "tulle/evolve/rule.h"
#include "tulle/evolve/schedule.h"
#include "tulle/export/c_net.h"
#include "tulle/export/formats.h"
#include "tulle/export/onnx_forms.h"
#include "tulle/kernels/targets.h"
#include "tulle/nn/activation.h"
#include "tulle/nn/loss.h"
#include "tulle/nn/storage.h"
#include "tulle/optim/optimizer.h"
#include "tulle/optim/schedule.h"
#include "tulle/recover/recovery.h"
#include "tulle/sparse/budgets.h"
#include "tulle/sparse/numbering.h"
#include "tulle/sparse/patterns.h"
#include "tulle/sparse/sampling.h"
#include "tulle/sparse/weight_init.h"
#include "tulle/train/config.h"
#include "tulle/train/modes.h"
#include "tulle/vision/layers.h"
#include "tulle/vision/smlp_shape.h"

namespace tulle::cli {
namespace {

using Json = nlohmann::json;

template <class Row>
Json rows_of(std::span<const Row> table) {
  Json rows = Json::array();
  for (const Row& row : table) {
    Json entry{{"name", row.name}, {"help", row.help}};
    if constexpr (requires { row.source; }) entry["source"] = row.source;
    rows.push_back(std::move(entry));
  }
  return rows;
}

Json instruction_sets() {
  Json rows = Json::array();
  for (const std::string& name : kernels::available_targets())
    rows.push_back({{"name", name}, {"help", name == kernels::current_target() ? "in use" : ""}});
  return rows;
}

Json config_rows() {
  Json rows = Json::array();
  const Config defaults;
  for (const KeyInfo& key : config_keys()) {
    Json entry{{"name", key.name}, {"default", config_value(key, defaults)}, {"help", key.help}};
    if (key.choices != nullptr) entry["choices"] = key.choices();
    rows.push_back(std::move(entry));
  }
  return rows;
}

struct Topic {
  std::string_view name;
  Json (*rows)();
};

// To add a topic: one line here.
constexpr Topic kTopics[] = {
    {"presets", [] { return rows_of(presets()); }},
    {"variants", [] { return rows_of(smlp_variants()); }},
    {"readers", [] { return rows_of(readers()); }},
    {"distributions", [] { return rows_of(distributions()); }},
    {"patterns", [] { return rows_of(patterns()); }},
    {"repairs", [] { return rows_of(repairs()); }},
    {"numberings", [] { return rows_of(numberings()); }},
    {"weight-inits", [] { return rows_of(weight_inits()); }},
    {"activations", [] { return rows_of(activations()); }},
    {"layers", [] { return rows_of(layers()); }},
    {"losses", [] { return rows_of(losses()); }},
    {"optimizers", [] { return rows_of(optimizers()); }},
    {"schedules", [] { return rows_of(schedules()); }},
    {"rules", [] { return rows_of(rules()); }},
    {"drop-rules", [] { return rows_of(drop_rules()); }},
    {"grow-rules", [] { return rows_of(grow_rules()); }},
    {"modes", [] { return rows_of(modes()); }},
    {"zeta-schedules", [] { return rows_of(zeta_schedules()); }},
    {"redistributions", [] { return rows_of(redistributions()); }},
    {"strengths", [] { return rows_of(strengths()); }},
    {"export-formats", [] { return rows_of(export_formats()); }},
    {"onnx-forms", [] { return rows_of(onnx_forms()); }},
    {"c-scales", [] { return rows_of(c_scales()); }},
    {"c-gaps", [] { return rows_of(c_gaps()); }},
    {"recover-methods", [] { return rows_of(recover_methods()); }},
    {"instruction-sets", instruction_sets},
    {"config", config_rows},
};

void print_topic(std::string_view name, const Json& rows) {
  fmt::print("{}\n", name);
  for (const Json& row : rows) {
    const auto label = row["name"].get<std::string>();
    if (row.contains("default"))
      fmt::print("  {:<26} {:<20} {}\n", label, row["default"].get<std::string>(),
                 row["help"].get<std::string>());
    else
      fmt::print("  {:<16} {}{}\n", label, row["help"].get<std::string>(),
                 row.value("source", "").empty() ? "" : " (" + row["source"].get<std::string>() + ")");
  }
}

// Cells of a Markdown table must not end it.
std::string cell(const std::string& text) {
  std::string safe;
  for (const char c : text) safe += c == '|' ? std::string("\\|") : std::string(1, c);
  return safe;
}

// docs/catalogue.md: everything but what depends on the machine.
int print_markdown() {
  fmt::print(
      "# Everything that can be chosen\n\nMade by `tulle list --markdown` from the tables that the command "
      "line reads; "
      "a test compares this file with them.\n");
  for (const Topic& topic : kTopics) {
    if (topic.name == "instruction-sets") continue;
    const Json rows = topic.rows();
    const bool keys = topic.name == "config", sources = rows[0].contains("source");
    fmt::print("\n## {}\n\n| name | {}{} |\n|---|---|{}\n", topic.name, keys ? "default | " : "",
               sources ? "what it is | source" : "what it is", keys || sources ? "---|" : "");
    for (const Json& row : rows) {
      fmt::print("| `{}` |", row["name"].get<std::string>());
      if (keys) fmt::print(" `{}` |", cell(row["default"].get<std::string>()));
      fmt::print(" {} |", cell(row["help"].get<std::string>()));
      if (sources) fmt::print(" {} |", row.value("source", ""));
      fmt::print("\n");
    }
  }
  return kOk;
}

int list(const std::string& wanted, bool json) {
  Json all = Json::object();
  for (const Topic& topic : kTopics)
    if (wanted.empty() ? topic.name != "config" : topic.name == wanted)
      all[std::string(topic.name)] = topic.rows();
  if (json) {
    fmt::print("{}\n", (wanted.empty() ? all : all[wanted]).dump(2));
    return kOk;
  }
  for (const Topic& topic : kTopics)
    if (const auto found = all.find(std::string(topic.name)); found != all.end())
      print_topic(topic.name, *found);
  return kOk;
}

}  // namespace

Command list_command(CLI::App& app) {
  auto topic = std::make_shared<std::string>();
  auto json = std::make_shared<bool>(false);
  std::vector<std::string> names;
  for (const Topic& entry : kTopics) names.emplace_back(entry.name);
  app.add_option("topic", *topic, "one topic only; config prints every key")->check(CLI::IsMember(names));
  auto markdown = std::make_shared<bool>(false);
  app.add_flag("--json", *json, "one JSON document");
  app.add_flag("--markdown", *markdown, "everything as one Markdown page");
  return [topic, json, markdown] { return *markdown ? print_markdown() : list(*topic, *json); };
}

}  // namespace tulle::cli
