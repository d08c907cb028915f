#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

#include "tulle/base/as_size.h"
#include "tulle/checkpoint/atomic_file.h"
#include "tulle/data/archive.h"
#include "tulle/data/npy.h"
#include "tulle/export/formats.h"
#include "tulle/vision/smlp_net.h"

namespace tulle {

ExportModel export_npz;

namespace {

using Shape = std::vector<std::int64_t>;

// An archive of .npy members, as NumPy's savez writes it.
class Archive {
 public:
  void add(const std::string& name, std::span<const float> values, const Shape& shape) {
    add(name, "<f4", std::as_bytes(values), shape);
  }
  void add(const std::string& name, std::span<const std::int32_t> values, const Shape& shape) {
    add(name, "<i4", std::as_bytes(values), shape);
  }
  void add(const std::string& name, std::span<const std::int64_t> values, const Shape& shape) {
    add(name, "<i8", std::as_bytes(values), shape);
  }
  /// Texts of one length, the shorter ones filled with zeros.
  void add(const std::string& name, std::span<const std::string> values, const Shape& shape) {
    std::size_t longest = 1;
    for (const std::string& value : values) longest = std::max(longest, value.size());
    std::string text;
    for (const std::string& value : values) text += value + std::string(longest - value.size(), '\0');
    add(name, fmt::format("|S{}", longest), std::as_bytes(std::span(text)), shape);
  }

  std::string finish() { return zip_.finish(); }

 private:
  void add(const std::string& name, std::string_view type, std::span<const std::byte> bytes,
           const Shape& shape) {
    const std::string head = npy_head(type, shape);
    const std::span<const std::byte> pieces[] = {std::as_bytes(std::span(head)), bytes};
    zip_.add(name + ".npy", pieces);
  }

  ZipWriter zip_;
};

// The arrays of SciPy's save_npz, under the name of the matrix.
void add_csr(Archive& archive, const Parameter& weight, const Topology& topology) {
  const std::string format = "csr";
  const Shape shape{topology.rows(), topology.cols()};
  archive.add(weight.name + ".indptr", topology.row_ptr().all(), {as_count(topology.row_ptr().size())});
  archive.add(weight.name + ".indices", topology.columns(), {topology.nnz()});
  archive.add(weight.name + ".data", weight.value, {topology.nnz()});
  archive.add(weight.name + ".shape", shape, {as_count(shape.size())});
  archive.add(weight.name + ".format", std::span(&format, 1), {});
}

void add_layer(Archive& archive, Layer& layer, std::size_t l) {
  for (const Parameter* const parameter : layer.parameters()) {
    if (parameter->kind != Parameter::Kind::kWeight)
      archive.add(parameter->name, parameter->value, {as_count(parameter->value.size())});
    else if (layer.topology() != nullptr)
      add_csr(archive, *parameter, *layer.topology());
    else
      archive.add(parameter->name, parameter->value, weight_shape(layer));
  }
  const std::string prefix = fmt::format("layers.{}.activation", l);
  archive.add(prefix, std::span(&layer.options().activation, 1), {});
  if (const auto form = layer.activation().piecewise())
    archive.add(prefix + ".slope", std::span(&form->slope, 1), {});
}

}  // namespace

Exported export_npz(const std::string& path, Model& model, const ExportOptions& options) {
  Archive archive;
  Network& network = model.network;
  for (std::size_t l = 0; l < network.size(); ++l) add_layer(archive, network.layer(l), l);
  if (network.architecture() != nullptr)
    for (const NamedArray& array : network.architecture()->arrays())
      archive.add(array.name, *array.values, array.shape);
  const Scaling& scaling = model.scaling;
  if (!scaling.deviation.empty()) {
    archive.add("data.mean", scaling.mean, {as_count(scaling.mean.size())});
    archive.add("data.std", scaling.deviation, {as_count(scaling.deviation.size())});
  }
  archive.add("loss", std::span(&model.loss, 1), {});
  archive.add("classes", model.class_names, {as_count(model.class_names.size())});
  const std::string bytes = archive.finish();
  if (!options.check_only) write_file_atomically(path, bytes);
  return {.bytes = static_cast<std::int64_t>(bytes.size()), .facts = {}};
}

}  // namespace tulle
