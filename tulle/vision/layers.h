#pragma once

#include <span>
#include <string_view>

namespace tulle {

/// A kind of layer that networks are made of, for whoever lists them; architectures put them together.
struct LayerInfo {
  std::string_view name;
  std::string_view help;
  std::string_view source;
};

std::span<const LayerInfo> layers();

}  // namespace tulle
