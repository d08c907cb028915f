#include "tulle/kernels/sparse_input.h"

#include <algorithm>

namespace tulle::kernels {

namespace {
constexpr std::int64_t kLine = 16;
}

void sparse_input_forward(const ActiveConnections& connections, const Entries& samples, std::int32_t first,
                          std::int32_t count, std::int32_t targets, float* line) noexcept {
  std::fill_n(line, targets * kLine, 0.0f);
  for (std::int32_t lane = 0; lane < count; ++lane) {
    float* const column = line + lane;
    for (std::int64_t e = samples.ptr[first + lane]; e < samples.ptr[first + lane + 1]; ++e) {
      const float value = samples.values[e];
      const std::int32_t source = samples.index[e];
      for (std::int64_t k = connections.begin[source]; k < connections.begin[source + 1]; ++k)
        column[connections.targets[k] * kLine] += connections.weights[k] * value;
    }
  }
}

void sparse_input_gradients(std::int64_t count, const std::int32_t* targets, const Entries& sources,
                            std::int64_t source, const float* errors, std::int64_t panel_size, int width,
                            float* gradients) noexcept {
  for (std::int64_t k = 0; k < count; ++k) {
    const float* const row = errors + std::int64_t{targets[k]} * width;
    float sum = 0.0f;
    for (std::int64_t e = sources.ptr[source]; e < sources.ptr[source + 1]; ++e) {
      const std::int32_t sample = sources.index[e];
      sum += sources.values[e] * row[sample / width * panel_size + sample % width];
    }
    gradients[k] = sum;
  }
}

}  // namespace tulle::kernels
