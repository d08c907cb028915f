#pragma once

#include <cstdint>
#include <vector>

#include "tulle/comm/sum_exchange.h"
#include "tulle/train/modes.h"

namespace tulle {

/// The mean gradient of a batch that lies in shards on several ranks. Shards' gradients are added as a
/// balanced tree, by each rank as far as its own shards go, then over the ranks: ranks that hold a power of
/// two of the shards each get the bits that one rank with all of them gets. What is complete of the last
/// shard travels while the layers below are computed.
/// Memory: log2 of a rank's shards gradients more, and what SumExchange takes.
class GradientSum {
 public:
  /// `own_part`: finish() leaves no more than the rank's own part of each gradient (PartExchange::own()).
  explicit GradientSum(const Ranks& ranks, bool own_part = false)
      : ranks_(ranks), own_part_(own_part), exchange_(ranks.comm, wire_of(ranks.config())) {}

  /// A step of `samples` samples, of which `shards` shards are this rank's, at least one.
  void start(std::int64_t samples, int shards);
  /// The next of them; a batch may be empty.
  void add(const Batch& batch, const Pass& pass);
  /// The sum over all ranks is in the network's gradients.
  Step finish();
  /// Lets go of the memory that is kept between steps.
  void release() { exchange_.release(); }

  /// Whether a signal reached any rank before the last finish().
  bool stop_asked() const { return stop_asked_; }

 private:
  void keep(Parameter& parameter, std::size_t index);
  void complete(Parameter& parameter, std::size_t index);

  Ranks ranks_;
  bool own_part_;
  SumExchange exchange_;
  std::int64_t samples_ = 0;
  int shards_ = 0, done_ = 0;
  std::vector<std::vector<AlignedVector<float>>> levels_;  // [level][parameter]: sums of 2^level shards
  std::vector<double> losses_;                             // of each shard
  std::int64_t correct_ = 0;
  bool stop_asked_ = false;
};

}  // namespace tulle
