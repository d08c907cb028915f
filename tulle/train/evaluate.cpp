#include "tulle/train/evaluate.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <numeric>
#include <optional>
#include <utility>
#include <vector>

#include "tulle/base/check.h"
#include "tulle/base/error.h"
#include "tulle/base/name_table.h"
#include "tulle/base/parallel.h"
#include "tulle/comm/collectives.h"
#include "tulle/nn/loss.h"
#include "tulle/train/build.h"

namespace tulle {
namespace {

std::int64_t widest_of(const Network& network) {
  std::int32_t widest = network.inputs();
  for (std::size_t l = 0; l < network.size(); ++l) widest = std::max(widest, network.outputs(l));
  return widest;
}

// The outputs for batches of samples: by packed copies of the weights, or where these are too many by the
// network itself, a panel at a time. Both have the same bits.
class Outputs {
 public:
  Outputs(Model& model, int samples, const InferenceChoice& choice) : network_(model.network) {
    if (network_.spread() == nullptr && (!is_compact(network_) || choice.precision))
      inference_.emplace(make_inference(model, samples, choice));
  }

  int panel_width() const { return inference_ ? inference_->panel_width() : network_.last_panel_width(); }

  Panels<const float> operator()(Panels<const float> x) {
    if (inference_) return inference_->forward(x);
    const Panels<float> y = outputs_.view(network_.outputs(), x.batch, x.width);
    for (std::int32_t p = 0; p < x.count(); ++p) {
      const std::int32_t samples = std::min(x.width, x.batch - p * x.width);
      const auto of_panel = network_.forward({}, {x.panel(p), x.features, samples, x.width});
      std::copy_n(of_panel.data, of_panel.panel_size(), y.panel(p));
    }
    return y;
  }

 private:
  Network& network_;
  std::optional<Inference> inference_;
  PanelBuffer outputs_;
};

// body(outputs, batch) for the samples of `split` in their order; of several parts of its batches, for one.
template <class Body>
void for_outputs(Model& model, const Split& split, const InferenceChoice& choice, const Body& body,
                 int part = 0, int parts = 1) {
  require(split.inputs.features == model.network.inputs(),
          "evaluate: the data must have the model's features");
  const int samples = evaluation_batch(widest_of(model.network));
  Loader loader(split, model.scaling, samples, /*keep_last=*/true, model.seed);
  if (model.image.channels > 0) loader.make_ahead();
  loader.start_epoch(0, /*shuffled=*/false);
  Outputs outputs(model, samples, choice);
  const Range own = even_range(loader.batches(), parts, part);
  for (std::int64_t b = own.begin; b < own.end; ++b) {
    const Batch batch = loader.get(b, outputs.panel_width());
    body(outputs(batch.inputs), batch);
  }
}

constexpr std::int32_t kRanks[] = {1, 3, 5};

// right[i] += how many of the kRanks[i] largest outputs are wanted.
void count_right(Panels<const float> z, std::span<const float> targets, std::int64_t (&right)[3]) {
  std::vector<std::int32_t> order(static_cast<std::size_t>(z.features));
  for (std::int32_t b = 0; b < z.batch; ++b) {
    std::iota(order.begin(), order.end(), 0);
    const auto best = order.begin() + std::min<std::int32_t>(kRanks[2], z.features);
    std::partial_sort(order.begin(), best, order.end(), [&](std::int32_t x, std::int32_t y) {
      const float zx = z.at(b, x), zy = z.at(b, y);
      return zx > zy || (zx == zy && x < y);
    });
    for (std::size_t i = 0; i < 3; ++i)
      for (std::int32_t r = 0; r < std::min(kRanks[i], z.features); ++r)
        right[i] += targets[static_cast<std::size_t>(b) * static_cast<std::size_t>(z.features) +
                            static_cast<std::size_t>(order[static_cast<std::size_t>(r)])] == 1.0f;
  }
}

}  // namespace

namespace {

constexpr std::size_t kMostConfused = 4096;  // classes: the confusion is their square

// What batches add up to; sums that round are kept apart, so that they are added in the same order however
// many ranks there are.
struct BatchCounts {
  std::vector<double> losses;         // of each batch
  std::vector<double> correct;        // weight of its right samples
  std::vector<std::int64_t> numbers;  // samples, right[3], then the confusion
};

double right_weight(Panels<const float> z, const Targets& targets) {
  double sum = 0.0;
  for (std::int32_t b = 0; b < z.batch; ++b)
    if (is_right(z, b, targets)) sum += static_cast<double>(targets.weights[static_cast<std::size_t>(b)]);
  return sum;
}

template <class T>
void append_all(Communicator& comm, std::vector<T>& values, bool add) {
  const std::vector<std::vector<std::byte>> all = gather_all(comm, std::as_bytes(std::span(values)));
  std::vector<T> together;
  for (const std::vector<std::byte>& bytes : all) {
    std::vector<T> part(bytes.size() / sizeof(T));
    if (!bytes.empty()) std::memcpy(part.data(), bytes.data(), bytes.size());
    if (!add || together.empty())
      together.insert(together.end(), part.begin(), part.end());
    else
      std::ranges::transform(together, part, together.begin(), std::plus<T>());
  }
  values = std::move(together);
}

BatchCounts count(Model& model, const Split& split, const InferenceChoice& choice, double ce_clip, int part,
                  int parts) {
  const LossInfo& loss = find_name(losses(), "model.loss", model.loss);
  const std::size_t classes = model.class_names.size();
  const auto is_class = [&](std::int32_t c) { return c >= 0 && static_cast<std::size_t>(c) < classes; };
  const bool sets = !split.sets.empty();
  const std::size_t labelled = sets ? split.sets.row_ptr.size() - 1
                               : classes > 0
                                   ? split.classes.size()
                                   : split.targets.size() / static_cast<std::size_t>(split.target_width);
  if (!sets && classes == 0 && split.target_width != model.network.outputs())
    throw Error(ErrorKind::kBadData, "targets, found " + std::to_string(split.target_width) +
                                         " for each sample, expected " +
                                         std::to_string(model.network.outputs()) + ", the model's outputs");
  require(labelled == static_cast<std::size_t>(split.inputs.samples) &&
              std::ranges::all_of(split.classes, is_class) &&
              (!sets || std::cmp_equal(split.sets.count, classes)),
          "evaluate: every sample must have labels that the model knows");
  std::vector<std::int64_t> confusion(sets || classes > kMostConfused ? 0 : classes * classes, 0);
  BatchCounts counts;
  std::int64_t samples = 0, right[3] = {};
  for_outputs(
      model, split, choice,
      [&](Panels<const float> z, const Batch& batch) {
        if (sets) count_right(z, batch.targets, right);
        const Targets targets{.classes = batch.classes, .values = batch.targets, .weights = batch.weights};
        const LossResult batch_result = loss.compute(z, targets, {.ce_clip = ce_clip}, Panels<float>{});
        counts.losses.push_back(batch_result.loss_sum);
        counts.correct.push_back(targets.weights.empty() ? static_cast<double>(batch_result.correct)
                                                         : right_weight(z, targets));
        samples += z.batch;
        for (std::int32_t b = 0; b < z.batch && !confusion.empty(); ++b) {
          const auto truth = static_cast<std::size_t>(batch.classes[static_cast<std::size_t>(b)]);
          if (const std::int32_t guess = arg_max(z, b); guess >= 0)
            ++confusion[truth * classes + static_cast<std::size_t>(guess)];
        }
      },
      part, parts);
  counts.numbers = {samples, right[0], right[1], right[2]};
  counts.numbers.insert(counts.numbers.end(), confusion.begin(), confusion.end());
  return counts;
}

Evaluation evaluation_of(const BatchCounts& counts, const Split& split) {
  constexpr std::size_t kConfusion = 4;
  const auto sum = [](const auto& values) { return std::accumulate(values.begin(), values.end(), 0.0); };
  Evaluation result;
  result.samples = counts.numbers[0];
  const auto samples = static_cast<double>(std::max<std::int64_t>(result.samples, 1));
  const double weight = split.weights.empty() ? samples : sum(split.weights);
  result.loss = sum(counts.losses) / weight;
  result.accuracy = sum(counts.correct) / weight;
  result.confusion.assign(counts.numbers.begin() + kConfusion, counts.numbers.end());
  for (std::size_t i = 0; !split.sets.empty() && i < 3; ++i)
    result.precision_at.push_back(static_cast<double>(counts.numbers[1 + i]) /
                                  (samples * static_cast<double>(kRanks[i])));
  return result;
}

}  // namespace

int evaluation_batch(std::int64_t widest) {
  constexpr std::int64_t kMost = 512, kValues = std::int64_t{16} << 20;
  return static_cast<int>(
      std::clamp<std::int64_t>(kValues / std::max<std::int64_t>(widest, 1) / 16 * 16, 16, kMost));
}

Evaluation evaluate(Model& model, const Split& split, const InferenceChoice& choice, double ce_clip) {
  return evaluation_of(count(model, split, choice, ce_clip, 0, 1), split);
}

Evaluation evaluate(Model& model, const Split& split, Communicator& comm, double ce_clip) {
  if (model.network.spread() != nullptr) return evaluate(model, split, InferenceChoice{}, ce_clip);
  BatchCounts counts = count(model, split, {}, ce_clip, comm.rank(), comm.size());
  append_all(comm, counts.losses, /*add=*/false);
  append_all(comm, counts.correct, /*add=*/false);
  append_all(comm, counts.numbers, /*add=*/true);
  return evaluation_of(counts, split);
}

std::vector<std::vector<double>> mean_activations(Model& model, const Split& split, std::int64_t batch_size) {
  Network& network = model.network;
  require(network.architecture() == nullptr, "mean_activations: layers must follow each other");
  std::vector<std::vector<double>> means;
  for (std::size_t l = 0; l + 1 < network.size(); ++l)
    means.emplace_back(static_cast<std::size_t>(network.layer(l).outputs()), 0.0);
  Loader loader(split, model.scaling, static_cast<int>(batch_size), /*keep_last=*/true, model.seed);
  loader.start_epoch(0, /*shuffled=*/false);
  const double share = 1.0 / static_cast<double>(loader.samples());
  for (std::int64_t b = 0; b < loader.batches(); ++b) {
    (void)network.forward({}, loader.get(b, network.panel_width(batch_size)).inputs);
    for (std::size_t l = 0; l < means.size(); ++l) {
      const Panels<const float> outputs = network.activations(l);
      parallel_ranges(outputs.features, 64, [&](Range neurons) {
        for (auto j = static_cast<std::int32_t>(neurons.begin); j < neurons.end; ++j)
          for (std::int32_t s = 0; s < outputs.batch; ++s)
            means[l][static_cast<std::size_t>(j)] += share * static_cast<double>(outputs.at(s, j));
      });
    }
  }
  return means;
}

std::vector<float> predict(Model& model, Features inputs, const InferenceChoice& choice) {
  const auto width = static_cast<std::size_t>(model.network.outputs());
  std::vector<float> outputs(static_cast<std::size_t>(inputs.samples) * width);
  std::size_t done = 0;
  Split split;
  split.inputs = std::move(inputs);
  for_outputs(model, split, choice, [&](Panels<const float> z, const Batch&) {
    const std::size_t count = static_cast<std::size_t>(z.batch) * width;
    predictions(model.loss, z, std::span(outputs).subspan(done, count));
    done += count;
  });
  return outputs;
}

}  // namespace tulle
