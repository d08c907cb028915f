#pragma once

#include "tulle/kernels/test_problem.h"
#include "tulle/sparse/topology.h"

namespace tulle {

/// Row 0: sources 1 and 3; row 1: none; row 2: sources 0, 1, 2. Keys 1 3 8 9 10.
inline Topology example_topology() { return Topology(3, 4, {0, 2, 2, 5}, {1, 3, 0, 1, 2}); }

/// The connections of a kernel's problem.
inline Topology topology_of(const kernels::Problem& p) {
  return {static_cast<std::int32_t>(p.rows),
          static_cast<std::int32_t>(p.cols),
          {p.row_ptr.begin(), p.row_ptr.end()},
          {p.columns.begin(), p.columns.end()}};
}

}  // namespace tulle
