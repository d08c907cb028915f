#pragma once

#include <span>
#include <string>
#include <vector>

#include "tulle/comm/communicator.h"
#include "tulle/nn/architecture.h"
#include "tulle/nn/parameter.h"

namespace tulle {

/// Mean and sum of squared deviations of each channel over some rows, in double precision.
struct Moments {
  double rows = 0.0;
  std::vector<double> mean, deviations;

  explicit Moments(std::size_t channels) : mean(channels, 0.0), deviations(channels, 0.0) {}
  /// Takes those of `more` rows (Chan's merge). Which came first changes bits.
  template <class T>
  void merge(double more, std::span<const T> means, std::span<const T> deviations_of);
};

/// Statistics of a batch, gathered tile by tile and merged in the order of the tiles.
class TileMoments {
 public:
  void start(std::int64_t tiles, std::int32_t channels);
  /// Takes the rows of one tile. Tiles may come at the same time.
  void measure(std::int64_t tile, const float* x, std::int64_t rows);
  /// Over all rows.
  Moments merge() const;

 private:
  std::int32_t channels_ = 0;
  std::vector<std::int64_t> rows_;
  AlignedVector<float> means_, deviations_;  // [tile][channel]
};

/// Sums over the tokens of a batch that the way back needs, gathered tile by tile.
class TileDots {
 public:
  void start(std::int64_t tiles, std::int32_t channels);
  float* sums(std::int64_t tile) { return &sums_[static_cast<std::size_t>(tile * channels_)]; }
  float* dots(std::int64_t tile) { return &dots_[static_cast<std::size_t>(tile * channels_)]; }
  void merge(std::vector<double>& sums, std::vector<double>& dots) const;

 private:
  std::int64_t channels_ = 0;
  AlignedVector<float> sums_, dots_;
};

/// Batch norm of every channel over images and tokens, eps 1e-5, as PyTorch has it: training uses the biased
/// variance of the batch and keeps running = 0.9 running + 0.1 new with the unbiased one, for evaluation.
/// Of a batch that ranks share, each of them measures its part; these are merged in the order of ranks by all
/// of them, so that the norm is that of the whole batch, the same bits on every rank.
/// Source: Ioffe and Szegedy 2015 (arXiv 1502.03167).
class BatchNorm {
 public:
  BatchNorm(const std::string& name, std::int32_t channels);

  std::vector<Parameter*> parameters() { return {&weight_, &bias_}; }
  void add_arrays(std::vector<NamedArray>& arrays);
  void add_statistics(std::vector<Statistic>& statistics);

  /// As Architecture::share_batches(). Messages: (2 channels + 1) doubles from each rank to each other
  /// forward, 2 channels backward.
  void share_batches(Communicator* comm) { comm_ = comm; }

  /// From now on the norm is that of this batch. Throws tulle::Error (kConfig) for a batch of one token.
  void use_batch(const TileMoments& moments);
  /// From now on the norm is that of the running statistics.
  void use_running();
  /// y = x * scale + shift of each channel; (x - mean) / deviation = x * normal_scale + normal_shift.
  const float* scale() const { return scale_.data(); }
  const float* shift() const { return shift_.data(); }
  const float* normal_scale() const { return normal_scale_.data(); }
  const float* normal_shift() const { return normal_shift_.data(); }

  /// From the sums over the batch of g = dL/dy and of g * (x - mean) / deviation: the gradients of weight and
  /// bias; dL/dx is then g * by_g() + x * by_x() + constant().
  void back(const TileDots& dots);
  void back(const std::vector<double>& sums, const std::vector<double>& dots);
  const float* by_g() const { return scale_.data(); }
  const float* by_x() const { return by_x_.data(); }
  const float* constant() const { return constant_.data(); }

 private:
  Moments of_all_ranks(const Moments& own);
  void set(const std::vector<double>& mean, const std::vector<double>& variance);

  std::string name_;
  Parameter weight_, bias_;
  AlignedVector<float> running_mean_, running_variance_;
  AlignedVector<float> average_mean_,
      average_variance_;  // of the running ones, where parameters have averages
  AlignedVector<float> scale_, shift_, normal_scale_, normal_shift_, by_x_, constant_;
  double rows_ = 1.0;                     // of the batch
  std::vector<double> rank_shares_{1.0};  // of them, by rank
  Communicator* comm_ = nullptr;
};

}  // namespace tulle
