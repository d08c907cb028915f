#pragma once

#include <memory>
#include <vector>

#include "tulle/comm/communicator.h"

namespace tulle {

/// Ranks that are threads of this process. A message is copied once, from the sender's memory to the
/// receiver's, by whichever of the two comes second.
std::vector<std::unique_ptr<Communicator>> thread_group(int size);

}  // namespace tulle
