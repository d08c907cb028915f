#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "tulle/data/dataset.h"

namespace tulle {

struct ReadOptions {
  // For separated values alone:
  std::string sep = "auto";           // auto, comma, semicolon, tab, blank, or the character itself
  std::string header = "auto";        // auto, yes, no; skip: leave the first line aside, whatever it holds
  std::string label_column = "last";  // first, last, none, an index from 0, or a name in the header
  // For LIBSVM alone:
  bool label_sets = false;           // every sample has a set of labels, even if no line has several
  int index_base = -1;               // 0, 1, or -1: 0 if index 0 occurs, else 1
  std::string duplicates = "error";  // or sum: the same index twice in a row
  // For archives and files of several arrays alone:
  std::string arrays = "auto";  // "X,y": names of the inputs and the labels; "X": of the inputs
  // For images alone:
  int resize = 0;                // the shorter side, of which the middle square is kept; 0: as they are
  bool skip_bad_images = false;  // leave out what cannot be decoded
  bool decode_late = false;      // whenever a sample is asked for; only headers are looked at before
  bool test_images = false;      // of an archive with several splits: "test", "val" or "valid", not "train"
  // For arrays alone:
  bool labels_alone = false;  // one column holds labels, not a feature
  // For all:
  std::int32_t features = 0;     // LIBSVM: how many; 0: as many as occur
  std::int64_t max_rows = 0;     // 0: all
  bool allow_nonfinite = false;  // features may be NaN, infinite, or missing (which becomes NaN)
};

/// From the bytes of one file to samples; `name` stands for the file in messages. Nothing else is read,
/// nothing is trusted: every count is compared with the bytes that are left before memory is taken, so a
/// reader can be fuzzed. Throws tulle::Error (kBadData) with file, place, found and expected.
using ReadBytes = RawSplit(std::span<const std::byte> bytes, const std::string& name, const ReadOptions&);
/// Whether the content looks like a reader's format.
using FitsBytes = bool(std::span<const std::byte> bytes);

struct ReaderInfo {
  std::string_view name;
  std::string_view help;
  std::string_view source;    // specification of the format
  ReadBytes* read = nullptr;  // null: a name that stands for others (auto, built-in data)
  FitsBytes* fits = nullptr;
  std::array<std::string_view, 4> endings{};  // of file names, without .gz
};

std::span<const ReaderInfo> readers();

/// Reads one file or folder of images: by the reader called `format`, or for "auto" by the first that fits
/// its content, then its name. Throws tulle::Error as read_content() (gzip.h) and the readers do; kConfig for
/// an unknown format.
RawSplit read_file(const std::string& format, const std::string& path, const ReadOptions& options);

/// The labels in a file that holds labels alone: an IDX of one dimension, separated values of one column.
RawLabels read_labels(const std::string& format, const std::string& path, const ReadOptions& options);

/// The four files of Debian's package dataset-fashion-mnist, or of the folder in TULLE_FASHION_MNIST.
struct FashionMnistFiles {
  std::string train, train_labels, test, test_labels;
};
/// Throws tulle::Error (kMissingInput) that names the package if they are not there.
FashionMnistFiles find_fashion_mnist();

}  // namespace tulle
