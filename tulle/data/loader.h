#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "tulle/base/panels.h"
#include "tulle/base/work_ahead.h"
#include "tulle/data/augment.h"
#include "tulle/data/dataset.h"
#include "tulle/sparse/sparse_batch.h"

namespace tulle {

/// What turns raw features into scaled ones: (raw - mean) * factor, one of each per feature; 0 and 1 without
/// scaling. Throw std::invalid_argument if the scaling is for other features.
std::vector<float> scaling_means(const Scaling& scaling, std::int32_t features);
std::vector<float> scaling_factors(const Scaling& scaling, std::int32_t features);

/// One batch, as the network wants it. The views are valid until the loader's next get().
struct Batch {
  Panels<const float> inputs;
  std::span<const std::int32_t> classes;
  // A number each; of label sets, a row of 0 and 1 each; of mixed images a row of shares each, beside the
  // classes of the first of both.
  std::span<const float> targets;
  std::span<const float> weights{};     // empty: 1 each
  const SparseBatch* sparse = nullptr;  // inputs as they are; the panels then have no data
  std::int64_t first_position = 0;      // of its samples: place in the whole batch
};

/// The share of one of several workers who each learn from samples of their own.
struct Shard {
  enum class Cut { kShuffled, kContiguous };

  int worker = 0, workers = 1;
  Cut cut = Cut::kShuffled;  // of all samples in an order drawn from the seed, or as they come
};

/// Deals a split out in batches, scaled and turned into Panels. Any batch of an epoch can be asked for alone,
/// so that a training can go on in the middle of one. The same bits for any number of threads.
class Loader {
 public:
  /// `split` is looked at as long as the loader lives. keep_last: an incomplete last batch is used too.
  /// Throws std::invalid_argument if there would be no batch at all, or if the scaling is for other features.
  Loader(const Split& split, const Scaling& scaling, int batch_size, bool keep_last, std::uint64_t seed)
      : Loader(split, scaling, batch_size, keep_last, seed, Shard{}) {}
  /// The same for one shard: shards differ by at most one sample, and together they are the split.
  Loader(const Split& split, const Scaling& scaling, int batch_size, bool keep_last, std::uint64_t seed,
         const Shard& shard);

  /// From now on batches of shuffled epochs hold images augmented anew, drawn from (seed, Stream::kAugment,
  /// epoch) at the sample's number; mixed ones have a row of `classes` shares as targets. Throws
  /// std::invalid_argument if the inputs are no images of this shape.
  void augment(const ImageShape& shape, const Augmentation& how, std::int32_t classes);

  /// From now on the samples of the batch after the one that was asked for are decoded and augmented on a
  /// thread of their own, until they are asked for: the same bits and errors, in the same memory. Where
  /// samples are stored as they are, it changes nothing.
  void make_ahead() { ahead_ = std::make_unique<WorkAhead>(); }

  std::int64_t samples() const { return static_cast<std::int64_t>(order_.size()); }
  std::int64_t batches() const;
  /// Samples of batch `index`.
  std::int64_t samples_of(std::int64_t index) const;
  /// Chooses the order of the samples: theirs, or shuffled by (seed, Stream::kShuffle, worker, epoch). Cost:
  /// O(samples).
  void start_epoch(int epoch, bool shuffled);

  /// Batch `index` of the epoch, or one of the contiguous parts it is cut into at multiples of `grain`
  /// samples, which may be empty. What a sample becomes does not depend on the parts: a mixed image finds its
  /// other half in the whole batch. Cost: one read of its samples, one write of its panels.
  struct Part {
    int part = 0, parts = 1, grain = 16;
    bool operator==(const Part&) const = default;
  };
  Batch get(std::int64_t index, int panel_width, Part part);
  Batch get(std::int64_t index, int panel_width) { return get(index, panel_width, Part{}); }
  /// The same with sparse inputs as they are. Throws std::invalid_argument if they are not sparse.
  Batch get_sparse(std::int64_t index, int panel_width, Part part);
  Batch get_sparse(std::int64_t index, int panel_width) { return get_sparse(index, panel_width, Part{}); }

 private:
  struct Rows {
    std::span<const std::uint32_t> rows;
    std::int64_t first = 0;                  // place of the first one in its batch
    std::span<const std::uint32_t> batch{};  // all of it
    /// The row that sample `i` of these is mixed with: as far from the end of the batch.
    std::uint32_t partner(std::size_t i) const {
      return batch[batch.size() - 1 - static_cast<std::size_t>(first) - i];
    }
  };
  Rows rows_of(std::int64_t index, int panel_width, Part part) const;
  Batch labelled(const Rows& rows);
  void gather(std::span<const std::uint32_t> rows, Panels<float> panels) const;
  bool augments() const { return shuffled_ && !augmentation_.none(); }
  bool makes_samples() const { return split_.inputs.is_generated() || augments(); }
  std::int64_t count_made(const Rows& rows) const;
  std::function<void(std::int64_t)> maker(const Rows& rows);
  void make(const Rows& rows, std::int64_t index, Part part);
  void gather_made(Panels<float> panels);
  void ask_for_rows(std::span<const std::uint32_t> rows) const;
  void look_ahead(std::int64_t index, int panel_width, Part part);
  ImageMix mix_of(std::int64_t index) const;
  std::span<const float> mixed_targets(const Rows& rows, std::int64_t index);
  void mix_images(const Rows& rows, std::int64_t index);
  void scatter(std::span<const std::uint32_t> rows, Panels<float> panels) const;

  const Split& split_;
  bool in_files_ = false;     // the inputs (data.scratch)
  std::int64_t touched_ = 0;  // bytes of pages since they were last unmapped
  std::int64_t batch_size_;
  bool keep_last_;
  std::uint64_t seed_;
  std::vector<float> mean_, factor_;  // the scaled value is (raw - mean) * factor
  std::uint32_t worker_ = 0;
  std::vector<std::uint32_t> shard_;  // its samples, ascending; empty: all
  std::vector<std::uint32_t> order_;
  ImageShape shape_;
  Augmentation augmentation_;
  std::int32_t mixed_classes_ = 0;
  int epoch_ = 0;
  bool shuffled_ = false;
  std::vector<float> made_;  // raw, of the batch, where its samples are made for it; later of the next one
  std::unique_ptr<WorkAhead> ahead_;  // fills it for the batch `coming_`
  struct Coming {
    std::int64_t index = 0;
    Part part{};
    bool operator==(const Coming&) const = default;
  };
  std::optional<Coming> coming_;
  std::int64_t looked_ahead_ = -1;     // from this batch of the epoch
  std::vector<std::uint32_t> places_;  // 0, 1, 2, ...
  std::vector<std::int32_t> classes_;  // of the batch
  std::vector<float> targets_, weights_;
  PanelBuffer panels_;
  SparseBatch sparse_;
  std::vector<float> scaled_;
};

}  // namespace tulle
