#include "tulle/comm/mpi.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <thread>
#include <vector>

#include "tulle/base/check.h"
#include "tulle/base/error.h"
#include "tulle/comm/mpi_plugin.h"

namespace tulle {
namespace {

namespace fs = std::filesystem;

constexpr const char* kLibrary = "libtulle_mpi.so";

const tulle_mpi* g_mpi = nullptr;  // MPI starts once a process

class MpiTransfer final : public Communicator::Transfer {
 public:
  MpiTransfer(void* transfer, int peer) : transfer_(transfer), peer_(peer) {}

  bool done() override {
    if (transfer_ == nullptr) return true;
    const int state = g_mpi->test(transfer_);
    if (state < 0)
      throw Error(ErrorKind::kTemporary,
                  fmt::format("rank {}: the connection to rank {} broke", g_mpi->rank, peer_));
    if (state > 0) transfer_ = nullptr;
    return state > 0;
  }

 private:
  void* transfer_;
  int peer_;
};

class MpiCommunicator final : public Communicator {
 public:
  MpiCommunicator() : Communicator(g_mpi->rank, g_mpi->size) {}
  ~MpiCommunicator() override {
    if (!given_up_) g_mpi->close();
  }

  // MPI_Abort waits for daemons that a cut link may keep silent: a second thread does not.
  void give_up(int exit_code) override {
    given_up_ = true;
    std::thread([exit_code] {
      std::this_thread::sleep_for(std::chrono::seconds(3));
      _exit(exit_code);
    }).detach();
    g_mpi->abort(exit_code);
  }

 private:
  std::unique_ptr<Transfer> start_send(int to, std::span<const std::byte> bytes) override {
    return started(g_mpi->send(to, bytes.data(), bytes.size()), to);
  }
  std::unique_ptr<Transfer> start_receive(int from, std::span<std::byte> bytes) override {
    return started(g_mpi->receive(from, bytes.data(), bytes.size()), from);
  }
  void tell(double seconds) override { g_mpi->tell(seconds); }
  bool hear(std::span<double> asked) override {
    bool news = false;
    double seconds = 0.0;
    for (int rank = 0; g_mpi->hear(&rank, &seconds) != 0; news = true)
      asked[static_cast<std::size_t>(rank)] = seconds;
    return news;
  }
  static std::unique_ptr<Transfer> started(void* transfer, int peer) {
    if (transfer == nullptr)
      throw Error(ErrorKind::kTemporary,
                  fmt::format("rank {}: MPI refuses a message with rank {}", g_mpi->rank, peer));
    return std::make_unique<MpiTransfer>(transfer, peer);
  }

  bool given_up_ = false;
};

std::vector<std::string> places() {
  if (const char* const given = std::getenv("TULLE_MPI"); given != nullptr) return {given};
  std::error_code unknown;
  const fs::path folder = fs::read_symlink("/proc/self/exe", unknown).parent_path();
  return {(folder / kLibrary).string(), (folder / "../lib/tulle" / kLibrary).string(), kLibrary};
}

const tulle_mpi* open_mpi() {
  std::string fault;
  for (const std::string& place : places()) {
    // Global: parts of Open MPI that it loads itself look for its symbols there.
    void* const library = dlopen(place.c_str(), RTLD_NOW | RTLD_GLOBAL);
    if (library == nullptr) {
      if (fault.empty() || fs::exists(place)) fault = dlerror();
      continue;
    }
    const auto open = reinterpret_cast<decltype(&tulle_mpi_open)>(dlsym(library, "tulle_mpi_open"));
    const tulle_mpi* const mpi = open != nullptr ? open() : nullptr;
    if (mpi != nullptr && mpi->version == TULLE_MPI_VERSION) return mpi;
    throw Error(ErrorKind::kConfig, {.file = place},
                "MPI, found one that cannot start, expected a working one");
  }
  throw Error(ErrorKind::kConfig,
              fmt::format("MPI, found no {} ({}), expected it beside the program; build with MPI installed, "
                          "or choose parallel.transport = \"threads\"",
                          kLibrary, fault));
}

}  // namespace

int launched_ranks() {
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE"})
    if (const char* const text = std::getenv(name); text != nullptr) return std::max(std::atoi(text), 1);
  // Slurm's PMIx does not tell the size; its own variable also stands in jobs that srun did not start.
  const char* const tasks = std::getenv("SLURM_NTASKS");
  if (std::getenv("PMIX_RANK") != nullptr && tasks != nullptr) return std::max(std::atoi(tasks), 1);
  return 1;
}

std::unique_ptr<Communicator> mpi_group() {
  require(g_mpi == nullptr, "mpi_group: MPI starts once a process");
  g_mpi = open_mpi();
  return std::make_unique<MpiCommunicator>();
}

std::string mpi_library() {
  for (const std::string& place : places())
    if (std::error_code unknown; fs::is_regular_file(place, unknown)) return place;
  return "";
}

int ranks_on_this_machine() { return g_mpi != nullptr ? g_mpi->local_size : 1; }

}  // namespace tulle
