#pragma once

#include "tulle/train/saving.h"

namespace tulle {

// Of a training whose network is spread over ranks (nn/spread.h): all of them call these alike. Rank 0 has
// the `checkpoints`, and maybe others their `directory`; both may be null.

/// A checkpoint like that of one rank, but for what was explored: no rank knows of all. Every rank writes its
/// part where they share the run directory; else rank 0 brings the network together.
void save_parts_of(Run& run, RunDirectory* directory, CheckpointWriter* checkpoints);

/// At the end rank 0 has the whole network, in files of its directory but for a layer at a time; the others
/// keep their part. Returns whether this rank has it.
bool bring_together(Run& run, RunDirectory* directory);

}  // namespace tulle
