#include "tulle/vision/smlp_net.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "tulle/base/as_size.h"
#include "tulle/base/check.h"
#include "tulle/base/random.h"
#include "tulle/kernels/gemm.h"
#include "tulle/kernels/tokens.h"
#include "tulle/nn/dense_linear.h"
#include "tulle/nn/sparse_layer.h"
#include "tulle/vision/start_values.h"

namespace tulle {
namespace {

float* sized(AlignedVector<float>& memory, std::int64_t values) {
  if (static_cast<std::int64_t>(memory.size()) < values) memory.resize(as_size(values));
  return memory.data();
}

const SmlpShape& checked(const SmlpShape& shape) {
  check_shape(shape);
  return shape;
}

// Rows of logits into the lanes of panels.
void fill(Panels<float> logits, const float* rows) {
  for (std::int32_t b = 0; b < logits.batch; ++b)
    for (std::int32_t k = 0; k < logits.features; ++k) logits.at(b, k) = *rows++;
}

}  // namespace

SmlpNet::SmlpNet(const SmlpShape& shape, const SmlpInput& input, std::span<Layer* const> layers, bool bf16)
    : shape_(checked(shape)),
      input_(input),
      layers_(layers.begin(), layers.end()),
      bf16_(bf16),
      norm_("batch_norm", shape.stage_channels(shape.stages() - 1)),
      head_weight_("mlp_head.0.weight", Parameter::Kind::kWeight,
                   as_size(std::int64_t{shape.classes} * shape.stage_channels(shape.stages() - 1))),
      head_bias_("mlp_head.0.bias", Parameter::Kind::kBias, as_size(shape.classes)) {
  require(layers.size() == as_size(3 * shape.blocks()), "SmlpNet: three layers for each block are needed");
  if (input_.height == 0) input_.height = shape.height, input_.width = shape.width;
  require(input_.height <= shape.height && input_.width <= shape.width,
          "SmlpNet: images must not be larger than the network");
  input_.padding.resize(as_size(shape.channels), 0.0f);
  shape_.hidden.clear();  // as the layers have it
  for (std::size_t l = 1; l < layers.size(); l += 3) shape_.hidden.push_back(layers[l]->outputs());
  bool whole = true;
  shape_.for_blocks([&](std::size_t stage, std::size_t block) {
    whole = whole && shape_.hidden[block] == shape_.stage_hidden(stage);
  });
  if (whole) shape_.hidden.clear();
  patches_.reserve(shape.stages());
  blocks_.reserve(as_size(shape.blocks()));
  for (std::size_t stage = 0; stage < shape.stages(); ++stage) {
    const bool first = stage == 0;
    patches_.emplace_back(fmt::format("to_patch_embedding.{}.0.weight", stage),
                          first ? shape.channels : shape.stage_channels(stage - 1),
                          shape.stage_channels(stage), first ? shape.patch : 2, bf16);
    for (int b = 0; b < shape.depths[stage]; ++b) {
      const std::size_t k = blocks_.size();
      blocks_.emplace_back(static_cast<int>(k), grid(stage), *layers[3 * k], *layers[3 * k + 1],
                           *layers[3 * k + 2], bf16);
    }
  }
  features_.resize(blocks_.size() + shape.stages());
  scales_.resize(2 * blocks_.size());
}

Grid SmlpNet::grid(std::size_t stage) const {
  return {shape_.stage_height(stage), shape_.stage_width(stage), shape_.stage_channels(stage)};
}

// The exact GELU; kernels/gelu.h.
double SmlpNet::activated(double z) const { return 0.5 * z * (1.0 + std::erf(z / std::numbers::sqrt2)); }

std::int32_t SmlpNet::inputs() const { return shape_.channels * input_.height * input_.width; }

std::vector<Parameter*> SmlpNet::parameters() {
  std::vector<Parameter*> all;
  for (Patches& patches : patches_) all.push_back(&patches.weight());
  for (SmlpBlock& block : blocks_)
    for (Parameter* parameter : block.parameters()) all.push_back(parameter);
  for (Parameter* parameter : norm_.parameters()) all.push_back(parameter);
  all.push_back(&head_weight_);
  all.push_back(&head_bias_);
  return all;
}

std::vector<NamedArray> SmlpNet::arrays() {
  std::vector<NamedArray> all;
  for (Patches& patches : patches_) patches.add_arrays(all);
  for (SmlpBlock& block : blocks_) block.add_arrays(all);
  norm_.add_arrays(all);
  all.push_back(
      {head_weight_.name, {shape_.classes, shape_.stage_channels(shape_.stages() - 1)}, &head_weight_.value});
  all.push_back({head_bias_.name, {shape_.classes}, &head_bias_.value});
  return all;
}

std::vector<Statistic> SmlpNet::statistics() {
  std::vector<Statistic> all;
  for (SmlpBlock& block : blocks_) block.add_statistics(all);
  norm_.add_statistics(all);
  return all;
}

void SmlpNet::share_batches(Communicator* comm) {
  for (SmlpBlock& block : blocks_) block.share_batches(comm);
  norm_.share_batches(comm);
}

std::int64_t SmlpNet::other_weights() const {
  std::int64_t sum = static_cast<std::int64_t>(head_weight_.value.size());
  for (const Patches& patches : patches_) sum += static_cast<std::int64_t>(patches.weight().value.size());
  for (const SmlpBlock& block : blocks_) sum += block.other_weights();
  return sum;
}

void SmlpNet::draw(std::uint64_t seed) {
  for (Patches& patches : patches_)
    draw_uniform(patches.weight(), static_cast<double>(patches.patch_values()), seed);
  for (SmlpBlock& block : blocks_) block.draw(seed);
  const auto last = static_cast<double>(shape_.stage_channels(shape_.stages() - 1));
  draw_uniform(head_weight_, last, seed);
  draw_uniform(head_bias_, last, seed);
}

void SmlpNet::gather_patches(Panels<const float> x, std::int64_t first_image, std::int64_t images,
                             float* patches) const {
  const std::int64_t side = shape_.patch, rows = shape_.stage_height(0), columns = shape_.stage_width(0);
  const std::int64_t top = (shape_.height - input_.height) / 2, left = (shape_.width - input_.width) / 2;
  parallel_ranges(images * rows, 1, [&](Range range) {
    for (std::int64_t i = range.begin; i < range.end; ++i) {
      const auto image = static_cast<std::int32_t>(first_image + i / rows);
      const float* const pixels = x.panel(image / x.width) + image % x.width;
      float* out = patches + i * columns * side * side * shape_.channels;
      for (std::int64_t column = 0; column < columns; ++column)
        for (std::int64_t r = 0; r < side; ++r)
          for (std::int64_t s = 0; s < side; ++s) {
            const std::int64_t row = i % rows * side + r - top, at = column * side + s - left;
            const bool inside = row >= 0 && row < input_.height && at >= 0 && at < input_.width;
            for (std::int64_t c = 0; c < shape_.channels; ++c)
              *out++ = inside ? pixels[((c * input_.height + row) * input_.width + at) * x.width]
                              : input_.padding[as_size(c)];
          }
    }
  });
}

// Kept branches of the samples are scaled up, so that means do not change. Drawn by place, as dropout is.
const float* SmlpNet::draw_scales(const Pass& pass, int block, int branch, std::int64_t tokens,
                                  std::int64_t images) {
  const double rate = shape_.drop_path_of(block);
  if (rate == 0.0) return nullptr;
  AlignedVector<float>& scales = scales_[as_size(2 * block + branch)];
  scales.resize(as_size(tokens * images));
  const Random random{.seed = pass.seed,
                      .stream = Stream::kDropout,
                      .layer = 0x800000u + static_cast<std::uint32_t>(2 * block + branch),
                      .event = pass.step};
  for (std::int64_t image = 0; image < images; ++image) {
    const bool kept =
        static_cast<double>(random.uniform(static_cast<std::uint64_t>(pass.first_position + image))) >= rate;
    std::fill_n(scales.begin() + image * tokens, tokens,
                kept ? static_cast<float>(1.0 / (1.0 - rate)) : 0.0f);
  }
  return scales.data();
}

void SmlpNet::measure(std::size_t stage, std::int64_t images, const float* x, TileMoments& moments) const {
  const Grid g = grid(stage);
  const Tiles tiles(images * g.tokens(), std::int64_t{g.channels} * g.channels);
  moments.start(tiles.count, g.channels);
  for_tiles(tiles, [&](std::int64_t tile, Range rows) {
    moments.measure(tile, x + rows.begin * g.channels, rows.end - rows.begin);
  });
}

Panels<const float> SmlpNet::forward(const Pass& pass, Panels<const float> x) {
  require(x.features == inputs(), "SmlpNet: images of another size");
  const std::int64_t images = x.batch;
  const Panels<float> logits = logits_.view(shape_.classes, x.batch, x.width);
  float* const logit_rows = logit_rows_.get(images * shape_.classes);
  if (!pass.training) {
    prepare_inference();
    run(x, 0, images, logit_rows);
    fill(logits, logit_rows);
    return logits;
  }
  images_ = x;
  TileMoments moments, next;
  std::size_t k = 0, feature = 0;
  for (std::size_t stage = 0; stage < shape_.stages(); ++stage) {
    const Grid g = grid(stage);
    Patches& patches = patches_[stage];
    patches.prepare(/*with_back=*/true);
    float* in = sized(features_[feature], images * g.tokens() * g.channels);
    if (stage == 0)
      for_chunks(g, images, [&](const Chunk& chunk) {
        const std::int64_t tokens = chunk.images * g.tokens();
        float* const gathered = patch_scratch_.get(tokens * patches.patch_values());
        gather_patches(x, chunk.first, chunk.images, gathered);
        patches.forward(tokens, gathered, in + chunk.first * g.tokens() * g.channels);
      });
    else {
      // Blocks have no use for their scratch between stages.
      float* const gathered = scratch_.d.get(images * g.tokens() * patches.patch_values());
      gather_merge(grid(stage - 1), images, features_[feature - 1].data(), gathered);
      patches.forward(images * g.tokens(), gathered, in);
    }
    measure(stage, images, in, moments);
    for (int b = 0; b < shape_.depths[stage]; ++b, ++k) {
      const auto index = static_cast<int>(k);
      const BranchScales scales{draw_scales(pass, index, 0, g.tokens(), images),
                                draw_scales(pass, index, 1, g.tokens(), images)};
      float* const out = sized(features_[++feature], images * g.tokens() * g.channels);
      blocks_[k].prepare(/*with_back=*/true);
      blocks_[k].forward(images, in, scales, moments, out, next, scratch_);
      std::swap(moments, next);
      in = out;
    }
    ++feature;
  }
  norm_.use_batch(moments);
  pool(images, features_.back().data());
  logits_of(images, pooled_.data(), logit_rows);
  fill(logits, logit_rows);
  return logits;
}

// pooled = the mean over the tokens of what the norm makes of x, for each image.
void SmlpNet::pool(std::int64_t images, const float* x) {
  const Grid g = grid(shape_.stages() - 1);
  const std::int64_t c = g.channels, tokens = g.tokens();
  float* const pooled = sized(pooled_, images * c);
  parallel_ranges(images, 1, [&](Range range) {
    for (std::int64_t image = range.begin; image < range.end; ++image) {
      float* const sums = pooled + image * c;
      std::fill_n(sums, c, 0.0f);
      kernels::add_channel_sums(x + image * tokens * c, c, tokens, c, sums);
      for (std::int64_t i = 0; i < c; ++i)
        sums[i] = sums[i] / static_cast<float>(tokens) * norm_.scale()[i] + norm_.shift()[i];
    }
  });
}

void SmlpNet::logits_of(std::int64_t images, const float* pooled, float* rows) const {
  const std::int64_t c = shape_.stage_channels(shape_.stages() - 1), classes = shape_.classes;
  for (std::int64_t image = 0; image < images; ++image)
    std::ranges::copy(head_bias_.value, rows + image * classes);
  kernels::gemm(false, true, images, classes, c, pooled, c, head_weight_.value.data(), c, /*add=*/true, rows,
                classes);
}

Panels<float> SmlpNet::output_gradient() {
  return logit_gradient_.view(shape_.classes, images_.batch, images_.width);
}

// logits = Wh mean(norm(x)) + bh: g becomes dL/dx.
void SmlpNet::head_backward(float* g) {
  const Grid last = grid(shape_.stages() - 1);
  const std::int64_t images = images_.batch, c = last.channels, tokens = last.tokens(),
                     classes = shape_.classes;
  const Panels<const float> gradient = output_gradient();
  float* const rows = logit_rows_.get(images * classes);
  std::ranges::fill(head_bias_.gradient, 0.0f);
  for (std::int32_t b = 0; b < gradient.batch; ++b)
    for (std::int32_t k = 0; k < classes; ++k) {
      rows[b * classes + k] = gradient.at(b, k);
      head_bias_.gradient[as_size(k)] += gradient.at(b, k);
    }
  kernels::gemm(true, false, classes, c, images, rows, classes, pooled_.data(), c, /*add=*/false,
                head_weight_.gradient.data(), c);
  float* const d_pooled = pooled_gradient_.get(images * c);
  kernels::gemm(false, false, images, c, classes, rows, classes, head_weight_.value.data(), c, /*add=*/false,
                d_pooled, c);
  // Every token of an image has the same gradient, so the norm's sums are sums over images: of (x - mean) /
  // deviation the mean over the tokens follows from what was pooled.
  std::vector<double> sums(as_size(c), 0.0), dots(as_size(c), 0.0);
  const float* const x = features_.back().data();
  std::vector<float> means(as_size(c));
  for (std::int64_t image = 0; image < images; ++image) {
    std::ranges::fill(means, 0.0f);
    kernels::add_channel_sums(x + image * tokens * c, c, tokens, c, means.data());
    for (std::int64_t i = 0; i < c; ++i) {
      const auto grad = static_cast<double>(d_pooled[image * c + i]);
      const double normal = static_cast<double>(means[as_size(i)]) / static_cast<double>(tokens) *
                                static_cast<double>(norm_.normal_scale()[i]) +
                            static_cast<double>(norm_.normal_shift()[i]);
      sums[as_size(i)] += grad;
      dots[as_size(i)] += grad * normal;
    }
  }
  norm_.back(sums, dots);
  const std::vector<float> none(as_size(c), 0.0f);
  parallel_ranges(images, 1, [&](Range range) {
    std::vector<float> constant(as_size(c));
    for (std::int64_t image = range.begin; image < range.end; ++image) {
      for (std::int64_t i = 0; i < c; ++i)
        constant[as_size(i)] =
            norm_.constant()[i] + norm_.by_g()[i] * d_pooled[image * c + i] / static_cast<float>(tokens);
      const float* const tokens_of = x + image * tokens * c;
      kernels::combine_channels(tokens_of, tokens_of, none.data(), norm_.by_x(), constant.data(), nullptr,
                                tokens, c, g + image * tokens * c);
    }
  });
}

void SmlpNet::backward() {
  const std::int64_t images = images_.batch;
  std::size_t k = blocks_.size(), feature = features_.size() - 1;
  // Errors take the place of what the last block of their stage made.
  float* g = features_[feature].data();
  head_backward(g);
  for (std::size_t stage = shape_.stages(); stage-- > 0;) {
    const Grid here = grid(stage);
    for (int b = 0; b < shape_.depths[stage]; ++b) {
      --k, --feature;
      const auto scales = [&](std::size_t branch) {
        return shape_.drop_path_of(static_cast<int>(k)) == 0.0 ? nullptr : scales_[2 * k + branch].data();
      };
      blocks_[k].backward(images, features_[feature].data(), {scales(0), scales(1)}, g, scratch_);
    }
    Patches& patches = patches_[stage];
    if (stage == 0) {
      for_chunks(here, images, [&](const Chunk& chunk) {
        const std::int64_t tokens = chunk.images * here.tokens();
        float* const gathered = patch_scratch_.get(tokens * patches.patch_values());
        gather_patches(images_, chunk.first, chunk.images, gathered);
        patches.add_gradient(tokens, gathered, g + chunk.first * here.tokens() * here.channels,
                             chunk.index == 0);
      });
      break;
    }
    --feature;  // what the last block of the stage before made
    float* const before = features_[feature].data();
    float* const gathered = scratch_.d.get(images * here.tokens() * patches.patch_values());
    gather_merge(grid(stage - 1), images, before, gathered);
    patches.add_gradient(images * here.tokens(), gathered, g, /*first=*/true);
    const Grid there = grid(stage - 1);
    if (there.height % 2 != 0 || there.width % 2 != 0)  // what merges leave out
      std::fill_n(before, images * there.tokens() * there.channels, 0.0f);
    patches.backward(images * here.tokens(), g, [&](Range some, const float* d_patches) {
      scatter_merge(there, some, d_patches, before);
    });
    g = before;
  }
}

void SmlpNet::prepare_inference() {
  for (Patches& patches : patches_) patches.prepare(/*with_back=*/false);
  for (SmlpBlock& block : blocks_) block.prepare_inference();
  norm_.use_running();
}

// A chunk of the first stage's images goes through the whole network.
void SmlpNet::run(Panels<const float> x, std::int64_t first_image, std::int64_t images, float* logits) {
  for_chunks(grid(0), images, [&](const Chunk& chunk) {
    std::size_t k = 0;
    const float* tokens = nullptr;
    for (std::size_t stage = 0; stage < shape_.stages(); ++stage) {
      const Grid g = grid(stage);
      const std::int64_t count = chunk.images * g.tokens();
      float* const gathered = patch_scratch_.get(count * patches_[stage].patch_values());
      if (stage == 0)
        gather_patches(x, first_image + chunk.first, chunk.images, gathered);
      else
        gather_merge(grid(stage - 1), chunk.images, tokens, gathered);
      float* const in = tokens_.get(count * g.channels);
      patches_[stage].forward(count, gathered, in);
      for (int b = 0; b < shape_.depths[stage]; ++b) blocks_[k++].run(chunk.images, in, scratch_);
      tokens = in;
    }
    pool(chunk.images, tokens);
    logits_of(chunk.images, pooled_.data(), logits + chunk.first * shape_.classes);
  });
}

namespace {

class SmlpRunner final : public Runner {
 public:
  SmlpRunner(SmlpNet& net, std::unique_ptr<SmlpNet> own) : own_(std::move(own)), net_(own_ ? *own_ : net) {
    net_.prepare_inference();
  }

  Panels<const float> forward(Panels<const float> x) override {
    float* const rows = rows_.get(std::int64_t{x.batch} * net_.outputs());
    net_.run(x, 0, x.batch, rows);
    const Panels<float> logits = logits_.view(net_.outputs(), x.batch, x.width);
    fill(logits, rows);
    return logits;
  }

 private:
  std::unique_ptr<SmlpNet> own_;
  SmlpNet& net_;
  Workspace rows_;
  PanelBuffer logits_;
};

}  // namespace

std::unique_ptr<Runner> SmlpNet::make_runner(Precision precision) {
  const bool bf16 = precision == Precision::kBf16;
  require(precision != Precision::kInt8, "SmlpNet: there is no int8 form");
  if (bf16 == bf16_) return std::make_unique<SmlpRunner>(*this, nullptr);
  return std::make_unique<SmlpRunner>(*this, copy_over(layers_, bf16));
}

std::unique_ptr<SmlpNet> SmlpNet::copy_over(std::span<Layer* const> layers, bool bf16) const {
  auto copy = std::make_unique<SmlpNet>(shape_, input_, layers, bf16);
  const std::vector<NamedArray> from = const_cast<SmlpNet*>(this)->arrays(),
                                to = copy->arrays();  // only read
  for (std::size_t i = 0; i < from.size(); ++i) *to[i].values = *from[i].values;
  copy->recompute(recompute_);
  return copy;
}

std::unique_ptr<Architecture> SmlpNet::over(std::span<Layer* const> layers) const {
  return copy_over(layers, bf16_);
}

namespace {

// Density 1 is stored and computed as a dense matrix.
std::unique_ptr<Layer> make_layer(const LayerOptions& options, std::optional<Topology> topology) {
  if (topology) return make_sparse_layer(options, std::move(*topology));
  return std::make_unique<DenseLinear>(options);
}

}  // namespace

std::vector<LayerOptions> smlp_layer_options(const SmlpShape& shape) {
  std::vector<LayerOptions> all;
  shape.for_blocks([&](std::size_t stage, std::size_t k) {
    const std::int32_t c = shape.stage_channels(stage), hidden = shape.hidden_of(stage, k);
    all.push_back(
        {.inputs = 3 * c, .outputs = c, .has_bias = false, .name = fmt::format("token_mix.{}.1.fuse", k)});
    all.push_back({.inputs = c, .outputs = hidden, .name = fmt::format("channel_mix.{}.2.net.0", k)});
    if (hidden < shape.stage_hidden(stage)) all.back().original_outputs = shape.stage_hidden(stage);
    all.push_back({.inputs = hidden, .outputs = c, .name = fmt::format("channel_mix.{}.2.net.3", k)});
  });
  for (std::size_t l = 0; l < all.size(); ++l) all[l].index = static_cast<std::int32_t>(l);
  return all;
}

Network make_smlp(const SmlpShape& shape, const SmlpInput& input,
                  std::vector<std::optional<Topology>> topologies, std::uint64_t seed, bool bf16) {
  check_shape(shape);
  const std::vector<LayerOptions> options = smlp_layer_options(shape);
  topologies.resize(options.size());
  std::vector<std::unique_ptr<Layer>> layers;
  std::vector<Layer*> views;
  for (std::size_t l = 0; l < options.size(); ++l) {
    layers.push_back(make_layer(options[l], std::move(topologies[l])));
    views.push_back(layers.back().get());
    const double density = static_cast<double>(views.back()->connections()) /
                           (static_cast<double>(options[l].inputs) * options[l].outputs);
    draw_uniform(views.back()->weight(), std::max(1.0, density * options[l].inputs), seed);
    if (options[l].has_bias) draw_uniform(views.back()->bias(), options[l].inputs, seed);
  }
  auto net = std::make_unique<SmlpNet>(shape, input, views, bf16);
  net->draw(seed);
  return Network(std::move(layers), std::move(net));
}

std::vector<std::int64_t> weight_shape(const Layer& layer) {
  std::vector<std::int64_t> shape{layer.outputs(), layer.inputs()};
  if (layer.options().name.ends_with(".fuse")) shape.insert(shape.end(), {1, 1});
  return shape;
}

SmlpNet* smlp_of(const Network& network) { return dynamic_cast<SmlpNet*>(network.architecture()); }

}  // namespace tulle
