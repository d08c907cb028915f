#include "tulle/kernels/neuron.h"

#include <algorithm>

#include "tulle/base/random.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tulle/kernels/neuron.cpp"
#include <hwy/foreach_target.h>  // compiles this file once per target

#include <hwy/highway.h>

#include "tulle/kernels/neuron-inl.h"
#include "tulle/kernels/philox-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tulle::kernels::HWY_NAMESPACE {

template <int kWidth>
void EpilogueRows(Range rows, float* panel, const Epilogue& epilogue) {
  for (std::int64_t row = rows.begin; row < rows.end; ++row) {
    FloatLines::Own<kWidth> z;
    FloatLines::Keep<kWidth>(panel + row * kWidth, z);
    StoreNeuron<kWidth>(z.values, row, epilogue, panel + row * kWidth);
  }
}

template <int kWidth>
void GateRows(Range rows, float* panel, const Gate& gate) {
  for (std::int64_t row = rows.begin; row < rows.end; ++row) {
    FloatLines::Own<kWidth> grad;
    FloatLines::Keep<kWidth>(panel + row * kWidth, grad);
    StoreGated<kWidth>(grad.values, row, gate, panel + row * kWidth);
  }
}

void ApplyEpilogue(Range rows, int width, float* panel, const Epilogue& epilogue) {
  WithWidth<2>(width, [&](auto kWidth) { EpilogueRows<kWidth>(rows, panel, epilogue); });
}

void ApplyGate(Range rows, int width, float* panel, const Gate& gate) {
  WithWidth<2>(width, [&](auto kWidth) { GateRows<kWidth>(rows, panel, gate); });
}

template <int kWidth>
void SumGatedRows(Range rows, const float* HWY_RESTRICT panel, const Gate& gate, bool add,
                  float* HWY_RESTRICT sums) {
  using S = Samples<kWidth>;
  const typename S::Tag d;
  HWY_ALIGN float lines[kLine * kLine] = {};  // lanes that a narrow panel lacks stay 0
  HWY_ALIGN float block[kLine];
  for (std::int64_t row = rows.begin; row < rows.end; row += kLine) {
    const auto count = static_cast<int>(rows.end - row < kLine ? rows.end - row : kLine);
    for (int j = 0; j < count; ++j) {
      const auto vector = [&](int v) HWY_ATTR {
        return Gated<kWidth>(hn::Load(d, panel + (row + j) * kWidth + v * S::kLanes), row + j, v, gate);
      };
      for (int s = 0; s < S::kVectorsPerLine; ++s) {
        auto sum = vector(s);
        for (int line = 1; line < S::kLines; ++line)
          sum = hn::Add(sum, vector(line * S::kVectorsPerLine + s));
        hn::Store(sum, d, lines + j * kLine + s * S::kLanes);
      }
    }
    SumLines(lines, block);
    for (int j = 0; j < count; ++j) sums[row + j] = add ? sums[row + j] + block[j] : block[j];
  }
}

void SumRows(Range rows, int width, const float* panel, const Gate& gate, bool add, float* sums) {
  WithWidth<2>(width, [&](auto kWidth) { SumGatedRows<kWidth>(rows, panel, gate, add, sums); });
}

// Place of a draw: samples go in groups of 8 lines of 16. Lane s of a group has one Philox block of four
// words, whose eight 16-bit halves belong to sample s of the eight lines.
void DropoutBits(Range rows, int width, const DropoutPlace& place, std::uint32_t drop_threshold,
                 const std::uint32_t* ids, std::uint16_t* HWY_RESTRICT keep_bits) {
  const Words d;
  const int lines = bit_words(width);
  const auto first_line = static_cast<std::uint32_t>(place.first_position / kLine);
  const auto first_lane = static_cast<int>(place.first_position % kLine);  // of a panel narrower than a line
  const std::uint32_t stream = stream_word(Stream::kDropout, place.layer);
  const WordVector limit = hn::Set(d, drop_threshold);
  const WordVector low_half = hn::Set(d, 0xffffu);
  for (std::int64_t row = rows.begin; row < rows.end; ++row) {
    std::uint16_t* out = keep_bits + row * lines;
    if constexpr (kLanes < 8)
      for (int line = 0; line < lines; ++line) out[line] = 0;
    const std::uint32_t neuron = ids == nullptr ? static_cast<std::uint32_t>(row) : ids[row];
    int line = 0;
    while (line < lines) {
      const std::uint32_t group = (first_line + static_cast<std::uint32_t>(line)) / 8;
      const auto last = static_cast<int>(group * 8 + 8 - first_line);
      const int end = last < lines ? last : lines;
      for (int s = 0; s < kVectorsPerLine; ++s) {
        const std::uint32_t block =
            (place.worker << 24) + group * kLine + static_cast<std::uint32_t>(s * kLanes);
        WordVector word[4] = {hn::Set(d, stream), hn::Set(d, place.step), hn::Iota(d, block),
                              hn::Set(d, neuron)};
        Philox(place.seed, word);
        for (int l = line; l < end; ++l) {
          const std::uint32_t half = (first_line + static_cast<std::uint32_t>(l)) % 8;
          const WordVector draw =
              half % 2 == 0 ? hn::And(word[half / 2], low_half) : hn::ShiftRight<16>(word[half / 2]);
          // Both sides are below 2^17, so the signed comparison, which every instruction set has, is right.
          const hn::RebindToSigned<Words> i;
          const auto kept = hn::Not(hn::Lt(hn::BitCast(i, draw), hn::BitCast(i, limit)));
          const auto mask = hn::RebindMask(Floats(), kept);
          if constexpr (kLanes >= 8)  // whole bytes
            hn::StoreMaskBits(Floats(), mask, reinterpret_cast<std::uint8_t*>(out + l) + s * kLanes / 8);
          else
            out[l] = static_cast<std::uint16_t>(out[l] | MaskToBits(Floats(), mask) << (s * kLanes));
        }
      }
      line = end;
    }
    if (first_lane > 0) *out = static_cast<std::uint16_t>(*out >> first_lane);
  }
}

}  // namespace tulle::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tulle::kernels {

HWY_EXPORT(ApplyEpilogue);
HWY_EXPORT(ApplyGate);
HWY_EXPORT(SumRows);
HWY_EXPORT(DropoutBits);

void apply_epilogue(Range rows, int width, float* panel, const Epilogue& epilogue) noexcept {
  HWY_DYNAMIC_DISPATCH(ApplyEpilogue)(rows, width, panel, epilogue);
}

void apply_gate(Range rows, int width, float* panel, const Gate& gate) noexcept {
  HWY_DYNAMIC_DISPATCH(ApplyGate)(rows, width, panel, gate);
}

void sum_rows(Range rows, int width, const float* panel, const Gate& gate, bool add, float* sums) noexcept {
  HWY_DYNAMIC_DISPATCH(SumRows)(rows, width, panel, gate, add, sums);
}

void dropout_bits(Range rows, int width, const DropoutPlace& place, std::uint32_t drop_threshold,
                  const std::uint32_t* ids, std::uint16_t* keep_bits) noexcept {
  HWY_DYNAMIC_DISPATCH(DropoutBits)(rows, width, place, drop_threshold, ids, keep_bits);
}

}  // namespace tulle::kernels
#endif
