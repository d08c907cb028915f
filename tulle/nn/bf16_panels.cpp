#include "tulle/nn/bf16_panels.h"

#include "tulle/base/parallel.h"
#include "tulle/kernels/narrow.h"
#include "tulle/kernels/rounding.h"

namespace tulle {
namespace {

constexpr std::int64_t kPanelGrain = 1 << 14;

}  // namespace

Panels<float> widened(Panels<const std::uint16_t> panels, PanelBuffer& memory) {
  const Panels<float> wide = memory.view(panels.features, panels.batch, panels.width);
  parallel_ranges(panels.count() * panels.panel_size(), kPanelGrain, [&](Range range) {
    kernels::widen(panels.data + range.begin, range.end - range.begin, wide.data + range.begin);
  });
  return wide;
}

void round_panels(Panels<const float> panels, Panels<std::uint16_t> rounded) {
  parallel_ranges(panels.count() * panels.panel_size(), kPanelGrain, [&](Range range) {
    kernels::narrow_in_order(panels.data + range.begin, range.end - range.begin, rounded.data + range.begin);
  });
}

}  // namespace tulle
