#include "tulle/sparse/sparse_batch.h"

namespace tulle {

void SparseBatch::start(std::int32_t features_of, std::int32_t width_of) {
  features = features_of;
  width = width_of;
  batch = 0;
  sample_ptr.assign(1, 0);
  columns_.clear();
  values.clear();
}

void SparseBatch::add(std::span<const std::int32_t> columns, std::span<const float> values_of) {
  columns_.insert(columns_.end(), columns.begin(), columns.end());
  values.insert(values.end(), values_of.begin(), values_of.end());
  sample_ptr.push_back(static_cast<std::int64_t>(columns_.size()));
  ++batch;
}

void SparseBatch::finish() {
  count_.assign(static_cast<std::size_t>(features), 0);
  for (const std::int32_t f : columns_) ++count_[static_cast<std::size_t>(f)];
  active.clear();
  active_ptr.assign(1, 0);
  for (std::int32_t f = 0; f < features; ++f) {
    std::int32_t& count = count_[static_cast<std::size_t>(f)];
    if (count == 0) continue;
    active_ptr.push_back(active_ptr.back() + count);
    count = static_cast<std::int32_t>(active.size());  // from here on its place
    active.push_back(f);
  }
  places.resize(columns_.size());
  samples.resize(columns_.size());
  sample_values.resize(columns_.size());
  std::vector<std::int64_t> next(active_ptr.begin(), active_ptr.end() - 1);
  for (std::int32_t b = 0; b < batch; ++b)
    for (auto k = static_cast<std::size_t>(sample_ptr[static_cast<std::size_t>(b)]);
         k < static_cast<std::size_t>(sample_ptr[static_cast<std::size_t>(b) + 1]); ++k) {
      places[k] = count_[static_cast<std::size_t>(columns_[k])];
      const auto slot = static_cast<std::size_t>(next[static_cast<std::size_t>(places[k])]++);
      samples[slot] = b;
      sample_values[slot] = values[k];
    }
}

}  // namespace tulle
