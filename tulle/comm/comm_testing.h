#pragma once

#include <exception>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "tulle/base/error.h"
#include "tulle/base/parallel.h"
#include "tulle/comm/threads.h"

namespace tulle::testing {

/// work(communicator) on as many ranks, each a thread with one thread of its own. A rank that throws gives
/// up; returns what each threw, "" for none.
inline std::vector<std::string> on_ranks(int count, const std::function<void(Communicator&)>& work,
                                         double time_limit = 60.0) {
  const auto group = thread_group(count);
  std::vector<std::string> thrown(group.size());
  {
    std::vector<std::jthread> ranks;
    for (std::size_t rank = 0; rank < group.size(); ++rank)
      ranks.emplace_back([&, rank] {
        const OwnThreads own(1);
        group[rank]->set_time_limit(time_limit);
        try {
          work(*group[rank]);
        } catch (const std::exception& error) {
          thrown[rank] = error.what();
          group[rank]->give_up(1);
        }
      });
  }
  return thrown;
}

}  // namespace tulle::testing
