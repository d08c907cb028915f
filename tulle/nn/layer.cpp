#include "tulle/nn/layer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <stdexcept>
#include <utility>

#include "tulle/base/check.h"
#include "tulle/base/name_table.h"
#include "tulle/base/parallel.h"
#include "tulle/nn/bf16_panels.h"

namespace tulle {
namespace {

std::unique_ptr<Activation> make_activation(const LayerOptions& options) {
  return find_name(activations(), "model.activation", options.activation)
      .make({.alpha = options.alpha,
             .position = options.index + 2,
             .neurons = options.outputs,
             .seed = options.seed});
}

std::string name_of(const LayerOptions& options) {
  return options.name.empty() ? fmt::format("layers.{}", options.index) : options.name;
}

}  // namespace

Layer::Layer(const LayerOptions& options, std::size_t weights, bool keeps_gradients)
    : weight_(name_of(options) + ".weight", Parameter::Kind::kWeight, weights, keeps_gradients),
      bias_(name_of(options) + ".bias", Parameter::Kind::kBias,
            options.has_bias ? static_cast<std::size_t>(options.outputs) : 0, keeps_gradients),
      options_(options),
      activation_(make_activation(options)) {
  require(options.inputs > 0 && (options.outputs > 0 || options.whole_outputs > 0),
          "Layer: inputs and outputs must be positive");
  require(options.dropout >= 0.0 && options.dropout < 1.0, "Layer: dropout must be in [0, 1)");
  require(options.precision != Precision::kInt8, "Layer: int8 is for inference");
  require(options.neurons.empty() ||
              (options.neurons.size() == static_cast<std::size_t>(options.outputs) &&
               std::ranges::adjacent_find(options.neurons, std::greater_equal<>()) == options.neurons.end() &&
               std::cmp_less(options.neurons.back(), options.original_outputs)),
          "Layer: original neurons must ascend, one per output");
  drop_threshold_ = static_cast<std::uint32_t>(std::min(std::lround(options.dropout * 65536.0), 65535L));
}

void Layer::multiply(const SparseBatch&, Panels<float>, const kernels::Epilogue&) {
  throw std::logic_error("Layer: this one takes no sparse samples");
}

void Layer::backward(const SparseBatch&, Panels<const float>) {
  throw std::logic_error("Layer: this one takes no sparse samples");
}

void Layer::multiply(Panels<const std::uint16_t> x, Panels<float> y, const kernels::Epilogue& epilogue) {
  multiply(widened(x, wide_x_), y, epilogue);
}

void Layer::multiply_back(Panels<const std::uint16_t> x, Panels<const float> dz, Panels<float> dx,
                          const kernels::Gate& gate) {
  multiply_back(wide_x_.view(x.features, x.batch, x.width), dz, dx, gate);  // of the forward pass
}

void Layer::forward(const Pass& pass, Panels<const float> x, Panels<float> y) { forward_from(pass, x, y); }
void Layer::forward(const Pass& pass, const SparseBatch& x, Panels<float> y) { forward_from(pass, x, y); }
void Layer::forward(const Pass& pass, Panels<const std::uint16_t> x, Panels<float> y) {
  forward_from(pass, x, y);
}
void Layer::forward(const Pass& pass, Panels<const float> x, Panels<std::uint16_t> y) {
  forward_rounded(pass, x, y);
}
void Layer::forward(const Pass& pass, Panels<const std::uint16_t> x, Panels<std::uint16_t> y) {
  forward_rounded(pass, x, y);
}

template <class Element>
void Layer::forward_rounded(const Pass& pass, Panels<const Element> x, Panels<std::uint16_t> y) {
  Panels<float> floats{nullptr, y.features, y.batch, y.width};
  if (rounds_outputs() && activation_->piecewise()) return forward_from(pass, x, floats, y.data);
  const auto size = static_cast<std::size_t>(y.count() * y.panel_size());
  if (scratch_->size() < size) scratch_->resize(size);
  floats.data = scratch_->data();
  forward_from(pass, x, floats);
  round_panels(floats, y);
}

// `rounded`: where the outputs go in place of y, which then has no data.
template <class Inputs>
void Layer::forward_from(const Pass& pass, const Inputs& x, Panels<float> y, std::uint16_t* rounded) {
  require(x.features == inputs() && y.features == outputs(),
          "Layer: x or y has the wrong number of features");
  require(x.batch == y.batch && x.width == y.width, "Layer: x and y must have the same batch and width");
  const auto words = static_cast<std::size_t>(y.count()) * static_cast<std::size_t>(outputs()) *
                     static_cast<std::size_t>(kernels::bit_words(y.width));
  pass_ = pass;
  dropped_ = pass.training && drop_threshold_ > 0;
  if (dropped_) {
    keep_bits_.resize(std::max(keep_bits_.size(), words));
    draw_dropout(pass, y);
  }
  const kernels::Epilogue keep{.keep_bits = dropped_ ? keep_bits_.data() : nullptr,
                               .keep_scale = static_cast<float>(1.0 / (1.0 - dropout()))};

  if (const auto form = activation_->piecewise()) {
    kernels::Epilogue epilogue = keep;
    epilogue.bias = options_.has_bias ? bias_.value.data() : nullptr;
    epilogue.slope = form->slope;
    epilogue.zero_is_negative = form->zero_is_negative;
    epilogue.rounded = rounded;
    if (pass.training) {
      positive_bits_.resize(std::max(positive_bits_.size(), words));
      epilogue.positive_bits = positive_bits_.data();
    }
    return multiply(x, y, epilogue);
  }
  const Panels<float> z = z_.view(outputs(), y.batch, y.width);
  multiply(x, z, {.bias = options_.has_bias ? bias_.value.data() : nullptr});
  activation_->forward(z, y);
  if (!dropped_) return;
  parallel_ranges(outputs(), 1, [&](Range rows) {
    for (std::int32_t p = 0; p < y.count(); ++p)
      kernels::apply_epilogue(rows, y.width, y.panel(p), of_panel(keep, p, outputs(), y.width));
  });
}

void Layer::sum_bias_gradients(Range rows, Panels<const float> dz) {
  if (!options_.has_bias) return;
  for (std::int32_t p = 0; p < dz.count(); ++p)
    kernels::sum_rows(rows, dz.width, dz.panel(p), {}, p > 0, bias_.gradient.data());
}

void Layer::backward(Panels<const float> x, Panels<const float> dz, Panels<float> dx, Layer* below) {
  backward_from(x, dz, dx, below);
}
void Layer::backward(Panels<const std::uint16_t> x, Panels<const float> dz, Panels<float> dx, Layer* below) {
  backward_from(x, dz, dx, below);
}

template <class Element>
void Layer::backward_from(Panels<const Element> x, Panels<const float> dz, Panels<float> dx, Layer* below) {
  const bool fused = below != nullptr && below->activation_->piecewise().has_value();
  multiply_back(x, dz, dx, fused && !below->gates_errors() ? below->gate() : kernels::Gate{});
  if (dx && below != nullptr && !fused) below->backward_activation(dx);
}

void Layer::backward_activation(Panels<float> grad) {
  const kernels::Gate full = gate();
  if (!full.open()) {
    parallel_ranges(outputs(), 1, [&](Range rows) {
      for (std::int32_t p = 0; p < grad.count(); ++p)
        kernels::apply_gate(rows, grad.width, grad.panel(p), of_panel(full, p, outputs(), grad.width));
    });
  }
  if (!activation_->piecewise()) activation_->backward(z_.view(outputs(), grad.batch, grad.width), grad);
}

std::vector<Parameter*> Layer::parameters() {
  std::vector<Parameter*> all{&weight_};
  if (options_.has_bias) all.push_back(&bias_);
  for (Parameter* parameter : activation_->parameters()) all.push_back(parameter);
  return all;
}

kernels::Epilogue Layer::of_panel(kernels::Epilogue epilogue, std::int64_t p, std::int32_t features,
                                  int width) {
  const std::int64_t words = p * features * kernels::bit_words(width);
  if (epilogue.rounded != nullptr) epilogue.rounded += p * features * width;
  if (epilogue.positive_bits != nullptr) epilogue.positive_bits += words;
  if (epilogue.keep_bits != nullptr) epilogue.keep_bits += words;
  return epilogue;
}

kernels::Gate Layer::of_panel(kernels::Gate gate, std::int64_t p, std::int32_t features, int width) {
  const std::int64_t words = p * features * kernels::bit_words(width);
  if (gate.positive_bits != nullptr) gate.positive_bits += words;
  if (gate.keep_bits != nullptr) gate.keep_bits += words;
  return gate;
}

void Layer::draw_dropout(const Pass& pass, Panels<const float> y) {
  parallel_ranges(outputs(), 1, [&](Range rows) {
    for (std::int32_t p = 0; p < y.count(); ++p) {
      const kernels::DropoutPlace place{.seed = pass.seed,
                                        .layer = static_cast<std::uint32_t>(options_.index),
                                        .step = pass.step,
                                        .worker = pass.worker,
                                        .first_position = pass.first_position + std::int64_t{p} * y.width};
      const std::int64_t words = std::int64_t{p} * outputs() * kernels::bit_words(y.width);
      kernels::dropout_bits(rows, y.width, place, drop_threshold_,
                            options_.neurons.empty() ? nullptr : options_.neurons.data(),
                            keep_bits_.data() + words);
    }
  });
}

kernels::Gate Layer::gate() const {
  kernels::Gate gate;
  if (const auto form = activation_->piecewise(); form && form->slope != 1.0f) {
    gate.slope = form->slope;
    gate.positive_bits = positive_bits_.data();
  }
  if (dropped_) {
    gate.keep_bits = keep_bits_.data();
    gate.keep_scale = static_cast<float>(1.0 / (1.0 - dropout()));
  }
  return gate;
}

}  // namespace tulle
