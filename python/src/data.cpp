#include <cstring>

#include "bind.h"
#include "tulle/base/check.h"
#include "tulle/data/readers.h"
#include "tulle/train/build.h"

namespace tulle::python {
namespace {

Features dense_features(const Array2<float>& x) {
  Features features{.samples = static_cast<std::int64_t>(x.shape(0)),
                    .features = static_cast<std::int32_t>(x.shape(1))};
  features.floats.assign(x.data(), x.data() + x.size());
  return features;
}

Features byte_features(const Array2<std::uint8_t>& x) {
  Features features{.samples = static_cast<std::int64_t>(x.shape(0)),
                    .features = static_cast<std::int32_t>(x.shape(1))};
  features.bytes.assign(x.data(), x.data() + x.size());
  return features;
}

// What SciPy allows and the engine does not (columns that are not increasing) is refused.
Features sparse_features(std::int64_t samples, std::int32_t features, const Array1<std::int64_t>& row_ptr,
                         const Array1<std::int32_t>& columns, const Array1<float>& values) {
  require(std::ssize(span_of(row_ptr)) == samples + 1 && row_ptr.data()[0] == 0 &&
              row_ptr.data()[samples] == static_cast<std::int64_t>(columns.shape(0)) &&
              columns.shape(0) == values.shape(0),
          "CSR, found arrays of other lengths, expected those of its shape");
  for (std::int64_t r = 0; r < samples; ++r) {
    const std::int64_t begin = row_ptr.data()[r], end = row_ptr.data()[r + 1];
    require(begin <= end && end <= static_cast<std::int64_t>(columns.shape(0)),
            "CSR, found row pointers that decrease, expected increasing ones");
    for (std::int64_t k = begin; k < end; ++k)
      require(
          columns.data()[k] >= (k > begin ? columns.data()[k - 1] + 1 : 0) && columns.data()[k] < features,
          "CSR, found indices out of order or range, expected them increasing within each row; "
          "sum_duplicates() makes them so");
  }
  Features inputs{.samples = samples, .features = features};
  inputs.sparse.row_ptr.assign(row_ptr.data(), row_ptr.data() + row_ptr.size());
  inputs.sparse.columns.assign(columns.data(), columns.data() + columns.size());
  inputs.sparse.values.assign(values.data(), values.data() + values.size());
  return inputs;
}

nb::object features_out(Features& inputs) {
  const auto samples = static_cast<std::size_t>(inputs.samples);
  const auto features = static_cast<std::size_t>(inputs.features);
  if (inputs.is_sparse())
    return nb::make_tuple(owned<std::int64_t>(std::move(inputs.sparse.row_ptr)),
                          owned<std::int32_t>(std::move(inputs.sparse.columns)),
                          owned<float>(std::move(inputs.sparse.values)), nb::make_tuple(samples, features));
  if (!inputs.bytes.empty()) return owned<std::uint8_t>(std::move(inputs.bytes), {samples, features});
  return owned<float>(std::move(inputs.floats), {samples, features});
}

nb::object labels_out(RawLabels& labels) {
  if (!labels.sets.empty())
    return nb::make_tuple(owned<std::int64_t>(std::move(labels.sets.row_ptr)),
                          owned<std::int32_t>(std::move(labels.sets.labels)), labels.sets.count);
  if (!labels.names.empty()) return nb::cast(labels.names);
  if (labels.numbers.empty()) return nb::none();
  return owned<double>(std::move(labels.numbers));
}

// What a reader makes of a file: (inputs, labels, (channels, height, width)).
nb::tuple read(const std::string& path, const std::string& format, const ReadOptions& options) {
  RawSplit raw;
  {
    nb::gil_scoped_release release;
    raw = read_file(format, path, options);
  }
  return nb::make_tuple(features_out(raw.inputs), labels_out(raw.labels),
                        nb::make_tuple(raw.image.channels, raw.image.height, raw.image.width));
}

Split split_of(Features inputs, const nb::object& labels, const char* kind, const nb::object& weights) {
  Split split;
  split.inputs = std::move(inputs);
  if (std::strcmp(kind, "classes") == 0) {
    const auto classes = nb::cast<Array1<std::int32_t>>(labels, /*convert=*/false);
    split.classes.assign(classes.data(), classes.data() + classes.size());
  } else {
    const auto targets = nb::cast<Array2<float>>(labels, /*convert=*/false);
    require(targets.shape(1) > 0, "y, found no target, expected at least one for each sample");
    split.targets.assign(targets.data(), targets.data() + targets.size());
    split.target_width = static_cast<std::int32_t>(targets.shape(1));
  }
  const std::size_t labelled =
      split.classes.size() + split.targets.size() / static_cast<std::size_t>(split.target_width);
  require(std::cmp_equal(labelled, split.inputs.samples),
          "labels, found another number than samples, expected one each");
  if (!weights.is_none()) {
    const auto values = nb::cast<Array1<float>>(weights, /*convert=*/false);
    require(std::cmp_equal(values.shape(0), split.inputs.samples),
            "weights, found another number than samples, expected one each");
    split.weights.assign(values.data(), values.data() + values.size());
  }
  return split;
}

}  // namespace

void bind_data(nb::module_& m) {
  nb::class_<Features>(m, "Features")
      .def_ro("samples", &Features::samples)
      .def_ro("features", &Features::features)
      .def_prop_ro("is_sparse", &Features::is_sparse)
      .def("arrays", [](const Features& inputs) {
        Features copy = inputs;
        return features_out(copy);
      });
  m.def("features", &dense_features, nb::arg("x").noconvert());
  m.def("features", &byte_features, nb::arg("x").noconvert());
  m.def("sparse_features", &sparse_features, nb::arg("samples"), nb::arg("features"),
        nb::arg("row_ptr").noconvert(), nb::arg("columns").noconvert(), nb::arg("values").noconvert());

  // Held by shared_ptr: a training looks at its data as long as it lives.
  nb::class_<Dataset>(m, "Dataset")
      .def_prop_ro("samples", [](const Dataset& data) { return data.train.inputs.samples; })
      .def_prop_ro("valid_samples", [](const Dataset& data) { return data.valid.inputs.samples; })
      .def_prop_ro("test_samples", [](const Dataset& data) { return data.test.inputs.samples; })
      .def_prop_ro("features", [](const Dataset& data) { return data.train.inputs.features; })
      .def_ro("class_names", &Dataset::class_names);
  m.def(
      "dataset",
      // Takes the samples over: they are not there twice. Held-out samples, scaling and seed are the
      // config's.
      [](const Config& config, Features& inputs, const nb::object& labels,
         const std::vector<std::string>& class_names, Features* valid, const nb::object& valid_labels,
         const nb::object& weights, std::tuple<int, int, int> image) {
        auto data = std::make_shared<Dataset>();
        const char* const kind = class_names.empty() ? "targets" : "classes";
        data->class_names = class_names;
        data->description = "arrays";
        data->image = {std::get<0>(image), std::get<1>(image), std::get<2>(image)};
        data->train = split_of(std::move(inputs), labels, kind, weights);
        if (valid != nullptr) data->valid = split_of(std::move(*valid), valid_labels, kind, nb::none());
        nb::gil_scoped_release release;
        prepare_dataset(*data, data_options(config));
        return data;
      },
      nb::arg("config"), nb::arg("inputs"), nb::arg("labels"), nb::arg("class_names"),
      nb::arg("valid").none() = nb::none(), nb::arg("valid_labels").none() = nb::none(),
      nb::arg("weights").none() = nb::none(), nb::arg("image") = std::tuple<int, int, int>{});
  m.def(
      "load_dataset",
      [](const Config& config) {
        nb::gil_scoped_release release;
        return std::make_shared<Dataset>(load_dataset(data_options(config)));
      },
      nb::arg("config"));
  m.def("reader_names", [] {
    std::vector<std::pair<std::string, std::string>> rows;
    for (const ReaderInfo& reader : readers()) rows.emplace_back(reader.name, reader.help);
    return rows;
  });
  m.def(
      "read_labels",
      [](const std::string& path, const std::string& format) {
        RawLabels labels = read_labels(format, path, {});
        return labels_out(labels);
      },
      nb::arg("path"), nb::arg("format") = "auto");
  m.def("fashion_mnist", [] {
    const FashionMnistFiles files = find_fashion_mnist();
    return nb::make_tuple(files.train, files.train_labels, files.test, files.test_labels);
  });
  m.def(
      "read",
      [](const std::string& path, const std::string& format, const std::string& sep,
         const std::string& header, const std::string& label_column, int index_base,
         const std::string& duplicates, const std::string& arrays, int resize, std::int32_t features,
         std::int64_t max_rows, bool allow_nonfinite) {
        return read(path, format,
                    {.sep = sep,
                     .header = header,
                     .label_column = label_column,
                     .index_base = index_base,
                     .duplicates = duplicates,
                     .arrays = arrays,
                     .resize = resize,
                     .features = features,
                     .max_rows = max_rows,
                     .allow_nonfinite = allow_nonfinite});
      },
      nb::arg("path"), nb::arg("format") = "auto", nb::arg("sep") = "auto", nb::arg("header") = "auto",
      nb::arg("label_column") = "last", nb::arg("index_base") = -1, nb::arg("duplicates") = "error",
      nb::arg("arrays") = "auto", nb::arg("resize") = 0, nb::arg("features") = 0, nb::arg("max_rows") = 0,
      nb::arg("allow_nonfinite") = false);
}

}  // namespace tulle::python
