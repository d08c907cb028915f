#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace tulle::kernels {

/// The instruction sets this processor has and this build holds, best first: some of avx512_dl, avx512, avx2,
/// sse4, ssse3, scalar.
std::vector<std::string> available_targets();

/// Makes all kernels use `name` from now on; "" goes back to what the environment variable TULLE_ISA names,
/// as at the start, or to the best one. Not to be called while kernels run. Throws tulle::Error (kConfig) if
/// the name is not available here, naming those that are.
void force_target(std::string_view name);

/// The instruction set in use.
std::string current_target();

/// Samples per panel (Panels::width) that suit the registers of the instruction set in use, for a batch of
/// `batch`: as many accumulators as stay in registers, never wider than the narrowest panel of at least
/// `least` that holds the batch.
int panel_width(std::int64_t batch, int least = 16);

}  // namespace tulle::kernels
