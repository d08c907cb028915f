#pragma once

#include <cstdint>

namespace tulle::kernels {

/// The numbers of one step of Adam. correction1, correction2: 1 / (1 - beta^age) for every age of 16 bits.
struct AdamStep {
  float beta1, beta2, epsilon;
  float rate;
  float coupled;  // L2 added to the gradient (adam); 0 in adamw
  float shrink;   // of the old value, subtracted (adamw: rate times decay); 0 in adam
  const float* correction1;
  const float* correction2;
};

/// One step on `size` entries, each for itself: m <- b1 m + (1-b1) g;  s <- b2 s + (1-b2) g^2;  age counts up
/// to its last number;  theta <- theta - rate mhat / (sqrt(shat) + epsilon) - shrink theta. How entries are
/// cut into calls changes no bit. Cost: 26 bytes read or written an entry; two gathers, a root and a division
/// a vector.
void adam_step(const AdamStep& step, std::int64_t size, const float* gradient, float* value, float* first,
               float* second, std::uint16_t* age) noexcept;

}  // namespace tulle::kernels
