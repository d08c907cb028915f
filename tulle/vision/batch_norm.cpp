#include "tulle/vision/batch_norm.h"

#include <cmath>
#include <numeric>

#include "tulle/base/error.h"
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

std::int64_t TileMoments::rows() const {
  return std::accumulate(rows_.begin(), rows_.end(), std::int64_t{0});
}

void TileMoments::merge(std::vector<double>& mean, std::vector<double>& deviations) const {
  const auto channels = static_cast<std::size_t>(channels_);
  mean.assign(channels, 0.0);
  deviations.assign(channels, 0.0);
  double seen = 0.0;
  for (std::size_t t = 0; t < rows_.size(); ++t) {
    const auto rows = static_cast<double>(rows_[t]);
    if (rows == 0.0) continue;
    const double share = rows / (seen + rows);
    for (std::size_t c = 0; c < channels; ++c) {
      const double off = static_cast<double>(means_[t * channels + c]) - mean[c];
      mean[c] += off * share;
      deviations[c] += static_cast<double>(deviations_[t * channels + c]) + off * off * seen * share;
    }
    seen += rows;
  }
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
  rows_ = static_cast<double>(moments.rows());
  if (rows_ < 2.0)
    throw Error(
        ErrorKind::kConfig,
        "train.batch_size, found one token in all, expected two or more: batch norm needs a variance");
  std::vector<double> mean, variance;
  moments.merge(mean, variance);
  for (std::size_t c = 0; c < mean.size(); ++c) {
    const double unbiased = variance[c] / (rows_ - 1.0);
    variance[c] /= rows_;
    running_mean_[c] = static_cast<float>(0.9 * static_cast<double>(running_mean_[c]) + 0.1 * mean[c]);
    running_variance_[c] =
        static_cast<float>(0.9 * static_cast<double>(running_variance_[c]) + 0.1 * unbiased);
  }
  set(mean, variance);
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
  for (std::size_t c = 0; c < sums.size(); ++c) {
    weight_.gradient[c] = static_cast<float>(dots[c]);
    bias_.gradient[c] = static_cast<float>(sums[c]);
    const double by = static_cast<double>(scale_[c]) / rows_;
    by_x_[c] = static_cast<float>(-by * dots[c] * static_cast<double>(normal_scale_[c]));
    constant_[c] = static_cast<float>(-by * (sums[c] + dots[c] * static_cast<double>(normal_shift_[c])));
  }
}

}  // namespace tulle
