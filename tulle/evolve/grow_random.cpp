#include "tulle/evolve/grow.h"
#include "tulle/sparse/sampling.h"

namespace tulle {

std::vector<std::uint64_t> grow_random(const GrowInput& input) {
  return random_absent_cells(input.taken, input.count, input.random, input.share);
}

}  // namespace tulle
