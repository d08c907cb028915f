#include "tulle/vision/smlp_shape.h"

#include <fmt/format.h>

#include <numeric>
#include <utility>

#include "tulle/base/error.h"

namespace tulle {

int SmlpShape::blocks() const { return std::accumulate(depths.begin(), depths.end(), 0); }

void check_shape(const SmlpShape& s) {
  const auto refuse = [](std::string_view key, const std::string& found, const std::string& expected) {
    throw Error(ErrorKind::kConfig, fmt::format("{}, found {}, expected {}", key, found, expected));
  };
  const auto number = [](std::int64_t value) { return fmt::format("{}", value); };
  constexpr int kMost = 1 << 14;
  if (s.channels < 1 || s.channels > kMost) refuse("image channels", number(s.channels), "1 or more");
  if (s.patch < 1 || s.patch > kMost) refuse("model.patch", number(s.patch), "1 or more");
  if (s.embedding < 1 || s.embedding > kMost) refuse("model.width", number(s.embedding), "1 or more");
  if (s.expansion < 1 || s.expansion > 64) refuse("model.expansion", number(s.expansion), "1 to 64");
  if (s.classes < 1) refuse("classes", number(s.classes), "1 or more");
  if (s.depths.empty() || s.depths.size() > 8)
    refuse("model.depths", fmt::format("{} stages", s.depths.size()), "1 to 8");
  if (!(s.drop_path >= 0.0 && s.drop_path < 1.0))
    refuse("model.drop_path", fmt::format("{}", s.drop_path), "0 or more and below 1");
  for (const auto& [name, side] : {std::pair{"height", s.height}, std::pair{"width", s.width}}) {
    if (side < 1 || side > kMost * 4) refuse(fmt::format("image {}", name), number(side), "1 or more");
    if (const int down = side / s.patch * s.patch; down != side)
      refuse(fmt::format("image {}", name), number(side),
             fmt::format("a multiple of model.patch = {}, such as {} or {}", s.patch, down, down + s.patch));
  }
  for (std::size_t stage = 0; stage < s.stages(); ++stage) {
    if (s.depths[stage] < 0 || s.depths[stage] > 1000)
      refuse("model.depths", number(s.depths[stage]), "0 to 1000 blocks a stage");
    if (s.stage_tokens(stage) == 0)
      refuse("model.depths", fmt::format("{} stages", s.stages()),
             fmt::format("fewer: {} x {} pixels leave no tokens for stage {}", s.height, s.width, stage));
  }
  if (s.blocks() == 0) refuse("model.depths", "no blocks", "one at least");
  if (s.hidden.empty()) return;
  if (std::cmp_not_equal(s.hidden.size(), s.blocks()))
    refuse("hidden channels", fmt::format("{} numbers", s.hidden.size()), fmt::format("{}", s.blocks()));
  s.for_blocks([&](std::size_t stage, std::size_t block) {
    if (s.hidden[block] < 1 || s.hidden[block] > s.stage_hidden(stage))
      refuse("hidden channels", number(s.hidden[block]), fmt::format("1 to {}", s.stage_hidden(stage)));
  });
}

std::optional<std::size_t> odd_stage(const SmlpShape& s) {
  for (std::size_t stage = 0; stage + 1 < s.stages(); ++stage)
    if (s.stage_height(stage) % 2 != 0 || s.stage_width(stage) % 2 != 0) return stage;
  return std::nullopt;
}

SmlpCounts parameters_of(const SmlpShape& s) {
  SmlpCounts n;
  n.embedding = std::int64_t{s.patch} * s.patch * s.channels * s.embedding;
  for (std::size_t stage = 0; stage < s.stages(); ++stage) {
    const std::int64_t c = s.stage_channels(stage), h = s.stage_height(stage), w = s.stage_width(stage);
    const std::int64_t blocks = s.depths[stage];
    if (stage > 0) n.embedding += 4 * std::int64_t{s.stage_channels(stage - 1)} * c;
    n.fuse += blocks * 3 * c * c;
    n.row_and_column_mix += blocks * (w * w + w + h * h + h);
    n.depthwise += blocks * 9 * c;
    n.norms += blocks * 6 * c;
  }
  s.for_blocks([&](std::size_t stage, std::size_t block) {
    const std::int64_t c = s.stage_channels(stage), hidden = s.hidden_of(stage, block);
    n.channel_mix += 2 * hidden * c + hidden + c;
  });
  const std::int64_t last = s.stage_channels(s.stages() - 1);
  n.norms += 2 * last;
  n.head = s.classes * (last + 1);
  return n;
}

SmlpCounts multiplications_of(const SmlpShape& s) {
  SmlpCounts n;
  n.embedding = s.stage_tokens(0) * s.patch * s.patch * s.channels * s.embedding;
  for (std::size_t stage = 0; stage < s.stages(); ++stage) {
    const std::int64_t c = s.stage_channels(stage), h = s.stage_height(stage), w = s.stage_width(stage);
    const std::int64_t tokens = s.depths[stage] * h * w;  // times blocks
    if (stage > 0) n.embedding += h * w * 4 * s.stage_channels(stage - 1) * c;
    n.fuse += tokens * 3 * c * c;
    n.row_and_column_mix += tokens * c * (h + w);
    n.depthwise += tokens * 9 * c;
  }
  s.for_blocks([&](std::size_t stage, std::size_t block) {
    n.channel_mix += s.stage_tokens(stage) * 2 * s.hidden_of(stage, block) * s.stage_channels(stage);
  });
  n.head = std::int64_t{s.stage_channels(s.stages() - 1)} * s.classes;
  return n;
}

namespace {

SmlpShape published(std::int32_t embedding, std::vector<int> depths, double drop_path) {
  return {.embedding = embedding, .depths = std::move(depths), .drop_path = drop_path};
}

SmlpShape small(int channels, int side, int patch, std::int32_t embedding, std::vector<int> depths) {
  return {.channels = channels,
          .height = side,
          .width = side,
          .patch = patch,
          .embedding = embedding,
          .depths = std::move(depths),
          .classes = 10};
}

const SmlpVariant kVariants[] = {
    {"smlpnet_t", "tiny, for 224 x 224 pixels in colour: 24.1 M parameters",
     published(80, {2, 8, 14, 2}, 0.0)},
    {"smlpnet_s", "small, for 224 x 224 pixels in colour: 48.6 M parameters",
     published(96, {2, 10, 24, 2}, 0.2)},
    {"smlpnet_b", "base, for 224 x 224 pixels in colour: 65.9 M parameters",
     published(112, {2, 10, 24, 2}, 0.3)},
    {"smlp28_p2", "28 x 28 pixels, patches of 2", small(1, 28, 2, 64, {2, 2})},
    {"smlp28_p2_narrow", "28 x 28 pixels, patches of 2, half as wide", small(1, 28, 2, 32, {2, 2})},
    {"smlp28pad_p4", "28 x 28 pixels with 2 more on each side, patches of 4", small(1, 32, 4, 64, {2, 2, 2})},
    {"smlp28pad_p2", "28 x 28 pixels with 2 more on each side, patches of 2", small(1, 32, 2, 64, {2, 2, 2})},
    {"smlp28pad_p2_narrow", "the same, half as wide", small(1, 32, 2, 32, {2, 2, 2})},
    {"smlp32_p4", "32 x 32 pixels in colour, patches of 4", small(3, 32, 4, 64, {2, 2, 2})},
    {"smlp32_p2", "32 x 32 pixels in colour, patches of 2", small(3, 32, 2, 64, {2, 2, 2})},
    {"smlp64_p4", "64 x 64 pixels in colour, patches of 4", small(3, 64, 4, 64, {2, 2, 2})},
    {"smlp64_p4_deep", "64 x 64 pixels in colour, patches of 4, deeper", small(3, 64, 4, 64, {2, 4, 2})},
};

}  // namespace

std::span<const SmlpVariant> smlp_variants() { return kVariants; }

}  // namespace tulle
