#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace tulle {

/// The inputs of many samples, row-major [sample][feature]. Exactly one of the two arrays is filled: pixels
/// stay bytes, so that an image set takes one byte a value; scaling happens when a batch is gathered.
struct Features {
  std::int64_t samples = 0;
  std::int32_t features = 0;
  std::vector<std::uint8_t> bytes;
  std::vector<float> floats;

  float at(std::int64_t sample, std::int64_t feature) const {
    const auto i = static_cast<std::size_t>(sample * features + feature);
    return floats.empty() ? static_cast<float>(bytes[i]) : floats[i];
  }
};

/// Labels as a file has them: numbers or names, one of the two filled.
struct RawLabels {
  std::vector<double> numbers;
  std::vector<std::string> names;

  std::size_t size() const { return numbers.empty() ? names.size() : numbers.size(); }
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
  std::string reader;  // its name
};

/// Samples ready for training: a class each, or a number each (regression).
struct Split {
  Features inputs;
  std::vector<std::int32_t> classes;
  std::vector<float> targets;
};

/// What is done to each raw feature: (raw - mean) / deviation, and 0 where deviation is 0 (a feature that did
/// not vary in the training data). Empty arrays: nothing is done.
struct Scaling {
  std::string kind = "none";
  std::vector<float> mean, deviation;
};

struct Dataset {
  Split train, valid, test;              // valid and test may be empty
  std::vector<std::string> class_names;  // empty for regression
  Scaling scaling;                       // computed on train alone
  ImageShape image;
  std::string description;  // for people: the reader, or the built-in data set
};

}  // namespace tulle
