#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tulle/base/error.h"

namespace tulle {

/// How many single-character edits turn `a` into `b` (Levenshtein).
std::size_t edit_distance(std::string_view a, std::string_view b);

/// The name nearest to `wanted`, "" if none is at all alike; for "did you mean" hints.
std::string nearest_name(std::string_view wanted, const std::vector<std::string>& names);

/// The config error for a name that no table holds: "train.optimizer, found 'sdg', expected one of ...; did
/// you mean".
Error unknown_name(std::string_view key, std::string_view found, const std::vector<std::string>& known);

/// The entry of a table (rows with a member `name`) called `name`, or a config error for `key`.
template <class Row>
const Row& find_name(std::span<const Row> table, std::string_view key, std::string_view name) {
  for (const Row& row : table)
    if (row.name == name) return row;
  std::vector<std::string> known;
  for (const Row& row : table) known.emplace_back(row.name);
  throw unknown_name(key, name, known);
}

}  // namespace tulle
