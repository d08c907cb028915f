#pragma once

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <string_view>
#include <system_error>

namespace tulle {

/// Decimal numbers in text, as data files have them: an optional sign, digits, a fraction, an exponent; no
/// hexadecimal, no locale, no blanks.

/// A whole number at the start of [at, end), without sign; null if there is none or it exceeds 2^31 - 1.
/// Returns what follows.
inline const char* scan_index(const char* at, const char* end, std::int64_t& index) {
  constexpr std::int64_t kLargest = 2147483647;
  const char* const start = at;
  index = 0;
  for (; at != end && *at >= '0' && *at <= '9'; ++at) {
    index = index * 10 + (*at - '0');
    if (index > kLargest) return nullptr;
  }
  return at == start ? nullptr : at;
}

/// Whether the size of a decimal number is below 1: what from_chars() finds out of range is a zero then, and
/// infinite else.
inline bool is_below_one(std::string_view number) {
  const std::size_t e = std::min(number.find_first_of("eE"), number.size());
  const std::string_view digits = number.substr(0, e);
  const std::size_t first = digits.find_first_of("123456789"), point = std::min(digits.find('.'), e);
  if (first == std::string_view::npos) return true;
  // The power of ten of the first digit that counts.
  std::int64_t power = static_cast<std::int64_t>(point) - static_cast<std::int64_t>(first) - (first < point);
  std::int64_t exponent = 0;
  std::size_t at = e + 1;
  const bool down = at < number.size() && number[at] == '-';
  if (at < number.size() && (number[at] == '-' || number[at] == '+')) ++at;
  for (; at < number.size() && exponent < (std::int64_t{1} << 56); ++at)
    exponent = exponent * 10 + (number[at] - '0');
  power += down ? -exponent : exponent;
  return power < 0;
}

/// A float at the start of [at, end), correctly rounded; null if there is none. What is too large becomes
/// infinity, what is too small 0. "nan" and "inf" are numbers.
inline const char* scan_float(const char* at, const char* end, float& value) {
  if (at == end) return nullptr;
  const char* const start = at;
  const bool negative = *at == '-';
  if (*at == '-' || *at == '+') ++at;
  // Few digits and a small power of ten: both are exact in a float, so one operation rounds correctly.
  constexpr float kPowers[] = {1e0f, 1e1f, 1e2f, 1e3f, 1e4f, 1e5f, 1e6f, 1e7f, 1e8f, 1e9f, 1e10f};
  std::uint32_t digits = 0;
  int power = 0, count = 0;
  const char* p = at;
  for (; p != end && *p >= '0' && *p <= '9' && count < 8; ++p, ++count)
    digits = digits * 10 + static_cast<std::uint32_t>(*p - '0');
  if (p != end && *p == '.')
    for (++p; p != end && *p >= '0' && *p <= '9' && count < 8; ++p, ++count, --power)
      digits = digits * 10 + static_cast<std::uint32_t>(*p - '0');
  if (count > 0 && p != end && (*p == 'e' || *p == 'E')) {
    const char* q = p + 1;
    const bool down = q != end && *q == '-';
    if (q != end && (*q == '-' || *q == '+')) ++q;
    if (q != end && *q >= '0' && *q <= '9') {
      int exponent = 0, places = 0;
      for (; q != end && *q >= '0' && *q <= '9' && places < 3; ++q, ++places)
        exponent = exponent * 10 + (*q - '0');
      power += down ? -exponent : exponent;
      p = q;
    }
  }
  const bool ends = p == end || !((*p >= '0' && *p <= '9') || *p == '.' || *p == 'e' || *p == 'E');
  if (count > 0 && ends && digits <= (1u << 24) && power >= -10 && power <= 10) {
    const auto whole = static_cast<float>(digits);
    const float size = power < 0 ? whole / kPowers[-power] : whole * kPowers[power];
    value = negative ? -size : size;
    return p;
  }
  const char* const from = *start == '+' ? at : start;
  if (from == end || (from == at && *from == '-' && from != start)) return nullptr;  // "+-1"
  const auto [next, error] = std::from_chars(from, end, value);
  if (error == std::errc::invalid_argument) return nullptr;
  if (error == std::errc::result_out_of_range) {
    double wide = 0.0;  // knows a float's zero from its infinity
    const std::string_view text(from, static_cast<std::size_t>(next - from));
    if (std::from_chars(from, end, wide).ec == std::errc{})
      value = static_cast<float>(wide);
    else
      value = is_below_one(text) ? 0.0f : (negative ? -HUGE_VALF : HUGE_VALF);
  }
  return next;
}

}  // namespace tulle
