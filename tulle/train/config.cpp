#include "tulle/train/config.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>

#include "tulle/base/error.h"
#include "tulle/base/name_table.h"
#include "tulle/base/utf8.h"
#include "tulle/checkpoint/json_text.h"
#include "tulle/data/augment.h"
#include "tulle/evolve/rule.h"
#include "tulle/train/build.h"
#include "tulle/train/build_smlp.h"
#include "tulle/vision/smlp_shape.h"

namespace tulle {
namespace {

using Field = KeyInfo::Field;
using Names = std::vector<std::string>;

[[noreturn]] void refuse(const KeyInfo& key, std::string_view found, std::string_view expected) {
  throw Error(ErrorKind::kConfig, fmt::format("{}, found {}, expected {}", key.name, found, expected));
}

void check_number(const KeyInfo& key, double value) {
  const bool high = key.open_maximum ? value >= key.maximum : value > key.maximum;
  if (std::isfinite(value) && value >= key.minimum && !high) return;
  const std::string limit = std::isinf(key.maximum)
                                ? "finite"
                                : fmt::format("{} {}", key.open_maximum ? "below" : "at most", key.maximum);
  refuse(key, fmt::format("{}", value), fmt::format("at least {} and {}", key.minimum, limit));
}

}  // namespace

void check_config_value(const KeyInfo& key, Config& config) {
  const Field field = key.field(config);
  if (const auto* const* number = std::get_if<std::int64_t*>(&field))
    check_number(key, static_cast<double>(**number));
  if (const auto* const* number = std::get_if<double*>(&field)) check_number(key, **number);
  if (const auto* const* list = std::get_if<std::vector<std::int64_t>*>(&field))
    for (const std::int64_t number : **list) check_number(key, static_cast<double>(number));
  if (const auto* const* texts = std::get_if<std::vector<std::string>*>(&field))
    for (const std::string& text : **texts)
      if (valid_utf8_length(text) != text.size()) refuse(key, in_quotes(text), "text in UTF-8");
  if (const auto* const* text = std::get_if<std::string*>(&field)) {
    // Else the effective config would be no TOML and the model no safetensors file.
    if (valid_utf8_length(**text) != (*text)->size()) refuse(key, in_quotes(**text), "text in UTF-8");
    if (key.choices == nullptr) return;
    const Names known = key.choices();
    if (std::find(known.begin(), known.end(), **text) == known.end())
      throw unknown_name(key.name, **text, known);
  }
}

std::string config_value(const KeyInfo& key, const Config& config) {
  const auto quoted = [](const std::string& text) {
    std::string out = "\"";
    for (const char c : text) {
      if (c == '"' || c == '\\') out += '\\';
      if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
        out += fmt::format("\\u{:04x}", static_cast<int>(c));
      else
        out += c;
    }
    return out + '"';
  };
  const Field field = key.field(const_cast<Config&>(config));  // only read
  if (const auto* flag = std::get_if<bool*>(&field)) return **flag ? "true" : "false";
  if (const auto* number = std::get_if<std::int64_t*>(&field)) return fmt::format("{}", **number);
  if (const auto* number = std::get_if<double*>(&field)) {
    const std::string text = fmt::format("{}", **number);  // the shortest text that reads back the same
    return text.find_first_of(".en") == std::string::npos ? text + ".0" : text;
  }
  if (const auto* text = std::get_if<std::string*>(&field)) return quoted(**text);
  if (const auto* texts = std::get_if<std::vector<std::string>*>(&field)) {
    Names all;
    for (const std::string& item : **texts) all.push_back(quoted(item));
    return fmt::format("[{}]", fmt::join(all, ", "));
  }
  return fmt::format("[{}]", fmt::join(*std::get<std::vector<std::int64_t>*>(field), ", "));
}

namespace {

template <class Wanted>
std::string toml_of(const Config& config, const Wanted& wanted) {
  std::string text;
  std::string_view section;
  for (const KeyInfo& key : config_keys()) {
    if (!wanted(key)) continue;
    const std::string_view own = key.name.substr(0, key.name.find('.'));
    if (own != section) text += fmt::format("\n[{}]\n", section = own);
    text += fmt::format("{} = {}\n", key.leaf(), config_value(key, config));
  }
  return text;
}

}  // namespace

bool in_sections(std::string_view key, Sections sections) {
  return std::any_of(sections.begin(), sections.end(),
                     [&](std::string_view section) { return key.starts_with(section); });
}

std::string effective_config(const Config& config, const std::vector<std::string>& heading,
                             Sections sections) {
  std::string text;
  for (const std::string& line : heading) text += "# " + escape_control(line) + "\n";
  Config absolute = config;
  for (const KeyInfo& key : config_keys()) {
    if (!key.path) continue;
    std::string& path = *std::get<std::string*>(key.field(absolute));
    if (!path.empty() && path != "-") path = std::filesystem::absolute(path).lexically_normal().string();
  }
  return text + toml_of(absolute, [&](const KeyInfo& key) { return in_sections(key.name, sections); });
}

bool changes_result(const KeyInfo& key) {
  if (key.name == "run.seed") return true;
  if (key.name == "checkpoint.best") return true;
  for (const std::string_view name :
       {"parallel.ranks", "parallel.transport", "parallel.timeout", "parallel.shard_momentum"})
    if (key.name == name) return false;
  return !key.path && !key.name.starts_with("run.") && !key.name.starts_with("recover.") &&
         !key.name.starts_with("checkpoint.") && !key.name.starts_with("log.");
}

std::string learning_config(const Config& config) { return toml_of(config, changes_result); }

Interval parse_interval(std::string_view key, std::string_view text) {
  if (text == "never") return {};
  const auto fail = [&]() -> Interval {
    throw Error(
        ErrorKind::kConfig,
        fmt::format("{}, found '{}', expected \"N epoch\", \"N step\", \"N min\" or \"never\"", key, text));
  };
  Interval interval;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), interval.count);
  if (error != std::errc{} || !(interval.count > 0) || interval.count > 1e12 ||
      rest == text.data() + text.size() || *rest != ' ')
    return fail();
  const std::string_view unit(rest + 1, static_cast<std::size_t>(text.data() + text.size() - rest - 1));
  if (unit == "epoch" || unit == "epochs")
    interval.unit = Interval::Unit::kEpoch;
  else if (unit == "step" || unit == "steps")
    interval.unit = Interval::Unit::kStep;
  else if (unit == "min")
    interval.unit = Interval::Unit::kMinute;
  else
    return fail();
  if (interval.unit != Interval::Unit::kMinute && interval.count != std::floor(interval.count)) return fail();
  return interval;
}

namespace {

// The keys that model.variant sets, as TOML.
std::vector<std::pair<std::string_view, std::string>> variant_values(const std::string& variant) {
  const SmlpShape& shape = find_name(smlp_variants(), "model.variant", variant).shape;
  return {{"model.image_size", fmt::format("{}", shape.height)},
          {"model.patch", fmt::format("{}", shape.patch)},
          {"model.width", fmt::format("{}", shape.embedding)},
          {"model.depths", fmt::format("[{}]", fmt::join(shape.depths, ", "))},
          {"model.expansion", fmt::format("{}", shape.expansion)},
          {"model.drop_path", fmt::format("{}", shape.drop_path)}};
}

// What an sMLPNet has no form of.
void check_smlp(const Config& config) {
  const auto refuse = [](std::string_view key, std::string_view found, std::string_view expected) {
    throw Error(ErrorKind::kConfig,
                fmt::format("{}, found {}, expected {} with model.kind = \"smlp\"", key, found, expected));
  };
  if (config.model.loss != "cross-entropy") refuse("model.loss", config.model.loss, "cross-entropy");
  if (config.model.weights != "f32") refuse("model.weights", config.model.weights, "f32");
  if (config.evolve.fold != "none") refuse("evolve.fold", config.evolve.fold, "none");
  if (config.evolve.chain_removal) refuse("evolve.chain_removal", "true", "false");
  if (config.evolve.evolve_dense) refuse("evolve.evolve_dense", "true", "false");
  if (config.log.input_links) refuse("log.input_links", "true", "false");
  if (config.topology.numbering != "drawn") refuse("topology.numbering", config.topology.numbering, "drawn");
  if (config.topology.distribution == "explicit") refuse("topology.distribution", "explicit", "another");
  if (mix_parts(config).size() < 3 && config.topology.density < 1.0)
    refuse("model.mix", "fewer than three parts", "all three where layers are sparse");
  if (mix_parts(config).size() < 3 && config.evolve.rule != "none")
    refuse("evolve.rule", config.evolve.rule, "none with fewer than three parts in model.mix");
}

}  // namespace

void finish_config(Config& config) {
  const std::set<std::string> given = config.given;
  const auto set_unless_given = [&](std::string_view key, std::string_view text) {
    if (!given.contains(std::string(key))) set_config_value(config, key, text);
  };
  const PresetInfo& preset = find_name(presets(), "run.preset", config.run.preset);
  for (const auto& [key, text] : preset.values)
    if (key == "evolve.rule") set_unless_given(key, text);
  if (given.contains("model.variant") && config.model.variant != "none")
    for (const auto& [key, text] : variant_values(config.model.variant)) set_unless_given(key, text);
  // The rule first: a preset may tune what it sets.
  for (const auto& [key, text] : find_name(rules(), "evolve.rule", config.evolve.rule).values)
    set_unless_given(key, text);
  for (const auto& [key, text] : preset.values) set_unless_given(key, text);
  // The epsilon of perceptrons means nothing to pointwise layers: they are dense until a density is given.
  if (config.model.kind == "smlp" && !given.contains("topology.distribution")) {
    config.topology.distribution = "uniform";
    if (!given.contains("topology.density")) config.topology.density = 1.0;
  }
  config.given = given;
  if (config.model.kind == "smlp") check_smlp(config);

  for (const KeyInfo& key : config_keys()) check_config_value(key, config);
  (void)evolution_of(config);
  const Interval update = parse_interval("evolve.update_every", config.evolve.update_every);
  if (update.unit == Interval::Unit::kMinute)
    throw Error(ErrorKind::kConfig,
                fmt::format("evolve.update_every, found '{}', expected \"N epoch\" or \"N step\" "
                            "(minutes would not be reproducible)",
                            config.evolve.update_every));
  if (parse_interval("evolve.importance_every", config.evolve.importance_every).unit !=
      Interval::Unit::kEpoch)
    throw Error(ErrorKind::kConfig, fmt::format("evolve.importance_every, found '{}', expected \"N epoch\"",
                                                config.evolve.importance_every));
  parse_interval("checkpoint.save_every", config.checkpoint.save_every);
  const Interval histograms = parse_interval("log.histograms_every", config.log.histograms_every);
  if (histograms.unit != Interval::Unit::kEpoch && histograms.unit != Interval::Unit::kNever)
    throw Error(ErrorKind::kConfig,
                fmt::format("log.histograms_every, found '{}', expected \"N epoch\" or \"never\"",
                            config.log.histograms_every));
  (void)parse_augmentation(config.data.augment);
  if (config.data.valid_fraction == 0.0 &&
      (config.train.early_stopping > 0 || config.train.schedule == "plateau"))
    throw Error(ErrorKind::kConfig,
                fmt::format("data.valid_fraction, found 0, expected validation data for {}",
                            config.train.early_stopping > 0 ? "train.early_stopping"
                                                            : "train.schedule = \"plateau\""));
  if (config.topology.distribution == "explicit" && config.model.kind == "mlp" &&
      config.topology.budgets.size() != config.model.hidden.size() + 1)
    throw Error(ErrorKind::kConfig,
                fmt::format("topology.budgets, found {} numbers, expected {} (one per layer)",
                            config.topology.budgets.size(), config.model.hidden.size() + 1));
  // Where a neuron's place tells its sources, other numbers would be another law.
  std::string places;
  if (config.topology.window > 0) places = fmt::format("topology.window = {}", config.topology.window);
  if (config.topology.pattern != "random")
    places = fmt::format("topology.pattern = \"{}\"", config.topology.pattern);
  if (!config.train.start_from.empty()) places = "train.start_from";  // a network that has its numbers
  if (config.topology.numbering != "drawn" && !places.empty())
    throw Error(ErrorKind::kConfig, fmt::format("topology.numbering, found '{}', expected 'drawn' with {}",
                                                config.topology.numbering, places));
  if (config.run.name.empty() || config.run.name.find('/') != std::string::npos || config.run.name == "." ||
      config.run.name == "..")
    throw Error(ErrorKind::kConfig,
                fmt::format("run.name, found '{}', expected the name of one folder", config.run.name));
}

}  // namespace tulle
