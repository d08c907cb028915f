#include "tulle/train/replica.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>

#include "tulle/base/clock.h"
#include "tulle/base/error.h"
#include "tulle/base/name_table.h"
#include "tulle/base/parallel.h"
#include "tulle/base/spill.h"
#include "tulle/nn/bf16_weights.h"
#include "tulle/nn/compaction.h"
#include "tulle/nn/parts.h"
#include "tulle/optim/averaging.h"
#include "tulle/optim/clipping.h"
#include "tulle/train/build.h"
#include "tulle/vision/smlp_net.h"

namespace tulle {
namespace {

float largest_magnitude_of(const Parameter& parameter) {
  if (parameter.is_bf16()) return largest_magnitude(values_of(parameter));
  std::atomic<std::int32_t> largest = 0;  // bits: NaN is more than infinity
  parallel_ranges(static_cast<std::int64_t>(parameter.value.size()), kGrain, [&](Range range) {
    const std::span values(parameter.value.data() + range.begin, parameter.value.data() + range.end);
    const auto here = std::bit_cast<std::int32_t>(largest_magnitude(values));
    for (std::int32_t seen = largest; seen < here && !largest.compare_exchange_weak(seen, here);) {
    }
  });
  return std::bit_cast<float>(largest.load());
}

}  // namespace

Replica::Replica(Run& run, const Dataset& data)
    : run_(run),
      data_(data),
      keeps_gradients_(needs_gradients(run.config)),
      loss_(find_name(losses(), "model.loss", run.config.model.loss)),
      class_weights_(class_weights(run.config, data)),
      augmentation_(parse_augmentation(run.config.data.augment)) {
  const Config::Train& t = run.config.train;
  loss_options_ = {.label_smoothing = t.label_smoothing,
                   .mse_factor = static_cast<double>(t.mse_factor),
                   .ce_clip = t.ce_clip,
                   .class_weights = class_weights_};
  optimizer_ = make_optimizer(t);
  if (!augmentation_.none() && data.image.channels == 0)
    throw Error(ErrorKind::kConfig, "data.augment, found some, expected none for data that are no images");
  if (augmentation_.mixes() && data.train.classes.empty())
    throw Error(ErrorKind::kConfig,
                "data.augment, found mixup or cutmix, expected none where samples have no class each");
  if (SmlpNet* const net = smlp_of(network()); net != nullptr) net->recompute(run.config.model.recompute);
  const Spilling files(run.spill);
  for (Parameter* parameter : network().parameters()) {
    optimizer_->prepare(*parameter);
    release_spilled();
  }
}

Loader Replica::make_loader(const Shard& shard) const {
  const Config::Train& t = run_.config.train;
  Loader loader(data_.train, data_.scaling, static_cast<int>(t.batch_size), t.last_batch == "keep",
                run_.model.seed, shard);
  loader.augment(data_.image, augmentation_, static_cast<std::int32_t>(data_.class_names.size()));
  if (data_.image.channels > 0) loader.make_ahead();
  return loader;
}

Batch Replica::get(Loader& loader, std::int64_t index, Loader::Part part, bool whole) {
  const Clock clock;
  const std::int64_t samples = (run_.config.train.batch_size + part.parts - 1) / part.parts;
  const int width = network().panel_width(samples);
  const bool sparse = data_.train.inputs.is_sparse() && network().takes_sparse() && !whole;
  const Batch batch = sparse ? loader.get_sparse(index, width, part) : loader.get(index, width, part);
  phases.data += clock.seconds();
  return batch;
}

LossResult Replica::learn(const Batch& batch, const Pass& pass,
                          const std::function<void(std::size_t)>& layer_done) {
  Clock clock;
  const Panels<const float> outputs = batch.sparse != nullptr ? network().forward(pass, *batch.sparse)
                                                              : network().forward(pass, batch.inputs);
  const LossResult loss =
      loss_.compute(outputs, {.classes = batch.classes, .values = batch.targets, .weights = batch.weights},
                    loss_options_, network().output_gradient());
  phases.forward += clock.restart();
  if (!keeps_gradients_) check(loss);  // before a step can be taken with it
  network().backward(layer_done);
  phases.backward += clock.seconds();
  return loss;
}

void Replica::prepare_step(double rate) {
  if (keeps_gradients_) return;
  for (std::size_t l = 0; l < network().size(); ++l)
    network().layer(l).set_weight_step([this, rate = static_cast<float>(rate)](const ParameterSlice& slice) {
      optimizer_->step(slice, rate);
      if (!std::isfinite(largest_magnitude({slice.value, static_cast<std::size_t>(slice.size)})))
        overflowed_.store(true, std::memory_order_relaxed);
    });
}

void Replica::look(const Batch& batch, const Pass& pass) {
  for (std::size_t l = 0; l < network().size(); ++l) network().layer(l).set_weight_step({});
  learn(batch, pass);
}

void Replica::step(double rate, PartExchange* parts) {
  const Clock clock;
  const std::vector<Parameter*> parameters = network().parameters();
  const Config::Train& t = run_.config.train;
  if (t.clip_norm > 0.0) clip_by_norm(parameters, t.clip_norm);
  if (t.clip_value > 0.0) clip_by_value(parameters, static_cast<float>(t.clip_value));
  for (Parameter* parameter : parameters) {
    if (parameter->gradient.size() != parameter->size()) continue;
    const auto size = static_cast<std::int64_t>(parameter->size());
    optimizer_->step(*parameter, parts != nullptr ? parts->own(size) : Range{0, size},
                     static_cast<float>(rate));
    if (parts != nullptr) parts->start(std::span(parameter->value));
  }
  if (parts != nullptr) {
    const Clock waiting;
    parts->finish();
    phases.exchange += waiting.seconds();
    phases.update -= waiting.seconds();
  }
  check_parameters();
  if (t.ema_decay > 0.0) update_averages(network(), t.ema_decay, run_.state.step + 1);
  phases.update += clock.seconds();
}

void Replica::correct_momentum(double factor) {
  if (run_.config.train.optimizer != "set-sgd" || factor == 1.0) return;
  for (Parameter* parameter : network().parameters())
    for (float& velocity : parameter->m1) velocity *= static_cast<float>(factor);
}

void Replica::check(const LossResult& loss) const {
  if (!std::isfinite(loss.loss_sum)) diverged("loss", loss.loss_sum);
}

// Weights can overflow where the loss does not see it, behind a sigmoid or in the last step. Cost: one read
// of the weights that keep gradients; the others were looked at as they took their step.
void Replica::check_parameters() const {
  for (const Parameter* parameter : run_.model.network.parameters()) {
    if (parameter->gradient.size() != parameter->size() && !overflowed_) continue;
    if (const float largest = largest_magnitude_of(*parameter); !std::isfinite(largest))
      diverged("weights", largest);
  }
}

void Replica::diverged(std::string_view what, double found) const {
  std::string where;
  float largest = -1.0f;
  for (const Parameter* parameter : run_.model.network.parameters()) {
    const float here = largest_magnitude_of(*parameter);
    if (here <= largest) continue;
    where = fmt::format("largest weight {} in {}", largest = here, parameter->name);
    if (!std::isfinite(here)) break;
  }
  throw Error(ErrorKind::kDiverged,
              fmt::format("{} in epoch {}, batch {} (step {}), found {}, expected a finite number; {}; try a "
                          "smaller train.learning_rate",
                          what, run_.state.epoch + 1, run_.state.batch_in_epoch + 1, run_.state.step + 1,
                          found, where));
}

namespace {

Run without_network(const Run& run) {
  Run copy{.config = run.config, .model = {}, .state = run.state};
  copy.model.loss = run.model.loss;
  copy.model.scaling = run.model.scaling;
  copy.model.class_names = run.model.class_names;
  copy.model.index_base = run.model.index_base;
  copy.model.image = run.model.image;
  copy.model.seed = run.model.seed;
  copy.model.config = run.model.config;
  return copy;
}

}  // namespace

Run copy_of(Run& run) {
  Run copy = without_network(run);
  copy.model.network = copy_of(run.model.network);
  return copy;
}

Run part_of(Run& whole, const Share& share) {
  Run part = without_network(whole);
  part.model.network = part_of(whole.model.network, share);
  part.state.explored.clear();  // a rank notes the cells that it explores itself, from here on
  return part;
}

}  // namespace tulle
