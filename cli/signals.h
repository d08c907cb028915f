#pragma once

#include "tulle/train/train.h"

namespace tulle::cli {

/// From here on SIGINT and SIGTERM ask the training to stop after a checkpoint, SIGUSR1 for a checkpoint; a
/// second SIGINT leaves at once. SIGUSR2 is SIGTERM that mpirun passes on to its ranks, which it would kill a
/// second after SIGTERM itself. Returns what the training reads.
Signals& catch_signals();

/// The exit code of a training that a signal stopped: 128 and the number of the signal.
int stopped_exit_code();

}  // namespace tulle::cli
