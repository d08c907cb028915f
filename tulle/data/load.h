#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tulle/data/dataset.h"
#include "tulle/data/synthetic.h"

namespace tulle {

/// The [data] section of a config.
struct DataOptions {
  std::string format = "auto";
  std::string train = "", train_labels = "";  // no labels: they are in the file of the inputs
  std::string test = "", test_labels = "";
  double valid_fraction = 0.0;
  std::string scale = "standard";
  std::string sep = "auto", header = "auto", label_column = "last";
  int index_base = -1;  // ReadOptions
  std::int32_t features = 0;
  std::string duplicates = "error";
  std::string arrays = "auto";
  std::int64_t max_rows = 0;  // of each file; 0: all
  std::string scratch = "";   // folder for what is read, in place of memory; empty: memory
  int resize = 0;             // images: ReadOptions::resize
  bool skip_bad_images = false;
  bool decode_late = false;
  bool label_sets = false;    // ReadOptions, for what is not load_dataset()
  bool test_images = false;   // of an archive with several splits, for what is not load_dataset()
  std::string nan = "error";  // error, zero, drop (the sample)
  std::uint64_t seed = 1;     // of the validation split
  bool regression = false;    // labels are numbers to be met, not classes
  bool ignore_unknown_labels = false;
  SyntheticOptions synthetic{};  // format "synthetic": no files are named
};

/// Reads training and test data, maps labels to classes (labels.h), splits off validation samples (rows.h)
/// and fits the scaling to what is left (standardize.h). With format "fashion-mnist" no files are named.
/// Memory  the raw data once, and the validation samples twice for a moment; while a file is read, its
/// content
///         too. With options.scratch all of that lies in files of this folder (base/spill.h), and labels
///         alone in memory: data may be larger than memory.
/// Throws  tulle::Error: kMissingInput, kPermission, kIo, kConfig for an option that cannot be, or kBadData
/// with the
///         file, what was found and what was expected.
Dataset load_dataset(const DataOptions& options);

/// Samples that are in memory, made ready as load_dataset() does it: validation samples are split off
/// data.train unless there are some, the scaling is fitted to what is left. Only valid_fraction, scale and
/// seed of the options count.
void prepare_dataset(Dataset& data, const DataOptions& options);

/// What a trained model expects of the data it is used on.
struct DataFacts {
  std::vector<std::string> class_names;  // empty: regression
  std::int32_t features = 0;
  int index_base = -1;     // of LIBSVM text; -1: not known
  ImageShape image{};      // of images
  bool one_label = false;  // of each sample: sets of labels are refused
};

/// The data in options.train with labels, for such a model. "fashion-mnist" as format or file name means its
/// test files.
Split load_labelled_split(const DataOptions& options, const DataFacts& model);

/// The inputs in options.train alone; a label column the options name is left aside.
Features load_inputs(const DataOptions& options, const DataFacts& model);

}  // namespace tulle
