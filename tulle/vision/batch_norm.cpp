#include "tulle/vision/batch_norm.h"

#include <cmath>

#include "tulle/base/error.h"
#include "tulle/comm/part_exchange.h"
#include "tulle/kernels/tokens.h"

namespace tulle {

void TileMoments::start(std::int64_t tiles, std::int32_t channels) {
  channels_ = channels;
  rows_.assign(static_cast<std::size_t>(tiles), 0);
  means_.resize(rows_.size() * static_cast<std::size_t>(channels));
  deviations_.resize(means_.size());
}

void TileMoments::measure(std::int64_t tile, const float* x, std::int64_t rows) {
  rows_[static_cast<std::size_t>(tile)] = rows;
  kernels::channel_moments(x, rows, channels_, means_.data() + tile * channels_,
                           deviations_.data() + tile * channels_);
}

template <class T>
void Moments::merge(double more, std::span<const T> means, std::span<const T> deviations_of) {
  if (more == 0.0) return;
  const double share = more / (rows + more);
  for (std::size_t c = 0; c < mean.size(); ++c) {
    const double off = static_cast<double>(means[c]) - mean[c];
    mean[c] += off * share;
    deviations[c] += static_cast<double>(deviations_of[c]) + off * off * rows * share;
  }
  rows += more;
}

Moments TileMoments::merge() const {
  const auto channels = static_cast<std::size_t>(channels_);
  Moments all(channels);
  for (std::size_t t = 0; t < rows_.size(); ++t)
    all.merge<float>(static_cast<double>(rows_[t]), std::span(means_).subspan(t * channels, channels),
                     std::span(deviations_).subspan(t * channels, channels));
  return all;
}

void TileDots::start(std::int64_t tiles, std::int32_t channels) {
  channels_ = channels;
  sums_.assign(static_cast<std::size_t>(tiles * channels), 0.0f);
  dots_.assign(sums_.size(), 0.0f);
}

void TileDots::merge(std::vector<double>& sums, std::vector<double>& dots) const {
  const auto channels = static_cast<std::size_t>(channels_);
  sums.assign(channels, 0.0);
  dots.assign(channels, 0.0);
  for (std::size_t i = 0; i < sums_.size(); ++i) {
    sums[i % channels] += static_cast<double>(sums_[i]);
    dots[i % channels] += static_cast<double>(dots_[i]);
  }
}

BatchNorm::BatchNorm(const std::string& name, std::int32_t channels)
    : name_(name),
      weight_(name + ".weight", Parameter::Kind::kBias, static_cast<std::size_t>(channels)),
      bias_(name + ".bias", Parameter::Kind::kBias, static_cast<std::size_t>(channels)),
      running_mean_(static_cast<std::size_t>(channels), 0.0f),
      running_variance_(static_cast<std::size_t>(channels), 1.0f) {
  weight_.value.assign(weight_.value.size(), 1.0f);
  for (auto* array : {&scale_, &shift_, &normal_scale_, &normal_shift_, &by_x_, &constant_})
    array->resize(weight_.value.size());
  use_running();
}

void BatchNorm::add_arrays(std::vector<NamedArray>& arrays) {
  const std::vector<std::int64_t> shape{static_cast<std::int64_t>(weight_.value.size())};
  arrays.push_back({weight_.name, shape, &weight_.value});
  arrays.push_back({bias_.name, shape, &bias_.value});
  arrays.push_back({name_ + ".running_mean", shape, &running_mean_});
  arrays.push_back({name_ + ".running_var", shape, &running_variance_});
}

void BatchNorm::add_statistics(std::vector<Statistic>& statistics) {
  statistics.push_back({name_ + ".running_mean", &running_mean_, &average_mean_});
  statistics.push_back({name_ + ".running_var", &running_variance_, &average_variance_});
}

void BatchNorm::set(const std::vector<double>& mean, const std::vector<double>& variance) {
  for (std::size_t c = 0; c < mean.size(); ++c) {
    const double normal = 1.0 / std::sqrt(variance[c] + 1e-5), by = static_cast<double>(weight_.value[c]);
    normal_scale_[c] = static_cast<float>(normal);
    normal_shift_[c] = static_cast<float>(-mean[c] * normal);
    scale_[c] = static_cast<float>(by * normal);
    shift_[c] = static_cast<float>(static_cast<double>(bias_.value[c]) - mean[c] * by * normal);
  }
}

void BatchNorm::use_batch(const TileMoments& moments) {
  Moments batch = moments.merge();
  rank_shares_ = {1.0};
  if (comm_ != nullptr) batch = of_all_ranks(batch);
  rows_ = batch.rows;
  if (rows_ < 2.0)
    throw Error(
        ErrorKind::kConfig,
        "train.batch_size, found one token in all, expected two or more: batch norm needs a variance");
  std::vector<double>& variance = batch.deviations;
  for (std::size_t c = 0; c < variance.size(); ++c) {
    const double unbiased = variance[c] / (rows_ - 1.0);
    variance[c] /= rows_;
    running_mean_[c] = static_cast<float>(0.9 * static_cast<double>(running_mean_[c]) + 0.1 * batch.mean[c]);
    running_variance_[c] =
        static_cast<float>(0.9 * static_cast<double>(running_variance_[c]) + 0.1 * unbiased);
  }
  set(batch.mean, variance);
}

// Every rank merges the parts in the order of ranks, its own too.
Moments BatchNorm::of_all_ranks(const Moments& own) {
  const std::size_t channels = own.mean.size();
  std::vector<double> message{own.rows};
  message.insert(message.end(), own.mean.begin(), own.mean.end());
  message.insert(message.end(), own.deviations.begin(), own.deviations.end());
  const std::vector<double> all = gather_equal<double>(*comm_, message);
  Moments merged(channels);
  rank_shares_.clear();
  for (std::span<const double> left(all); !left.empty(); left = left.subspan(message.size())) {
    merged.merge<double>(left[0], left.subspan(1, channels), left.subspan(1 + channels, channels));
    rank_shares_.push_back(left[0]);
  }
  for (double& share : rank_shares_) share /= merged.rows;
  return merged;
}

void BatchNorm::use_running() {
  set({running_mean_.begin(), running_mean_.end()}, {running_variance_.begin(), running_variance_.end()});
}

void BatchNorm::back(const TileDots& tiles) {
  std::vector<double> sums, dots;
  tiles.merge(sums, dots);
  back(sums, dots);
}

void BatchNorm::back(const std::vector<double>& sums, const std::vector<double>& dots) {
  const std::size_t channels = sums.size();
  // Gradients are of the mean loss of a rank's part: in the batch's they count by its share.
  std::vector<double> all(sums);
  all.insert(all.end(), dots.begin(), dots.end());
  if (comm_ != nullptr) {
    const std::vector<double> of_ranks = gather_equal<double>(*comm_, all);
    const double own = rank_shares_[static_cast<std::size_t>(comm_->rank())];
    for (std::size_t i = 0; i < all.size(); ++i) {
      all[i] = 0.0;
      for (std::size_t rank = 0; rank < rank_shares_.size(); ++rank)
        all[i] += rank_shares_[rank] * of_ranks[rank * all.size() + i];
      all[i] /= own;
    }
  }
  for (std::size_t c = 0; c < channels; ++c) {
    weight_.gradient[c] = static_cast<float>(dots[c]);
    bias_.gradient[c] = static_cast<float>(sums[c]);
    const double by = static_cast<double>(scale_[c]) / rows_, dot = all[channels + c];
    by_x_[c] = static_cast<float>(-by * dot * static_cast<double>(normal_scale_[c]));
    constant_[c] = static_cast<float>(-by * (all[c] + dot * static_cast<double>(normal_shift_[c])));
  }
}

}  // namespace tulle
