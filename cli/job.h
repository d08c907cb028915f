#pragma once

#include <functional>
#include <memory>
#include <string>

#include "heartbeat.h"
#include "tulle/comm/communicator.h"
#include "tulle/nn/spread.h"

namespace tulle::cli {

/// The MPI job this process was started in, if any: who prints and writes, and how a failure of one rank ends
/// all of them.
class Job {
 public:
  /// `transport` as in parallel.transport; `heartbeat`: seconds between this rank's signs of life, 0: none.
  /// Throws tulle::Error (kConfig) if MPI is wanted and not there.
  explicit Job(const std::string& transport, double heartbeat = 0.0);

  /// Null: there is none.
  Communicator* ranks() const { return comm_.get(); }
  /// Whether this process prints and writes: it is alone, or rank 0.
  bool leads() const { return comm_ == nullptr || comm_->rank() == 0; }

  /// How far this rank is.
  void on_batch(const Observer::Batch& batch) const {
    if (heartbeat_ != nullptr) heartbeat_->on_batch(batch);
  }

  Share share() const { return comm_ == nullptr ? Share{} : Share{comm_->rank(), comm_->size()}; }

  /// Does `work` on every rank; if it fails on one it fails on all.
  void together(const std::function<void()>& work) const;
  /// Rank 0's text, on every rank.
  std::string from_lead(const std::string& text) const;

  /// Runs the rest of the program. Of an error that all ranks have, one tells; any other ends the whole job
  /// with its exit code.
  int run(const std::function<int()>& rest) const;

 private:
  std::unique_ptr<Communicator> comm_;
  std::unique_ptr<Heartbeat> heartbeat_;
};

}  // namespace tulle::cli
