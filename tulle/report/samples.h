#pragma once

#include <string>
#include <vector>

#include "tulle/data/picture.h"

namespace tulle {

/// A sample that a network was asked about.
struct SampleRecord {
  Picture picture;
  std::string actual, predicted;
  double probability = 0;  // of the predicted class, from 0 to 1
};

/// A matrix as a picture: black where it is most negative, gray where it is 0.
struct MatrixRecord {
  Picture picture;
  std::string name;
};

/// Pictures of matrices with their names, each a small PNG within the page; "" for none.
std::string matrix_gallery(const std::vector<MatrixRecord>& matrices);

/// Pictures with what they are and what they were taken for, mistakes marked; each a small PNG within the
/// page.
/// "" for no samples. Throws std::invalid_argument if a picture is none.
std::string sample_gallery(const std::vector<SampleRecord>& samples);

/// <img> of the bytes of a PNG file, which become part of the page.
std::string inline_png(const std::string& png, const std::string& description);

}  // namespace tulle
