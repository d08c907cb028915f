#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tulle/nn/network.h"

namespace tulle {

/// Which weights of a finished network go: "magnitude:S" the share S of all, the weakest; "magnitude-layer:S"
/// of each layer but the last of a chain; "nonzero" those that are exactly 0; "nm:N:M" of every M weights in
/// a row of a layer's matrix all but the N strongest.
struct PruneForm {
  enum class Kind { kMagnitude, kMagnitudeLayer, kNonzero, kNm } kind = Kind::kNonzero;
  double share = 0.0;
  int n = 0, m = 0;
};

/// Throws tulle::Error (kConfig) naming `option` for text that is no such form.
PruneForm parse_prune_form(std::string_view option, std::string_view text);

/// The network without them; every layer keeps a connection. Dense layers that lose some become sparse. The
/// rest keeps its values. Ties go by position, the lowest first; cells of sparse layers without a connection
/// count as the weakest. Cost: O(weights).
Network pruned(Network& network, const PruneForm& form);

}  // namespace tulle
