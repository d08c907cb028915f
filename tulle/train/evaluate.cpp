#include "tulle/train/evaluate.h"

#include <algorithm>
#include <utility>

#include "tulle/base/check.h"
#include "tulle/base/name_table.h"
#include "tulle/nn/loss.h"

namespace tulle {
namespace {

constexpr int kBatch = 512;

// body(outputs, batch) for all samples of `split` in their order.
template <class Body>
void for_outputs(Model& model, const Split& split, const InferenceChoice& choice, const Body& body) {
  require(split.inputs.features == model.network.inputs(),
          "evaluate: the data must have the model's features");
  Loader loader(split, model.scaling, kBatch, /*keep_last=*/true, model.seed);
  loader.start_epoch(0, /*shuffled=*/false);
  Inference inference = make_inference(model, kBatch, choice);
  for (std::int64_t b = 0; b < loader.batches(); ++b) {
    const Batch batch = loader.get(b, inference.panel_width());
    body(inference.forward(batch.inputs), batch);
  }
}

}  // namespace

Evaluation evaluate(Model& model, const Split& split, const InferenceChoice& choice) {
  const LossInfo& loss = find_name(losses(), "model.loss", model.loss);
  Evaluation result;
  const std::size_t classes = model.class_names.size();
  const auto is_class = [&](std::int32_t c) { return c >= 0 && static_cast<std::size_t>(c) < classes; };
  require((classes > 0 ? split.classes.size() : split.targets.size()) ==
                  static_cast<std::size_t>(split.inputs.samples) &&
              std::ranges::all_of(split.classes, is_class),
          "evaluate: every sample must have a label that the model knows");
  result.confusion.assign(classes * classes, 0);
  std::int64_t correct = 0;
  for_outputs(model, split, choice, [&](Panels<const float> z, const Batch& batch) {
    const LossResult batch_result =
        loss.compute(z, {.classes = batch.classes, .values = batch.targets}, LossOptions{}, Panels<float>{});
    result.loss += batch_result.loss_sum;
    correct += batch_result.correct;
    result.samples += z.batch;
    for (std::int32_t b = 0; b < z.batch && classes > 0; ++b) {
      const auto truth = static_cast<std::size_t>(batch.classes[static_cast<std::size_t>(b)]);
      if (const std::int32_t guess = arg_max(z, b); guess >= 0)
        ++result.confusion[truth * classes + static_cast<std::size_t>(guess)];
    }
  });
  const auto samples = static_cast<double>(std::max<std::int64_t>(result.samples, 1));
  result.loss /= samples;
  result.accuracy = static_cast<double>(correct) / samples;
  return result;
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
