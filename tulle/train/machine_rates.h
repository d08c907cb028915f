#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>

namespace tulle {

/// Cache lines of 64 bytes a second that this machine reads at random places of `bytes` of memory in huge
/// pages, each asked for 16 reads before it is needed, on all threads of thread_count() together. Memory:
/// `bytes` while it runs. Cost: about a fifth of a second and one write of the memory.
double random_lines_per_second(std::size_t bytes);

/// Bytes a second that are copied in order, read and written counted, on all threads together.
double copied_bytes_per_second(std::size_t bytes);

/// Fused multiply-adds a second of spmm_forward() with 20 connections a target and 64 samples, on all threads
/// together.
double near_products_per_second();

/// Bytes a second that files of a folder take and give, in order.
struct DiskRates {
  double written = 0.0, read = 0.0;
};
/// By a file of `bytes`, written and read a window at a time past what the system keeps in memory. Throws
/// tulle::Error if it cannot be made.
DiskRates disk_rates(const std::string& folder, std::size_t bytes);

/// This machine's rates, each measured when it is first asked for.
class MachineRates {
 public:
  /// Random lines of a set of `bytes`, which counts as at most 1 GiB.
  double lines(std::int64_t bytes) const;
  double bytes() const;
  /// Fused multiply-adds of sparse products whose activations stay in the nearest caches.
  double near_products() const;
  /// Of one folder, always the same.
  const DiskRates& disk(const std::string& folder) const;

 private:
  mutable std::map<int, double> lines_;  // by the power of two
  mutable double bytes_ = 0.0, near_products_ = 0.0;
  mutable DiskRates disk_;
};

}  // namespace tulle
