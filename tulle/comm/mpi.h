#pragma once

#include <memory>
#include <string>

#include "tulle/comm/communicator.h"

namespace tulle {

/// How many ranks this process was started among by an MPI launcher (mpirun, srun), as its environment says;
/// 1 if by none. Loads nothing.
int launched_ranks();

/// The ranks of an MPI job. The MPI library is loaded here and nowhere else, from libtulle_mpi.so beside the
/// program, in ../lib/tulle, or where the environment variable TULLE_MPI says; the thread that calls is the
/// one whose messages they are. Throws tulle::Error (kConfig) if there is no such library or it cannot start.
std::unique_ptr<Communicator> mpi_group();

/// The file that mpi_group() would load; "" if there is none. Loads nothing.
std::string mpi_library();

/// Ranks of the job on this machine; 1 before mpi_group().
int ranks_on_this_machine();

}  // namespace tulle
