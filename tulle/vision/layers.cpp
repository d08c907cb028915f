#include "tulle/vision/layers.h"

namespace tulle {
namespace {

// To add a layer: its file, and one line here.
constexpr LayerInfo kLayers[] = {
    {"sparse-linear",
     "y = f(W x + b) on the connections that exist, kept in both orders (run.storage = \"fast\")",
     "Mocanu et al. 2018; products: Gustavson 1978"},
    {"compact-linear", "the same kept in one order, the step taken within the backward pass (\"compact\")",
     "Curci et al. 2021, extreme scale"},
    {"dense-linear", "y = f(W x + b) where every connection exists", "Rumelhart et al. 1986"},
    {"dropout", "outputs of hidden layers set to 0 with probability p, the others divided by 1 - p",
     "Srivastava et al. 2014"},
    {"patch-embedding", "smlp: squares of pixels become the channels of one position", "Tang et al. 2021"},
    {"pointwise", "smlp: a dense or sparse matrix applied to the channels of every position",
     "Tang et al. 2021"},
    {"token-mixing", "smlp: rows and columns mixed apart and fused with the identity", "Tang et al. 2021"},
    {"channel-mixing", "smlp: two pointwise layers with GELU between them, beside an identity",
     "Tang et al. 2021"},
    {"batch-norm", "smlp: channels normed over the batch, by running means in prediction",
     "Ioffe and Szegedy 2015"},
    {"drop-path", "smlp: blocks left out at random, later ones more often", "Huang et al. 2016"},
};

}  // namespace

std::span<const LayerInfo> layers() { return kLayers; }

}  // namespace tulle
