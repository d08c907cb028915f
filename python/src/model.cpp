#include <cmath>
#include <cstring>
#include <mutex>
#include <optional>

#include "bind.h"
#include "tulle/base/check.h"
#include "tulle/base/name_table.h"
#include "tulle/evolve/importance.h"
#include "tulle/evolve/prune.h"
#include "tulle/nn/bf16_weights.h"
#include "tulle/nn/dense_linear.h"
#include "tulle/nn/loss.h"
#include "tulle/nn/sparse_layer.h"
#include "tulle/train/build.h"
#include "tulle/train/evaluate.h"

namespace tulle::python {
namespace {

using Handle = std::shared_ptr<Model>;

Layer& layer_of(Model& model, std::size_t l) {
  require(l < model.network.size(), "layer, found a number beyond the last one");
  return model.network.layer(l);
}

nb::list layers(const ModelHandle& handle) {
  nb::list rows;
  for (std::size_t l = 0; l < handle.model->network.size(); ++l) {
    const Layer& layer = handle.model->network.layer(l);
    nb::dict row;
    row["name"] = layer.weight().name;
    row["shape"] = nb::make_tuple(layer.outputs(), layer.inputs());
    row["nnz"] = layer.connections();
    row["sparse"] = layer.topology() != nullptr;
    row["activation"] = layer.options().activation;
    row["alpha"] = layer.options().alpha;
    row["dropout"] = layer.options().dropout;
    rows.append(row);
  }
  return rows;
}

nb::object values_of(const Handle& model, const AlignedVector<float>& values, bool writable,
                     std::vector<std::size_t> shape) {
  if (!writable) return view<float>(std::span<const float>(values), model, std::move(shape));
  nb::capsule keeper(new Handle(model), [](void* p) noexcept { delete static_cast<Handle*>(p); });
  return nb::cast(
      nb::ndarray<nb::numpy, float>(const_cast<float*>(values.data()), shape.size(), shape.data(), keeper),
      nb::rv_policy::reference);
}

// A dense layer: its [n_out, n_in] array. A sparse one: (values, columns, row pointers, shape); the pointers
// are a copy, of int32 where it holds them, because SciPy would else copy the columns.
std::vector<float> widened(const Parameter& parameter) {
  const tulle::ParameterValues values = tulle::values_of(parameter);
  return {values.begin(), values.end()};
}

nb::object weight(const ModelHandle& handle, std::size_t l, bool writable) {
  Layer& layer = layer_of(*handle.model, l);
  const auto outputs = static_cast<std::size_t>(layer.outputs());
  const auto inputs = static_cast<std::size_t>(layer.inputs());
  const Topology* const topology = layer.topology();
  if (topology == nullptr) return values_of(handle.model, layer.weight().value, writable, {outputs, inputs});
  const std::vector<std::int64_t> begins = topology->row_ptr().all();
  const nb::object row_ptr =
      topology->nnz() <= std::numeric_limits<std::int32_t>::max()
          ? owned<std::int32_t>(std::vector<std::int32_t>(begins.begin(), begins.end()))
          : owned<std::int64_t>(begins);
  // Weights in bfloat16 are a copy: NumPy has no such numbers.
  const nb::object values = layer.weight().is_bf16() ? owned<float>(widened(layer.weight()))
                                                     : values_of(handle.model, layer.weight().value, writable,
                                                                 {layer.weight().size()});
  return nb::make_tuple(values, view<std::int32_t>(topology->columns(), handle.model), row_ptr,
                        nb::make_tuple(outputs, inputs));
}

nb::object bias(const ModelHandle& handle, std::size_t l, bool writable) {
  const Parameter& bias = layer_of(*handle.model, l).bias();
  if (bias.is_bf16()) return owned<float>(widened(bias));  // a copy, as of weights
  return values_of(handle.model, bias.value, writable, {bias.size()});
}

nb::bytes bytes_of(const ModelHandle& handle) {
  std::vector<std::byte> bytes;
  {
    nb::gil_scoped_release release;
    bytes = model_bytes(*handle.model);
  }
  return nb::bytes(bytes.data(), bytes.size());
}

ModelHandle parse(const nb::bytes& bytes, const std::string& name) {
  std::vector<std::byte> content(bytes.size());
  std::memcpy(content.data(), bytes.c_str(), bytes.size());
  nb::gil_scoped_release release;
  return {std::make_shared<Model>(parse_model(std::move(content), name).model)};
}

ModelHandle copy_of(const ModelHandle& handle) {
  return {std::make_shared<Model>(parse_model(model_bytes(*handle.model), "memory").model)};
}

nb::object outputs_of(std::vector<float> outputs, const Model& model) {
  const auto width = static_cast<std::size_t>(model.network.outputs());
  const std::size_t samples = outputs.size() / width;
  return owned<float>(std::move(outputs), {samples, width});
}

void require_features(const Model& model, std::int64_t features) {
  require(features == model.network.inputs(),
          "X has " + std::to_string(features) + " features, but the model is expecting " +
              std::to_string(model.network.inputs()) + " features as input");
}

// Looks at the samples where they lie. One caller at a time; it keeps what it packed for the next call.
class Runner {
 public:
  explicit Runner(const ModelHandle& handle) : handle_(handle) {
    nb::gil_scoped_release release;
    const std::lock_guard lock(*handle_.computing);
    predictor_.emplace(*handle_.model);
  }

  nb::object predict(const Array2<float>& x) {
    require_features(*handle_.model, static_cast<std::int64_t>(x.shape(1)));
    std::vector<float> outputs(x.shape(0) * static_cast<std::size_t>(predictor_->outputs()));
    {
      nb::gil_scoped_release release;
      const std::lock_guard lock(*handle_.computing);
      predictor_->predict({x.data(), x.size()}, outputs);
    }
    return outputs_of(std::move(outputs), *handle_.model);
  }

 private:
  ModelHandle handle_;
  std::optional<Predictor> predictor_;
};

// Takes the samples over.
nb::object predict_features(const ModelHandle& handle, Features& inputs) {
  require_features(*handle.model, inputs.features);
  std::vector<float> outputs;
  if (inputs.samples > 0) {
    nb::gil_scoped_release release;
    const std::lock_guard lock(*handle.computing);
    outputs = predict(*handle.model, std::move(inputs));
  }
  return outputs_of(std::move(outputs), *handle.model);
}

nb::dict evaluate_split(const ModelHandle& handle, const Config& config) {
  Evaluation result;
  {
    nb::gil_scoped_release release;
    const Split split = load_labelled_split(data_options(config), facts_of(*handle.model));
    const std::lock_guard lock(*handle.computing);
    result = evaluate(*handle.model, split);
  }
  nb::dict out;
  out["loss"] = result.loss;
  out["samples"] = result.samples;
  if (!handle.model->class_names.empty()) out["accuracy"] = result.accuracy;
  if (!result.precision_at.empty()) out["precision_at"] = result.precision_at;
  return out;
}

void prune_connections(const ModelHandle& handle, const std::string& form) {
  nb::gil_scoped_release release;
  const std::lock_guard lock(*handle.computing);
  Network& network = handle.model->network;
  network = pruned(network, parse_prune_form("connections", form));
}

void prune_neurons(const ModelHandle& handle, double share, const std::string& strength) {
  Network& network = handle.model->network;
  require(share >= 0.0 && share < 1.0,
          "neurons, found a share outside 0 to 1, expected one from 0 to below 1");
  nb::gil_scoped_release release;
  const std::lock_guard lock(*handle.computing);
  eliminate_neurons(network, {.percentile = 100.0 * share,
                              .strength = &find_name(strengths(), "evolve.importance_strength", strength)});
}

// One layer from SciPy's arrays (int32 both, canonical: Topology refuses the rest) or a dense matrix.
std::unique_ptr<Layer> layer_from(const LayerOptions& options, const nb::tuple& arrays) {
  if (arrays.size() == 1) {
    const auto dense = nb::cast<Array2<float>>(arrays[0], false);
    auto layer = std::make_unique<DenseLinear>(options);
    std::copy_n(dense.data(), dense.size(), layer->weight().value.begin());
    return layer;
  }
  const auto values = nb::cast<Array1<float>>(arrays[0], false);
  const auto columns = nb::cast<Array1<std::int32_t>>(arrays[1], false);
  const auto row_ptr = nb::cast<Array1<std::int64_t>>(arrays[2], false);
  require(values.shape(0) == columns.shape(0), "CSR, found other numbers of values and indices");
  Topology topology(options.outputs, options.inputs,
                    RawVector<std::int64_t>(row_ptr.data(), row_ptr.data() + row_ptr.size()),
                    RawVector<std::int32_t>(columns.data(), columns.data() + columns.size()));
  auto layer = make_sparse_layer(options, std::move(topology));
  std::copy_n(values.data(), values.size(), layer->weight().value.begin());
  return layer;
}

bool all_finite(const ModelHandle& handle) {
  for (const Parameter* parameter : handle.model->network.parameters())
    for (const float value : parameter->value)
      if (!std::isfinite(value)) return false;
  return true;
}

ModelHandle from_arrays(const nb::list& weights, const nb::list& biases, const nb::list& shapes,
                        const std::string& activation, double alpha, const std::string& loss,
                        const std::vector<std::string>& class_names) {
  find_name(losses(), "loss", loss);
  std::vector<std::unique_ptr<Layer>> layers;
  for (std::size_t l = 0; l < weights.size(); ++l) {
    const auto [outputs, inputs] = nb::cast<std::pair<std::int32_t, std::int32_t>>(shapes[l]);
    layers.push_back(layer_from({.index = static_cast<std::int32_t>(l),
                                 .inputs = inputs,
                                 .outputs = outputs,
                                 .activation = l + 1 < weights.size() ? activation : "identity",
                                 .alpha = alpha},
                                nb::cast<nb::tuple>(weights[l])));
    const auto bias = nb::cast<Array1<float>>(biases[l], false);
    require(std::cmp_equal(bias.shape(0), outputs), "biases, found another number than outputs");
    std::copy_n(bias.data(), bias.size(), layers.back()->bias().value.begin());
  }
  auto model = std::make_shared<Model>();
  model->network = Network(std::move(layers));
  model->loss = loss;
  model->class_names = class_names;
  require(class_names.empty() || std::cmp_equal(class_names.size(), model->network.outputs()),
          "classes, found another number than outputs");
  ModelHandle handle{std::move(model)};
  require(all_finite(handle), "weights or biases, found one that is not finite, expected finite ones");
  return handle;
}

}  // namespace

void bind_model(nb::module_& m) {
  nb::class_<ModelHandle>(m, "Model")
      .def("layers", &layers)
      .def("weight", &weight, nb::arg("layer"), nb::arg("writable") = false)
      .def("bias", &bias, nb::arg("layer"), nb::arg("writable") = false)
      .def("bytes", &bytes_of)
      .def("copy", &copy_of)
      .def("shared", [](const ModelHandle& handle) { return handle.model.use_count() > 1; })
      .def("save",
           [](const ModelHandle& handle, const std::string& path) {
             nb::gil_scoped_release release;
             return save_model(path, *handle.model);
           })
      .def("predict_features", &predict_features)
      .def("evaluate", &evaluate_split, nb::arg("config"))
      .def("prune_connections", &prune_connections, nb::arg("form"))
      .def("prune_neurons", &prune_neurons, nb::arg("share"), nb::arg("strength"))
      .def("all_finite", &all_finite)
      .def_prop_ro("inputs", [](const ModelHandle& handle) { return handle.model->network.inputs(); })
      .def_prop_ro("outputs", [](const ModelHandle& handle) { return handle.model->network.outputs(); })
      .def_prop_ro("nnz", [](const ModelHandle& handle) { return handle.model->network.connections(); })
      .def_prop_ro("cells", [](const ModelHandle& handle) { return handle.model->network.cells(); })
      .def_prop_ro("loss", [](const ModelHandle& handle) { return handle.model->loss; })
      .def_prop_ro("class_names", [](const ModelHandle& handle) { return handle.model->class_names; })
      .def_prop_ro("image",
                   [](const ModelHandle& handle) {
                     const ImageShape& image = handle.model->image;
                     return nb::make_tuple(image.channels, image.height, image.width);
                   })
      .def_prop_ro("config", [](const ModelHandle& handle) { return handle.model->config; });
  nb::class_<Runner>(m, "Runner")
      .def(nb::init<const ModelHandle&>())
      .def("predict", &Runner::predict, nb::arg("x").noconvert());
  m.def(
      "load_model",
      [](const std::string& path) {
        nb::gil_scoped_release release;
        return ModelHandle{std::make_shared<Model>(load_model(path).model)};
      },
      nb::arg("path"));
  m.def("parse_model", &parse, nb::arg("bytes"), nb::arg("name"));
  m.def("model_from_arrays", &from_arrays, nb::arg("weights"), nb::arg("biases"), nb::arg("shapes"),
        nb::arg("activation"), nb::arg("alpha"), nb::arg("loss"), nb::arg("class_names"));
}

}  // namespace tulle::python
