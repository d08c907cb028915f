#pragma once

#include <cstdint>
#include <vector>

namespace tulle {

/// Weights that iterative magnitude pruning keeps after each round, from `weights` down to at most `nnz`:
/// round(share * kept) go, halves to even, at least 1 (arXiv 2509.20323's code, whose first round with
/// nothing to prune is left out); the last one lands on nnz exactly if `exact`.
std::vector<std::int64_t> imp_rounds(std::int64_t weights, std::int64_t nnz, double share, bool exact);

}  // namespace tulle
