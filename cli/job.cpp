#include "job.h"

#include <cstdio>
#include <limits>

#include "exit_codes.h"
#include "failures.h"
#include "tulle/comm/agreement.h"
#include "tulle/comm/collectives.h"
#include "tulle/comm/long_phase.h"
#include "tulle/comm/mpi.h"

namespace tulle::cli {

Job::Job(const std::string& transport, double heartbeat) {
  if (transport == "mpi" || (transport == "auto" && launched_ranks() > 1)) comm_ = mpi_group();
  if (comm_ != nullptr && heartbeat > 0.0) heartbeat_ = std::make_unique<Heartbeat>(comm_->rank(), heartbeat);
}

void Job::together(const std::function<void()>& work) const {
  if (comm_ == nullptr) return work();
  const LongPhase phase(*comm_,
                        LongPhase::Of::kAllRanks);  // reading data takes long, on some more than on others
  tulle::together(*comm_, work);
}

std::string Job::from_lead(const std::string& text) const {
  if (comm_ == nullptr) return text;
  const std::vector<std::byte> first = gather_all(*comm_, std::as_bytes(std::span(text))).front();
  return {reinterpret_cast<const char*>(first.data()), first.size()};
}

int Job::run(const std::function<int()>& rest) const {
  if (comm_ == nullptr) return rest();
  int code = kOk;
  try {
    code = rest();
  } catch (const AgreedError& error) {
    if (leads()) complain(error.what());
    return exit_code(error.kind());
  } catch (...) {
    code = report_exception();
    std::fflush(nullptr);
    comm_->give_up(code);
  }
  // Rank 0 may have more to do. The others wait for it asleep: MPI itself would keep their cores busy.
  comm_->set_time_limit(std::numeric_limits<double>::infinity());
  std::byte done{};
  for (int rank = 1; leads() && rank < comm_->size(); ++rank) send_now(*comm_, rank, {&done, 1});
  if (!leads()) receive_now(*comm_, 0, {&done, 1});
  return code;
}

}  // namespace tulle::cli
