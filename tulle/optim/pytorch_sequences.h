#pragma once

// For tests only: one weight after each of six steps of PyTorch 2.15.0. Written by
// tests/oracle/freeze_optimizers.py.

#include <string_view>
#include <vector>

#include "tulle/optim/optimizer.h"

namespace tulle::reference {

struct Recorded {
  std::string_view name;
  OptimizerOptions options;
  std::vector<double> values;
};

inline constexpr float kRecordedRate = 0.05f, kRecordedStart = 0.8f;
inline const std::vector<float> kRecordedGradients{0.5f, -1.25f, 2.0f, 0.0f, -0.375f, 0.75f};
// clang-format off
inline const std::vector<Recorded> kRecorded{
    {"sgd", {.momentum = 0.9, .weight_decay = 0.01}, {0.7746000000000001, 0.8138527000000001, 0.7487732036500001, 0.6898272703331751, 0.6551810167128661, 0.5861717979462315}},
    {"sgd", {.momentum = 0.9, .nesterov = true, .weight_decay = 0.01}, {0.7517400000000001, 0.8492018470000001, 0.6901990505453501, 0.636822985469297, 0.6241151346373989, 0.5242467298542461}},
    {"sgd", {.momentum = 0.0}, {0.775, 0.8375, 0.7375, 0.7375, 0.7562500000000001, 0.7187500000000001}},
    {"adam", {.weight_decay = 0.01}, {0.750000000984252, 0.7717684625780479, 0.7545599982406123, 0.7403730977573907, 0.7326275589465556, 0.7185105025515983}},
    {"adam", {.beta1 = 0.8, .beta2 = 0.95}, {0.7500000010000001, 0.7745752243490216, 0.7554569416766941, 0.7406652669692586, 0.7342053236419479, 0.7193529606116436}},
    {"adamw", {.weight_decay = 0.01}, {0.7496000010000001, 0.7713359639564479, 0.7539893645770411, 0.7397190069499824, 0.7319427002863544, 0.7177939221374037}},
};
// clang-format on

}  // namespace tulle::reference
