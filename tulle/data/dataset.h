#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "tulle/base/aligned.h"

namespace tulle {

/// Rows that store only what is there: CSR, columns strictly increasing within a row. An explicit zero of a
/// file is stored.
struct SparseRows {
  std::vector<std::int64_t> row_ptr;  // empty: no rows are stored this way
  AlignedVector<std::int32_t> columns;
  AlignedVector<float> values;
};

/// What makes samples when they are asked for.
class SampleSource {
 public:
  virtual ~SampleSource() = default;
  /// The features of one sample; always the same. Called by several threads at once.
  virtual void row(std::uint32_t sample, std::span<float> out) const = 0;
  /// Memory that it holds for all samples.
  virtual std::int64_t bytes() const { return 0; }
  /// The same where all samples are; 0: those whose first sample is the same are.
  virtual std::uint64_t identity() const { return 0; }
};

struct GeneratedRows {
  std::shared_ptr<const SampleSource> source;  // null: no rows are made this way
  std::vector<std::uint32_t> samples;          // its number of each
};

/// The inputs of many samples. Exactly one of the four forms is filled. Dense ones are row-major
/// [sample][feature]: pixels stay bytes, so that an image set takes one byte a value; scaling happens when a
/// batch is gathered. Sparse ones are never made dense; generated ones, drawn or decoded, are never stored.
/// What is stored lies in memory or, with data.scratch, in files (base/spill.h).
struct Features {
  std::int64_t samples = 0;
  std::int32_t features = 0;
  AlignedVector<std::uint8_t> bytes;
  AlignedVector<float> floats;
  SparseRows sparse;
  GeneratedRows generated{};

  bool is_generated() const { return generated.source != nullptr; }
  bool is_sparse() const { return !sparse.row_ptr.empty(); }
  /// What is stored, as bytes; some are empty.
  std::array<std::span<const std::byte>, 4> arrays() const {
    return {std::as_bytes(std::span(bytes)), std::as_bytes(std::span(floats)),
            std::as_bytes(std::span(sparse.columns)), std::as_bytes(std::span(sparse.values))};
  }
  /// One value, of stored dense inputs only.
  float at(std::int64_t sample, std::int64_t feature) const {
    const auto i = static_cast<std::size_t>(sample * features + feature);
    return floats.empty() ? static_cast<float>(bytes[i]) : floats[i];
  }
};

/// Any number of labels for each sample: CSR of label numbers, increasing within a sample.
struct LabelSets {
  std::vector<std::int64_t> row_ptr;  // empty: samples have one label each
  std::vector<std::int32_t> labels;
  std::int32_t count = 0;  // of all labels there are: numbers are below

  bool empty() const { return row_ptr.empty(); }
};

/// Labels as a file has them: numbers, names or sets, one of the three filled.
struct RawLabels {
  std::vector<double> numbers;
  std::vector<std::string> names;
  LabelSets sets{};
  std::vector<std::string> texts{};  // of the numbers, where one is written in another way than 12

  std::size_t size() const {
    if (!sets.empty()) return sets.row_ptr.size() - 1;
    return numbers.empty() ? names.size() : numbers.size();
  }
};

/// How the features of a sample lie if they are pixels; all 0 if they are not.
struct ImageShape {
  int channels = 0;
  int height = 0;
  int width = 0;
};

/// What a reader returns: no features if the file holds labels alone, no labels if it holds none.
struct RawSplit {
  Features inputs;
  RawLabels labels;
  ImageShape image;
  std::string reader;   // its name
  int index_base = -1;  // LIBSVM: the index of the first feature; -1: not of this format
};

/// Samples ready for training: a class each, a number or several each (regression), or a set of labels each.
struct Split {
  Features inputs;
  std::vector<std::int32_t> classes;
  std::vector<float> targets;     // [sample][target_width]
  std::int32_t target_width = 1;  // numbers of each sample
  LabelSets sets;
  /// What each sample's loss and gradient are multiplied by, finite, not below 0 and not all 0; empty: 1. The
  /// mean is over samples, not over weights, so that weights whose mean is 1 leave the size of a step as it
  /// is.
  std::vector<float> weights{};
};

/// What is done to each raw feature: (raw - mean) / deviation, and 0 where deviation is 0 (a feature that did
/// not vary in the training data). Empty arrays: nothing is done. Means of sparse inputs are 0: they would
/// not stay sparse.
struct Scaling {
  std::string kind = "none";
  std::vector<float> mean, deviation;
};

struct Dataset {
  Split train, valid, test;              // valid and test may be empty
  std::vector<std::string> class_names;  // of classes or labels; empty for regression
  int index_base = -1;                   // LIBSVM: as decided by the training data
  Scaling scaling;                       // computed on train alone
  ImageShape image;
  std::string description;  // for people: the reader, or the built-in data set
};

}  // namespace tulle
