#pragma once

#include <cstdint>

#include "tulle/nn/network.h"

namespace tulle {

/// Moves the average of every parameter and statistic towards its value: a <- d a + (1 - d) value with
/// d = min(decay, (1 + step) / (10 + step)), so that the first steps, which are far from where the training
/// goes, are soon forgotten; the first call takes the values. `step` counts from 1. The averages live beside
/// what they are of (Parameter::average, Statistic::average), move with their connections when the topology
/// changes and are in checkpoints; a connection that grows starts with its value. Cost: 12 bytes read or
/// written an entry, in parallel; 4 bytes of memory an entry. Source: Polyak and Juditsky 1992; Tan and Le
/// 2019 for the decay's start.
void update_averages(Network& network, double decay, std::int64_t step);

/// While it lives, a network's values are its averages; it does nothing to a network that has none. Cost: a
/// few exchanges of pointers.
class AveragesInPlace {
 public:
  explicit AveragesInPlace(Network& network);
  ~AveragesInPlace();
  AveragesInPlace(const AveragesInPlace&) = delete;
  AveragesInPlace& operator=(const AveragesInPlace&) = delete;

 private:
  Network& network_;
};

/// Makes the averages the network's values for good, and lets go of them.
void take_averages(Network& network);

}  // namespace tulle
