#pragma once

#include "tulle/comm/communicator.h"
#include "tulle/train/train.h"

namespace tulle {

/// What ranks must have in common before they send each other values alone: version, instruction set, config,
/// data, place and network. Throws AgreedError (kConfig) on all ranks, naming one that differs and in what.
void agree_to_start(Communicator& comm, const Run& run);

/// Of images every rank needs a sample of every batch, without which it would know no norm, and every batch
/// two tokens where the network ends: one has no variance. Throws kConfig.
void check_last_batch(const Config& config, const Network& network, const Dataset& data, int ranks);

/// Where workers have shards of their own, each of them needs one batch. Throws kConfig.
void check_shards(const Config& config, const Dataset& data, int ranks);

/// Ranks go on alike only from the same bits: an accident in one of them is found here. Throws AgreedError
/// (kInternal) that names the array. Cost: O(connections), and 8 bytes an array to each rank.
void compare_networks(Communicator& comm, Network& network, std::int64_t step);

}  // namespace tulle
