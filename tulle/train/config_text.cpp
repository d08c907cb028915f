#include <fmt/format.h>
#include <toml++/toml.h>

#include <filesystem>
#include <span>
#include <sstream>

#include "tulle/base/error.h"
#include "tulle/base/file_ops.h"
#include "tulle/base/name_table.h"
#include "tulle/train/config.h"

namespace tulle {

namespace {

using Field = KeyInfo::Field;

std::string_view type_name(const Field& field) {
  if (std::holds_alternative<bool*>(field)) return "true or false";
  if (std::holds_alternative<std::int64_t*>(field)) return "a whole number";
  if (std::holds_alternative<double*>(field)) return "a number";
  if (std::holds_alternative<std::string*>(field)) return "a text in quotes";
  if (std::holds_alternative<std::vector<std::string>*>(field)) return "a list of texts in quotes";
  return "a list of whole numbers";
}

// False if the node's type is not the field's.
bool assign(const Field& field, const toml::node& node) {
  if (auto* const* flag = std::get_if<bool*>(&field)) {
    if (!node.is_boolean()) return false;
    **flag = node.value<bool>().value();
  } else if (auto* const* whole = std::get_if<std::int64_t*>(&field)) {
    if (!node.is_integer()) return false;
    **whole = node.value<std::int64_t>().value();
  } else if (auto* const* number = std::get_if<double*>(&field)) {
    if (!node.is_number()) return false;
    // value<double>() has no answer for whole numbers beyond 2^53.
    **number =
        node.is_integer() ? static_cast<double>(node.as_integer()->get()) : node.as_floating_point()->get();
  } else if (auto* const* text = std::get_if<std::string*>(&field)) {
    if (!node.is_string()) return false;
    **text = node.value<std::string>().value();
  } else if (auto* const* texts = std::get_if<std::vector<std::string>*>(&field)) {
    if (!node.is_array()) return false;
    std::vector<std::string> list;
    for (const toml::node& item : *node.as_array()) {
      if (!item.is_string()) return false;
      list.push_back(item.value<std::string>().value());
    }
    **texts = std::move(list);
  } else {
    if (!node.is_array()) return false;
    std::vector<std::int64_t> list;
    for (const toml::node& item : *node.as_array()) {
      if (!item.is_integer()) return false;
      list.push_back(item.value<std::int64_t>().value());
    }
    *std::get<std::vector<std::int64_t>*>(field) = std::move(list);
  }
  return true;
}

const KeyInfo* find_key(std::string_view name) {
  for (const KeyInfo& key : config_keys())
    if (key.name == name) return &key;
  return nullptr;
}

std::string unknown_key(std::string_view name) {
  std::vector<std::string> known;
  for (const KeyInfo& key : config_keys()) known.emplace_back(key.name);
  const std::string nearest = nearest_name(name, known);
  return nearest.empty() ? fmt::format("unknown key {}", name)
                         : fmt::format("unknown key {}; did you mean {}?", name, nearest);
}

void read_node(Config& config, const std::string& name, const toml::node& node, const std::string& file,
               const std::string& base) {
  const Place place{.file = file, .line = node.source().begin.line};
  const KeyInfo* key = find_key(name);
  if (key == nullptr) throw Error(ErrorKind::kConfig, place, unknown_key(name));
  const Field field = key->field(config);
  if (!assign(field, node)) {
    std::ostringstream found;
    found << toml::node_view<const toml::node>(node);
    throw Error(ErrorKind::kConfig, place,
                fmt::format("{}, found {}, expected {}", name, found.str(), type_name(field)));
  }
  if (key->path) {
    std::string& path = *std::get<std::string*>(field);
    if (!path.empty() && path != "-") path = (std::filesystem::path(base) / path).lexically_normal().string();
  }
  try {
    check_config_value(*key, config);
  } catch (const Error& error) {
    throw Error(error.kind(), place, error.what());
  }
  config.given.insert(name);
}

}  // namespace

void read_config_text(Config& config, std::string_view text, const std::string& name,
                      const std::string& base) {
  toml::table table;
  try {
    table = toml::parse(text, name);
  } catch (const toml::parse_error& error) {
    throw Error(ErrorKind::kConfig, {.file = name, .line = error.source().begin.line}, error.description());
  }
  for (const auto& [section, node] : table) {
    const std::string prefix(section.str());
    if (!node.is_table()) {
      read_node(config, prefix, node, name, base);
      continue;
    }
    for (const auto& [leaf, value] : *node.as_table())
      read_node(config, prefix + "." + std::string(leaf.str()), value, name, base);
  }
}

void read_config_file(Config& config, const std::string& path) {
  constexpr std::uint64_t kMostBytes = std::uint64_t{16} << 20;
  std::string text;
  try {
    FileOps& files = real_file_ops();
    std::uint64_t size = 0;
    const FileHandle file = open_for_reading(files, path, &size);
    if (size > kMostBytes)
      throw Error(ErrorKind::kBadData, {.file = path},
                  fmt::format("size, found {} bytes, expected at most {}", size, kMostBytes));
    text.resize(size);
    read_exactly(files, file, path, 0, std::as_writable_bytes(std::span(text)));
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kBadData) throw;
    throw Error(ErrorKind::kConfig, error.what());
  }
  std::string base = std::filesystem::path(path).parent_path().string();
  read_config_text(config, text, path, base.empty() ? "." : base);
}

void set_config_value(Config& config, std::string_view name, std::string_view text) {
  const KeyInfo* key = find_key(name);
  if (key == nullptr) throw std::invalid_argument(unknown_key(name));
  const Field field = key->field(config);
  const bool bare = std::holds_alternative<std::string*>(field) &&
                    !(text.size() >= 2 && text.front() == '"' && text.back() == '"');
  const bool list = std::holds_alternative<std::vector<std::int64_t>*>(field) && !text.starts_with('[');
  if (bare) {
    *std::get<std::string*>(field) = text;
  } else if (std::holds_alternative<std::vector<std::string>*>(field) && !text.starts_with('[')) {
    std::vector<std::string>& list = *std::get<std::vector<std::string>*>(field);
    list.clear();
    for (std::size_t begin = 0; begin < text.size();) {
      const std::size_t end = std::min(text.find(',', begin), text.size());
      list.emplace_back(text.substr(begin, end - begin));
      begin = end + 1;
    }
  } else {
    bool good = false;
    try {
      const toml::table table =
          toml::parse(list ? fmt::format("value = [{}]", text) : fmt::format("value = {}", text));
      good = table.size() == 1 && assign(field, *table.get("value"));
    } catch (const toml::parse_error&) {
      good = false;
    }
    if (!good)
      throw std::invalid_argument(fmt::format("{}, found '{}', expected {}", name, text, type_name(field)));
  }
  check_config_value(*key, config);
  config.given.insert(std::string(name));
}

}  // namespace tulle
