#pragma once

#include <cstddef>
#include <cstdint>

namespace tulle {

/// A count as the standard library's containers want it. >= 0; unchecked.
inline std::size_t as_size(std::int64_t count) { return static_cast<std::size_t>(count); }

/// A container's size as a count of ours.
inline std::int64_t as_count(std::size_t size) { return static_cast<std::int64_t>(size); }

}  // namespace tulle
