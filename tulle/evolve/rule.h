#pragma once

#include <span>
#include <string_view>
#include <utility>

namespace tulle {

/// A named way to change the topology: what goes, what comes, and the config keys it sets unless they are
/// given (key, TOML text).
struct RuleInfo {
  std::string_view name;
  std::string_view help;
  std::string_view source;
  std::string_view drop, grow;  // names of drop_rules() and grow_rules(); empty: the topology stays
  std::span<const std::pair<std::string_view, std::string_view>> values{};
};

std::span<const RuleInfo> rules();

}  // namespace tulle
