#include "tulle/data/loader.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <numeric>

#include "tulle/base/check.h"
#include "tulle/base/parallel.h"
#include "tulle/base/random.h"
#include "tulle/base/spill.h"
#include "tulle/kernels/gather.h"

namespace tulle {

namespace {

// Parts of a batch begin at multiples of this: dropout masks are drawn for as many samples at once.

void check_features(const Scaling& scaling, std::int32_t features) {
  const std::size_t scaled = scaling.mean.size();
  require((scaled == 0 || scaled == static_cast<std::size_t>(features)) && scaling.deviation.size() == scaled,
          "Scaling: it must be for the features of the data");
}

}  // namespace

std::vector<float> scaling_means(const Scaling& scaling, std::int32_t features) {
  check_features(scaling, features);
  std::vector<float> means = scaling.mean;
  means.resize(static_cast<std::size_t>(features), 0.0f);
  return means;
}

std::vector<float> scaling_factors(const Scaling& scaling, std::int32_t features) {
  check_features(scaling, features);
  std::vector<float> factors(static_cast<std::size_t>(features), 1.0f);
  for (std::size_t f = 0; f < scaling.deviation.size(); ++f)
    factors[f] = scaling.deviation[f] == 0.0f ? 0.0f : 1.0f / scaling.deviation[f];
  return factors;
}

namespace {

// The samples of a shard, in ascending order.
std::vector<std::uint32_t> shard_of(std::uint32_t samples, const Shard& shard, std::uint64_t seed) {
  const Range part = even_range(samples, shard.workers, shard.worker);
  std::vector<std::uint32_t> own(static_cast<std::size_t>(part.end - part.begin));
  if (shard.cut == Shard::Cut::kContiguous) {
    std::iota(own.begin(), own.end(), static_cast<std::uint32_t>(part.begin));
    return own;
  }
  const std::vector<std::uint32_t> order =
      random_permutation(samples, {.seed = seed, .stream = Stream::kShard});
  std::copy_n(order.begin() + part.begin, own.size(), own.begin());
  std::ranges::sort(own);
  return own;
}

}  // namespace

Loader::Loader(const Split& split, const Scaling& scaling, int batch_size, bool keep_last, std::uint64_t seed,
               const Shard& shard)
    : split_(split),
      batch_size_(batch_size),
      keep_last_(keep_last),
      seed_(seed),
      worker_(static_cast<std::uint32_t>(shard.worker)) {
  require(batch_size > 0, "Loader: the batch size must be positive");
  require(split.inputs.samples <= std::numeric_limits<std::uint32_t>::max(), "Loader: too many samples");
  const auto samples = static_cast<std::uint32_t>(split.inputs.samples);
  if (shard.workers > 1) shard_ = shard_of(samples, shard, seed);
  const std::size_t own = shard.workers > 1 ? shard_.size() : samples;
  require(own > 0 && (keep_last || own >= static_cast<std::size_t>(batch_size)),
          "Loader: fewer samples than one batch, and incomplete batches are dropped");
  mean_ = scaling_means(scaling, split.inputs.features);
  factor_ = scaling_factors(scaling, split.inputs.features);
  for (const std::span<const std::byte> array : split.inputs.arrays())
    in_files_ = in_files_ || is_spilled(array.data());
  start_epoch(0, /*shuffled=*/false);
}

void Loader::augment(const ImageShape& shape, const Augmentation& how, std::int32_t classes) {
  require(!how.mixes() || (classes > 0 && !split_.classes.empty()), "Loader: only classes can be mixed");
  mixed_classes_ = how.mixes() ? classes : 0;
  require(how.none() || (!split_.inputs.is_sparse() &&
                         std::int64_t{shape.channels} * shape.height * shape.width == split_.inputs.features),
          "Loader: only images can be augmented");
  shape_ = shape;
  augmentation_ = how;
}

std::int64_t Loader::batches() const {
  return (samples() + (keep_last_ ? batch_size_ - 1 : 0)) / batch_size_;
}

std::int64_t Loader::samples_of(std::int64_t index) const {
  return std::min(batch_size_, samples() - index * batch_size_);
}

void Loader::start_epoch(int epoch, bool shuffled) {
  const std::size_t samples =
      shard_.empty() ? static_cast<std::size_t>(split_.inputs.samples) : shard_.size();
  if (ahead_ != nullptr) ahead_->drop();
  coming_.reset();
  looked_ahead_ = -1;
  epoch_ = epoch;
  shuffled_ = shuffled;
  if (shuffled) {
    order_ =
        random_permutation(static_cast<std::uint32_t>(samples), {.seed = seed_,
                                                                 .stream = Stream::kShuffle,
                                                                 .layer = worker_,
                                                                 .event = static_cast<std::uint32_t>(epoch)});
  } else {
    order_.resize(samples);
    std::iota(order_.begin(), order_.end(), 0u);
  }
  if (!shard_.empty())
    for (std::uint32_t& row : order_) row = shard_[row];
}

Loader::Rows Loader::rows_of(std::int64_t index, int panel_width, Part part) const {
  require(index >= 0 && index < batches(), "Loader: no such batch in this epoch");
  require(panel_width >= 2 && panel_width <= 128 && std::has_single_bit(static_cast<unsigned>(panel_width)),
          "Loader: panels are 2, 4, 8, 16, 32, 64 or 128 samples wide");
  const std::int64_t samples = samples_of(index);
  const Range own = even_range(samples, part.parts, part.part, part.grain);
  const std::span<const std::uint32_t> batch(order_.data() + index * batch_size_,
                                             static_cast<std::size_t>(samples));
  return {batch.subspan(static_cast<std::size_t>(own.begin), static_cast<std::size_t>(own.end - own.begin)),
          own.begin, batch};
}

Batch Loader::get(std::int64_t index, int panel_width, Part part) {
  const Rows place = rows_of(index, panel_width, part);
  const std::span<const std::uint32_t> rows = place.rows;
  const Panels<float> panels =
      panels_.view(split_.inputs.features, static_cast<std::int32_t>(rows.size()), panel_width);
  if (split_.inputs.is_sparse())
    scatter(rows, panels);
  else if (!makes_samples())
    gather(rows, panels);
  else {
    make(place, index, part);
    gather_made(panels);
  }
  Batch batch = labelled(place);
  batch.inputs = panels;
  if (shuffled_ && mixed_classes_ > 0) batch.targets = mixed_targets(place, index);
  look_ahead(index, panel_width, part);
  return batch;
}

Batch Loader::get_sparse(std::int64_t index, int panel_width, Part part) {
  require(split_.inputs.is_sparse(), "Loader: the inputs are not sparse");
  const Rows place = rows_of(index, panel_width, part);
  const std::span<const std::uint32_t> rows = place.rows;
  const SparseRows& sparse = split_.inputs.sparse;
  sparse_.start(split_.inputs.features, panel_width);
  for (const std::uint32_t row : rows) {
    const auto begin = static_cast<std::size_t>(sparse.row_ptr[row]);
    const auto count = static_cast<std::size_t>(sparse.row_ptr[row + std::size_t{1}]) - begin;
    scaled_.resize(count);
    for (std::size_t k = 0; k < count; ++k) {
      const auto f = static_cast<std::size_t>(sparse.columns[begin + k]);
      scaled_[k] = (sparse.values[begin + k] - mean_[f]) * factor_[f];
    }
    sparse_.add(std::span(sparse.columns).subspan(begin, count), scaled_);
  }
  sparse_.finish();
  Batch batch = labelled(place);
  batch.inputs = {nullptr, split_.inputs.features, static_cast<std::int32_t>(rows.size()), panel_width};
  batch.sparse = &sparse_;
  look_ahead(index, panel_width, part);
  return batch;
}

// The next batch's samples are made, or read by the disk, while this batch is learnt from. What has been read
// stays in memory as long as the system likes, but not in this process.
void Loader::look_ahead(std::int64_t index, int panel_width, Part part) {
  // Several parts of a batch, one after the other: what comes next is not known here.
  if (index == looked_ahead_) ahead_.reset(), coming_.reset();
  looked_ahead_ = index;
  if (ahead_ != nullptr && makes_samples() && index + 1 < batches()) {
    const Rows next = rows_of(index + 1, panel_width, part);
    ahead_->start(count_made(next), maker(next));
    coming_ = {index + 1, part};
  }
  if (!in_files_) return;
  if (index + 1 < batches()) ask_for_rows(rows_of(index + 1, panel_width, part).rows);
  constexpr std::int64_t kPage = 4096, kMostTouched = std::int64_t{256} << 20;
  std::int64_t bytes = 0;
  for (const std::span<const std::byte> array : split_.inputs.arrays()) bytes += std::ssize(array);
  touched_ += batch_size_ * std::max(bytes / split_.inputs.samples, kPage);
  if (touched_ < kMostTouched) return;
  for (const std::span<const std::byte> array : split_.inputs.arrays()) unmap(array);
  touched_ = 0;
}

void Loader::ask_for_rows(std::span<const std::uint32_t> rows) const {
  const Features& inputs = split_.inputs;
  const auto samples = static_cast<std::size_t>(inputs.samples);
  for (const std::uint32_t row : rows) {
    // Entries [begin, end) of each array that is filled.
    std::size_t begin = row, end = row + std::size_t{1};
    if (inputs.is_sparse()) {
      begin = static_cast<std::size_t>(inputs.sparse.row_ptr[begin]);
      end = static_cast<std::size_t>(inputs.sparse.row_ptr[end]);
    }
    for (const std::span<const std::byte> array : inputs.arrays()) {
      const std::size_t entry = inputs.is_sparse() ? sizeof(float) : array.size() / samples;
      if (!array.empty()) ask_for(array.subspan(begin * entry, (end - begin) * entry));
    }
  }
}

Batch Loader::labelled(const Rows& rows) {
  classes_.clear();
  targets_.clear();
  weights_.clear();
  for (const std::uint32_t row : rows.rows) {
    if (!split_.classes.empty()) classes_.push_back(split_.classes[row]);
    if (!split_.weights.empty()) weights_.push_back(split_.weights[row]);
    if (!split_.targets.empty()) {
      const auto first = split_.targets.begin() + std::int64_t{row} * split_.target_width;
      targets_.insert(targets_.end(), first, first + split_.target_width);
    }
    if (split_.sets.empty()) continue;
    const std::size_t start = targets_.size();
    targets_.resize(start + static_cast<std::size_t>(split_.sets.count), 0.0f);
    for (std::int64_t k = split_.sets.row_ptr[row]; k < split_.sets.row_ptr[row + std::size_t{1}]; ++k)
      targets_[start + static_cast<std::size_t>(split_.sets.labels[static_cast<std::size_t>(k)])] = 1.0f;
  }
  return {.inputs = {},
          .classes = classes_,
          .targets = targets_,
          .weights = weights_,
          .first_position = rows.first};
}

// Sparse samples into panels of zeros; every panel is one thread's.
void Loader::scatter(std::span<const std::uint32_t> rows, Panels<float> panels) const {
  const SparseRows& sparse = split_.inputs.sparse;
  const auto width = static_cast<std::size_t>(panels.width);
  parallel_ranges(panels.count(), 1, [&](Range range) {
    for (auto p = static_cast<std::int32_t>(range.begin); p < range.end; ++p) {
      float* const panel = panels.panel(p);
      std::fill_n(panel, panels.panel_size(), 0.0f);
      const std::size_t start = static_cast<std::size_t>(p) * width;
      for (std::size_t lane = 0; lane < std::min(width, rows.size() - start); ++lane) {
        const std::uint32_t row = rows[start + lane];
        for (auto k = static_cast<std::size_t>(sparse.row_ptr[row]);
             k < static_cast<std::size_t>(sparse.row_ptr[row + std::size_t{1}]); ++k) {
          const auto f = static_cast<std::size_t>(sparse.columns[k]);
          panel[f * width + lane] = (sparse.values[k] - mean_[f]) * factor_[f];
        }
      }
    }
  });
}

// Sample i of a batch is mixed with the i-th from the end, both with the same share; one in the middle stays
// as it is. made_ holds the rows, and behind them their partners where these are in another part.
void Loader::mix_images(const Rows& rows, std::int64_t index) {
  const ImageMix how = mix_of(index);
  const auto features = static_cast<std::size_t>(split_.inputs.features);
  const std::size_t count = rows.rows.size();
  const bool whole = count == rows.batch.size();
  parallel_ranges(static_cast<std::int64_t>(whole ? count / 2 : count), 1, [&](Range range) {
    for (auto i = static_cast<std::size_t>(range.begin); i < static_cast<std::size_t>(range.end); ++i)
      if (rows.rows[i] != rows.partner(i))
        mix(how, shape_, made_.data() + i * features,
            made_.data() + (whole ? count - 1 - i : count + i) * features);
  });
}

ImageMix Loader::mix_of(std::int64_t index) const {
  const Random random{
      .seed = seed_, .stream = Stream::kAugment, .layer = 1, .event = static_cast<std::uint32_t>(epoch_)};
  return draw_mix(shape_, augmentation_, random, static_cast<std::uint64_t>(index) << 16);
}

std::span<const float> Loader::mixed_targets(const Rows& rows, std::int64_t index) {
  const float share = mix_of(index).share;
  const auto width = static_cast<std::size_t>(mixed_classes_);
  targets_.assign(classes_.size() * width, 0.0f);
  for (std::size_t i = 0; i < classes_.size(); ++i) {
    targets_[i * width + static_cast<std::size_t>(classes_[i])] += share;
    targets_[i * width + static_cast<std::size_t>(split_.classes[rows.partner(i)])] += 1.0f - share;
  }
  return targets_;
}

std::int64_t Loader::count_made(const Rows& rows) const {
  const std::size_t count = rows.rows.size();
  const bool partners = augments() && mixed_classes_ > 0 && count < rows.batch.size();
  return static_cast<std::int64_t>(partners ? 2 * count : count);
}

// What makes the samples of a batch, in made_, one by one: it needs nothing else of the loader.
std::function<void(std::int64_t)> Loader::maker(const Rows& rows) {
  const auto features = static_cast<std::size_t>(split_.inputs.features);
  std::vector<std::uint32_t> samples(rows.rows.begin(), rows.rows.end());
  for (std::size_t i = 0; std::ssize(samples) < count_made(rows); ++i) samples.push_back(rows.partner(i));
  made_.resize(samples.size() * features);
  const Random random{.seed = seed_, .stream = Stream::kAugment, .event = static_cast<std::uint32_t>(epoch_)};
  return [&inputs = split_.inputs, samples = std::move(samples), made = std::span(made_), features, random,
          shape = shape_, how = augmentation_, augments = augments()](std::int64_t i) {
    const auto at = static_cast<std::size_t>(i);
    const std::span<float> out = made.subspan(at * features, features);
    if (augments)
      tulle::augment(inputs, samples[at], shape, how, random, std::uint64_t{8} * samples[at], out.data());
    else
      inputs.generated.source->row(inputs.generated.samples[samples[at]], out);
  };
}

void Loader::make(const Rows& rows, std::int64_t index, Part part) {
  const bool is_coming = coming_ == Coming{index, part};
  coming_.reset();
  if (is_coming) {
    ahead_->finish();
  } else {
    if (ahead_ != nullptr) ahead_->drop();
    const std::function<void(std::int64_t)> make_sample = maker(rows);
    parallel_ranges(count_made(rows), 1, [&](Range range) {
      for (std::int64_t i = range.begin; i < range.end; ++i) make_sample(i);
    });
  }
  if (augments() && mixed_classes_ > 0) mix_images(rows, index);
}

// The samples in made_ into panels.
void Loader::gather_made(Panels<float> panels) {
  const auto width = static_cast<std::size_t>(panels.width), samples = static_cast<std::size_t>(panels.batch);
  places_.resize(samples);
  std::iota(places_.begin(), places_.end(), 0u);
  parallel_ranges(split_.inputs.features, 16, [&](Range range) {
    for (std::int32_t p = 0; p < panels.count(); ++p) {
      const std::size_t start = static_cast<std::size_t>(p) * width;
      kernels::gather_panel(made_.data(), split_.inputs.features,
                            std::span(places_).subspan(start, std::min(width, samples - start)), range,
                            mean_.data(), factor_.data(), panels.panel(p), panels.width);
    }
  });
}

void Loader::gather(std::span<const std::uint32_t> rows, Panels<float> panels) const {
  const Features& inputs = split_.inputs;
  const auto width = static_cast<std::size_t>(panels.width);
  parallel_ranges(inputs.features, 16, [&](Range features) {
    for (std::int32_t p = 0; p < panels.count(); ++p) {
      const std::size_t start = static_cast<std::size_t>(p) * width;
      const auto lanes = rows.subspan(start, std::min(width, rows.size() - start));
      const auto gather_from = [&](const auto& values) {
        kernels::gather_panel(values.data(), inputs.features, lanes, features, mean_.data(), factor_.data(),
                              panels.panel(p), panels.width);
      };
      inputs.floats.empty() ? gather_from(inputs.bytes) : gather_from(inputs.floats);
    }
  });
}

}  // namespace tulle
