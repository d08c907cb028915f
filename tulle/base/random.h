#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace tulle {

/// What a random number is for. Numbers are asked for by place (seed, stream, layer, event, index) and never
/// drawn from a running state: no generator is saved, and nothing depends on the number of threads or ranks.
/// Values are part of the reproducibility promise: never renumber.
enum class Stream : std::uint32_t {
  kTopology = 1,
  kValue = 2,
  kGrow = 3,
  kGrowValue = 4,
  kDropout = 5,
  kShuffle = 6,
  kAugment = 7,
  kData = 8,
  kSplit = 9,
  kDrop = 10,
  kGrowRest = 11,   // guided growth: what guides could not give
  kGrowSigns = 12,  // guided growth: signs of the samples
  kGates = 13,      // recovery: gates before there are weights
  kPlanted = 14,    // recovery: hidden networks
  kFourier = 15,    // recovery: frequencies of coordinates
  kSketch = 16,     // recovery: rows of a count sketch
  kShard = 17,      // which samples are whose, of several workers
  kRounding = 18,   // weights in bfloat16: up or down
  kWindow = 19,     // topology: cells within windows
};

/// One independent sequence of random numbers, element by element.
/// Source: Philox4x32-10, Salmon et al. 2011, doi:10.1145/2063384.2063405.
struct Random {
  std::uint64_t seed = 0;
  Stream stream = Stream::kTopology;
  std::uint32_t layer = 0;  // below 2^24
  std::uint32_t event = 0;

  /// The four 32-bit words of place `index`.
  std::array<std::uint32_t, 4> words(std::uint64_t index) const;
  std::uint64_t bits64(std::uint64_t index) const;
  /// Uniform in [0, 1) with 24 bits.
  float uniform(std::uint64_t index) const;
  /// Uniform in [0, n), n >= 1; the bias is below n / 2^64.
  std::uint64_t below(std::uint64_t n, std::uint64_t index) const { return scaled(bits64(index), n); }
  /// 64 random bits brought into [0, n).
  static std::uint64_t scaled(std::uint64_t bits, std::uint64_t n) {
    __extension__ using Wide = unsigned __int128;
    return static_cast<std::uint64_t>((static_cast<Wide>(bits) * n) >> 64);
  }
  /// Standard normal (Box-Muller on the words of one place).
  float normal(std::uint64_t index) const;
};

/// The counter word that carries stream and layer; kernels that draw in bulk build their counters from it.
std::uint32_t stream_word(Stream stream, std::uint32_t layer);

/// A uniformly random order of 0..n-1 (Fisher-Yates, one place per step). Cost: O(n).
std::vector<std::uint32_t> random_permutation(std::uint32_t n, const Random& random);

}  // namespace tulle
