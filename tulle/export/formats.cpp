#include "tulle/export/formats.h"

namespace tulle {

ExportModel export_onnx, export_c_header, export_npz;

namespace {

// To add a format: its file, its name above, one line here.
constexpr ExportFormat kFormats[] = {
    {"onnx", "ONNX, opset 18: a graph of standard operators", export_onnx},
    {"c-header", "C99 header for microcontrollers: no malloc, no libm", export_c_header},
    {"npz", "NumPy's archive of arrays; sparse weights as SciPy's save_npz has them", export_npz},
};

}  // namespace

std::span<const ExportFormat> export_formats() { return kFormats; }

}  // namespace tulle
