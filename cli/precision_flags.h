#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "tulle/train/config.h"
#include "tulle/train/predictor.h"

namespace tulle::cli {

/// --dtype and --calibration of the commands that run a model.
class PrecisionFlags {
 public:
  explicit PrecisionFlags(CLI::App& app);

  /// Whether int8 is asked for, so that what it costs is worth telling.
  bool bytes() const { return dtype_ == "int8"; }
  /// How to run the model. Bytes are calibrated on the file of --calibration, else on `inputs`, the samples
  /// that the command is about.
  InferenceChoice choice(Model& model, const Config& config, const Features& inputs) const;

 private:
  std::string dtype_, calibration_;
};

}  // namespace tulle::cli
