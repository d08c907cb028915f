#include "precision_flags.h"

#include <string>
#include <vector>

#include "tulle/base/name_table.h"
#include "tulle/data/load.h"
#include "tulle/train/build.h"

namespace tulle::cli {

PrecisionFlags::PrecisionFlags(CLI::App& app) {
  std::vector<std::string> names;
  for (const PrecisionInfo& info : precisions()) names.emplace_back(info.name);
  app.add_option("--dtype", dtype_, "how sparse layers multiply: f32, bf16, int8; as trained if not given")
      ->check(CLI::IsMember(names));
  app.add_option(
      "--calibration", calibration_,
      "inputs that int8 takes its ranges from, best some 1,000 training samples; else the data itself");
}

InferenceChoice PrecisionFlags::choice(Model& model, const Config& config, const Features& inputs) const {
  if (dtype_.empty()) return {};
  InferenceChoice choice{.precision = find_name(precisions(), "--dtype", dtype_).precision, .scales = {}};
  if (!bytes()) return choice;
  if (calibration_.empty()) {
    choice.scales = calibrate(model, inputs);
    return choice;
  }
  Config from = config;
  from.data.train = calibration_;
  choice.scales = calibrate(model, load_inputs(data_options(from), facts_of(model)));
  return choice;
}

}  // namespace tulle::cli
