#pragma once

// For tests only: small models, their bits, and model files taken apart and put together again.

#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tulle/base/file_ops_testing.h"
#include "tulle/checkpoint/model_file.h"
#include "tulle/checkpoint/model_metadata.h"
#include "tulle/data/data_testing.h"
#include "tulle/nn/dense_linear.h"
#include "tulle/nn/sparse_linear.h"
#include "tulle/optim/optimizer.h"

namespace tulle::testing {

/// 3 -> 4 (five connections) -> 2 (dense), with numbers that tell one array from another.
inline Model small_model(const std::string& activation = "all-relu") {
  std::vector<std::unique_ptr<Layer>> layers;
  layers.push_back(std::make_unique<SparseLinear>(LayerOptions{.index = 0,
                                                               .inputs = 3,
                                                               .outputs = 4,
                                                               .activation = activation,
                                                               .alpha = 0.3,
                                                               .dropout = 0.25,
                                                               .seed = 7},
                                                  Topology(4, 3, {0, 2, 2, 3, 5}, {0, 2, 1, 0, 1})));
  layers.push_back(
      std::make_unique<DenseLinear>(LayerOptions{.index = 1, .inputs = 4, .outputs = 2, .seed = 7}));
  Model model{
      .network = Network(std::move(layers)), .class_names = {"no", "yes"}, .seed = 7, .config = "[run]\n"};
  float next = 0.1f;
  for (Parameter* parameter : model.network.parameters())
    for (float& value : parameter->value) value = next = -1.1f * next;
  return model;
}

/// Gives every parameter what `optimizer` keeps, filled with numbers.
inline void fill_state(Network& network, const OptimizerInfo& optimizer) {
  float next = 0.01f;
  std::uint16_t age = 1;
  for (Parameter* parameter : network.parameters()) {
    optimizer.make({})->prepare(*parameter);
    for (float& value : parameter->m1) value = next = -1.1f * next;
    for (float& value : parameter->m2) value = next = -1.1f * next;
    for (std::uint16_t& value : parameter->age) value = age++;
  }
}

/// All bits that training changes, one text for each array.
inline std::map<std::string, std::string> bits_of(Network& network) {
  std::map<std::string, std::string> bits;
  const auto add = [&](const std::string& name, const auto& values) {
    bits[name] = text_of(std::as_bytes(std::span(values)));
  };
  for (std::size_t l = 0; l < network.size(); ++l) {
    if (const Topology* topology = network.layer(l).topology()) {
      add(std::to_string(l) + " rows", topology->row_ptr().all());
      add(std::to_string(l) + " columns", topology->columns());
    }
  }
  for (Parameter* parameter : network.parameters()) {
    add(parameter->name, parameter->value);
    add(parameter->name + ".m1", parameter->m1);
    add(parameter->name + ".m2", parameter->m2);
    add(parameter->name + ".age", parameter->age);
    add(parameter->name + ".bf16_value", parameter->bf16_value);
    add(parameter->name + ".bf16_m1", parameter->bf16_m1);
  }
  if (Architecture* const architecture = network.architecture(); architecture != nullptr)
    for (const Statistic& statistic : architecture->statistics()) add(statistic.name, *statistic.value);
  return bits;
}

/// A model file in pieces that may be changed.
struct FileParts {
  struct Part {
    DType dtype;
    std::vector<std::int64_t> shape;
    std::vector<std::byte> bytes;

    template <class T>
    T& at(std::size_t i) {
      return reinterpret_cast<T*>(bytes.data())[i];
    }
  };
  Metadata metadata;
  std::map<std::string, Part> tensors;

  explicit FileParts(const std::string& path) {
    const SafetensorsFile file = SafetensorsFile::read(path);
    metadata = file.metadata();
    for (const TensorView& t : file.tensors())
      tensors[t.name] = {t.dtype, t.shape, {t.bytes.begin(), t.bytes.end()}};
  }
  /// With valid checksums and hashes, whatever the content.
  void write(const std::string& path, bool new_hashes = true) {
    std::vector<TensorView> views;
    Json hashes = Json::object();
    for (const auto& [name, part] : tensors) {
      views.push_back({name, part.dtype, part.shape, part.bytes});
      hashes[name] = hash_of(part.bytes);
    }
    if (new_hashes && metadata.contains("xxh3")) metadata["xxh3"] = hashes.dump();
    write_safetensors(path, metadata, views);
  }
  /// Changes JSON inside the metadata.
  void edit(const std::string& key, const std::function<void(Json&)>& change) {
    Json json = Json::parse(metadata.at(key));
    change(json);
    metadata[key] = json.dump();
  }
};

/// A training state that differs from the default everywhere.
inline TrainingState some_state() {
  return {.epoch = 3,
          .batch_in_epoch = 2,
          .step = 17,
          .loss_sum = 0.1 + 0.2,
          .correct = 5,
          .samples = 8,
          .seconds = 1.5,
          .data_identity = "0123456789abcdef",
          .stability = {.connections = {9, 8}, .survivors = {7, 8}, .stable_step = 16},
          .gathered = {{.cells = {1, 3, 11}, .sums = {0.5f, -2.0f, 1e-30f}}, {}}};
}

}  // namespace tulle::testing
