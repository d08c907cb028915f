#include "tulle/data/readers.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <utility>
#include <vector>

#include "tulle/base/error.h"
#include "tulle/base/name_table.h"
#include "tulle/data/gzip.h"
#include "tulle/data/images.h"

namespace tulle {

ReadBytes read_idx, read_npy, read_npz, read_mat, read_images, read_cifar, read_xmc, read_libsvm, read_csv;
FitsBytes is_idx, is_npy, is_npz, is_mat, is_tar, is_cifar, is_xmc, is_libsvm, is_text;

namespace {

// To add a reader: its file, its names above, one line here. `auto` takes the first that fits.
constexpr ReaderInfo kReaders[] = {
    {"auto", "decided by the content, then by the name"},
    {"idx",
     "IDX as MNIST has it, plain or .gz; labels in a file of their own",
     "yann.lecun.com/exdb/mnist",
     read_idx,
     is_idx,
     {"ubyte", ".idx"}},
    {"npy",
     "one NumPy array; labels in a file of their own",
     "NumPy enhancement proposal 1",
     read_npy,
     is_npy,
     {".npy"}},
    {"npz",
     "NumPy arrays X and y, or a sparse matrix as SciPy's save_npz writes it",
     "numpy.savez, scipy.sparse.save_npz",
     read_npz,
     is_npz,
     {".npz"}},
    {"mat",
     "MATLAB 5 file with full numeric arrays X and Y",
     "MATLAB MAT-File Format, version 5",
     read_mat,
     is_mat,
     {".mat"}},
    {"images",
     "folder or tar of JPEG and PNG files of one size, [split/]class/file",
     "ISO/IEC 10918-1 (JPEG), 15948 (PNG), POSIX.1 (tar)",
     read_images,
     is_tar,
     {".tar", ".tgz"}},
    {"cifar",
     "CIFAR-10 and CIFAR-100 binary",
     "www.cs.toronto.edu/~kriz/cifar.html",
     read_cifar,
     is_cifar,
     {".bin"}},
    {"xmc", "extreme classification text: samples, features, labels; then label,label index:value ...",
     "manikvarma.org/downloads/XC", read_xmc, is_xmc},
    {"libsvm",
     "label index:value ..., kept sparse",
     "Chang and Lin 2011, LIBSVM",
     read_libsvm,
     is_libsvm,
     {".libsvm", ".svm", ".svmlight"}},
    {"csv",
     "separated values, plain or .gz; quotes, header, label column",
     "RFC 4180",
     read_csv,
     is_text,
     {".csv", ".tsv"}},
    {"fashion-mnist", "the files of Debian's package dataset-fashion-mnist", "Xiao et al. 2017"},
    {"synthetic", "samples made when they are needed, as the keys of [synthetic] say; for training",
     "after Guyon 2003, the MADELON generator"},
};

bool has_ending(const ReaderInfo& reader, std::string_view path) {
  if (path.ends_with(".gz")) path.remove_suffix(3);
  return std::any_of(reader.endings.begin(), reader.endings.end(),
                     [path](std::string_view ending) { return !ending.empty() && path.ends_with(ending); });
}

const ReaderInfo& choose(const std::string& format, std::span<const std::byte> bytes,
                         const std::string& path) {
  const ReaderInfo& named = find_name(readers(), "data.format", format == "fashion-mnist" ? "idx" : format);
  if (named.read != nullptr) return named;
  for (const ReaderInfo& reader : kReaders) {
    if (reader.fits == nullptr || !reader.fits(bytes)) continue;
    // Any text may be separated values: a name that says LIBSVM knows better.
    const auto* const libsvm = std::ranges::find(kReaders, std::string_view("libsvm"), &ReaderInfo::name);
    return reader.fits == is_text && has_ending(*libsvm, path) ? *libsvm : reader;
  }
  for (const ReaderInfo& reader : kReaders)
    if (has_ending(reader, path)) return reader;
  throw Error(
      ErrorKind::kBadData, {.file = path},
      "format, found none that is known, expected one of `tulle list readers`; data.format names one");
}

}  // namespace

std::span<const ReaderInfo> readers() { return kReaders; }

RawSplit read_file(const std::string& format, const std::string& path, const ReadOptions& options) {
  std::error_code ignored;
  if ((format == "images" || format == "auto") && std::filesystem::is_directory(path, ignored)) {
    RawSplit split = read_image_folder(path, options);
    split.reader = "images";
    return split;
  }
  const Content bytes = read_content(path);
  const ReaderInfo& reader = choose(format, bytes, path);
  RawSplit split = reader.read(bytes, path, options);
  split.reader = reader.name;
  return split;
}

RawLabels read_labels(const std::string& format, const std::string& path, const ReadOptions& options) {
  ReadOptions label_options = options;
  label_options.label_column = "first";
  label_options.labels_alone = true;
  RawSplit split = read_file(format, path, label_options);
  if (split.inputs.features != 0)
    throw Error(ErrorKind::kBadData, {.file = path},
                fmt::format("label file, found {} features, expected labels alone", split.inputs.features));
  return std::move(split.labels);
}

FashionMnistFiles find_fashion_mnist() {
  const char* const variable = std::getenv("TULLE_FASHION_MNIST");
  const std::filesystem::path folder = variable != nullptr ? variable : "/usr/share/datasets/fashion-mnist";
  FashionMnistFiles files{folder / "train-images-idx3-ubyte.gz", folder / "train-labels-idx1-ubyte.gz",
                          folder / "t10k-images-idx3-ubyte.gz", folder / "t10k-labels-idx1-ubyte.gz"};
  std::error_code ignored;
  for (const std::string& file : {files.train, files.train_labels, files.test, files.test_labels})
    if (!std::filesystem::exists(file, ignored))
      throw Error(ErrorKind::kMissingInput, {.file = file},
                  "Fashion-MNIST is not installed; Debian's package dataset-fashion-mnist brings it, or "
                  "TULLE_FASHION_MNIST names its folder");
  return files;
}

}  // namespace tulle
