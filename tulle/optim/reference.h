#pragma once

// For tests only: every optimizer in double precision, written down from its publication and, for sgd, adam
// and adamw, from the algorithm boxes of the PyTorch documentation (torch.optim.SGD, Adam, AdamW), one entry
// at a time. It shares nothing with the engine.

#include <cmath>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "tulle/optim/optimizer.h"

namespace tulle::reference {

/// One parameter entry and everything an optimizer remembers about it.
struct Entry {
  double theta = 0.0;
  double velocity = 0.0;
  double m = 0.0, s = 0.0;
  int t = 0;  // steps since birth
};

/// One step of optimizer `name` with gradient g. decays: whether weight decay applies to this entry.
inline void step(std::string_view name, const OptimizerOptions& o, bool decays, double eta, double g,
                 Entry& e) {
  const double lambda = decays ? o.weight_decay : 0.0;
  const double old = e.theta;
  e.t += 1;
  if (name == "set-sgd") {
    e.velocity = o.momentum * e.velocity - eta * g;
    e.theta += (o.nesterov ? o.momentum * e.velocity - eta * g : e.velocity) - lambda * old;
  } else if (name == "sgd" || name == "sgdw") {
    if (name == "sgd") g += lambda * old;
    // PyTorch sets the buffer to g in its first step, which is the same as starting from 0.
    e.velocity = e.t == 1 ? g : o.momentum * e.velocity + g;
    e.theta -= eta * (o.nesterov ? g + o.momentum * e.velocity : e.velocity);
    if (name == "sgdw") e.theta -= eta * lambda * old;
  } else if (name == "adam" || name == "adamw") {
    if (name == "adam") g += lambda * old;
    if (name == "adamw") e.theta -= eta * lambda * old;
    e.m = o.beta1 * e.m + (1 - o.beta1) * g;
    e.s = o.beta2 * e.s + (1 - o.beta2) * g * g;
    const double m_hat = e.m / (1 - std::pow(o.beta1, e.t));
    const double s_hat = e.s / (1 - std::pow(o.beta2, e.t));
    e.theta -= eta * m_hat / (std::sqrt(s_hat) + o.adam_epsilon);
  } else {
    throw std::logic_error("no definition of optimizer " + std::string(name));
  }
}

/// Whether weight decay applies: to weights always, to biases only in set-sgd, to activations never.
inline bool decays(std::string_view name, Parameter::Kind kind) {
  return kind == Parameter::Kind::kWeight || (kind == Parameter::Kind::kBias && name == "set-sgd");
}

}  // namespace tulle::reference
