// Gradients of weights on their way from lines of products to sums, shared by the kernels that make them.
#if defined(TULLE_KERNELS_PENDING_SUMS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TULLE_KERNELS_PENDING_SUMS_INL_H_
#undef TULLE_KERNELS_PENDING_SUMS_INL_H_
#else
#define TULLE_KERNELS_PENDING_SUMS_INL_H_
#endif

#include "tulle/kernels/lines-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tulle::kernels::HWY_NAMESPACE {

// Lines of products that wait for their sums: 16 connections give 16 lines, which are summed together,
// whichever sources they belong to, because their sums lie side by side in dw.
class PendingSums {
 public:
  PendingSums(bool add, float* dw) : add_(add), dw_(dw) {
    for (int i = 0; i < kLine * kLine; ++i) lines_[i] = 0.0f;  // a last block sums lines it does not need
  }
  std::int64_t room() const { return kLine - count_; }
  /// Where the next line goes.
  float* next() { return lines_ + count_ * kLine; }
  void added(std::int64_t lines) {
    count_ += lines;
    if (count_ == kLine) flush();
  }
  void flush() {
    if (count_ == kLine && !add_) {
      SumLines(lines_, dw_);
    } else {
      HWY_ALIGN float sums[kLine];
      SumLines(lines_, sums);
      for (std::int64_t j = 0; j < count_; ++j) dw_[j] = add_ ? dw_[j] + sums[j] : sums[j];
    }
    dw_ += count_;
    count_ = 0;
  }

 private:
  HWY_ALIGN float lines_[kLine * kLine];
  std::int64_t count_ = 0;
  bool add_;
  float* dw_;
};

}  // namespace tulle::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
