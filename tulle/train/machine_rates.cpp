#include "tulle/train/machine_rates.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstdint>
#include <vector>

#include "tulle/base/aligned.h"
#include "tulle/base/clock.h"
#include "tulle/base/parallel.h"
#include "tulle/base/spill.h"
#include "tulle/kernels/spmm.h"
#include "tulle/sparse/sampling.h"

namespace tulle {
namespace {

struct alignas(64) Line {
  std::uint64_t words[8];
};

// Pseudo-random numbers that can be made ahead of their use.
std::uint64_t mixed(std::uint64_t x) {
  x = (x ^ x >> 31) * 0x9e3779b97f4a7c15ull;
  return x ^ x >> 29;
}

}  // namespace

double random_lines_per_second(std::size_t bytes) {
  constexpr std::uint64_t kAhead = 16, kReads = std::uint64_t{1} << 22;
  const std::uint64_t count = std::max<std::uint64_t>(bytes / sizeof(Line), 1024);
  AlignedVector<Line> lines(count);  // its memory is there once it was written
  std::atomic<std::uint64_t> sum{0};
  const int threads = thread_count();
  double best = 1e9;
  for (int repeat = 0; repeat < 4; ++repeat) {
    const Clock clock;
    parallel_parts(threads, [&](int part) {
      const std::uint64_t first =
          (static_cast<std::uint64_t>(part) + 1) << 40 ^ static_cast<std::uint64_t>(repeat) << 32;
      const auto place = [&](std::uint64_t i) {
        __extension__ using Wide = unsigned __int128;
        return static_cast<std::uint64_t>(
            static_cast<Wide>(mixed(first + i) * 0xd6e8feb86659fd93ull) * count >> 64);
      };
      std::uint64_t own = 0;
      std::array<std::uint64_t, kAhead> asked;  // places that were asked for
      for (std::uint64_t i = 0; i < kAhead; ++i) asked[i] = place(i);
      for (std::uint64_t i = 0; i < kReads; ++i) {
        own += lines[asked[i % kAhead]].words[0];
        asked[i % kAhead] = place(i + kAhead);
        __builtin_prefetch(&lines[asked[i % kAhead]]);
      }
      sum += own;
    });
    best = std::min(best, clock.seconds());
  }
  const double reads = static_cast<double>(kReads) * threads;
  return sum == 1 ? 0.0 : reads / best;  // the sum is used, so that the reads are done
}

double copied_bytes_per_second(std::size_t bytes) {
  AlignedVector<float> from(bytes / sizeof(float), 1.0f), to(from.size());
  double best = 1e9;
  for (int repeat = 0; repeat < 4; ++repeat) {
    const Clock clock;
    parallel_ranges(std::ssize(to), 4096, [&](Range range) {
      for (auto i = static_cast<std::size_t>(range.begin); i < static_cast<std::size_t>(range.end); ++i)
        to[i] = from[i] + 1.0f;
    });
    best = std::min(best, clock.seconds());
  }
  return 2.0 * static_cast<double>(bytes) / best;
}

double near_products_per_second() {
  constexpr std::int32_t kSide = 512;
  constexpr int kWidth = 64, kRepeats = 20;
  const Topology topology = random_topology(kSide, kSide, 20 * kSide, {.seed = 1});
  const AlignedVector<float> weights(static_cast<std::size_t>(topology.nnz()), 0.5f);
  const AlignedVector<float> x(std::size_t{kSide} * kWidth, 1.0f);
  double best = 1e9;
  for (int repeat = 0; repeat < 5; ++repeat) {
    const Clock clock;
    parallel_parts(thread_count(), [&](int) {
      AlignedVector<float> y(x.size());
      const std::int64_t* const begin = topology.row_ptr().wide().data();
      for (int i = 0; i < kRepeats; ++i)
        kernels::spmm_forward({begin, begin + 1, topology.columns().data(), weights.data()}, {0, kSide},
                              kWidth, x.data(), y.data(), {});
    });
    best = std::min(best, clock.seconds());
  }
  return static_cast<double>(topology.nnz()) * kWidth * kRepeats * thread_count() / best;
}

DiskRates disk_rates(const std::string& folder, std::size_t bytes) {
  constexpr std::size_t kWindow = std::size_t{8} << 20;
  const Spilling files(folder);
  RawVector<std::uint64_t> array(bytes / sizeof(std::uint64_t));
  const std::size_t size = array.size() * sizeof(std::uint64_t);
  // As CompactLinear goes through its windows.
  const auto seconds = [&](const auto& body) {
    const Clock clock;
    const auto window = [&](std::size_t first) {
      return std::as_bytes(std::span(array)).subspan(first, std::min(kWindow, size - first));
    };
    for (std::size_t first = 0; first < size; first += kWindow) {
      if (first + kWindow < size) ask_for(window(first + kWindow));
      const std::span<const std::byte> now = window(first);
      body(std::span(array).subspan(first / sizeof(std::uint64_t), now.size() / sizeof(std::uint64_t)));
      write_back(now);
      if (first > 0) release(window(first - kWindow));
    }
    release_spilled();
    return clock.seconds();
  };
  // First there must be something to read.
  seconds([&](auto words) { std::ranges::fill(words, std::uint64_t{1}); });
  std::uint64_t sum = 0;
  const double reading = seconds([&](auto words) {
    for (const std::uint64_t word : words) sum += word;
  });
  const double both = seconds([&](auto words) {
    for (std::uint64_t& word : words) word += sum + 1;
  });
  return {.written = static_cast<double>(size) / std::max(both - reading, 0.1 * both),
          .read = static_cast<double>(size) / reading};
}

double MachineRates::lines(std::int64_t bytes) const {
  constexpr std::int64_t kMost = std::int64_t{1} << 30;
  const int power =
      std::bit_width(static_cast<std::uint64_t>(std::clamp<std::int64_t>(bytes, 1 << 16, kMost) - 1));
  double& rate = lines_[power];
  if (rate == 0.0) rate = random_lines_per_second(std::size_t{1} << power);
  return rate;
}

double MachineRates::near_products() const {
  if (near_products_ == 0.0) near_products_ = near_products_per_second();
  return near_products_;
}

const DiskRates& MachineRates::disk(const std::string& folder) const {
  if (disk_.read == 0.0) disk_ = disk_rates(folder, std::size_t{256} << 20);
  return disk_;
}

double MachineRates::bytes() const {
  if (bytes_ == 0.0) bytes_ = copied_bytes_per_second(std::size_t{128} << 20);
  return bytes_;
}

}  // namespace tulle
