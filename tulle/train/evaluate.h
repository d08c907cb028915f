#pragma once

#include <vector>

#include "tulle/checkpoint/model.h"
#include "tulle/comm/communicator.h"
#include "tulle/data/loader.h"
#include "tulle/train/predictor.h"

namespace tulle {

struct Evaluation {
  double loss = 0.0;      // mean over the samples, by their weights if they have any
  double accuracy = 0.0;  // share of right classes, by weight too; 0 for regression
  std::int64_t samples = 0;
  /// [true class][predicted class]; empty for regression, label sets and more than 4,096 classes.
  std::vector<std::int64_t> confusion;
  /// Of label sets: the share of the 1, 3 and 5 largest outputs that are wanted, on average. The first is the
  /// accuracy.
  std::vector<double> precision_at;
};

/// Samples that go through a network at once where nothing is learnt, `widest` being the most values that any
/// of its layers has of a sample: 512, or fewer where these would take more than 64 MiB.
int evaluation_batch(std::int64_t widest);

/// Loss and accuracy over every sample of `split`, at least one, without dropout. Throws
/// std::invalid_argument if the samples are not of the model's features and labels. Cost: one forward pass,
/// no training buffers. ce_clip: LossOptions::ce_clip.
Evaluation evaluate(Model& model, const Split& split, const InferenceChoice& choice = {},
                    double ce_clip = 0.0);
/// The same by all ranks together, a part of the samples each; every rank gets the result of one, bit for
/// bit. Of a network that is spread over them, all of them look at all samples.
Evaluation evaluate(Model& model, const Split& split, Communicator& comm, double ce_clip = 0.0);

/// Mean output of every hidden neuron over the samples of `split`, without dropout: [layer][neuron]. Cost:
/// one forward pass in batches of `batch_size` by the network itself. The same bits for any number of
/// threads.
std::vector<std::vector<double>> mean_activations(Model& model, const Split& split, std::int64_t batch_size);

/// Outputs of all samples in their order: probabilities (cross-entropy, bce) or values (mse).
/// Returns [sample][output]. Move the inputs in to spare a copy.
std::vector<float> predict(Model& model, Features inputs, const InferenceChoice& choice = {});

}  // namespace tulle
