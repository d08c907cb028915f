#include "tulle/kernels/adam.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tulle/kernels/adam.cpp"
#include <hwy/foreach_target.h>
//
#include <hwy/highway.h>

#include "tulle/kernels/vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tulle::kernels::HWY_NAMESPACE {

// Sums with a product are spelled as fused operations: left to the compiler, it might fuse other ones in
// whole vectors than in the entries that are left.
void AdamStepOf(const AdamStep& step, std::int64_t size, const float* HWY_RESTRICT gradient,
                float* HWY_RESTRICT value, float* HWY_RESTRICT first, float* HWY_RESTRICT second,
                std::uint16_t* HWY_RESTRICT age) {
  const AdamStep s = step;
  ForVectors(size, [&](auto d, std::int64_t i) {
    using D = decltype(d);
    const hn::RebindToSigned<D> whole_numbers;
    const hn::Rebind<std::uint16_t, D> ages;
    const auto old = hn::LoadU(d, value + i);
    const auto g = hn::MulAdd(hn::Set(d, s.coupled), old, hn::LoadU(d, gradient + i));
    const auto m =
        hn::MulAdd(hn::Set(d, s.beta1), hn::LoadU(d, first + i), hn::Mul(hn::Set(d, 1.0f - s.beta1), g));
    const auto v = hn::MulAdd(hn::Set(d, s.beta2), hn::LoadU(d, second + i),
                              hn::Mul(hn::Mul(hn::Set(d, 1.0f - s.beta2), g), g));
    const auto now = hn::SaturatedAdd(hn::LoadU(ages, age + i), hn::Set(ages, 1));
    const auto index = hn::PromoteTo(whole_numbers, now);
    const auto move = hn::Mul(hn::Set(d, s.rate), hn::Mul(m, hn::GatherIndex(d, s.correction1, index)));
    const auto root = hn::Sqrt(hn::Mul(v, hn::GatherIndex(d, s.correction2, index)));
    const auto quotient = hn::Div(move, hn::Add(root, hn::Set(d, s.epsilon)));
    hn::StoreU(m, d, first + i);
    hn::StoreU(v, d, second + i);
    hn::StoreU(now, ages, age + i);
    hn::StoreU(hn::Sub(old, hn::MulAdd(hn::Set(d, s.shrink), old, quotient)), d, value + i);
  });
}

}  // namespace tulle::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tulle::kernels {

HWY_EXPORT(AdamStepOf);

void adam_step(const AdamStep& step, std::int64_t size, const float* gradient, float* value, float* first,
               float* second, std::uint16_t* age) noexcept {
  HWY_DYNAMIC_DISPATCH(AdamStepOf)(step, size, gradient, value, first, second, age);
}

}  // namespace tulle::kernels
#endif
