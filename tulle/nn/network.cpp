#include "tulle/nn/network.h"

#include <algorithm>

#include "tulle/base/check.h"
#include "tulle/kernels/targets.h"

namespace tulle {

Network::Network(std::vector<std::unique_ptr<Layer>> layers)
    : Network(std::move(layers), std::unique_ptr<Spread>()) {}

Network::Network(std::vector<std::unique_ptr<Layer>> layers, std::unique_ptr<Spread> spread)
    : layers_(std::move(layers)),
      spread_(std::move(spread)),
      activations_(layers_.size()),
      rounded_(layers_.size()),
      gradients_(std::max<std::size_t>(layers_.size(), 2)) {
  require(!layers_.empty(), "Network: at least one layer is needed");
  for (std::size_t l = 1; l < layers_.size(); ++l)
    require(layers_[l]->inputs() == outputs(l - 1), "Network: the layers do not chain");
  const auto scratch = std::make_shared<AlignedVector<float>>();
  for (const auto& layer : layers_) layer->share_scratch(scratch);
  rounds_ = std::ranges::any_of(layers_, [](const auto& layer) {
    return layer->options().storage == Storage::kCompact && layer->options().precision == Precision::kBf16;
  });
  require(!rounds_ || spread_ == nullptr, "Network: activations that ranks share are floats");
}

Network::Network(std::vector<std::unique_ptr<Layer>> layers, const Network& like) {
  if (like.architecture_ == nullptr) {
    *this = Network(std::move(layers));
    return;
  }
  std::vector<Layer*> views;
  for (const auto& layer : layers) views.push_back(layer.get());
  architecture_ = like.architecture_->over(views);
  layers_ = std::move(layers);
}

std::vector<Parameter*> Network::parameters() {
  std::vector<Parameter*> all;
  for (const auto& layer : layers_)
    for (Parameter* parameter : layer->parameters()) all.push_back(parameter);
  if (architecture_)
    for (Parameter* parameter : architecture_->parameters()) all.push_back(parameter);
  return all;
}

std::int64_t Network::connections() const {
  std::int64_t sum = architecture_ ? architecture_->other_weights() : 0;
  for (std::size_t l = 0; l < layers_.size(); ++l) sum += connections(l);
  return sum;
}

std::uint64_t Network::cells() const {
  std::uint64_t sum = architecture_ ? static_cast<std::uint64_t>(architecture_->other_weights()) : 0;
  for (std::size_t l = 0; l < layers_.size(); ++l)
    sum += static_cast<std::uint64_t>(layers_[l]->inputs()) * static_cast<std::uint64_t>(outputs(l));
  return sum;
}

std::uint64_t Network::original_cells(std::size_t l) const {
  if (spread_)
    return static_cast<std::uint64_t>(outputs(l)) * static_cast<std::uint64_t>(layers_[l]->inputs());
  const std::int32_t sources = follows(l) ? layers_[l - 1]->original_outputs() : layers_[l]->inputs();
  return static_cast<std::uint64_t>(layers_[l]->original_outputs()) * static_cast<std::uint64_t>(sources);
}

std::uint64_t Network::original_key(std::size_t l, std::uint64_t key) const {
  if (spread_) return key;
  const auto width = static_cast<std::uint64_t>(layers_[l]->inputs());
  const auto target = static_cast<std::int32_t>(key / width), source = static_cast<std::int32_t>(key % width);
  const std::uint64_t original_source =
      follows(l) ? layers_[l - 1]->original_neuron(source) : static_cast<std::uint64_t>(source);
  const auto original_width =
      static_cast<std::uint64_t>(follows(l) ? layers_[l - 1]->original_outputs() : layers_[l]->inputs());
  return layers_[l]->original_neuron(target) * original_width + original_source;
}

std::optional<std::uint64_t> Network::current_key(std::size_t l, std::uint64_t original) const {
  if (spread_) return original;
  const auto place = [](const Layer& layer, std::uint64_t neuron) -> std::optional<std::uint64_t> {
    const std::vector<std::uint32_t>& left = layer.options().neurons;
    if (left.empty()) return neuron;
    const auto found = std::ranges::lower_bound(left, neuron);
    if (found == left.end() || *found != neuron) return std::nullopt;
    return static_cast<std::uint64_t>(found - left.begin());
  };
  const auto width =
      static_cast<std::uint64_t>(follows(l) ? layers_[l - 1]->original_outputs() : layers_[l]->inputs());
  const std::optional<std::uint64_t> target = place(*layers_[l], original / width),
                                     source = follows(l) ? place(*layers_[l - 1], original % width)
                                                         : original % width;
  if (!target || !source) return std::nullopt;
  return *target * static_cast<std::uint64_t>(layers_[l]->inputs()) + *source;
}

int Network::panel_width(std::int64_t batch) const {
  const bool pairs = !rounds_ && std::ranges::any_of(layers_, [](const auto& layer) {
    return layer->options().precision == Precision::kBf16;
  });
  const bool narrow = architecture_ == nullptr && std::ranges::all_of(layers_, [](const auto& layer) {
                        return layer->topology() != nullptr && layer->options().storage == Storage::kCompact;
                      });
  return kernels::panel_width(batch, pairs ? 32 : narrow ? 2 : 16);
}

Panels<const float> Network::forward(const Pass& pass, Panels<const float> x) {
  input_ = x;
  sparse_input_ = nullptr;
  if (architecture_) return architecture_->forward(pass, x);
  return rounds_ ? forward_rounded(pass, x) : forward_from(0, pass, x);
}

Panels<const float> Network::forward(const Pass& pass, const SparseBatch& x) {
  input_ = {nullptr, x.features, x.batch, x.width};
  sparse_input_ = &x;
  const Panels<float> y = floats(0);
  layers_[0]->forward(pass, x, y);
  return forward_from(1, pass, y);
}

Panels<const float> Network::forward_from(std::size_t first, const Pass& pass, Panels<const float> x) {
  for (std::size_t l = first; l < layers_.size(); ++l) {
    const Panels<float> y = floats(l);
    layers_[l]->forward(pass, x, y);
    x = spread_ ? spread_->gather(l, y) : y;
  }
  return x;
}

Panels<const float> Network::forward_rounded(const Pass& pass, Panels<const float> x) {
  const auto make = [&](std::size_t l, auto from) {
    if (is_rounded(l))
      layers_[l]->forward(pass, from, rounded(l));
    else
      layers_[l]->forward(pass, from, floats(l));
  };
  make(0, x);
  for (std::size_t l = 1; l < layers_.size(); ++l) make(l, Panels<const std::uint16_t>(rounded(l - 1)));
  return floats(layers_.size() - 1);
}

Panels<float> Network::output_gradient() {
  if (architecture_) return architecture_->output_gradient();
  return spread_ ? output_gradient_.view(outputs(), input_.batch, input_.width)
                 : gradient_of(layers_.size() - 1);
}

void Network::backward(const std::function<void(std::size_t)>& layer_done) {
  if (architecture_) return architecture_->backward();
  if (spread_) return backward_of_part(layer_done);
  if (!layers_.back()->gates_errors()) layers_.back()->backward_activation(output_gradient());
  for (std::size_t l = layers_.size(); l-- > 0;) {
    const Panels<const float> dz = gradient_of(l);
    if (l == 0) {
      if (sparse_input_ != nullptr)
        layers_[0]->backward(*sparse_input_, dz);
      else
        layers_[0]->backward(input_, dz, {}, nullptr);
    } else {
      Layer& below = *layers_[l - 1];
      const Panels<float> dx = gradient_of(l - 1);
      if (is_rounded(l - 1))
        layers_[l]->backward(Panels<const std::uint16_t>(rounded(l - 1)), dz, dx, &below);
      else
        layers_[l]->backward(Panels<const float>(floats(l - 1)), dz, dx, &below);
    }
    if (layer_done) layer_done(l);
  }
}

// A layer's rows make errors for all of its inputs; which of these are this rank's, their sum over the ranks
// says. The derivative of the layer below comes after that: it is of the own neurons alone.
void Network::backward_of_part(const std::function<void(std::size_t)>& layer_done) {
  const std::size_t last = layers_.size() - 1;
  const Range own = spread_->own_neurons(last);
  const Panels<const float> all = output_gradient();
  const Panels<float> outputs = gradient_of(last);
  for (std::int32_t p = 0; p < all.count(); ++p)
    std::copy(all.panel(p) + own.begin * all.width, all.panel(p) + own.end * all.width, outputs.panel(p));
  for (std::size_t l = last + 1; l-- > 0;) {
    const Panels<float> dz = gradient_of(l);
    if (!layers_[l]->gates_errors()) layers_[l]->backward_activation(dz);
    if (l == 0) {
      layers_[0]->backward(input_, dz, {}, nullptr);
    } else {
      const Panels<const float> x = spread_->gather_again(l - 1, activations(l - 1));
      const Panels<float> dx = spread_->partial(l - 1, input_.batch, input_.width);
      layers_[l]->backward(x, dz, dx, nullptr);
      spread_->sum(l - 1, dx, gradient_of(l - 1));
    }
    if (layer_done) layer_done(l);
  }
}

}  // namespace tulle
