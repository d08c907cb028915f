#pragma once

#include <cstddef>

namespace tulle {

/// Cache lines of 64 bytes a second that this machine reads at random places of `bytes` of memory in huge
/// pages, each asked for 16 reads before it is needed, on all threads of thread_count() together. Memory:
/// `bytes` while it runs. Cost: about a fifth of a second and one write of the memory.
double random_lines_per_second(std::size_t bytes);

}  // namespace tulle
