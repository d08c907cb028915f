// Files of other programs: exports and event files.

#include <fmt/format.h>
#include <nanobind/stl/variant.h>

#include "bind.h"
#include "tulle/base/name_table.h"
#include "tulle/export/formats.h"
#include "tulle/report/tensorboard.h"

namespace tulle::python {
namespace {

// Writes the model in one of export_formats(): {"bytes": .., and what there is to know, by name}.
nb::dict export_model(const ModelHandle& handle, const std::string& format, const std::string& path,
                      ExportOptions& options, const Features* samples,
                      const std::optional<Array1<std::int32_t>>& classes) {
  if (samples != nullptr) {
    if (classes && static_cast<std::int64_t>(classes->size()) != samples->samples)
      throw nb::value_error(fmt::format("y, found {} labels, expected {}, one for each sample of X",
                                        classes->size(), samples->samples)
                                .c_str());
    options.c_header.samples.inputs = *samples;
    if (classes) options.c_header.samples.classes.assign(classes->data(), classes->data() + classes->size());
  }
  Exported written;
  {
    nb::gil_scoped_release release;
    const std::lock_guard lock(*handle.computing);
    written = find_name(export_formats(), "format", format).write(path, *handle.model, options);
  }
  nb::dict facts;
  facts["bytes"] = written.bytes;
  for (const ExportFact& fact : written.facts) facts[fact.name.c_str()] = nb::cast(fact.value);
  return facts;
}

}  // namespace

void bind_files(nb::module_& m) {
  nb::class_<ExportOptions>(m, "ExportOptions")
      .def(nb::init<>())
      .def_rw("preprocess", &ExportOptions::preprocess)
      .def_rw("probabilities", &ExportOptions::probabilities)
      .def_rw("onnx_form", &ExportOptions::onnx_form)
      .def_prop_rw(
          "name", [](const ExportOptions& o) { return o.c_header.name; },
          [](ExportOptions& o, const std::string& name) { o.c_header.name = name; })
      .def_prop_rw(
          "int8", [](const ExportOptions& o) { return o.c_header.int8; },
          [](ExportOptions& o, bool int8) { o.c_header.int8 = int8; })
      .def_prop_rw(
          "int8_activations", [](const ExportOptions& o) { return o.c_header.int8_activations; },
          [](ExportOptions& o, bool int8) { o.c_header.int8_activations = int8; })
      .def_prop_rw(
          "scale", [](const ExportOptions& o) { return o.c_header.scale; },
          [](ExportOptions& o, const std::string& scale) { o.c_header.scale = scale; })
      .def_prop_rw(
          "gap", [](const ExportOptions& o) { return o.c_header.gap; },
          [](ExportOptions& o, const std::string& gap) { o.c_header.gap = gap; });
  m.def("export_model", &export_model, nb::arg("model"), nb::arg("format"), nb::arg("path"),
        nb::arg("options"), nb::arg("samples").none(), nb::arg("classes").noconvert().none());

  nb::class_<TensorBoardLog>(m, "TensorBoardLog")
      .def(nb::init<const std::string&, std::int64_t>(), nb::arg("folder"), nb::arg("step"))
      .def(
          "write",
          [](TensorBoardLog& log, const EpochRecord& record, const ModelHandle* histograms) {
            log.write(record, {}, histograms == nullptr ? nullptr : &histograms->model->network);
          },
          nb::arg("record"), nb::arg("histograms").none());
}

}  // namespace tulle::python
