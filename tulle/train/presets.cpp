#include "tulle/train/config.h"

namespace tulle {
namespace {

using Values = std::pair<std::string_view, std::string_view>;

// The recipe of arXiv 2102.01732 and its published code.
constexpr Values kPublished[] = {
    {"model.activation", "all-relu"}, {"model.alpha", "0.6"},
    {"model.dropout", "0.3"},         {"topology.distribution", "epsilon"},
    {"topology.epsilon", "20"},       {"topology.weight_init", "he-uniform"},
    {"topology.fan", "dense"},        {"train.batch_size", "128"},
    {"train.last_batch", "drop"},     {"train.optimizer", "set-sgd"},
    {"train.learning_rate", "0.01"},  {"train.schedule", "constant"},
    {"train.momentum", "0.9"},        {"train.weight_decay", "0.0002"},
    {"evolve.rule", "set-published"}, {"evolve.zeta", "0.3"},
};

// Chosen on a validation split (10 % of the training images of Fashion-MNIST, 40 epochs, three seeds); see
// docs/results.md.
constexpr Values kModern[] = {
    {"model.activation", "all-relu"}, {"model.alpha", "0.6"},
    {"model.dropout", "0.2"},         {"topology.distribution", "epsilon"},
    {"topology.epsilon", "20"},       {"topology.weight_init", "he-uniform"},
    {"topology.fan", "dense"},        {"train.batch_size", "128"},
    {"train.optimizer", "sgd"},       {"train.learning_rate", "0.1"},
    {"train.schedule", "cosine"},     {"train.momentum", "0.9"},
    {"train.weight_decay", "0.0005"}, {"evolve.rule", "set"},
    {"evolve.zeta", "0.3"},           {"evolve.grow_init", "zero"},
    {"evolve.stop_after", "0.75"},
};

// The starting recipe for small images; see docs/results.md.
constexpr Values kSmlp[] = {
    {"data.scale", "channel"},      {"model.kind", "smlp"},           {"train.batch_size", "128"},
    {"train.optimizer", "adamw"},   {"train.learning_rate", "0.002"}, {"train.schedule", "cosine"},
    {"train.warmup_epochs", "1.0"}, {"train.weight_decay", "0.05"},   {"evolve.zeta", "0.3"},
    {"evolve.stop_after", "0.75"},
};

// To add a preset: its values above and one line here.
constexpr PresetInfo kPresets[] = {
    {"none", "the defaults of `tulle list config`", {}},
    {"published", "the recipe of arXiv 2102.01732, its code followed to the letter", kPublished},
    {"modern", "the same network with today's optimizer and start values; reaches more in the same epochs",
     kModern},
    {"smlp", "sMLPNet for small images: AdamW, warm-up and cosine; give model.variant or sizes", kSmlp},
};

}  // namespace

std::span<const PresetInfo> presets() { return kPresets; }

}  // namespace tulle
