// Loops over vectors of any number of values, for kernels on tokens; included once per target after
// hwy/foreach_target.h.
#if defined(TULLE_KERNELS_VECTORS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TULLE_KERNELS_VECTORS_INL_H_
#undef TULLE_KERNELS_VECTORS_INL_H_
#else
#define TULLE_KERNELS_VECTORS_INL_H_
#endif

#include <hwy/highway.h>

#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace tulle::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Wide = hn::CappedTag<float, 16>;
using Single = hn::CappedTag<float, 1>;
constexpr std::int64_t kLanes = static_cast<std::int64_t>(hn::MaxLanes(Wide()));

// body(tag, i) for whole vectors of [0, count), then one by one for what is left.
template <class Body>
HWY_INLINE void ForVectors(std::int64_t count, const Body& body) {
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) body(Wide(), i);
  for (; i < count; ++i) body(Single(), i);
}

// body(tag, c, sum) adds the vector at channel c to a sum; the sum over the channels.
template <class Body>
HWY_INLINE float SumOver(std::int64_t channels, const Body& body) {
  const Wide d;
  auto sum = hn::Zero(d);
  std::int64_t c = 0;
  for (; c + kLanes <= channels; c += kLanes) sum = body(d, c, sum);
  float total = hn::GetLane(hn::SumOfLanes(d, sum));
  for (; c < channels; ++c) total += hn::GetLane(body(Single(), c, hn::Zero(Single())));
  return total;
}

}  // namespace tulle::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
