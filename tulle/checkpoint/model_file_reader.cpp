#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "tulle/base/as_size.h"
#include "tulle/base/error.h"
#include "tulle/base/half.h"
#include "tulle/base/name_table.h"
#include "tulle/base/spill.h"
#include "tulle/checkpoint/model_file.h"
#include "tulle/checkpoint/model_metadata.h"
#include "tulle/checkpoint/safetensors.h"
#include "tulle/data/standardize.h"
#include "tulle/nn/bf16_weights.h"
#include "tulle/nn/dense_linear.h"
#include "tulle/nn/loss.h"
#include "tulle/nn/sparse_layer.h"
#include "tulle/vision/smlp_net.h"

namespace tulle {
namespace {

constexpr std::int64_t kMaxLayers = 10'000;
constexpr double kMaxSlope = 1e6;

// Reads one file; every refusal names it.
class Reader {
 public:
  Reader(SafetensorsFile file, Storage storage, bool keep_bf16)
      : file_(std::move(file)), in_(file_), storage_(storage), keep_bf16_(keep_bf16) {}

  LoadedModel read() {
    if (in_.text("format") != "tulle")
      in_.refuse("metadata 'format'", in_.text("format"), "'tulle'; not a model of tulle");
    if (const auto version = in_.number<std::int64_t>("format_version"); version > kFormatVersion)
      in_.refuse("format_version",
                 fmt::format("{} (written by tulle {})", version, in_.optional_text("tulle_version")),
                 fmt::format("at most {}; a newer tulle is needed", kFormatVersion));
    check_hashes();
    LoadedModel loaded;
    Model& model = loaded.model;
    const Json description = in_.json("model");
    const auto kind = in_.field<std::string>("model", description, "kind");
    if (kind != "mlp" && kind != "smlp") in_.refuse("model kind", kind, "'mlp' or 'smlp'");
    model.loss = in_.field<std::string>("model", description, "loss");
    check_name(losses(), "metadata 'model', loss", model.loss);
    model.seed = in_.number<std::uint64_t>("seed");
    model.config = in_.text("config");
    kind == "mlp" ? read_layers(description, model) : read_smlp(description, model);
    if (in_.json("sparse") != sparse_layout(model.network))
      in_.refuse("metadata 'sparse'", "other matrices", "the sparse layers of metadata 'model'");
    read_preprocessing(model);
    read_classes(model);
    loaded.checksummed = file_.has_checksums();
    if (file_.metadata().contains("step")) loaded.state = read_state(model);
    return loaded;
  }

 private:
  template <class Row>
  void check_name(std::span<const Row> table, std::string_view what, const std::string& name) const {
    try {
      find_name(table, what, name);
    } catch (const Error& error) {
      throw Error(ErrorKind::kBadData, {.file = file_.name()}, error.what());
    }
  }

  // A file without the checksums of a whole may still have hashes of its tensors.
  void check_hashes() const {
    if (!file_.metadata().contains("xxh3")) {
      if (file_.has_checksums()) in_.text("xxh3");
      return;
    }
    const Json hashes = in_.json("xxh3");
    for (const TensorView& tensor : file_.tensors()) {
      const auto stored = in_.field<std::string>("xxh3", hashes, tensor.name);
      if (const std::string found = hash_of(tensor.bytes); found != stored)
        in_.refuse(fmt::format("tensor '{}'", tensor.name), "hash " + found, stored + "; file is damaged");
    }
  }

  // The tensor `name` with exactly this type and shape.
  template <class T>
  std::span<const T> values(const std::string& name, DType dtype,
                            const std::vector<std::int64_t>& shape) const {
    const TensorView* view = file_.find(name);
    if (view == nullptr) in_.refuse(fmt::format("tensor '{}'", name), "none", "one");
    if (view->dtype != dtype || view->shape != shape)
      in_.refuse(
          fmt::format("tensor '{}'", name), "another type or shape",
          fmt::format("{} of {} values", dtype_name(dtype), shape[0] * (shape.size() > 1 ? shape[1] : 1)));
    return file_.as<T>(name);
  }
  bool is_bf16(const std::string& name) const {
    const TensorView* const view = file_.find(name);
    return view != nullptr && view->dtype == DType::BF16;
  }
  // Refuses all but floats or bfloat16 of this shape, before memory is taken for them.
  void check_numbers(const std::string& name, const std::vector<std::int64_t>& shape) const {
    if (is_bf16(name))
      (void)values<std::uint16_t>(name, DType::BF16, shape);
    else
      (void)values<float>(name, DType::F32, shape);
  }
  // Floats or bfloat16, into what the parameter has of both.
  void read_numbers(const std::string& name, const std::vector<std::int64_t>& shape,
                    AlignedVector<float>& into, AlignedVector<std::uint16_t>& bf16_into) const {
    if (!is_bf16(name)) {
      const auto numbers = values<float>(name, DType::F32, shape);
      if (bf16_into.empty())
        std::ranges::copy(numbers, into.begin());
      else
        std::ranges::transform(numbers, bf16_into.begin(), float_to_bf16);
      return;
    }
    const auto bits = values<std::uint16_t>(name, DType::BF16, shape);
    if (bf16_into.empty())
      std::ranges::transform(bits, into.begin(), bf16_to_float);
    else
      std::ranges::copy(bits, bf16_into.begin());
  }
  template <class T>
  void read_optional(const std::string& name, DType dtype, AlignedVector<T>& into, std::size_t size) const {
    if (file_.find(name) == nullptr) return;
    const auto found = values<T>(name, dtype, {as_count(size)});
    into.assign(found.begin(), found.end());
  }

  static std::string neurons_name(const LayerOptions& options) {
    return fmt::format("layers.{}.neurons", options.index);
  }

  // Which of the original outputs are left.
  void read_neurons(LayerOptions& options) const {
    const std::string name = neurons_name(options);
    const auto neurons = values<std::uint32_t>(name, DType::U32, {options.outputs});
    options.neurons.assign(neurons.begin(), neurons.end());
    if (std::ranges::adjacent_find(neurons, std::greater_equal<>()) != neurons.end() ||
        std::cmp_greater_equal(neurons.back(), options.original_outputs))
      in_.refuse(fmt::format("tensor '{}'", name), "other numbers",
                 fmt::format("ascending ones below {}", options.original_outputs));
  }

  LayerOptions read_options(const Json& description, std::int32_t index, std::uint64_t seed) const {
    const std::string what = fmt::format("metadata 'model', layer {}", index);
    LayerOptions options;
    options.index = index;
    options.seed = seed;
    options.inputs = size(description, "inputs");
    options.outputs = size(description, "outputs");
    options.activation = in_.field<std::string>("model", description, "activation");
    check_name(activations(), what + " activation", options.activation);
    options.alpha = in_.field<double>("model", description, "alpha");
    if (!(std::abs(options.alpha) <= kMaxSlope))
      in_.refuse(what + " alpha", fmt::format("{}", options.alpha), fmt::format("at most {}", kMaxSlope));
    options.dropout = in_.field<double>("model", description, "dropout");
    if (!(options.dropout >= 0.0 && options.dropout < 1.0))
      in_.refuse(what + " dropout", fmt::format("{}", options.dropout), "0 or more and below 1");
    if (file_.find(neurons_name(options)) != nullptr) {
      options.original_outputs = size(description, "original_outputs");
      read_neurons(options);
    }
    if (description.contains("dtype")) {
      const auto dtype = in_.field<std::string>("model", description, "dtype");
      check_name(training_precisions(), what + " dtype", dtype);
      options.precision = find_name(training_precisions(), "dtype", dtype).precision;
    }
    options.storage = storage_;
    options.bf16_weights = keep_bf16_ && options.storage == Storage::kCompact &&
                           is_bf16(fmt::format("layers.{}.weight.val", index));
    return options;
  }

  std::unique_ptr<Layer> read_layer(const LayerOptions& options, bool sparse) const {
    const std::string name =
        (options.name.empty() ? fmt::format("layers.{}", options.index) : options.name) + ".weight";
    std::unique_ptr<Layer> layer;
    std::vector<std::int64_t> shape;
    if (sparse) {
      const auto crow = values<std::int64_t>(name + ".crow", DType::I64, {std::int64_t{options.outputs} + 1});
      const TensorView* columns = file_.find(name + ".col");
      const std::int64_t nnz = columns == nullptr || columns->shape.size() != 1 ? 0 : columns->shape[0];
      const auto col = values<std::int32_t>(name + ".col", DType::I32, {nnz});
      shape = {nnz};
      check_numbers(name + ".val", shape);
      try {
        layer = make_sparse_layer(options, Topology(options.outputs, options.inputs,
                                                    {crow.begin(), crow.end()}, {col.begin(), col.end()}));
      } catch (const std::invalid_argument& error) {
        throw Error(ErrorKind::kBadData, {.file = file_.name()}, fmt::format("{}: {}", name, error.what()));
      }
    } else {
      shape = {options.outputs, options.inputs};
      if (const TensorView* const view = file_.find(name); view != nullptr && view->shape.size() == 4)
        shape.insert(shape.end(), {1, 1});  // a convolution of 1 x 1
      check_numbers(name, shape);
      layer = std::make_unique<DenseLinear>(options);
    }
    Parameter& weight = layer->weight();
    read_numbers(sparse ? name + ".val" : name, shape, weight.value, weight.bf16_value);
    release_spilled();
    for (Parameter* parameter : layer->parameters())
      if (parameter->kind != Parameter::Kind::kWeight)
        read_numbers(parameter->name, {as_count(parameter->size())}, parameter->value, parameter->bf16_value);
    return layer;
  }

  std::int32_t size(const Json& description, const std::string& key) const {
    const auto value = in_.field<std::int64_t>("model", description, key);
    if (value < 1 || value > 2147483646)
      in_.refuse(fmt::format("metadata 'model', field '{}'", key), fmt::format("{}", value),
                 "1 to 2147483646");
    return static_cast<std::int32_t>(value);
  }

  void read_layers(const Json& description, Model& model) const {
    const Json entries = in_.field<Json>("model", description, "layers");
    if (!entries.is_array() || entries.empty() || as_count(entries.size()) > kMaxLayers)
      in_.refuse("metadata 'model', number of layers", fmt::format("{}", entries.size()),
                 fmt::format("1 to {}", kMaxLayers));
    std::vector<std::unique_ptr<Layer>> layers;
    for (const Json& entry : entries) {
      const auto index = static_cast<std::int32_t>(layers.size());
      const LayerOptions options = read_options(entry, index, model.seed);
      // Memory is taken for each input; unlike outputs, those of the first layer need not be in the file.
      if (layers.empty() && options.inputs > kMaxFreeInputs + as_count(file_bytes()) / 8)
        in_.refuse("metadata 'model', inputs of layer 0", fmt::format("{}", options.inputs),
                   "fewer in a file of this size");
      if (!layers.empty() && options.inputs != layers.back()->outputs())
        in_.refuse(fmt::format("metadata 'model', inputs of layer {}", index),
                   fmt::format("{}", options.inputs),
                   fmt::format("{}, the outputs of the layer before", layers.back()->outputs()));
      layers.push_back(read_layer(options, in_.field<bool>("model", entry, "sparse")));
    }
    model.network = Network(std::move(layers));
  }

  SmlpShape read_shape(const Json& description) const {
    const auto whole = [&](const std::string& key) {
      return static_cast<int>(std::min<std::int64_t>(in_.count("model", description, key), 1 << 30));
    };
    SmlpShape shape{.channels = whole("channels"),
                    .height = whole("height"),
                    .width = whole("width"),
                    .patch = whole("patch"),
                    .embedding = whole("embedding"),
                    .depths = {},
                    .expansion = whole("expansion"),
                    .classes = whole("classes"),
                    .drop_path = in_.field<double>("model", description, "drop_path")};
    for (const Json& depth : in_.field<Json>("model", description, "depths"))
      shape.depths.push_back(is_json<std::int64_t>(depth) ? static_cast<int>(std::clamp<std::int64_t>(
                                                                depth.get<std::int64_t>(), -1, 1 << 20))
                                                          : -1);
    if (description.contains("hidden"))
      for (const Json& hidden : in_.field<Json>("model", description, "hidden"))
        shape.hidden.push_back(is_json<std::int64_t>(hidden)
                                   ? static_cast<std::int32_t>(std::clamp<std::int64_t>(
                                         hidden.get<std::int64_t>(), -1, std::int64_t{1} << 30))
                                   : -1);
    try {
      check_shape(shape);
    } catch (const Error& error) {
      throw Error(ErrorKind::kBadData, {.file = file_.name()},
                  fmt::format("metadata 'model', {}", error.what()));
    }
    // Memory is taken for what the shape says: it must all be in the file.
    SmlpCounts counts = parameters_of(shape);
    counts.fuse = counts.channel_mix = 0;  // may be sparse; each layer is looked at alone
    if (counts.total() > as_count(file_bytes()) / 4)
      in_.refuse("metadata 'model', parameters", fmt::format("{}", counts.total()),
                 "fewer in a file of this size");
    return shape;
  }

  void read_smlp(const Json& description, Model& model) const {
    const SmlpShape shape = read_shape(description);
    SmlpInput input;
    std::vector<std::int64_t> image;
    for (const Json& side : in_.field<Json>("model", description, "image"))
      image.push_back(is_json<std::int64_t>(side) ? side.get<std::int64_t>() : 0);
    if (image.size() != 2 || image[0] < 1 || image[1] < 1 || image[0] > shape.height ||
        image[1] > shape.width)
      in_.refuse("metadata 'model', image", "other sides",
                 fmt::format("two, of at most {} x {}", shape.height, shape.width));
    input.height = static_cast<int>(image[0]);
    input.width = static_cast<int>(image[1]);
    for (const Json& value : in_.field<Json>("model", description, "padding"))
      input.padding.push_back(value.is_number() ? value.get<float>() : 0.0f);
    const Json sparse = in_.field<Json>("model", description, "sparse");
    std::vector<LayerOptions> options = smlp_layer_options(shape);
    for (LayerOptions& layer : options)
      if (file_.find(neurons_name(layer)) != nullptr) read_neurons(layer);
    if (!sparse.is_array() || sparse.size() != options.size())
      in_.refuse("metadata 'model', sparse", fmt::format("{} entries", sparse.size()),
                 fmt::format("{}", options.size()));
    std::vector<std::unique_ptr<Layer>> layers;
    std::vector<Layer*> views;
    for (std::size_t l = 0; l < options.size(); ++l) {
      layers.push_back(read_layer(options[l], sparse[l].is_boolean() && sparse[l].get<bool>()));
      views.push_back(layers.back().get());
    }
    auto net = std::make_unique<SmlpNet>(shape, input, views, in_.field<bool>("model", description, "bf16"));
    for (const NamedArray& array : net->arrays())
      std::ranges::copy(values<float>(array.name, DType::F32, array.shape), array.values->begin());
    model.network = Network(std::move(layers), std::move(net));
  }

  std::size_t file_bytes() const {
    std::size_t bytes = 0;
    for (const TensorView& tensor : file_.tensors()) bytes += tensor.bytes.size();
    return bytes;
  }

  void read_preprocessing(Model& model) const {
    const Json preprocess = in_.json("preprocess");
    Scaling& scaling = model.scaling;
    scaling.kind = in_.field<std::string>("preprocess", preprocess, "scale");
    if (std::ranges::find(kScalings, scaling.kind) == std::end(kScalings))
      in_.refuse("metadata 'preprocess', scale", "'" + scaling.kind + "'",
                 fmt::format("one of {}", fmt::join(kScalings, ", ")));
    if (scaling.kind != "none") {
      const std::vector<std::int64_t> shape{model.network.inputs()};
      const auto mean = values<float>("data.mean", DType::F32, shape);
      const auto deviation = values<float>("data.std", DType::F32, shape);
      scaling.mean.assign(mean.begin(), mean.end());
      scaling.deviation.assign(deviation.begin(), deviation.end());
    }
    if (preprocess.contains("index_base")) {
      model.index_base = static_cast<int>(in_.count("preprocess", preprocess, "index_base"));
      if (model.index_base > 1)
        in_.refuse("metadata 'preprocess', index_base", fmt::format("{}", model.index_base), "0 or 1");
    }
    const Json image = in_.field<Json>("preprocess", preprocess, "image");
    std::vector<std::int64_t> shape;
    if (image.is_array())
      for (const Json& side : image)
        if (is_json<std::int64_t>(side)) shape.push_back(side.get<std::int64_t>());
    const std::int64_t pixels = model.network.inputs();
    const bool none = shape == std::vector<std::int64_t>{0, 0, 0};
    const auto is_side = [&](std::int64_t side) { return side >= 1 && side <= pixels; };
    if (image.size() != 3 || shape.size() != 3 ||
        (!none && !(std::ranges::all_of(shape, is_side) && shape[0] * shape[1] <= pixels &&
                    shape[0] * shape[1] * shape[2] == pixels)))
      in_.refuse("metadata 'preprocess', image", image.dump(), fmt::format("3 sides of {} pixels", pixels));
    model.image = {static_cast<int>(shape[0]), static_cast<int>(shape[1]), static_cast<int>(shape[2])};
  }

  void read_classes(Model& model) const {
    const Json classes = in_.json("classes");
    if (!classes.is_array()) in_.refuse("metadata 'classes'", "no list", "a list of texts");
    for (const Json& name : classes) {
      if (!name.is_string()) in_.refuse("metadata 'classes'", "another type", "texts");
      model.class_names.push_back(name.get<std::string>());
    }
    if (!model.class_names.empty() && as_count(model.class_names.size()) != model.network.outputs())
      in_.refuse("metadata 'classes'", fmt::format("{} names", model.class_names.size()),
                 fmt::format("{}, the outputs of the last layer", model.network.outputs()));
  }

  TrainingState read_state(Model& model) const {
    TrainingState state;
    state.epoch = in_.number<std::int64_t>("epoch");
    state.batch_in_epoch = in_.number<std::int64_t>("batch_in_epoch");
    state.step = in_.number<std::int64_t>("step");
    const Json rng = in_.json("rng");
    if (const auto found = in_.field<std::string>("rng", rng, "algorithm"); found != kRandomAlgorithm)
      in_.refuse("metadata 'rng', algorithm", "'" + found + "'", std::string("'") + kRandomAlgorithm + "'");
    if (const auto found = in_.field<std::uint64_t>("rng", rng, "key"); found != model.seed)
      in_.refuse("metadata 'rng', key", fmt::format("{}", found), fmt::format("{}, the seed", model.seed));
    const Json progress = in_.json("progress");
    state.loss_sum = in_.field<double>("progress", progress, "loss_sum");
    state.correct = in_.count("progress", progress, "correct");
    state.samples = in_.count("progress", progress, "samples");
    state.seconds = in_.field<double>("progress", progress, "seconds");
    if (!in_.optional_text("validation").empty()) {
      const Json seen = in_.json("validation");
      state.validation = {.best_loss = in_.field<double>("validation", seen, "best_loss"),
                          .best_loss_epoch = in_.count("validation", seen, "best_loss_epoch"),
                          .best_score = in_.field<double>("validation", seen, "best_score"),
                          .best_epoch = in_.count("validation", seen, "best_epoch"),
                          .reduced_epoch = in_.count("validation", seen, "reduced_epoch"),
                          .rate_factor = in_.field<double>("validation", seen, "rate_factor")};
    }
    read_stability(state.stability);
    state.data_identity = in_.text("data");
    for (Parameter* parameter : model.network.parameters()) {
      const std::size_t size = parameter->size();
      if (const std::string momentum = parameter->name + ".m1"; file_.find(momentum) != nullptr) {
        keep_momentum(*parameter);
        read_numbers(momentum, {as_count(size)}, parameter->m1, parameter->bf16_m1);
      }
      read_optional(parameter->name + ".m2", DType::F32, parameter->m2, size);
      read_optional(parameter->name + ".outer", DType::F32, parameter->outer, size);
      read_optional(parameter->name + ".average", DType::F32, parameter->average, size);
      read_optional(parameter->name + ".age", DType::U16, parameter->age, size);
      release_spilled();
    }
    if (Architecture* const architecture = model.network.architecture(); architecture != nullptr)
      for (const Statistic& statistic : architecture->statistics())
        read_optional(statistic.name + ".average", DType::F32, *statistic.average, statistic.value->size());
    read_explored(model.network, state);
    read_gathered(model.network, state);
    return state;
  }

  void read_stability(StabilityState& state) const {
    if (in_.optional_text("stability").empty()) return;
    const Json seen = in_.json("stability");
    const auto counts = [&](const char* name) {
      std::vector<std::int64_t> numbers;
      for (const Json& number : in_.field<Json>("stability", seen, name))
        numbers.push_back(is_json<std::int64_t>(number) ? number.get<std::int64_t>() : -1);
      return numbers;
    };
    state = {.connections = counts("connections"),
             .survivors = counts("survivors"),
             .stable_step = in_.count("stability", seen, "stable_step")};
    const auto fits = [](std::int64_t before, std::int64_t after) { return after >= 0 && after <= before; };
    if (state.connections.size() != state.survivors.size() ||
        !std::ranges::equal(state.connections, state.survivors, fits))
      in_.refuse("metadata 'stability', survivors", "other counts",
                 "one for each of 'connections', at most it");
  }

  void read_explored(const Network& network, TrainingState& state) const {
    bool any = false;
    for (std::size_t l = 0; l < network.size(); ++l) {
      const std::string name = fmt::format("layers.{}.explored", l);
      if (network.layer(l).topology() == nullptr || file_.find(name) == nullptr) {
        state.explored.emplace_back(0);
        continue;
      }
      const std::uint64_t cells = network.original_cells(l);
      const auto bytes = values<std::uint8_t>(name, DType::U8, {as_count(CellSet::size_in_bytes(cells))});
      try {
        state.explored.emplace_back(cells, bytes);
      } catch (const std::invalid_argument& error) {
        throw Error(ErrorKind::kBadData, {.file = file_.name()}, fmt::format("{}: {}", name, error.what()));
      }
      any = true;
    }
    if (!any) state.explored.clear();
  }

  void read_gathered(const Network& network, TrainingState& state) const {
    for (std::size_t l = 0; l < network.size(); ++l) {
      const std::string name = fmt::format("layers.{}.candidates", l);
      const TensorView* const tensor = file_.find(name);
      if (tensor == nullptr || network.layer(l).topology() == nullptr) continue;
      const std::uint64_t cells = network.layer(l).topology()->cells();
      const std::int64_t count = tensor->shape.empty() ? 0 : tensor->shape[0];
      const auto keys = values<std::uint64_t>(name, DType::U64, {count});
      const auto sums = values<float>(fmt::format("layers.{}.candidate_sums", l), DType::F32, {count});
      if (keys.empty() || keys.back() >= cells ||
          std::ranges::adjacent_find(keys, std::greater_equal()) != keys.end())
        in_.refuse("tensor '" + name + "'", "other numbers", fmt::format("ascending ones below {}", cells));
      state.gathered.resize(network.size());
      state.gathered[l] = {.cells = {keys.begin(), keys.end()}, .sums = {sums.begin(), sums.end()}};
    }
  }

  SafetensorsFile file_;
  MetadataReader in_;
  Storage storage_;
  bool keep_bf16_;
};

}  // namespace

LoadedModel load_model(const std::string& path, Storage storage, bool keep_bf16) {
  return Reader(SafetensorsFile::read(path), storage, keep_bf16).read();
}

LoadedModel parse_model(std::vector<std::byte> bytes, const std::string& name, Storage storage,
                        bool keep_bf16) {
  return Reader(SafetensorsFile::parse(std::move(bytes), name), storage, keep_bf16).read();
}

}  // namespace tulle
