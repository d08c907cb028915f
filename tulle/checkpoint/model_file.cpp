#include "tulle/checkpoint/model_file.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <charconv>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "tulle/base/error.h"
#include "tulle/base/name_table.h"
#include "tulle/checkpoint/safetensors.h"
#include "tulle/nn/dense_linear.h"
#include "tulle/nn/loss.h"
#include "tulle/nn/sparse_linear.h"
#include "tulle/version.h"

namespace tulle {
namespace {

using Json = nlohmann::json;

constexpr int kFormatVersion = 1;
constexpr std::size_t kMaxLayers = 100000;

template <class T>
TensorView tensor(std::string name, DType dtype, std::vector<std::int64_t> shape, std::span<const T> values) {
  return {std::move(name), dtype, std::move(shape), std::as_bytes(values)};
}

std::int64_t length(std::size_t size) { return static_cast<std::int64_t>(size); }

void add_floats(std::vector<TensorView>& tensors, const std::string& name, std::span<const float> values,
                std::vector<std::int64_t> shape = {}) {
  if (values.empty() && shape.empty()) return;
  if (shape.empty()) shape = {length(values.size())};
  tensors.push_back(tensor<float>(name, DType::F32, std::move(shape), values));
}

void add_parameter(std::vector<TensorView>& tensors, const Parameter& parameter, const Layer& layer,
                   bool with_state) {
  const Topology* topology = parameter.kind == Parameter::Kind::kWeight ? layer.topology() : nullptr;
  if (topology != nullptr) {
    tensors.push_back(tensor(parameter.name + ".crow", DType::I64, {length(topology->row_ptr().size())},
                             topology->row_ptr()));
    tensors.push_back(tensor(parameter.name + ".col", DType::I32, {topology->nnz()}, topology->columns()));
    add_floats(tensors, parameter.name + ".val", parameter.value, {topology->nnz()});
  } else if (parameter.kind == Parameter::Kind::kWeight) {
    add_floats(tensors, parameter.name, parameter.value, {layer.outputs(), layer.inputs()});
  } else {
    add_floats(tensors, parameter.name, parameter.value);
  }
  if (!with_state) return;
  add_floats(tensors, parameter.name + ".m1", parameter.m1);
  add_floats(tensors, parameter.name + ".m2", parameter.m2);
  if (!parameter.age.empty())
    tensors.push_back(tensor<std::uint16_t>(parameter.name + ".age", DType::U16,
                                            {length(parameter.age.size())}, parameter.age));
}

Json describe(const Model& model) {
  Json layers = Json::array();
  for (std::size_t l = 0; l < model.network.size(); ++l) {
    const Layer& layer = model.network.layer(l);
    Json entry{{"inputs", layer.inputs()},
               {"outputs", layer.outputs()},
               {"activation", layer.options().activation},
               {"alpha", layer.options().alpha},
               {"dropout", layer.options().dropout},
               {"sparse", layer.topology() != nullptr}};
    if (const auto form = layer.activation().piecewise())
      entry["slope"] = form->slope;  // signed, for other readers
    layers.push_back(std::move(entry));
  }
  return {{"kind", "mlp"}, {"loss", model.loss}, {"layers", std::move(layers)}};
}

Metadata metadata_of(const Model& model, const TrainingState* state) {
  Json sparse = Json::object();
  for (std::size_t l = 0; l < model.network.size(); ++l)
    if (const Topology* topology = model.network.layer(l).topology())
      sparse[model.network.layer(l).weight().name] = {{"shape", {topology->rows(), topology->cols()}},
                                                      {"layout", "csr"}};
  Metadata metadata{
      {"format", "tulle"},
      {"format_version", std::to_string(kFormatVersion)},
      {"tulle_version", std::string(kVersion)},
      {"model", describe(model).dump()},
      {"sparse", sparse.dump()},
      {"preprocess", Json{{"scale", model.scaling.kind},
                          {"image", {model.image.channels, model.image.height, model.image.width}}}
                         .dump()},
      {"classes", Json(model.class_names).dump(-1, ' ', false, Json::error_handler_t::replace)},
      {"seed", std::to_string(model.seed)},
      {"config", model.config}};
  if (state != nullptr) {
    metadata["epoch"] = std::to_string(state->epoch);
    metadata["batch_in_epoch"] = std::to_string(state->batch_in_epoch);
    metadata["step"] = std::to_string(state->step);
    metadata["rng"] = Json{{"algorithm", "philox4x32-10"}, {"key", model.seed}}.dump();
    metadata["progress"] = Json{
        {"loss_sum", state->loss_sum},
        {"correct", state->correct},
        {"samples", state->samples},
        {"seconds",
         state->seconds}}.dump();
    metadata["data"] = state->data_identity;
  }
  return metadata;
}

// Reads one file; every refusal names it.
class Reader {
 public:
  explicit Reader(const std::string& path) : path_(path), file_(SafetensorsFile::read(path)) {}

  LoadedModel read() {
    if (text("format") != "tulle")
      refuse("metadata 'format'", text("format"), "'tulle'; not a model of tulle");
    if (const std::int64_t version = number("format_version"); version > kFormatVersion)
      refuse("format_version",
             fmt::format("{} (written by tulle {})", version, optional_text("tulle_version")),
             fmt::format("at most {}; a newer tulle is needed", kFormatVersion));
    LoadedModel loaded;
    Model& model = loaded.model;
    const Json description = json("model");
    if (field<std::string>(description, "kind") != "mlp")
      refuse("model kind", field<std::string>(description, "kind"), "'mlp'");
    model.loss = field<std::string>(description, "loss");
    check_name(losses(), "loss", model.loss);
    model.seed = static_cast<std::uint64_t>(number("seed"));
    model.config = optional_text("config");
    read_layers(description, model);
    read_preprocessing(model);
    loaded.checksummed = file_.has_checksums();
    if (file_.metadata().contains("step")) loaded.state = read_state(model.network);
    return loaded;
  }

 private:
  [[noreturn]] void refuse(std::string_view what, std::string_view found, std::string_view expected) const {
    throw Error(ErrorKind::kBadData, {.file = path_},
                fmt::format("{}, found {}, expected {}", what, found, expected));
  }

  template <class Row>
  void check_name(std::span<const Row> table, std::string_view what, const std::string& name) const {
    try {
      find_name(table, what, name);
    } catch (const Error& error) {
      throw Error(ErrorKind::kBadData, {.file = path_}, error.what());
    }
  }

  std::string optional_text(const std::string& key) const {
    const auto entry = file_.metadata().find(key);
    return entry == file_.metadata().end() ? "" : entry->second;
  }
  std::string text(const std::string& key) const {
    if (!file_.metadata().contains(key))
      refuse(fmt::format("metadata '{}'", key), "none", "a value; not a model of tulle");
    return optional_text(key);
  }
  std::int64_t number(const std::string& key) const {
    const std::string value = text(key);
    std::int64_t parsed = 0;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), parsed);
    if (error != std::errc{} || end != value.data() + value.size() || parsed < 0)
      refuse(fmt::format("metadata '{}'", key), "'" + value + "'", "a whole number");
    return parsed;
  }
  Json json(const std::string& key) const {
    Json parsed = Json::parse(text(key), nullptr, /*allow_exceptions=*/false);
    if (parsed.is_discarded()) refuse(fmt::format("metadata '{}'", key), "broken JSON", "JSON");
    return parsed;
  }
  template <class T>
  T field(const Json& object, const char* key) const {
    try {
      return object.at(key).get<T>();
    } catch (const Json::exception&) {
      refuse(fmt::format("description, field '{}'", key), "none or of another type", "a value");
    }
  }

  // The tensor `name` with exactly this type and shape.
  template <class T>
  std::span<const T> values(const std::string& name, DType dtype,
                            const std::vector<std::int64_t>& shape) const {
    const TensorView* view = file_.find(name);
    if (view == nullptr) refuse(fmt::format("tensor '{}'", name), "none", "one");
    if (view->dtype != dtype || view->shape != shape)
      refuse(fmt::format("tensor '{}'", name), "another type or shape",
             fmt::format("{} values", shape.empty() ? 1 : shape[0] * (shape.size() > 1 ? shape[1] : 1)));
    return file_.as<T>(name);
  }
  bool read_optional(const std::string& name, AlignedVector<float>& into, std::size_t size) const {
    if (file_.find(name) == nullptr) return false;
    const auto found = values<float>(name, DType::F32, {length(size)});
    into.assign(found.begin(), found.end());
    return true;
  }

  std::unique_ptr<Layer> read_layer(const Json& description, std::int32_t index, std::uint64_t seed) const {
    LayerOptions options;
    options.index = index;
    options.seed = seed;
    options.inputs = size(description, "inputs");
    options.outputs = size(description, "outputs");
    options.activation = field<std::string>(description, "activation");
    check_name(activations(), fmt::format("layer {} activation", index), options.activation);
    options.alpha = field<double>(description, "alpha");
    options.dropout = field<double>(description, "dropout");
    if (!(options.dropout >= 0.0 && options.dropout < 1.0))
      refuse(fmt::format("layer {} dropout", index), fmt::format("{}", options.dropout),
             "0 or more and below 1");

    const std::string name = fmt::format("layers.{}.weight", index);
    std::unique_ptr<Layer> layer;
    if (field<bool>(description, "sparse")) {
      const auto crow = values<std::int64_t>(name + ".crow", DType::I64, {std::int64_t{options.outputs} + 1});
      const TensorView* columns = file_.find(name + ".col");
      const std::int64_t nnz = columns == nullptr || columns->shape.size() != 1 ? 0 : columns->shape[0];
      const auto col = values<std::int32_t>(name + ".col", DType::I32, {nnz});
      const auto val = values<float>(name + ".val", DType::F32, {nnz});
      try {
        layer = std::make_unique<SparseLinear>(
            options,
            Topology(options.outputs, options.inputs, {crow.begin(), crow.end()}, {col.begin(), col.end()}));
      } catch (const std::invalid_argument& error) {
        throw Error(ErrorKind::kBadData, {.file = path_}, fmt::format("{}: {}", name, error.what()));
      }
      std::copy(val.begin(), val.end(), layer->weight().value.begin());
    } else {
      const auto val = values<float>(name, DType::F32, {options.outputs, options.inputs});
      layer = std::make_unique<DenseLinear>(options);
      std::copy(val.begin(), val.end(), layer->weight().value.begin());
    }
    for (Parameter* parameter : layer->parameters()) {
      if (parameter->kind == Parameter::Kind::kWeight) continue;
      const auto val = values<float>(parameter->name, DType::F32, {length(parameter->value.size())});
      std::copy(val.begin(), val.end(), parameter->value.begin());
    }
    return layer;
  }

  std::int32_t size(const Json& description, const char* key) const {
    const auto value = field<std::int64_t>(description, key);
    if (value < 1 || value > 2147483646) refuse(key, fmt::format("{}", value), "1 to 2147483646");
    return static_cast<std::int32_t>(value);
  }

  void read_layers(const Json& description, Model& model) const {
    const auto entries = field<Json>(description, "layers");
    if (!entries.is_array() || entries.empty() || entries.size() > kMaxLayers)
      refuse("number of layers", fmt::format("{}", entries.size()), fmt::format("1 to {}", kMaxLayers));
    std::vector<std::unique_ptr<Layer>> layers;
    for (const Json& entry : entries) {
      layers.push_back(read_layer(entry, static_cast<std::int32_t>(layers.size()), model.seed));
      if (const std::size_t l = layers.size() - 1; l > 0 && layers[l]->inputs() != layers[l - 1]->outputs())
        refuse(fmt::format("inputs of layer {}", l), fmt::format("{}", layers[l]->inputs()),
               fmt::format("{}, the outputs of the layer before", layers[l - 1]->outputs()));
    }
    model.network = Network(std::move(layers));
  }

  void read_preprocessing(Model& model) const {
    const Json preprocess = json("preprocess");
    model.scaling.kind = field<std::string>(preprocess, "scale");
    if (file_.find("data.mean") != nullptr) {
      const std::vector<std::int64_t> shape{model.network.inputs()};
      const auto mean = values<float>("data.mean", DType::F32, shape);
      const auto deviation = values<float>("data.std", DType::F32, shape);
      model.scaling.mean.assign(mean.begin(), mean.end());
      model.scaling.deviation.assign(deviation.begin(), deviation.end());
    }
    const auto image = field<std::vector<int>>(preprocess, "image");
    if (image.size() != 3) refuse("image shape", fmt::format("{} numbers", image.size()), "3");
    model.image = {image[0], image[1], image[2]};
    const std::int64_t pixels = std::int64_t{image[0]} * image[1] * image[2];
    if (pixels != 0 && (image[0] < 0 || image[1] < 0 || image[2] < 0 || pixels != model.network.inputs()))
      refuse("image shape", fmt::format("{} x {} x {}", image[0], image[1], image[2]),
             fmt::format("{} pixels", model.network.inputs()));
    const Json classes = json("classes");
    if (!classes.is_array()) refuse("metadata 'classes'", "no list", "a list of texts");
    for (const Json& name : classes) {
      if (!name.is_string()) refuse("metadata 'classes'", "another type", "texts");
      model.class_names.push_back(name.get<std::string>());
    }
    if (!model.class_names.empty() && length(model.class_names.size()) != model.network.outputs())
      refuse("number of classes", fmt::format("{}", model.class_names.size()),
             fmt::format("{}, the outputs of the last layer", model.network.outputs()));
  }

  TrainingState read_state(Network& network) const {
    TrainingState state;
    state.epoch = number("epoch");
    state.batch_in_epoch = number("batch_in_epoch");
    state.step = number("step");
    const Json progress = json("progress");
    state.loss_sum = field<double>(progress, "loss_sum");
    state.correct = field<std::int64_t>(progress, "correct");
    state.samples = field<std::int64_t>(progress, "samples");
    state.seconds = field<double>(progress, "seconds");
    state.data_identity = text("data");
    for (Parameter* parameter : network.parameters()) {
      read_optional(parameter->name + ".m1", parameter->m1, parameter->value.size());
      read_optional(parameter->name + ".m2", parameter->m2, parameter->value.size());
      if (file_.find(parameter->name + ".age") == nullptr) continue;
      const auto age =
          values<std::uint16_t>(parameter->name + ".age", DType::U16, {length(parameter->value.size())});
      parameter->age.assign(age.begin(), age.end());
    }
    return state;
  }

  std::string path_;
  SafetensorsFile file_;
};

}  // namespace

std::int64_t save_model(const std::string& path, Model& model, const TrainingState* state, FileOps& files) {
  std::vector<TensorView> tensors;
  for (std::size_t l = 0; l < model.network.size(); ++l)
    for (const Parameter* parameter : model.network.layer(l).parameters())
      add_parameter(tensors, *parameter, model.network.layer(l), state != nullptr);
  add_floats(tensors, "data.mean", model.scaling.mean);
  add_floats(tensors, "data.std", model.scaling.deviation);
  write_safetensors(path, metadata_of(model, state), std::move(tensors), files);
  return static_cast<std::int64_t>(std::filesystem::file_size(path));
}

LoadedModel load_model(const std::string& path) { return Reader(path).read(); }

std::string data_identity(const Split& train) {
  XXH3_state_t* hash = XXH3_createState();
  XXH3_64bits_reset(hash);
  const auto add = [hash](const auto& values) {
    XXH3_64bits_update(hash, values.data(), values.size() * sizeof(values[0]));
  };
  add(train.inputs.bytes);
  add(train.inputs.floats);
  add(train.classes);
  add(train.targets);
  const std::uint64_t digest = XXH3_64bits_digest(hash);
  XXH3_freeState(hash);
  return fmt::format("{:016x}", digest);
}

}  // namespace tulle
