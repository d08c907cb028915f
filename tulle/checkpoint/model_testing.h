#pragma once

// For tests only: small models and their bits.

#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tulle/base/file_ops_testing.h"
#include "tulle/checkpoint/model_file.h"
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
