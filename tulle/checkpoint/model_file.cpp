#include "tulle/checkpoint/model_file.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <memory>
#include <numeric>

#include "tulle/base/aligned.h"
#include "tulle/base/as_size.h"
#include "tulle/base/check.h"
#include "tulle/base/parallel.h"
#include "tulle/base/spill.h"
#include "tulle/checkpoint/model_metadata.h"
#include "tulle/checkpoint/model_parts.h"
#include "tulle/checkpoint/part_file.h"
#include "tulle/checkpoint/safetensors.h"
#include "tulle/comm/collectives.h"
#include "tulle/version.h"
#include "tulle/vision/smlp_net.h"

namespace tulle {
namespace {

template <class T>
TensorView tensor(std::string name, DType dtype, std::vector<std::int64_t> shape, std::span<const T> values) {
  return {std::move(name), dtype, std::move(shape), std::as_bytes(values)};
}

void add_floats(std::vector<TensorView>& tensors, const std::string& name, std::span<const float> values,
                std::vector<std::int64_t> shape = {}) {
  if (values.empty() && shape.empty()) return;
  if (shape.empty()) shape = {as_count(values.size())};
  tensors.push_back(tensor<float>(name, DType::F32, std::move(shape), values));
}

void add_bf16(std::vector<TensorView>& tensors, const std::string& name,
              std::span<const std::uint16_t> values) {
  tensors.push_back(tensor(name, DType::BF16, {as_count(values.size())}, values));
}

void add_state(std::vector<TensorView>& tensors, const Parameter& parameter) {
  add_floats(tensors, parameter.name + ".m1", parameter.m1);
  if (!parameter.bf16_m1.empty()) add_bf16(tensors, parameter.name + ".m1", parameter.bf16_m1);
  add_floats(tensors, parameter.name + ".m2", parameter.m2);
  add_floats(tensors, parameter.name + ".outer", parameter.outer);
  add_floats(tensors, parameter.name + ".average", parameter.average);
  if (!parameter.age.empty())
    tensors.push_back(tensor<std::uint16_t>(parameter.name + ".age", DType::U16,
                                            {as_count(parameter.age.size())}, parameter.age));
}

// What a file holds; tensors are views of somebody's arrays, or of row pointers that are kept in less than a
// file has.
struct Content {
  Metadata metadata;
  std::vector<TensorView> tensors;
  std::vector<std::vector<std::int64_t>> row_ptrs;
};

void add_parameter(Content& content, const Parameter& parameter, const Layer& layer, bool with_state) {
  std::vector<TensorView>& tensors = content.tensors;
  const Topology* topology = parameter.kind == Parameter::Kind::kWeight ? layer.topology() : nullptr;
  if (topology != nullptr) {
    const RowPtr& row_ptr = topology->row_ptr();
    if (!row_ptr.is_wide()) content.row_ptrs.push_back(row_ptr.all());
    tensors.push_back(tensor<std::int64_t>(parameter.name + ".crow", DType::I64, {as_count(row_ptr.size())},
                                           row_ptr.is_wide() ? row_ptr.wide() : content.row_ptrs.back()));
    tensors.push_back(tensor(parameter.name + ".col", DType::I32, {topology->nnz()}, topology->columns()));
    if (parameter.is_bf16())
      add_bf16(tensors, parameter.name + ".val", parameter.bf16_value);
    else
      add_floats(tensors, parameter.name + ".val", parameter.value, {topology->nnz()});
  } else if (parameter.kind == Parameter::Kind::kWeight) {
    add_floats(tensors, parameter.name, parameter.value, weight_shape(layer));
  } else if (parameter.is_bf16()) {
    add_bf16(tensors, parameter.name, parameter.bf16_value);
  } else {
    add_floats(tensors, parameter.name, parameter.value);
  }
  if (with_state) add_state(tensors, parameter);
}

Json describe(const SmlpNet& net, const Model& model) {
  const SmlpShape& shape = net.shape();
  Json sparse = Json::array();
  for (std::size_t l = 0; l < model.network.size(); ++l)
    sparse.push_back(model.network.layer(l).topology() != nullptr);
  Json description{{"kind", "smlp"},
                   {"loss", model.loss},
                   {"channels", shape.channels},
                   {"height", shape.height},
                   {"width", shape.width},
                   {"patch", shape.patch},
                   {"embedding", shape.embedding},
                   {"depths", shape.depths},
                   {"expansion", shape.expansion},
                   {"classes", shape.classes},
                   {"drop_path", shape.drop_path},
                   {"image", {net.input().height, net.input().width}},
                   {"padding", net.input().padding},
                   {"bf16", net.bf16()},
                   {"sparse", std::move(sparse)}};
  if (!shape.hidden.empty()) description["hidden"] = shape.hidden;
  return description;
}

Json describe(const Model& model) {
  if (const SmlpNet* const net = smlp_of(model.network); net != nullptr) return describe(*net, model);
  Json layers = Json::array();
  for (std::size_t l = 0; l < model.network.size(); ++l) {
    const Layer& layer = model.network.layer(l);
    Json entry{{"inputs", layer.inputs()},
               {"outputs", model.network.outputs(l)},
               {"activation", layer.options().activation},
               {"alpha", layer.options().alpha},
               {"dropout", layer.options().dropout},
               {"sparse", layer.topology() != nullptr}};
    if (!layer.options().neurons.empty() && model.network.spread() == nullptr)
      entry["original_outputs"] = layer.original_outputs();
    if (const auto form = layer.activation().piecewise())
      entry["slope"] = form->slope;  // signed, for other readers
    if (layer.options().precision != Precision::kFloat) entry["dtype"] = name_of(layer.options().precision);
    layers.push_back(std::move(entry));
  }
  return {{"kind", "mlp"}, {"loss", model.loss}, {"layers", std::move(layers)}};
}

std::string text_of(const Json& json) {
  return json.dump(-1, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace);
}

Metadata metadata_of(const Model& model, const TrainingState* state) {
  Json preprocess{{"scale", model.scaling.kind},
                  {"image", {model.image.channels, model.image.height, model.image.width}}};
  if (model.index_base >= 0) preprocess["index_base"] = model.index_base;
  Metadata metadata{{"format", "tulle"},
                    {"format_version", std::to_string(kFormatVersion)},
                    {"tulle_version", std::string(kVersion)},
                    {"model", text_of(describe(model))},
                    {"sparse", text_of(sparse_layout(model.network))},
                    {"preprocess", text_of(preprocess)},
                    {"classes", text_of(model.class_names)},
                    {"seed", std::to_string(model.seed)},
                    {"config", model.config}};
  if (state != nullptr) {
    metadata["epoch"] = std::to_string(state->epoch);
    metadata["batch_in_epoch"] = std::to_string(state->batch_in_epoch);
    metadata["step"] = std::to_string(state->step);
    metadata["rng"] = text_of({{"algorithm", kRandomAlgorithm}, {"key", model.seed}});
    metadata["progress"] = text_of({{"loss_sum", state->loss_sum},
                                    {"correct", state->correct},
                                    {"samples", state->samples},
                                    {"seconds", state->seconds}});
    if (const ValidationState& v = state->validation; v.best_loss_epoch > 0)
      metadata["validation"] = text_of({{"best_loss", v.best_loss},
                                        {"best_loss_epoch", v.best_loss_epoch},
                                        {"best_score", v.best_score},
                                        {"best_epoch", v.best_epoch},
                                        {"reduced_epoch", v.reduced_epoch},
                                        {"rate_factor", v.rate_factor}});
    if (const StabilityState& s = state->stability; !s.connections.empty())
      metadata["stability"] = text_of(
          {{"connections", s.connections}, {"survivors", s.survivors}, {"stable_step", s.stable_step}});
    metadata["data"] = state->data_identity;
  }
  return metadata;
}

void add_hashes(Content& content) {
  Json hashes = Json::object();
  for (const TensorView& tensor : content.tensors) {
    hashes[tensor.name] = hash_of(tensor.bytes);
    release(tensor.bytes);
  }
  content.metadata["xxh3"] = text_of(hashes);
  for (const auto& [key, text] : content.metadata)
    require(text.size() <= kMaxJsonBytes, "save_model: metadata '" + key + "' is too long");
}

std::int64_t write(const std::string& path, Content content, FileOps& files) {
  add_hashes(content);
  write_safetensors(path, content.metadata, std::move(content.tensors), files);
  return static_cast<std::int64_t>(std::filesystem::file_size(path));
}

Content content_of(Model& model, const TrainingState* state) {
  Content content;
  std::vector<TensorView>& tensors = content.tensors;
  for (std::size_t l = 0; l < model.network.size(); ++l) {
    Layer& layer = model.network.layer(l);
    for (const Parameter* parameter : layer.parameters())
      add_parameter(content, *parameter, layer, state != nullptr);
    if (const auto& neurons = layer.options().neurons; !neurons.empty())
      tensors.push_back(tensor<std::uint32_t>(fmt::format("layers.{}.neurons", l), DType::U32,
                                              {as_count(neurons.size())}, neurons));
  }
  if (Architecture* const architecture = model.network.architecture(); architecture != nullptr) {
    for (const NamedArray& array : architecture->arrays())
      add_floats(tensors, array.name, *array.values, array.shape);
    if (state != nullptr) {
      for (const Parameter* parameter : architecture->parameters()) add_state(tensors, *parameter);
      for (const Statistic& statistic : architecture->statistics())
        add_floats(tensors, statistic.name + ".average", *statistic.average);
    }
  }
  if (state != nullptr)
    for (std::size_t l = 0; l < state->explored.size(); ++l)
      if (const CellSet& explored = state->explored[l]; explored.cells() > 0)
        tensors.push_back(tensor(fmt::format("layers.{}.explored", l), DType::U8,
                                 {as_count(explored.bytes().size())}, explored.bytes()));
  if (state != nullptr)
    for (std::size_t l = 0; l < state->gathered.size(); ++l)
      if (const CellScores& scores = state->gathered[l]; !scores.cells.empty()) {
        tensors.push_back(tensor<std::uint64_t>(fmt::format("layers.{}.candidates", l), DType::U64,
                                                {as_count(scores.cells.size())}, scores.cells));
        add_floats(tensors, fmt::format("layers.{}.candidate_sums", l), scores.sums);
      }
  add_floats(tensors, "data.mean", model.scaling.mean);
  add_floats(tensors, "data.std", model.scaling.deviation);
  content.metadata = metadata_of(model, state);
  return content;
}

}  // namespace

std::int64_t save_model(const std::string& path, Model& model, const TrainingState* state, FileOps& files) {
  return write(path, content_of(model, state), files);
}

std::optional<std::int64_t> save_parts(const std::string& path, Model& model, const TrainingState* state,
                                       FileOps& files) {
  Network& network = model.network;
  Communicator& comm = network.spread()->comm();
  std::vector<TensorPart> parts;
  std::vector<RawVector<std::int64_t>> row_ptrs(network.size());  // as the whole network counts
  for (std::size_t l = 0; l < network.size(); ++l) {
    Layer& layer = network.layer(l);
    const std::int64_t rows = network.outputs(l), first = network.spread()->own_neurons(l).begin;
    const std::vector<std::int64_t> connections = gather_all(comm, layer.connections());
    const std::int64_t before =
        std::accumulate(connections.begin(), connections.begin() + comm.rank(), std::int64_t{0});
    const std::int64_t nnz = std::accumulate(connections.begin(), connections.end(), std::int64_t{0});
    for (const Parameter* parameter : layer.parameters()) {
      const bool weight = parameter->kind == Parameter::Kind::kWeight;
      const std::int64_t size = weight ? nnz : rows, begin = weight ? before : first;
      const auto add = [&](const std::string& name, DType dtype, const auto& values,
                           std::vector<std::int64_t> shape) {
        parts.push_back({name, dtype, std::move(shape), begin, std::as_bytes(std::span(values))});
      };
      const Topology* const topology = weight ? layer.topology() : nullptr;
      if (topology != nullptr) {
        RawVector<std::int64_t>& row_ptr = row_ptrs[l];
        row_ptr.resize(topology->row_ptr().size());
        topology->row_ptr().copy(0, row_ptr);
        for (std::int64_t& start : row_ptr) start += before;
        parts.push_back(
            {parameter->name + ".crow", DType::I64, {rows + 1}, first, std::as_bytes(std::span(row_ptr))});
        add(parameter->name + ".col", DType::I32, topology->columns(), {nnz});
        add(parameter->name + ".val", DType::F32, parameter->value, {nnz});
      } else if (weight) {
        add(parameter->name, DType::F32, parameter->value, {rows, layer.inputs()});
      } else {
        add(parameter->name, DType::F32, parameter->value, {rows});
      }
      if (state == nullptr) continue;
      // What the optimizer keeps is kept by all; a rank without entries cannot tell by its arrays.
      const auto add_state = [&](const char* ending, DType dtype, const auto& values) {
        const std::vector<char> kept = gather_all(comm, char{!values.empty()});
        if (std::ranges::find(kept, char{1}) != kept.end())
          add(parameter->name + ending, dtype, values, {size});
      };
      add_state(".m1", DType::F32, parameter->m1);
      add_state(".m2", DType::F32, parameter->m2);
      add_state(".age", DType::U16, parameter->age);
    }
  }
  for (const auto& [name, values] :
       {std::pair{"data.mean", &model.scaling.mean}, std::pair{"data.std", &model.scaling.deviation}})
    if (!values->empty())
      parts.push_back({name,
                       DType::F32,
                       {as_count(values->size())},
                       0,
                       comm.rank() == 0 ? std::as_bytes(std::span(*values)) : std::span<const std::byte>{}});
  return write_parts(comm, path, metadata_of(model, state), std::move(parts), files);
}

std::vector<std::byte> model_bytes(Model& model, const TrainingState* state) {
  Content content = content_of(model, state);
  add_hashes(content);
  return safetensors_bytes(content.metadata, std::move(content.tensors));
}

struct Snapshot::Copy {
  Content content;
  RawVector<std::byte> bytes;
};

Snapshot::Snapshot(Model& model, const TrainingState* state) : copy_(std::make_unique<Copy>()) {
  constexpr std::size_t kAlign = 64, kPiece = std::size_t{1} << 22;
  copy_->content = content_of(model, state);
  std::size_t size = 0;
  for (const TensorView& tensor : copy_->content.tensors)
    size += (tensor.bytes.size() + kAlign - 1) / kAlign * kAlign;
  copy_->bytes.resize(size);
  std::byte* place = copy_->bytes.data();
  for (TensorView& tensor : copy_->content.tensors) {
    const std::span<const std::byte> from = tensor.bytes;
    parallel_ranges(std::ssize(from), kPiece, [&](Range range) {
      std::memcpy(place + range.begin, from.data() + range.begin,
                  static_cast<std::size_t>(range.end - range.begin));
    });
    tensor.bytes = {place, from.size()};
    place += (from.size() + kAlign - 1) / kAlign * kAlign;
  }
}

Snapshot::Snapshot(Snapshot&&) noexcept = default;
Snapshot::~Snapshot() = default;

std::int64_t Snapshot::save(const std::string& path, FileOps& files) const {
  return write(path, copy_->content, files);
}

std::int64_t Snapshot::bytes_of(Model& model, const TrainingState* state) {
  std::int64_t bytes = 0;
  for (const TensorView& tensor : content_of(model, state).tensors) bytes += std::ssize(tensor.bytes);
  return bytes;
}

std::string data_identity(const Split& train) {
  const std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)> hash(XXH3_createState(), XXH3_freeState);
  if (hash == nullptr) throw std::bad_alloc();
  XXH3_64bits_reset(hash.get());
  // Lengths too: moving a value from one array to the next must not go unseen.
  const auto add = [&](const auto& values) {
    const std::uint64_t bytes = values.size() * sizeof(values[0]);
    XXH3_64bits_update(hash.get(), &bytes, sizeof(bytes));
    XXH3_64bits_update(hash.get(), values.data(), bytes);
  };
  add(std::vector<std::int64_t>{train.inputs.samples, train.inputs.features});
  add(train.inputs.bytes);
  add(train.inputs.floats);
  if (train.inputs.is_sparse()) {
    add(train.inputs.sparse.row_ptr);
    add(train.inputs.sparse.columns);
    add(train.inputs.sparse.values);
  }
  if (train.inputs.is_generated()) {
    add(std::vector<std::uint64_t>{train.inputs.generated.source->identity()});
    std::vector<float> row(static_cast<std::size_t>(train.inputs.features));
    train.inputs.generated.source->row(train.inputs.generated.samples.front(), row);
    add(row);
    add(train.inputs.generated.samples);
  }
  if (!train.sets.empty()) {
    add(train.sets.row_ptr);
    add(train.sets.labels);
  }
  add(train.classes);
  add(train.targets);
  return fmt::format("{:016x}", XXH3_64bits_digest(hash.get()));
}

}  // namespace tulle
