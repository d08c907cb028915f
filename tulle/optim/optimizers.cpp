#include "tulle/optim/optimizer.h"

namespace tulle {

void Optimizer::step(Parameter& parameter, float rate) const {
  step(parameter, {0, std::ssize(parameter.value)}, rate);
}

void Optimizer::step(Parameter& parameter, Range entries, float rate) const {
  parallel_ranges(entries.end - entries.begin, kGrain, [&](Range range) {
    step(slice_of(parameter, entries.begin + range.begin, range.end - range.begin), rate);
  });
}

MakeOptimizer make_set_sgd, make_sgd, make_sgdw, make_adam, make_adamw;

namespace {

// To add an optimizer: its file, its name above, one line here.
constexpr OptimizerInfo kOptimizers[] = {
    {"set-sgd", "momentum; weight decay is not multiplied by the learning rate", "Curci et al. 2021",
     make_set_sgd},
    {"sgd", "momentum, optionally Nesterov; L2 added to the gradient", "Sutskever et al. 2013", make_sgd},
    {"sgdw", "sgd with decoupled weight decay", "Loshchilov and Hutter 2019", make_sgdw},
    {"adam", "adaptive moments; L2 added to the gradient", "Kingma and Ba 2015", make_adam},
    {"adamw", "adam with decoupled weight decay", "Loshchilov and Hutter 2019", make_adamw},
};

}  // namespace

std::span<const OptimizerInfo> optimizers() { return kOptimizers; }

}  // namespace tulle
