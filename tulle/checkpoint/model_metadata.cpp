#include "tulle/checkpoint/model_metadata.h"

#include <fmt/format.h>

#include <charconv>
#include <utility>

#include "tulle/base/error.h"
#include "tulle/checkpoint/integrity.h"
#include "tulle/checkpoint/json_text.h"

namespace tulle {
namespace {

constexpr int kMaxDepth = 8;  // ours nest 3 deep

// Whether a JSON text nests so little that its tree stays small.
bool is_shallow(std::string_view text) {
  int depth = 0;
  bool quoted = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted && c == '\\')
      ++i;
    else if (c == '"')
      quoted = !quoted;
    else if (!quoted && (c == '[' || c == '{') && ++depth > kMaxDepth)
      return false;
    else if (!quoted && (c == ']' || c == '}'))
      --depth;
  }
  return true;
}

}  // namespace

Json sparse_layout(const Network& network) {
  Json sparse = Json::object();
  for (std::size_t l = 0; l < network.size(); ++l)
    if (const Topology* topology = network.layer(l).topology())
      sparse[network.layer(l).weight().name] = {{"shape", {network.outputs(l), topology->cols()}},
                                                {"layout", "csr"}};
  return sparse;
}

std::string hash_of(std::span<const std::byte> bytes) { return fmt::format("{:016x}", content_hash(bytes)); }

void MetadataReader::refuse(std::string_view what, std::string_view found, std::string_view expected) const {
  throw Error(ErrorKind::kBadData, {.file = file_.name()},
              fmt::format("{}, found {}, expected {}", what, found, expected));
}

void MetadataReader::refuse_field(std::string_view key, std::string_view name, std::string_view found,
                                  std::string_view expected) const {
  refuse(fmt::format("metadata '{}', field '{}'", key, name), found, expected);
}

std::string MetadataReader::optional_text(const std::string& key) const {
  const auto entry = file_.metadata().find(key);
  return entry == file_.metadata().end() ? "" : entry->second;
}

std::string MetadataReader::text(const std::string& key) const {
  if (!file_.metadata().contains(key))
    refuse(fmt::format("metadata '{}'", key), "none", "a value; not a model of tulle");
  return optional_text(key);
}

template <class T>
T MetadataReader::number(const std::string& key) const {
  const std::string value = text(key);
  T parsed = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), parsed);
  if (error != std::errc{} || end != value.data() + value.size() || std::cmp_less(parsed, 0))
    refuse(fmt::format("metadata '{}'", key), in_quotes(value), "a whole number");
  return parsed;
}
template std::int64_t MetadataReader::number(const std::string&) const;
template std::uint64_t MetadataReader::number(const std::string&) const;

Json MetadataReader::json(const std::string& key) const {
  const std::string value = text(key);
  if (value.size() > kMaxJsonBytes)
    refuse(fmt::format("metadata '{}'", key), fmt::format("{} bytes", value.size()),
           fmt::format("at most {}", kMaxJsonBytes));
  Json parsed = is_shallow(value) ? Json::parse(value, nullptr, /*allow_exceptions=*/false)
                                  : Json(Json::value_t::discarded);
  if (parsed.is_discarded()) refuse(fmt::format("metadata '{}'", key), "broken JSON", "JSON");
  return parsed;
}

std::int64_t MetadataReader::count(std::string_view key, const Json& object, const std::string& name) const {
  const auto value = field<std::int64_t>(key, object, name);
  if (value < 0) refuse_field(key, name, fmt::format("{}", value), "0 or more");
  return value;
}

}  // namespace tulle
