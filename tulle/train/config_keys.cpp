#include "tulle/train/config.h"

#include <limits>

#include "tulle/data/readers.h"
#include "tulle/data/standardize.h"
#include "tulle/evolve/evolve.h"
#include "tulle/evolve/importance.h"
#include "tulle/evolve/rule.h"
#include "tulle/evolve/schedule.h"
#include "tulle/nn/activation.h"
#include "tulle/nn/loss.h"
#include "tulle/nn/precision.h"
#include "tulle/nn/storage.h"
#include "tulle/optim/optimizer.h"
#include "tulle/optim/schedule.h"
#include "tulle/recover/recovery.h"
#include "tulle/sparse/budgets.h"
#include "tulle/sparse/numbering.h"
#include "tulle/sparse/patterns.h"
#include "tulle/sparse/sampling.h"
#include "tulle/sparse/weight_init.h"
#include "tulle/train/modes.h"
#include "tulle/vision/smlp_shape.h"

namespace tulle {
namespace {

constexpr double kNone = std::numeric_limits<double>::infinity();
constexpr double kCount = 9.0e15;

template <class Row>
std::vector<std::string> names(std::span<const Row> table) {
  std::vector<std::string> all;
  for (const Row& row : table) all.emplace_back(row.name);
  return all;
}

// The names of a table and one more, which stands for another key's choice.
template <class Row>
std::vector<std::string> names_or(std::string_view other, std::span<const Row> table) {
  std::vector<std::string> all = names(table);
  all.emplace(all.begin(), other);
  return all;
}

using Field = KeyInfo::Field;
using Names = std::vector<std::string>;

// To add a key: its member in config.h and one line here.
const KeyInfo kKeys[] = {
    {"run.name", [](Config& c) -> Field { return &c.run.name; }, "name of the run directory"},
    {"run.out", [](Config& c) -> Field { return &c.run.out; }, "folder of run directories", -kNone, kNone,
     false, nullptr, true},
    {"run.seed", [](Config& c) -> Field { return &c.run.seed; }, "the same seed gives the same bits", 0,
     kCount},
    {"run.threads", [](Config& c) -> Field { return &c.run.threads; }, "0: all cores this process may use", 0,
     4096},
    {"run.storage", [](Config& c) -> Field { return &c.run.storage; },
     "how sparse layers keep their connections while they train; the results are the same, but for roundings "
     "where samples are sparse or model.dtype is bf16",
     -kNone, kNone, false, [] { return names_or("auto", storages()); }},
    {"run.memory_limit", [](Config& c) -> Field { return &c.run.memory_limit; },
     "a training whose plan needs more is refused: bytes (\"6G\"), auto (what this machine has left) or "
     "none"},
    {"run.spill", [](Config& c) -> Field { return &c.run.spill; },
     "folder for the connections of a network that would need more than run.memory_limit: they are read from "
     "there and written back in every step; empty: refused instead",
     -kNone, kNone, false, nullptr, true},
    {"run.preset", [](Config& c) -> Field { return &c.run.preset; }, "sets defaults; keys you give win",
     -kNone, kNone, false, [] { return names(presets()); }},

    {"data.format", [](Config& c) -> Field { return &c.data.format; }, "reader", -kNone, kNone, false,
     [] { return names(readers()); }},
    {"data.train", [](Config& c) -> Field { return &c.data.train; }, "training inputs", -kNone, kNone, false,
     nullptr, true},
    {"data.train_labels", [](Config& c) -> Field { return &c.data.train_labels; },
     "training labels, if they are in a file of their own", -kNone, kNone, false, nullptr, true},
    {"data.test", [](Config& c) -> Field { return &c.data.test; }, "test inputs", -kNone, kNone, false,
     nullptr, true},
    {"data.test_labels", [](Config& c) -> Field { return &c.data.test_labels; }, "test labels", -kNone, kNone,
     false, nullptr, true},
    {"data.valid_fraction", [](Config& c) -> Field { return &c.data.valid_fraction; },
     "share of the training samples kept for validation", 0, 1, true},
    {"data.scale", [](Config& c) -> Field { return &c.data.scale; }, "what is done to each feature", -kNone,
     kNone, false, [] { return Names(std::begin(kScalings), std::end(kScalings)); }},
    {"data.sep", [](Config& c) -> Field { return &c.data.sep; }, "csv: separator"},
    {"data.header", [](Config& c) -> Field { return &c.data.header; }, "csv: first line", -kNone, kNone,
     false,
     [] {
       return Names{"auto", "yes", "no", "skip"};
     }},
    {"data.label_column", [](Config& c) -> Field { return &c.data.label_column; },
     "csv: first, last, none, a name or an index"},
    {"data.task", [](Config& c) -> Field { return &c.data.task; },
     "what labels are: classes (or sets of them), or numbers to be met (regression)", -kNone, kNone, false,
     [] {
       return Names{"classes", "regression"};
     }},
    {"data.arrays", [](Config& c) -> Field { return &c.data.arrays; },
     "npz, mat: names of the arrays with inputs and labels, \"X,y\""},
    {"data.index_base", [](Config& c) -> Field { return &c.data.index_base; },
     "libsvm: index of the first feature; auto: 0 if the training data has an index 0", -kNone, kNone, false,
     [] {
       return Names{"auto", "0", "1"};
     }},
    {"data.features", [](Config& c) -> Field { return &c.data.features; },
     "libsvm: number of features, 0: as many as the training data has; synthetic: 0: 65536", 0, 2147483646},
    {"data.duplicates", [](Config& c) -> Field { return &c.data.duplicates; },
     "the same index twice in a sparse row", -kNone, kNone, false,
     [] {
       return Names{"error", "sum"};
     }},
    {"data.max_rows", [](Config& c) -> Field { return &c.data.max_rows; },
     "read at most so many samples; 0: all", 0, kCount},
    {"data.nan", [](Config& c) -> Field { return &c.data.nan; }, "NaN or infinity in features", -kNone, kNone,
     false,
     [] {
       return Names{"error", "zero", "drop"};
     }},
    {"data.ignore_unknown_labels", [](Config& c) -> Field { return &c.data.ignore_unknown_labels; },
     "leave out test samples whose label training never saw"},

    {"data.resize", [](Config& c) -> Field { return &c.data.resize; },
     "images: shorter side that each is resized to before its middle square is cut out; 0: as they are", 0,
     16384},
    {"data.bad_images", [](Config& c) -> Field { return &c.data.bad_images; },
     "images that cannot be decoded", -kNone, kNone, false,
     [] {
       return Names{"error", "skip"};
     }},
    {"data.decode", [](Config& c) -> Field { return &c.data.decode; },
     "images: all before the training, their pixels kept in memory (early), or each beside the step before "
     "its "
     "own, every epoch anew, in the memory of the archive's bytes or a folder's names (late)",
     -kNone, kNone, false,
     [] {
       return Names{"early", "late"};
     }},
    {"data.scratch", [](Config& c) -> Field { return &c.data.scratch; },
     "folder for samples that memory does not hold: they are read from there batch by batch; empty: memory",
     -kNone, kNone, false, nullptr, true},
    {"data.augment", [](Config& c) -> Field { return &c.data.augment; },
     "what is done to training images: any of hflip, shift:SHARE, rotate:DEGREES, crop:SHARE, "
     "erase:PROBABILITY, mixup:ALPHA, cutmix:ALPHA"},

    {"synthetic.classes", [](Config& c) -> Field { return &c.synthetic.classes; }, "classes", 2, 1000000},
    {"synthetic.informative", [](Config& c) -> Field { return &c.synthetic.informative; },
     "features that tell the class", 1, 100000},
    {"synthetic.redundant", [](Config& c) -> Field { return &c.synthetic.redundant; },
     "features that are sums of informative ones", 0, 100000},
    {"synthetic.clusters", [](Config& c) -> Field { return &c.synthetic.clusters; },
     "Gaussian clusters of each class", 1, 1000000},
    {"synthetic.separation", [](Config& c) -> Field { return &c.synthetic.separation; },
     "distance of a cluster's centre from 0 in each informative feature", 0, 1e6},
    {"synthetic.flip", [](Config& c) -> Field { return &c.synthetic.flip; },
     "share of the labels that are drawn anew", 0, 1},
    {"synthetic.samples", [](Config& c) -> Field { return &c.synthetic.samples; }, "training samples", 1,
     2147483647},
    {"synthetic.test_samples", [](Config& c) -> Field { return &c.synthetic.test_samples; },
     "test samples, none of them a training sample", 0, 2147483647},

    {"model.kind", [](Config& c) -> Field { return &c.model.kind; }, "mlp, or smlp: sMLPNet for images",
     -kNone, kNone, false,
     [] {
       return Names{"mlp", "smlp"};
     }},
    {"model.variant", [](Config& c) -> Field { return &c.model.variant; },
     "smlp: a size that sets image_size, patch, width, depths, expansion and drop_path; keys you give win",
     -kNone, kNone, false, [] { return names_or("none", smlp_variants()); }},
    {"model.image_size", [](Config& c) -> Field { return &c.model.image_size; },
     "smlp: pixels of a side after black ones are added around the image; 0: as the data has", 0, 65536},
    {"model.pad_input", [](Config& c) -> Field { return &c.model.pad_input; },
     "smlp: black pixels are added around images whose sides patches do not fill"},
    {"model.strict_size", [](Config& c) -> Field { return &c.model.strict_size; },
     "smlp: an odd side that a merge would cut is an error, not a warning"},
    {"model.patch", [](Config& c) -> Field { return &c.model.patch; }, "smlp: pixels of a patch's side", 1,
     16384},
    {"model.width", [](Config& c) -> Field { return &c.model.width; }, "smlp: channels of the first stage", 1,
     16384},
    {"model.depths", [](Config& c) -> Field { return &c.model.depths; }, "smlp: blocks of each stage", 0,
     1000},
    {"model.expansion", [](Config& c) -> Field { return &c.model.expansion; },
     "smlp: hidden channels of the channel mixing, in channels", 1, 64},
    {"model.drop_path", [](Config& c) -> Field { return &c.model.drop_path; },
     "smlp: stochastic depth of the last block", 0, 1, true},
    {"model.recompute", [](Config& c) -> Field { return &c.model.recompute; },
     "smlp: hidden sums are computed again on the way back: half the memory, the same bits"},
    {"model.mix", [](Config& c) -> Field { return &c.model.mix; },
     "smlp: what the fuse layers read of identity, rows and columns (fewer: an ablation)"},
    {"model.hidden", [](Config& c) -> Field { return &c.model.hidden; }, "neurons of the hidden layers", 1,
     2147483647},
    {"model.activation", [](Config& c) -> Field { return &c.model.activation; }, "of the hidden layers",
     -kNone, kNone, false, [] { return names(activations()); }},
    {"model.alpha", [](Config& c) -> Field { return &c.model.alpha; }, "slope of all-relu and leaky-relu", 0,
     1e6},
    {"model.dropout", [](Config& c) -> Field { return &c.model.dropout; }, "of the hidden layers", 0, 1,
     true},
    {"model.loss", [](Config& c) -> Field { return &c.model.loss; }, "training loss", -kNone, kNone, false,
     [] { return names(losses()); }},
    {"model.dtype", [](Config& c) -> Field { return &c.model.dtype; },
     "activations of sparse layers while they multiply, in compact storage also while they are kept; sums "
     "stay f32",
     -kNone, kNone, false, [] { return names(training_precisions()); }},
    {"model.weights", [](Config& c) -> Field { return &c.model.weights; },
     "how weights, biases and momentum of compact layers are kept; a step is taken in f32 and rounded up or "
     "down at "
     "random",
     -kNone, kNone, false,
     [] {
       return Names{"f32", "bf16"};
     }},

    {"topology.distribution", [](Config& c) -> Field { return &c.topology.distribution; },
     "connections of each layer", -kNone, kNone, false, [] { return names(distributions()); }},
    {"topology.epsilon", [](Config& c) -> Field { return &c.topology.epsilon; },
     "epsilon, er-bernoulli, er-replace: connections per neuron of both sides", 1e-9, 1e9},
    {"topology.density", [](Config& c) -> Field { return &c.topology.density; },
     "uniform, erk: share of all cells", 1e-12, 1},
    {"topology.fan_in", [](Config& c) -> Field { return &c.topology.fan_in; },
     "fixed-fan-in: inputs per neuron", 1, 2147483647},
    {"topology.budgets", [](Config& c) -> Field { return &c.topology.budgets; },
     "explicit: connections per layer", 1, kCount},
    {"topology.dense_layers", [](Config& c) -> Field { return &c.topology.dense_layers; },
     "layers that get every connection, from 0; -1 is the last", -1000000, 1000000},
    {"topology.pattern", [](Config& c) -> Field { return &c.topology.pattern; },
     "where connections lie at the start, of distributions that only count them", -kNone, kNone, false,
     [] { return names(patterns()); }},
    {"topology.rewire", [](Config& c) -> Field { return &c.topology.rewire; },
     "watts-strogatz: share of connections that are moved to any source", 0, 1},
    {"topology.window", [](Config& c) -> Field { return &c.topology.window; },
     "sources around a target's place from which most of its connections come, at the start and where they "
     "grow "
     "at random; 0: from anywhere",
     0, 2147483647},
    {"topology.window_share", [](Config& c) -> Field { return &c.topology.window_share; },
     "with a window: share of the connections drawn from it", 0, 1},
    {"topology.repair_isolated", [](Config& c) -> Field { return &c.topology.repair_isolated; },
     "neurons for which no connection was drawn get one from those with most", -kNone, kNone, false,
     [] { return names(repairs()); }},
    {"topology.numbering", [](Config& c) -> Field { return &c.topology.numbering; },
     "order of hidden neurons at the start, whose names mean nothing", -kNone, kNone, false,
     [] { return names(numberings()); }},
    {"topology.weight_init", [](Config& c) -> Field { return &c.topology.weight_init; },
     "law of start values", -kNone, kNone, false, [] { return names(weight_inits()); }},
    {"topology.fan", [](Config& c) -> Field { return &c.topology.fan; },
     "degree the law counts: dense (as published) or sparse (connections that exist)", -kNone, kNone, false,
     [] {
       return Names{"dense", "sparse"};
     }},

    {"train.start_from", [](Config& c) -> Field { return &c.train.start_from; },
     "model file whose connections and weights the training starts with; none: drawn. An image net for other "
     "classes gets a new head",
     -kNone, kNone, false, nullptr, true},
    {"train.epochs", [](Config& c) -> Field { return &c.train.epochs; }, "passes over the training data", 1,
     1e9},
    {"train.batch_size", [](Config& c) -> Field { return &c.train.batch_size; }, "samples per step", 1,
     1 << 24},
    {"train.last_batch", [](Config& c) -> Field { return &c.train.last_batch; }, "an incomplete last batch",
     -kNone, kNone, false,
     [] {
       return Names{"keep", "drop"};
     }},
    {"train.optimizer", [](Config& c) -> Field { return &c.train.optimizer; }, "step rule", -kNone, kNone,
     false, [] { return names(optimizers()); }},
    {"train.nesterov", [](Config& c) -> Field { return &c.train.nesterov; }, "Nesterov momentum"},
    {"train.learning_rate", [](Config& c) -> Field { return &c.train.learning_rate; }, "step size", 0, kNone},
    {"train.schedule", [](Config& c) -> Field { return &c.train.schedule; }, "of the learning rate", -kNone,
     kNone, false, [] { return names(schedules()); }},
    {"train.warmup_epochs", [](Config& c) -> Field { return &c.train.warmup_epochs; },
     "the rate rises linearly over so many epochs", 0, 1e9},
    {"train.minimum_rate", [](Config& c) -> Field { return &c.train.minimum_rate; }, "cosine: last rate", 0,
     kNone},
    {"train.milestones", [](Config& c) -> Field { return &c.train.milestones; }, "step: epochs", 0, 1e9},
    {"train.gamma", [](Config& c) -> Field { return &c.train.gamma; }, "step: factor at each milestone", 0,
     1e3},
    {"train.momentum", [](Config& c) -> Field { return &c.train.momentum; }, "set-sgd, sgd, sgdw", 0, 1,
     true},
    {"train.beta1", [](Config& c) -> Field { return &c.train.beta1; }, "adam, adamw", 0, 1, true},
    {"train.beta2", [](Config& c) -> Field { return &c.train.beta2; }, "adam, adamw", 0, 1, true},
    {"train.weight_decay", [](Config& c) -> Field { return &c.train.weight_decay; }, "see the optimizer", 0,
     1e6},
    {"train.label_smoothing", [](Config& c) -> Field { return &c.train.label_smoothing; }, "cross-entropy", 0,
     1, true},
    {"train.mse_factor", [](Config& c) -> Field { return &c.train.mse_factor; },
     "mse: factor of the gradient; 1: as published, 2: the derivative of the square", 1, 2},
    {"train.ce_clip", [](Config& c) -> Field { return &c.train.ce_clip; },
     "cross-entropy: losses are told of probabilities clipped to this and 1 - this (published: 1e-7); 0: as "
     "they "
     "are",
     0, 0.49},

    {"train.class_weights", [](Config& c) -> Field { return &c.train.class_weights; },
     "none, balanced (samples / (classes * samples of the class)), or a number for each class, \"1,2.5\""},
    {"train.ema_decay", [](Config& c) -> Field { return &c.train.ema_decay; },
     "the model is the average of the weights, which forgets so little a step (0.999); 0: the last weights",
     0, 1, true},
    {"train.clip_norm", [](Config& c) -> Field { return &c.train.clip_norm; },
     "largest norm of all gradients together; 0: any", 0, kNone},
    {"train.clip_value", [](Config& c) -> Field { return &c.train.clip_value; },
     "largest magnitude of a gradient; 0: any", 0, kNone},
    {"train.plateau_patience", [](Config& c) -> Field { return &c.train.plateau_patience; },
     "plateau: epochs without a lower validation loss", 1, 1e9},
    {"train.early_stopping", [](Config& c) -> Field { return &c.train.early_stopping; },
     "end after so many epochs without a lower validation loss; 0: never", 0, 1e9},

    {"evolve.rule", [](Config& c) -> Field { return &c.evolve.rule; }, "which connections go and come",
     -kNone, kNone, false, [] { return names(rules()); }},
    {"evolve.zeta", [](Config& c) -> Field { return &c.evolve.zeta; }, "share of connections replaced", 0, 1},
    {"evolve.zeta_schedule", [](Config& c) -> Field { return &c.evolve.zeta_schedule; },
     "how the share changes on the way to stop_after", -kNone, kNone, false,
     [] { return names(zeta_schedules()); }},
    {"evolve.drop", [](Config& c) -> Field { return &c.evolve.drop; },
     "which connections go; rule: the rule's own", -kNone, kNone, false,
     [] { return names_or("rule", drop_rules()); }},
    {"evolve.grow", [](Config& c) -> Field { return &c.evolve.grow; },
     "which connections come; rule: the rule's own", -kNone, kNone, false,
     [] { return names_or("rule", grow_rules()); }},
    {"evolve.grow_init", [](Config& c) -> Field { return &c.evolve.grow_init; },
     "value of grown connections: drawn as at the start (law), or zero; auto: law where cells grow at random",
     -kNone, kNone, false,
     [] {
       return Names{"auto", "law", "zero"};
     }},
    {"evolve.update_every", [](Config& c) -> Field { return &c.evolve.update_every; },
     "\"N epoch\" or \"N step\""},
    {"evolve.stop_after", [](Config& c) -> Field { return &c.evolve.stop_after; },
     "share of the training after which the topology stays", 0, 1},
    {"evolve.stable_events", [](Config& c) -> Field { return &c.evolve.stable_events; },
     "the topology stays once more than stable_share of the connections outlived the last so many events; 0: "
     "never",
     0, kCount},
    {"evolve.stable_share", [](Config& c) -> Field { return &c.evolve.stable_share; },
     "share of connections that were there before and after an event, in the mean of stable_events", 0, 1},

    {"evolve.final_density", [](Config& c) -> Field { return &c.evolve.final_density; },
     "density of the layers that evolve at the end, reached by a cubic; 0: as many connections throughout", 0,
     1},
    {"evolve.density_until", [](Config& c) -> Field { return &c.evolve.density_until; },
     "share of the training after which final_density is reached", 1e-9, 1},
    {"evolve.scope", [](Config& c) -> Field { return &c.evolve.scope; },
     "layer: each drops its share; global: one ranking over all; row: each neuron drops and grows its own, "
     "in place",
     -kNone, kNone, false,
     [] {
       return Names{"layer", "global", "row"};
     }},
    {"evolve.redistribute", [](Config& c) -> Field { return &c.evolve.redistribute; },
     "how grown connections are shared out among the layers", -kNone, kNone, false,
     [] { return names(redistributions()); }},
    {"evolve.min_links", [](Config& c) -> Field { return &c.evolve.min_links; },
     "global: connections that every layer keeps", 0, kCount},
    {"evolve.min_fan_in", [](Config& c) -> Field { return &c.evolve.min_fan_in; },
     "largest weights of every neuron that never go", 0, 2147483647},
    {"evolve.chain_removal", [](Config& c) -> Field { return &c.evolve.chain_removal; },
     "also replace connections that lead to or come from nowhere"},
    {"evolve.regrow_dropped", [](Config& c) -> Field { return &c.evolve.regrow_dropped; },
     "what was just dropped may grow again"},
    {"evolve.max_density", [](Config& c) -> Field { return &c.evolve.max_density; },
     "denser layers stay as they are", 0, 1},
    {"evolve.evolve_dense", [](Config& c) -> Field { return &c.evolve.evolve_dense; },
     "hidden layers of density 1 draw dropped weights anew (as published)"},
    {"evolve.soft_beta", [](Config& c) -> Field { return &c.evolve.soft_beta; },
     "magnitude-soft: how strongly large weights are spared", 0, 100},
    {"evolve.mest_gamma", [](Config& c) -> Field { return &c.evolve.mest_gamma; },
     "mest: weight of the gradient; 0: the learning rate", 0, kNone},
    {"evolve.drop_below", [](Config& c) -> Field { return &c.evolve.drop_below; },
     "threshold: weaker weights go", 0, kNone},
    {"evolve.gse_candidates", [](Config& c) -> Field { return &c.evolve.gse_candidates; },
     "gse, momentum: cells looked at, as a multiple of the layer's connections", 1e-6, 1e6},
    {"evolve.momentum_steps", [](Config& c) -> Field { return &c.evolve.momentum_steps; },
     "grow rule momentum: steps before an event over which gradients are summed, the sum times "
     "train.momentum at each",
     1, kCount},
    {"evolve.grow_max_cells", [](Config& c) -> Field { return &c.evolve.grow_max_cells; },
     "gradient: larger layers are refused", 1, kCount},

    {"evolve.importance_percentile", [](Config& c) -> Field { return &c.evolve.importance_percentile; },
     "share in percent of each hidden layer's neurons that goes at an importance event; 0: none", 0, 100,
     true},
    {"evolve.importance_form", [](Config& c) -> Field { return &c.evolve.importance_form; },
     "eliminate: neurons go for good, layers become smaller; published: they lose their inputs, and may grow "
     "again at once",
     -kNone, kNone, false,
     [] {
       return Names{"eliminate", "published"};
     }},
    {"evolve.importance_strength", [](Config& c) -> Field { return &c.evolve.importance_strength; },
     "what a neuron's importance is the sum of", -kNone, kNone, false, [] { return names(strengths()); }},
    {"evolve.importance_start", [](Config& c) -> Field { return &c.evolve.importance_start; },
     "epoch after which the first importance event comes", 1, 1e9},
    {"evolve.importance_every", [](Config& c) -> Field { return &c.evolve.importance_every; },
     "time between importance events, \"N epoch\""},
    {"evolve.min_neurons", [](Config& c) -> Field { return &c.evolve.min_neurons; },
     "neurons that every hidden layer keeps; below 1: a share of those it had", 1e-9, 2147483647},
    {"evolve.cascade", [](Config& c) -> Field { return &c.evolve.cascade; },
     "neurons left without inputs or outputs are eliminated too"},
    {"evolve.fold", [](Config& c) -> Field { return &c.evolve.fold; },
     "what weak neurons that are eliminated leave in the biases they reach: nothing, or their mean over the "
     "training samples",
     -kNone, kNone, false,
     [] {
       return Names{"none", "mean"};
     }},

    {"parallel.mode", [](Config& c) -> Field { return &c.parallel.mode; },
     "how several ranks share a training; none: sync where there are several", -kNone, kNone, false,
     [] { return names(modes()); }},
    {"parallel.ranks", [](Config& c) -> Field { return &c.parallel.ranks; },
     "replicas in this process, run.threads threads each (0: its cores shared out); under mpirun it says how "
     "many",
     1, 1024},
    {"parallel.transport", [](Config& c) -> Field { return &c.parallel.transport; },
     "auto: MPI if its launcher started this process, else threads", -kNone, kNone, false,
     [] {
       return Names{"auto", "threads", "mpi"};
     }},
    {"parallel.timeout", [](Config& c) -> Field { return &c.parallel.timeout; },
     "seconds after which a rank that nothing is heard of ends the training", 0.1, 1e6},
    {"parallel.virtual_shards", [](Config& c) -> Field { return &c.parallel.virtual_shards; },
     "sync: parts of a batch whose gradients are added as a fixed tree; the same bits for 1, 2, 4, ... ranks "
     "up to it; 0: one a rank",
     0, 4096},
    {"parallel.shard_momentum", [](Config& c) -> Field { return &c.parallel.shard_momentum; },
     "sync: each rank keeps what the optimizer keeps of its part of the weights alone; the same bits"},
    {"parallel.wire", [](Config& c) -> Field { return &c.parallel.wire; }, "how gradients and changes travel",
     -kNone, kNone, false,
     [] {
       return Names{"f32", "bf16"};
     }},
    {"parallel.lr_scale", [](Config& c) -> Field { return &c.parallel.lr_scale; },
     "linear: the rate grows to ranks times itself over five epochs; auto: linear for wassp alone", -kNone,
     kNone, false,
     [] {
       return Names{"auto", "none", "linear"};
     }},
    {"parallel.phase1", [](Config& c) -> Field { return &c.parallel.phase1; },
     "wasap, wassp: share of epochs before replicas learn alone", 0, 1},
    {"parallel.order", [](Config& c) -> Field { return &c.parallel.order; },
     "wasap: gradients are taken as they come, or worker after worker (reproducible)", -kNone, kNone, false,
     [] {
       return Names{"arrival", "round-robin"};
     }},
    {"parallel.max_staleness", [](Config& c) -> Field { return &c.parallel.max_staleness; },
     "wasap: gradients that missed more steps are thrown away; -1: none is", -1, 1e9},
    {"parallel.staleness_lr", [](Config& c) -> Field { return &c.parallel.staleness_lr; },
     "wasap: the rate of a gradient is divided by 1 + the steps it missed"},
    {"parallel.shard", [](Config& c) -> Field { return &c.parallel.shard; },
     "wasap, wassp: which samples are whose", -kNone, kNone, false,
     [] {
       return Names{"shuffled", "contiguous"};
     }},
    {"parallel.phase2_evolve", [](Config& c) -> Field { return &c.parallel.phase2_evolve; },
     "wasap, wassp: topologies evolve while replicas learn alone"},
    {"parallel.resparsify", [](Config& c) -> Field { return &c.parallel.resparsify; },
     "wasap, wassp: how the averaged network comes back to its connections", -kNone, kNone, false,
     [] {
       return Names{"magnitude", "published"};
     }},
    {"parallel.local_steps", [](Config& c) -> Field { return &c.parallel.local_steps; },
     "local-sgd: steps between two averages", 1, kCount},
    {"parallel.outer_rate", [](Config& c) -> Field { return &c.parallel.outer_rate; },
     "local-sgd: step size of the average's change; 1 with outer_momentum 0: plain averaging", 0, kNone},
    {"parallel.outer_momentum", [](Config& c) -> Field { return &c.parallel.outer_momentum; },
     "local-sgd: Nesterov momentum of the average's change", 0, 1, true},

    {"recover.task", [](Config& c) -> Field { return &c.recover.task; },
     "what is to be recovered: a planted net, data, an image, a sparse vector", -kNone, kNone, false,
     [] {
       return Names{"planted", "classify", "image", "sensing"};
     }},
    {"recover.method", [](Config& c) -> Field { return &c.recover.method; }, "how", -kNone, kNone, false,
     [] { return names(recover_methods()); }},
    {"recover.n", [](Config& c) -> Field { return &c.recover.n; }, "planted, sensing: samples", 1,
     2147483646},
    {"recover.d", [](Config& c) -> Field { return &c.recover.d; }, "planted, sensing: features", 1,
     2147483646},
    {"recover.hidden_width", [](Config& c) -> Field { return &c.recover.hidden_width; }, "hidden neurons, m",
     1, 2147483646},
    {"recover.nnz", [](Config& c) -> Field { return &c.recover.nnz; },
     "nonzeros of the hidden weights at most, s", 1, kCount},
    {"recover.hidden_layers", [](Config& c) -> Field { return &c.recover.hidden_layers; },
     "hidden layers; found one after another", 1, 1000},
    {"recover.steps", [](Config& c) -> Field { return &c.recover.steps; },
     "outer steps, of imp: of a round; 0: 15 (iht, aiht, htp; image: 100), 40 a start (strong), 300 (imp; "
     "published: 15)",
     0, kCount},
    {"recover.batch", [](Config& c) -> Field { return &c.recover.batch; },
     "samples of a step of iht, aiht, htp and imp; 0: all", 0, kCount},
    {"recover.starts", [](Config& c) -> Field { return &c.recover.starts; }, "starts of strong; 0: 40", 0,
     kCount},
    {"recover.tolerance", [](Config& c) -> Field { return &c.recover.tolerance; },
     "strong ends where the sum of squared errors is this share of that of the labels", 0, 1},
    {"recover.time_limit", [](Config& c) -> Field { return &c.recover.time_limit; },
     "seconds after which strong starts nothing new; 0: none (a limit is not reproducible)", 0, kNone},
    {"recover.signs", [](Config& c) -> Field { return &c.recover.signs; }, "signs of the neurons' outputs",
     -kNone, kNone, false, [] { return sign_rules(); }},
    {"recover.gates", [](Config& c) -> Field { return &c.recover.gates; },
     "own gates after two steps, or random ones to the end", -kNone, kNone, false,
     [] {
       return Names{"sequential", "fixed"};
     }},
    {"recover.bias", [](Config& c) -> Field { return &c.recover.bias; }, "a feature that is always 1"},
    {"recover.outputs", [](Config& c) -> Field { return &c.recover.outputs; },
     "planted: outputs; several are a linear layer", 1, 1000000},
    {"recover.planted_signs", [](Config& c) -> Field { return &c.recover.planted_signs; },
     "output signs of a planted net", -kNone, kNone, false,
     [] {
       return Names{"positive", "mixed"};
     }},
    {"recover.published", [](Config& c) -> Field { return &c.recover.published; },
     "as arXiv 2509.20323 does it: positive signs, integer coordinates, the last step's net"},
    {"recover.imp", [](Config& c) -> Field { return &c.recover.imp; },
     "form of imp: trained long enough, or published", -kNone, kNone, false,
     [] {
       return Names{"fair", "published"};
     }},
    {"recover.select", [](Config& c) -> Field { return &c.recover.select; },
     "several outputs: the strongest by value, or by a count sketch of all updates; auto: sketch if "
     "published",
     -kNone, kNone, false,
     [] {
       return Names{"auto", "value", "sketch"};
     }},
    {"recover.workspace", [](Config& c) -> Field { return &c.recover.workspace; }, "MiB for gates and tiles",
     1, 1048576},
    {"recover.start_from", [](Config& c) -> Field { return &c.recover.start_from; },
     "model file, one hidden layer of ReLUs and one output, that iht, aiht, htp and strong begin with; none: "
     "random gates",
     -kNone, kNone, false, nullptr, true},
    {"recover.image", [](Config& c) -> Field { return &c.recover.image; },
     "image: a PNG or JPEG file; none: sample of data.train", -kNone, kNone, false, nullptr, true},
    {"recover.sample", [](Config& c) -> Field { return &c.recover.sample; },
     "image: number of the sample, from 0", 0, kCount},
    {"recover.crop", [](Config& c) -> Field { return &c.recover.crop; },
     "image: only the top left corner, so many pixels high and wide; 0: all", 0, 100000},
    {"recover.coordinates", [](Config& c) -> Field { return &c.recover.coordinates; },
     "image: places between 0 and 1, or (published) whole numbers", -kNone, kNone, false,
     [] {
       return Names{"unit", "integer"};
     }},
    {"recover.sigma", [](Config& c) -> Field { return &c.recover.sigma; },
     "image: cycles per image of the Fourier features; 0: a quarter of the longer side", 0, 1e6},
    {"recover.frequencies", [](Config& c) -> Field { return &c.recover.frequencies; },
     "image: Fourier features are as many sines and cosines", 1, 1000000},

    {"checkpoint.save_every", [](Config& c) -> Field { return &c.checkpoint.save_every; },
     "\"N epoch\", \"N step\", \"N min\" or \"never\""},
    {"checkpoint.keep", [](Config& c) -> Field { return &c.checkpoint.keep; }, "newest checkpoints kept", 2,
     1e6},

    {"checkpoint.background", [](Config& c) -> Field { return &c.checkpoint.background; },
     "write checkpoints from a copy while the training goes on; auto: for networks of 16 million connections "
     "and more",
     -kNone, kNone, false,
     [] {
       return Names{"auto", "yes", "no"};
     }},
    {"checkpoint.best", [](Config& c) -> Field { return &c.checkpoint.best; },
     "which epoch's model is the result, where there are validation data; last: the last one's", -kNone,
     kNone, false,
     [] {
       return Names{"last", "valid_loss", "valid_accuracy"};
     }},

    {"log.progress", [](Config& c) -> Field { return &c.log.progress; }, "how progress is shown", -kNone,
     kNone, false,
     [] {
       return Names{"auto", "bar", "line", "none"};
     }},
    {"log.report", [](Config& c) -> Field { return &c.log.report; }, "write report.html at the end"},
    {"log.tensorboard", [](Config& c) -> Field { return &c.log.tensorboard; },
     "write RUN/tb, which TensorBoard shows"},
    {"log.histograms_every", [](Config& c) -> Field { return &c.log.histograms_every; },
     "time between histograms of weights and degrees in RUN/tb, \"N epoch\" or \"never\""},
    {"log.input_links", [](Config& c) -> Field { return &c.log.input_links; },
     "write RUN/input-links.csv: at each topology event the connections that every input keeps, and the sum "
     "of "
     "their magnitudes"},
    {"log.compare_dense", [](Config& c) -> Field { return &c.log.compare_dense; },
     "dense network of the same shape at the end: a few batches, a full training, or none", -kNone, kNone,
     false,
     [] {
       return Names{"none", "timing", "train"};
     }},
    {"log.dense_learning_rate", [](Config& c) -> Field { return &c.log.dense_learning_rate; },
     "step size of the dense network that is trained beside; 0: train.learning_rate", 0, kNone},
};

}  // namespace

std::span<const KeyInfo> config_keys() { return kKeys; }

}  // namespace tulle
