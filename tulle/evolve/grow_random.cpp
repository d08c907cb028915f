#include "tulle/evolve/grow.h"

namespace tulle {

std::vector<std::uint64_t> grow_random(const GrowInput& input) {
  return windowed_absent_cells(input.taken, input.count, input.window, input.random, input.share);
}

}  // namespace tulle
