#include "tulle/train/config.h"
#include "bind.h"
#include "tulle/base/name_table.h"
#include "tulle/sparse/budgets.h"
#include "tulle/train/build.h"

namespace tulle::python {
namespace {

nb::list key_rows() {
  nb::list rows;
  Config defaults;
  for (const KeyInfo& key : config_keys()) {
    nb::dict row;
    row["name"] = std::string(key.name);
    row["default"] = config_value(key, defaults);
    row["help"] = std::string(key.help);
    row["list"] = std::holds_alternative<std::vector<std::int64_t>*>(key.field(defaults)) ||
                  std::holds_alternative<std::vector<std::string>*>(key.field(defaults));
    if (key.choices != nullptr) row["choices"] = key.choices();
    rows.append(row);
  }
  return rows;
}

const KeyInfo& key_of(std::string_view name) { return find_name(config_keys(), "key", name); }

}  // namespace

void bind_config(nb::module_& m) {
  m.def("config_keys", &key_rows);
  nb::class_<Config>(m, "Config")
      .def(nb::init<>())
      .def("__copy__", [](const Config& config) { return Config(config); })
      .def("read_file", [](Config& config, const std::string& path) { read_config_file(config, path); })
      .def("read_text",
           [](Config& config, const std::string& text) { read_config_text(config, text, "config", ""); })
      .def("set", [](Config& config, const std::string& key,
                     const std::string& text) { set_config_value(config, key, text); })
      .def("get",
           [](const Config& config, const std::string& key) { return config_value(key_of(key), config); })
      .def("finish", [](Config& config) { finish_config(config); })
      .def("text", [](const Config& config) { return effective_config(config, {}); })
      .def(
          "budgets",
          [](const Config& config, const std::vector<std::int32_t>& sizes) {
            return layer_budgets(topology_options(config), std::span<const std::int32_t>(sizes));
          },
          nb::arg("sizes"));
}

}  // namespace tulle::python
