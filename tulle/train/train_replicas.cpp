// Ranks that are threads of this process.
#include <algorithm>
#include <exception>
#include <thread>
#include <vector>

#include "tulle/base/error.h"
#include "tulle/base/parallel.h"
#include "tulle/comm/threads.h"
#include "tulle/train/modes.h"

namespace tulle {
namespace {

// Throws what made the ranks fail: not that one heard of another's failure, if there is more to say.
void rethrow_cause(const std::vector<std::exception_ptr>& failures) {
  std::exception_ptr cause;
  for (const std::exception_ptr& failure : failures) {
    if (failure == nullptr) continue;
    try {
      std::rethrow_exception(failure);
    } catch (const Error& error) {
      if (cause == nullptr || error.kind() != ErrorKind::kTemporary) cause = failure;
    } catch (...) {
      cause = failure;
    }
  }
  if (cause != nullptr) std::rethrow_exception(cause);
}

}  // namespace

int threads_of_replica(const Config& config) {
  if (config.run.threads > 0) return static_cast<int>(config.run.threads);
  return std::max(available_cores() / static_cast<int>(config.parallel.ranks), 1);
}

Ending train(Run& run, const Dataset& data, RunDirectory* directory, Observer& observer, Signals& signals) {
  const auto ranks = static_cast<int>(run.config.parallel.ranks);
  const std::vector<std::unique_ptr<Communicator>> group = thread_group(ranks);
  if (ranks == 1) return train(run, data, directory, observer, signals, *group.front());

  (void)mode_of(run.config, ranks);  // refused before there are copies
  const int threads = threads_of_replica(run.config);
  std::vector<std::exception_ptr> failures(group.size());
  // The others are told when one cannot go on; which one it was, its own failure says.
  const auto guarded = [&](std::size_t rank, const auto& work) {
    const OwnThreads own(threads);
    try {
      work();
    } catch (...) {
      failures[rank] = std::current_exception();
      group[rank]->give_up(0);
    }
  };
  Ending ending = Ending::kStopped;
  {
    const bool parts = spreads_neurons(run.config);
    std::vector<Run> copies;
    for (int rank = 1; rank < ranks; ++rank)
      copies.push_back(parts ? part_of(run, {rank, ranks}) : copy_of(run));
    std::vector<std::jthread> others;
    for (std::size_t rank = 1; rank < group.size(); ++rank)
      others.emplace_back([&, rank] {
        guarded(rank, [&] {
          Observer nobody;
          train(copies[rank - 1], data, nullptr, nobody, signals, *group[rank]);
        });
      });
    guarded(0, [&] { ending = train(run, data, directory, observer, signals, *group[0]); });
  }
  rethrow_cause(failures);
  return ending;
}

}  // namespace tulle
