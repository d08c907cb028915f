#include "tulle/nn/inference.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "tulle/base/check.h"
#include "tulle/base/parallel.h"
#include "tulle/kernels/gemm.h"
#include "tulle/kernels/narrow.h"
#include "tulle/kernels/targets.h"
#include "tulle/sparse/packing.h"

namespace tulle {

/// One panel's activations on their way, and the same in the form that a layer multiplies.
struct Scratch {
  AlignedVector<float> values[2];  // of a layer and of the one below, in turn
  AlignedVector<kernels::Bf16Pair> pairs;
  AlignedVector<float> rounded;  // to bfloat16, of a single sample
  AlignedVector<std::uint8_t> bytes;
};

/// A layer ready to run on one panel at a time.
class Stage {
 public:
  explicit Stage(const Layer& layer, int width) : layer_(layer), width_(width) {
    if (const auto form = layer.activation().piecewise()) {
      epilogue_.slope = form->slope;
      epilogue_.zero_is_negative = form->zero_is_negative;
    }
    epilogue_.bias = layer.bias().value.data();
  }
  virtual ~Stage() = default;

  std::int32_t outputs() const { return layer_.outputs(); }
  /// Whether every piece may begin when the layer below is done, without narrow().
  virtual bool reads_floats() const { return true; }
  /// Brings the panel x into the form that multiply() wants.
  virtual void narrow(const float* /*x*/, Scratch& /*scratch*/) const {}
  /// The rows of one piece.
  virtual void multiply(int piece, const float* x, const Scratch& scratch, float* y) const = 0;
  /// What is left to do for the whole panel.
  void activate(float* y) const {
    if (layer_.activation().piecewise()) return;
    const Panels<float> panel{y, layer_.outputs(), width_, width_};
    layer_.activation().forward(panel, panel);
  }
  bool activates() const { return !layer_.activation().piecewise(); }

 protected:
  const Layer& layer_;
  const int width_;
  kernels::Epilogue epilogue_;
};

namespace {

class DenseStage final : public Stage {
 public:
  DenseStage(const Layer& layer, int width, int pieces) : Stage(layer, width), pieces_(pieces) {}

  void multiply(int piece, const float* x, const Scratch&, float* y) const override {
    constexpr std::int64_t kRows = 64;  // of a tile: the same for any number of pieces
    const std::int64_t inputs = layer_.inputs();
    const Range rows = even_range(layer_.outputs(), pieces_, piece, kRows);
    for (std::int64_t row = rows.begin; row < rows.end; row += kRows)
      kernels::gemm(false, false, std::min(kRows, rows.end - row), width_, inputs,
                    layer_.weight().value.data() + row * inputs, inputs, x, width_, false, y + row * width_,
                    width_);
    if (width_ == 1)
      kernels::apply_epilogue_to_one(rows, y, epilogue_);
    else
      kernels::apply_epilogue(rows, width_, y, epilogue_);
  }

 private:
  const int pieces_;
};

// The rows of a layer in pieces of about equally many connections.
template <class Rows, class... Options>
std::vector<Rows> pack(const Layer& layer, int pieces, const Options&... options) {
  std::vector<Rows> packed;
  const std::vector<std::int64_t> cuts = balanced_rows(layer.topology()->row_ptr(), pieces);
  for (std::size_t i = 0; i + 1 < cuts.size(); ++i)
    packed.emplace_back(*layer.topology(), layer.weight().value, Range{cuts[i], cuts[i + 1]}, options...);
  return packed;
}

class OneSampleStage final : public Stage {
 public:
  OneSampleStage(const Layer& layer, int pieces, bool bf16)
      : Stage(layer, 1), bf16_(bf16), rows_(pack<SlicedRows>(layer, pieces)) {}

  bool reads_floats() const override { return !bf16_; }
  void narrow(const float* x, Scratch& scratch) const override {
    if (bf16_) kernels::round_to_bf16(x, layer_.inputs(), scratch.rounded.data());
  }
  void multiply(int piece, const float* given, const Scratch& scratch, float* y) const override {
    const float* const x = bf16_ ? scratch.rounded.data() : given;
    rows_[static_cast<std::size_t>(piece)].for_tiles(
        [&](std::int64_t first, const kernels::SlicedTile& w, kernels::Tile tile) {
          kernels::spmv_forward(w, x + first, y, epilogue_, tile);
        });
  }

 private:
  const bool bf16_;
  std::vector<SlicedRows> rows_;
};

class PanelStage final : public Stage {
 public:
  PanelStage(const Layer& layer, int width, int pieces, bool bf16)
      : Stage(layer, width),
        bf16_(bf16),
        rows_(pack<PackedRows>(
            layer, pieces, packed_tile_width(layer.inputs(), layer.topology()->density(), bf16 ? 2 : 4))) {}

  bool reads_floats() const override { return !bf16_; }
  void narrow(const float* x, Scratch& scratch) const override {
    if (bf16_) kernels::narrow(x, std::int64_t{layer_.inputs()} * width_, scratch.pairs.data());
  }
  void multiply(int piece, const float* x, const Scratch& scratch, float* y) const override {
    rows_[static_cast<std::size_t>(piece)].for_tiles(
        [&](std::int64_t first, const kernels::PackedTile& w, kernels::Tile tile) {
          if (bf16_)
            kernels::packed_forward(w, width_, scratch.pairs.data() + first * width_ / 2, y, epilogue_, tile);
          else
            kernels::packed_forward(w, width_, x + first * width_, y, epilogue_, tile);
        });
  }

 private:
  const bool bf16_;
  std::vector<PackedRows> rows_;
};

class ByteStage final : public Stage {
 public:
  ByteStage(const Layer& layer, int pieces, const kernels::ByteScale& scale)
      : Stage(layer, kernels::kByteWidth), scale_(scale), rows_(pack<ByteRows>(layer, pieces, scale)) {}

  bool reads_floats() const override { return false; }
  void narrow(const float* x, Scratch& scratch) const override {
    kernels::narrow_bytes(x, layer_.inputs(), scale_, scratch.bytes.data());
  }
  void multiply(int piece, const float*, const Scratch& scratch, float* y) const override {
    kernels::packed_forward(rows_[static_cast<std::size_t>(piece)].tile(), scratch.bytes.data(), y,
                            epilogue_);
  }

 private:
  const kernels::ByteScale scale_;
  std::vector<ByteRows> rows_;
};

constexpr std::int32_t kMostByteInputs = 65536;

bool in_bytes(const Layer& layer, Precision precision) {
  return precision == Precision::kInt8 && layer.topology() != nullptr && layer.inputs() <= kMostByteInputs;
}

bool single_samples(const Network& network, const Inference::Options& options) {
  if (options.batch != 1 || options.precision == Precision::kInt8) return false;
  for (std::size_t l = 0; l < network.size(); ++l)
    if (!network.layer(l).activation().piecewise()) return false;
  return true;
}

int width_for(const Network& network, const Inference::Options& options) {
  if (single_samples(network, options)) return 1;
  if (options.precision == Precision::kInt8) return kernels::kByteWidth;
  const int least = options.precision == Precision::kBf16 ? 32 : 16;
  return std::clamp(kernels::panel_width(options.batch), least, 64);
}

std::unique_ptr<Stage> make_stage(const Layer& layer, std::size_t l, int width, int pieces,
                                  const Inference::Options& options) {
  if (layer.topology() == nullptr) return std::make_unique<DenseStage>(layer, width, pieces);
  const bool bf16 = options.precision == Precision::kBf16;
  if (width == 1) return std::make_unique<OneSampleStage>(layer, pieces, bf16);
  if (in_bytes(layer, options.precision))
    return std::make_unique<ByteStage>(layer, pieces, options.scales[l]);
  return std::make_unique<PanelStage>(layer, width, pieces, bf16);
}

}  // namespace

Inference::Inference(const Network& network, const Options& options)
    : inputs_(network.inputs()), outputs_(network.outputs()), batch_(options.batch) {
  require(options.batch > 0, "Inference: the batch must be positive");
  if (network.architecture() != nullptr) {
    runner_ = network.architecture()->make_runner(options.precision);
    width_ = options.batch == 1 ? 1 : 16;
    return;
  }
  require(options.precision != Precision::kInt8 || options.scales.size() == network.size(),
          "Inference: int8 needs the scale of each layer's inputs");
  width_ = width_for(network, options);
  pieces_ = thread_count();
  std::size_t widest = static_cast<std::size_t>(inputs_);
  for (std::size_t l = 0; l < network.size(); ++l) {
    stages_.push_back(make_stage(network.layer(l), l, width_, pieces_, options));
    widest = std::max(widest, static_cast<std::size_t>(network.layer(l).outputs()));
  }
  const std::size_t values = widest * static_cast<std::size_t>(width_);
  scratch_.resize(static_cast<std::size_t>(std::min<std::int64_t>(pieces_, (batch_ + width_ - 1) / width_)));
  for (Scratch& scratch : scratch_) {
    for (auto& buffer : scratch.values) buffer.resize(values);
    if (options.precision == Precision::kBf16 && width_ == 1) scratch.rounded.resize(values);
    if (options.precision == Precision::kBf16 && width_ > 1) scratch.pairs.resize(values / 2);
    if (options.precision == Precision::kInt8) scratch.bytes.resize(values);
  }
  output_.view(outputs_, batch_, width_);
}

Inference::Inference(Inference&&) noexcept = default;
Inference::~Inference() = default;

Panels<const float> Inference::forward(Panels<const float> x) {
  require(x.features == inputs_ && x.width == width_ && x.batch > 0 && x.batch <= batch_,
          "Inference: the inputs must have the network's features, panel_width(), and 1 to `batch` samples");
  if (runner_) return runner_->forward(x);
  const Panels<float> output = output_.view(outputs_, x.batch, width_);
  const auto workers = static_cast<std::int32_t>(scratch_.size());
  if (x.count() >= workers && workers == pieces_)
    parallel_parts(workers, [&](int part) {
      const Range panels = even_range(x.count(), workers, part);
      for (std::int64_t p = panels.begin; p < panels.end; ++p)
        run_panel(x, static_cast<std::int32_t>(p), output, scratch_[static_cast<std::size_t>(part)]);
    });
  else
    run_pieces(x, output);
  return output;
}

void Inference::run_panel(Panels<const float> x, std::int32_t p, Panels<float> output,
                          Scratch& scratch) const {
  const float* in = x.panel(p);
  for (std::size_t l = 0; l < stages_.size(); ++l) {
    const Stage& stage = *stages_[l];
    float* const out = l + 1 == stages_.size() ? output.panel(p) : scratch.values[l % 2].data();
    stage.narrow(in, scratch);
    for (int piece = 0; piece < pieces_; ++piece) stage.multiply(piece, in, scratch, out);
    stage.activate(out);
    in = out;
  }
}

// Fewer panels than threads: all threads work on each layer.
void Inference::run_pieces(Panels<const float> x, Panels<float> output) {
  const int panels = x.count();
  const auto in = [&](std::size_t l, int p) {
    return l == 0 ? x.panel(p) : scratch_[static_cast<std::size_t>(p)].values[(l - 1) % 2].data();
  };
  const auto out = [&](std::size_t l, int p) {
    return l + 1 == stages_.size() ? output.panel(p)
                                   : scratch_[static_cast<std::size_t>(p)].values[l % 2].data();
  };
  for (std::size_t l = 0; l < stages_.size(); ++l) {
    const Stage& stage = *stages_[l];
    if (!stage.reads_floats())
      parallel_parts(panels, [&](int p) { stage.narrow(in(l, p), scratch_[static_cast<std::size_t>(p)]); });
    parallel_parts(panels * pieces_, [&](int part) {
      const int p = part / pieces_;
      stage.multiply(part % pieces_, in(l, p), scratch_[static_cast<std::size_t>(p)], out(l, p));
    });
    if (stage.activates()) parallel_parts(panels, [&](int p) { stage.activate(out(l, p)); });
  }
}

kernels::ByteScale byte_scale(std::vector<float> values) {
  constexpr double kCutOff = 1e-4;  // the share of values beyond the range of bytes, at either end
  std::erase_if(values, [](float value) { return !std::isfinite(value); });
  values.push_back(0.0f);
  const auto rank = [&](double share) {
    const auto n = static_cast<std::ptrdiff_t>(share * static_cast<double>(values.size() - 1));
    std::nth_element(values.begin(), values.begin() + n, values.end());
    return values[static_cast<std::size_t>(n)];
  };
  const float low = std::min(0.0f, rank(kCutOff)), high = std::max(0.0f, rank(1.0 - kCutOff));
  if (low == high) return {};
  const float scale = (high - low) / 255.0f;
  return {.scale = scale, .zero = static_cast<std::int32_t>(std::lround(-low / scale))};
}

std::vector<kernels::ByteScale> byte_scales(Network& network, Panels<const float> x) {
  std::vector<kernels::ByteScale> scales;
  require(network.architecture() == nullptr, "byte_scales: there is no int8 form of this network");
  network.forward({}, x);
  for (std::size_t l = 0; l < network.size(); ++l) {
    const Panels<const float> in = l == 0 ? x : network.activations(l - 1);
    std::vector<float> values;
    values.reserve(static_cast<std::size_t>(in.features) * static_cast<std::size_t>(in.batch));
    for (std::int32_t f = 0; f < in.features; ++f)
      for (std::int32_t b = 0; b < in.batch; ++b) values.push_back(in.at(b, f));
    scales.push_back(byte_scale(std::move(values)));
  }
  return scales;
}

}  // namespace tulle
