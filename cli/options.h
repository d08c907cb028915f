#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <vector>

#include "tulle/train/config.h"

namespace tulle::cli {

/// Every config key as a flag by its leaf name (train.batch_size is --batch-size), and --set KEY=VALUE for
/// all.
class ConfigFlags {
 public:
  /// `sections`: only keys that start with one of these ("data.").
  ConfigFlags(CLI::App& app, std::initializer_list<std::string_view> sections)
      : ConfigFlags(app, Sections(sections.begin(), sections.size())) {}
  ConfigFlags(CLI::App& app, Sections sections);

  /// Writes what was given on the command line into `config`.
  /// Throws CLI::ValidationError for malformed values, tulle::Error (kConfig) for values out of range.
  void apply(Config& config) const;

  /// The text given for --seed; seeds may be lists and ranges.
  const std::string& seed_text() const { return seed_; }

 private:
  struct Flag {
    const KeyInfo* key;
    CLI::Option* option;
  };
  std::vector<Flag> flags_;
  std::vector<std::string> sets_;
  std::string seed_;
};

/// "3", "1..5" or "1,7,9". Throws CLI::ValidationError.
std::vector<std::int64_t> parse_seeds(const std::string& text);

}  // namespace tulle::cli
