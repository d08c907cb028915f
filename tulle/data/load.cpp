#include "tulle/data/load.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "tulle/base/check.h"
#include "tulle/base/error.h"
#include "tulle/base/spill.h"
#include "tulle/data/labels.h"
#include "tulle/data/readers.h"
#include "tulle/data/refuse.h"
#include "tulle/data/rows.h"
#include "tulle/data/standardize.h"

namespace tulle {
namespace {

constexpr std::string_view kFashionMnist = "fashion-mnist", kSynthetic = "synthetic";

struct Source {
  std::string inputs, labels;  // the same file, if that holds both

  bool apart() const { return inputs != labels; }
};

Source source(const std::string& inputs, const std::string& labels) {
  return {inputs, labels.empty() ? inputs : labels};
}

struct Sources {
  Source train, test;
};

Sources fashion_mnist() {
  const FashionMnistFiles files = find_fashion_mnist();
  return {{files.train, files.train_labels}, {files.test, files.test_labels}};
}

// Of a format that needs none.
void check_no_files(const DataOptions& options) {
  for (const std::string& file : {options.train, options.train_labels, options.test, options.test_labels})
    if (!file.empty())
      throw Error(ErrorKind::kConfig,
                  fmt::format("data.train and data.test, found the file {}, expected none with data.format = "
                              "\"{}\"{}",
                              file, options.format,
                              options.format == kFashionMnist ? "; use \"idx\" for other files" : ""));
}

Sources training_sources(const DataOptions& options) {
  if (options.format == kFashionMnist) {
    check_no_files(options);
    return fashion_mnist();
  }
  if (options.train.empty())
    throw Error(ErrorKind::kConfig,
                "data.train, found nothing, expected a file; data.format = \"fashion-mnist\" "
                "needs none");
  if (options.test.empty() && !options.test_labels.empty())
    throw Error(ErrorKind::kConfig, "data.test_labels, found a file, expected data.test to name its inputs");
  return {source(options.train, options.train_labels), source(options.test, options.test_labels)};
}

// What a trained model is used on.
Source use_source(const DataOptions& options) {
  const bool built_in = options.train.empty() && options.format == kFashionMnist;
  if (built_in || options.train == kFashionMnist) {
    if (!options.train_labels.empty())
      throw Error(ErrorKind::kConfig, "data.train_labels, found a file, expected none with fashion-mnist");
    return fashion_mnist().test;
  }
  if (options.train.empty()) throw Error(ErrorKind::kConfig, "data.train, found nothing, expected a file");
  return source(options.train, options.train_labels);
}

void check_options(const DataOptions& options) {
  if (options.nan != "error" && options.nan != "zero" && options.nan != "drop")
    throw Error(ErrorKind::kConfig,
                fmt::format("data.nan, found '{}', expected error, zero or drop", options.nan));
  if (options.decode_late && options.skip_bad_images)  // there would be fewer samples than were counted
    throw Error(ErrorKind::kConfig,
                "data.bad_images, found 'skip', expected 'error' with data.decode = \"late\"");
  if (!(options.valid_fraction >= 0.0 && options.valid_fraction < 1.0))
    throw Error(ErrorKind::kConfig,
                fmt::format("data.valid_fraction, found {}, expected 0 up to 1", options.valid_fraction));
}

ReadOptions read_options(const DataOptions& options) {
  return {.sep = options.sep,
          .header = options.header,
          .label_column = options.label_column,
          .label_sets = options.label_sets,
          .index_base = options.index_base,
          .duplicates = options.duplicates,
          .arrays = options.arrays,
          .resize = options.resize,
          .skip_bad_images = options.skip_bad_images,
          .decode_late = options.decode_late,
          .test_images = options.test_images,
          .features = options.features,
          .max_rows = options.max_rows,
          .allow_nonfinite = options.nan != "error"};
}

void check_inputs(const Features& inputs, const RawLabels& labels, const std::string& file) {
  if (inputs.samples == 0) refuse(file, "samples, found 0, expected at least 1");
  if (inputs.samples > std::numeric_limits<std::uint32_t>::max())
    refuse(file, fmt::format("samples, found {}, expected fewer than 2^32", inputs.samples));
  if (inputs.features == 0)
    refuse(file,
           fmt::format("features, found 0, expected at least 1{}",
                       labels.size() > 0 ? "; a file of labels alone belongs to data.train_labels" : ""));
}

RawSplit read_inputs(const DataOptions& options, const std::string& file, const std::string& label_column) {
  ReadOptions how = read_options(options);
  how.label_column = label_column;
  RawSplit raw = read_file(options.format, file, how);
  check_inputs(raw.inputs, raw.labels, file);
  return raw;
}

RawSplit read_labelled(const DataOptions& options, const Source& from) {
  RawSplit raw = read_inputs(options, from.inputs, from.apart() ? "none" : options.label_column);
  if (from.apart()) raw.labels = read_labels(options.format, from.labels, read_options(options));
  if (raw.labels.size() == 0)
    refuse(from.inputs,
           "labels, found none, expected one per sample; data.train_labels or data.test_labels names "
           "their file");
  if (raw.labels.size() != static_cast<std::size_t>(raw.inputs.samples))
    refuse(from.labels, fmt::format("labels, found {}, expected {}, the samples of {}", raw.labels.size(),
                                    raw.inputs.samples, from.inputs));
  return raw;
}

// Sets what is not finite to 0, or drops its samples. Readers have refused it already under "error".
void treat_nonfinite(Split& split, const std::string& policy) {
  Features& inputs = split.inputs;
  AlignedVector<float>& values = inputs.is_sparse() ? inputs.sparse.values : inputs.floats;
  if (policy == "zero")
    std::replace_if(
        values.begin(), values.end(), [](float x) { return !std::isfinite(x); }, 0.0f);
  if (policy != "drop" || values.empty()) return;
  std::vector<std::uint32_t> finite;
  for (std::uint32_t row = 0; row < static_cast<std::uint32_t>(split.inputs.samples); ++row) {
    const std::int64_t features = inputs.features;
    const std::int64_t begin = inputs.is_sparse() ? inputs.sparse.row_ptr[row] : row * features;
    const std::int64_t end =
        inputs.is_sparse() ? inputs.sparse.row_ptr[row + std::size_t{1}] : begin + features;
    if (std::all_of(values.begin() + begin, values.begin() + end, [](float x) { return std::isfinite(x); }))
      finite.push_back(row);
  }
  keep_rows(split, finite);
}

void drop_unknown(Split& split) {
  std::vector<std::uint32_t> known;
  for (std::uint32_t row = 0; row < static_cast<std::uint32_t>(split.classes.size()); ++row)
    if (split.classes[row] >= 0) known.push_back(row);
  keep_rows(split, known);
}

// How many labels a sample has.
enum class Labelling { kAsFound, kOne, kSets };

// No class names: regression.
Split labelled_split(RawSplit raw, const Source& from, const DataOptions& options,
                     const std::vector<std::string>& class_names, Labelling labelling) {
  Split split;
  split.inputs = std::move(raw.inputs);
  if (!raw.labels.sets.empty()) {
    if (class_names.empty())
      refuse(
          from.labels,
          "labels, found several of a sample, expected one number of each with data.task = \"regression\"");
    if (labelling == Labelling::kOne)
      refuse(from.labels, "labels, found several of a sample, expected one of each as in the training data");
    split.sets = std::move(raw.labels.sets);
    if (split.sets.count > static_cast<std::int32_t>(class_names.size()))
      refuse(from.labels, fmt::format("labels, found {}, expected {} as in the training data",
                                      split.sets.count, class_names.size()));
    split.sets.count = static_cast<std::int32_t>(class_names.size());
  } else if (class_names.empty()) {
    split.targets = targets_of(raw.labels, from.labels);
  } else {
    split.classes = classes_of(raw.labels, class_names, from.labels, options.ignore_unknown_labels);
    drop_unknown(split);
    if (labelling == Labelling::kSets)
      split.sets =
          sets_of_one(std::exchange(split.classes, {}), static_cast<std::int32_t>(class_names.size()));
  }
  treat_nonfinite(split, options.nan);
  if (split.inputs.samples == 0)
    refuse(from.inputs, "samples, found none that may be used, expected at least 1");
  return split;
}

void check_features(const Features& inputs, std::int32_t expected, const std::string& file,
                    std::string_view of) {
  if (inputs.features != expected)
    refuse(file, fmt::format("features, found {}, expected {} as in {}", inputs.features, expected, of));
}

void check_inputs_fit(const RawSplit& raw, const DataFacts& model, const std::string& file) {
  const auto text_of = [](const ImageShape& s) {
    return fmt::format("{} x {} pixels in {} channel{}", s.height, s.width, s.channels,
                       s.channels == 1 ? "" : "s");
  };
  const std::string found = text_of(raw.image), expected = text_of(model.image);
  if (raw.image.channels > 0 && model.image.channels > 0 && found != expected)
    refuse(file,
           fmt::format("images, found {}, expected {} as the model was trained on{}", found, expected,
                       raw.image.channels == model.image.channels ? "; data.resize makes them alike" : ""));
  check_features(raw.inputs, model.features, file, "the model");
}

// What a sparse text does not say by itself is as in the training data.
DataOptions of_training(DataOptions options, const DataFacts& known) {
  options.features = known.features;
  options.test_images = true;
  if (options.index_base < 0) options.index_base = known.index_base;
  return options;
}

}  // namespace

Dataset load_dataset(const DataOptions& options) {
  check_options(options);
  const Spilling files(options.scratch);
  Dataset data;
  Sources from;
  if (options.format == kSynthetic) {
    check_no_files(options);
    data = synthetic_dataset(options.synthetic);
  } else {
    from = training_sources(options);

    RawSplit raw = read_labelled(options, from.train);
    data.image = raw.image;
    data.description = options.format == kFashionMnist ? options.format : raw.reader;
    data.index_base = raw.index_base;
    if (!options.regression) data.class_names = class_names_of(raw.labels, from.train.labels);
    data.train = labelled_split(std::move(raw), from.train, options, data.class_names, Labelling::kAsFound);
  }
  if (!from.test.inputs.empty()) {
    const Labelling labelling = data.train.sets.empty() ? Labelling::kOne : Labelling::kSets;
    DataOptions of_test = of_training(
        options, {.class_names = {}, .features = data.train.inputs.features, .index_base = data.index_base});
    of_test.label_sets = labelling == Labelling::kSets;
    RawSplit raw = read_labelled(of_test, from.test);
    check_features(raw.inputs, data.train.inputs.features, from.test.inputs, "the training data");
    data.test = labelled_split(std::move(raw), from.test, options, data.class_names, labelling);
  }
  prepare_dataset(data, options);
  for (const Split* const split : {&data.train, &data.valid, &data.test})
    for (const std::span<const std::byte> array : split->inputs.arrays()) unmap(array);
  return data;
}

void prepare_dataset(Dataset& data, const DataOptions& options) {
  check_options(options);
  if (options.valid_fraction > 0.0 && data.valid.inputs.samples == 0) {
    data.valid = split_off(data.train, options.valid_fraction, data.class_names.size(), options.seed);
    if (data.valid.inputs.samples == 0)
      throw Error(
          ErrorKind::kConfig,
          fmt::format("data.valid_fraction, found {}, expected 0 or a larger share: it takes none of {} "
                      "training samples",
                      options.valid_fraction, data.train.inputs.samples));
  }
  for (const Split* const split : {&data.valid, &data.test})
    if (data.class_names.empty() && split->inputs.samples > 0)
      require(
          split->target_width == data.train.target_width,
          fmt::format("targets of the validation or test data, found {} for each sample, expected {} as in "
                      "the training data",
                      split->target_width, data.train.target_width));
  data.scaling = fit_scaling(options.scale, data.train.inputs, data.image);
}

Split load_labelled_split(const DataOptions& options, const DataFacts& model) {
  check_options(options);
  const Spilling files(options.scratch);
  const Source from = use_source(options);
  RawSplit raw = read_labelled(of_training(options, model), from);
  check_inputs_fit(raw, model, from.inputs);
  return labelled_split(std::move(raw), from, options, model.class_names,
                        model.one_label ? Labelling::kOne : Labelling::kAsFound);
}

Features load_inputs(const DataOptions& options, const DataFacts& model) {
  check_options(options);
  const Spilling files(options.scratch);
  const Source from = use_source(options);
  Split split;
  RawSplit raw = read_inputs(of_training(options, model), from.inputs, options.label_column);
  check_inputs_fit(raw, model, from.inputs);
  split.inputs = std::move(raw.inputs);
  treat_nonfinite(split, options.nan);
  if (split.inputs.samples == 0)
    refuse(from.inputs, "samples, found none that may be used, expected at least 1");
  return std::move(split.inputs);
}

}  // namespace tulle
