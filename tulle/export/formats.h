#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "tulle/checkpoint/model.h"
#include "tulle/data/dataset.h"

namespace tulle {

/// How a model is written for other programs; a format reads what concerns it.
struct ExportOptions {
  bool check_only = false;    // all that may be refused is looked at, and nothing written
  bool preprocess = true;     // the file's model takes raw features and scales them itself
  bool probabilities = true;  // it answers as Predictor does; false: the sums before softmax or sigmoid
  std::string onnx_form = "sparse-init";  // of sparse layers: a name of onnx_forms(), or auto
  struct CHeader {
    std::string name = "net";       // what functions begin with
    bool int8 = false;              // weights in bytes; activations are floats
    bool int8_activations = false;  // both in bytes, the ranges of activations as in `samples`
    std::string scale = "row";      // of int8: a name of c_scales()
    std::string gap = "auto";       // a name of c_gaps()
    std::string command = "";       // that asked for it, and
    std::string model_hash = "";    // file_hash() of the model: for its comment
    Split samples = {};  // raw, to compare with; may be without classes, or none unless activations are bytes
  } c_header = {};
};

/// Something worth knowing about a file that was written: a name and value for programs, a text
/// for people ("": another fact's text tells it too).
struct ExportFact {
  std::string name;
  std::variant<std::int64_t, double, std::string> value;
  std::string text;
};

struct Exported {
  std::int64_t bytes = 0;  // of the file
  std::vector<ExportFact> facts;
};

/// Writes a model to `path`; the file appears whole or not at all (checkpoint/atomic_file.h). Memory and
/// cost: O(connections). Throws tulle::Error: kBadData for a model that the format cannot express, kConfig
/// for an option that it does not know, and what write_file_atomically() throws.
using ExportModel = Exported(const std::string& path, Model& model, const ExportOptions& options);

struct ExportFormat {
  std::string_view name;  // also the flag of the command line
  std::string_view help;
  ExportModel* write;
};

std::span<const ExportFormat> export_formats();

}  // namespace tulle
