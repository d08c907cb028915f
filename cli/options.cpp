#include "options.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "tulle/base/error.h"

namespace tulle::cli {
namespace {

const KeyInfo* find_key(std::string_view name) {
  const auto keys = config_keys();
  const auto found =
      std::find_if(keys.begin(), keys.end(), [&](const KeyInfo& key) { return key.name == name; });
  return found == keys.end() ? nullptr : &*found;
}

// A malformed value on the command line is a mistake of usage, whatever the library calls it; an unknown key
// is one of configuration, wherever it stands. No count is negative: a minus sign is malformed, not out of
// range.
void set_value(Config& config, std::string_view name, const std::string& text) {
  const KeyInfo* key = find_key(name);
  if (key != nullptr && text.starts_with('-') && std::holds_alternative<std::int64_t*>(key->field(config)))
    throw CLI::ValidationError(fmt::format("{}, found '{}', expected a whole number from 0", name, text));
  try {
    set_config_value(config, name, text);
  } catch (const std::invalid_argument& error) {
    if (key == nullptr) throw Error(ErrorKind::kConfig, fmt::format("--set: {}", error.what()));
    throw CLI::ValidationError(error.what());
  }
}

std::string help_of(const KeyInfo& key, const Config& defaults) {
  std::string help = fmt::format("{} [{}]", key.help, config_value(key, defaults));
  if (key.choices == nullptr) return help;
  help += "; one of";
  for (const std::string& choice : key.choices()) help += " " + choice;
  return help;
}

}  // namespace

ConfigFlags::ConfigFlags(CLI::App& app, Sections sections) {
  const Config defaults;
  for (const KeyInfo& key : config_keys()) {
    if (!in_sections(key.name, sections)) continue;
    if (key.name == "run.seed") {
      app.add_option("--seed", seed_, "one seed, a range 1..5 or a list 1,7,9; several make one run each")
          ->group("[run]");
      continue;
    }
    std::string flag(key.leaf());
    std::replace(flag.begin(), flag.end(), '_', '-');
    const std::string help =
        help_of(key, defaults);  // CLI11 takes a text that is not const for the option's variable
    CLI::Option* option = app.add_option("--" + flag, help)->type_name("");
    option->group(fmt::format("[{}]", key.name.substr(0, key.name.find('.'))));
    if (std::holds_alternative<bool*>(key.field(const_cast<Config&>(defaults))))
      option->expected(0, 1);
    else
      option->expected(1);
    flags_.push_back({&key, option});
  }
  app.add_option("--set", sets_, "any config key, as KEY=VALUE")
      ->type_name("KEY=VALUE")
      ->allow_extra_args(false);
}

void ConfigFlags::apply(Config& config) const {
  for (const std::string& assignment : sets_) {
    const std::size_t equals = assignment.find('=');
    if (equals == std::string::npos)
      throw CLI::ValidationError(fmt::format("--set, found '{}', expected KEY=VALUE", assignment));
    set_value(config, assignment.substr(0, equals), assignment.substr(equals + 1));
  }
  for (const Flag& flag : flags_) {
    if (flag.option->count() == 0) continue;
    const std::vector<std::string> given = flag.option->results();
    const bool bare =
        std::holds_alternative<bool*>(flag.key->field(config)) && (given.empty() || given.back().empty());
    set_value(config, flag.key->name, bare ? "true" : given.back());
  }
}

std::vector<std::int64_t> parse_seeds(const std::string& text) {
  const auto number = [&](std::string_view part) {
    std::int64_t value = 0;
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), value);
    if (error != std::errc{} || end != part.data() + part.size() || value < 0)
      throw CLI::ValidationError(fmt::format("--seed, found '{}', expected N, N..M or N,M,...", text));
    return value;
  };
  std::vector<std::int64_t> seeds;
  if (const std::size_t dots = text.find(".."); dots != std::string::npos) {
    const std::int64_t last = number(std::string_view(text).substr(dots + 2));
    const std::int64_t first = number(std::string_view(text).substr(0, dots));
    if (first > last || last - first > 100000)
      throw CLI::ValidationError(fmt::format("--seed, found '{}', expected N..M with N at most M", text));
    for (std::int64_t seed = first; seed <= last; ++seed) seeds.push_back(seed);
    return seeds;
  }
  std::size_t start = 0;
  while (true) {
    const std::size_t comma = text.find(',', start);
    seeds.push_back(number(std::string_view(text).substr(start, comma - start)));
    if (comma == std::string::npos) return seeds;
    start = comma + 1;
  }
}

}  // namespace tulle::cli
