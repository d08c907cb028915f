#include "bench/graph_challenge/inference.h"

#include <algorithm>
#include <atomic>
#include <optional>
#include <utility>

#include "tulle/base/aligned.h"
#include "tulle/base/clock.h"
#include "tulle/base/parallel.h"
#include "tulle/kernels/targets.h"
#include "tulle/sparse/packing.h"

namespace tulle::bench {
namespace {

constexpr float kCap = 32.0f;
constexpr std::size_t kWidest = 64;  // images of a panel: what the packed product likes
// Layers that run over all panels in turn: by then hardly an image dies any more.
constexpr std::size_t kCompactedLayers = 16;

// Up to `width` images, [neuron][width]. Padding is zero, and stays so.
struct Panel {
  AlignedVector<float> values;
  std::vector<std::int32_t> images;
  std::vector<std::uint8_t> alive;  // one for each image
};

struct Workspace {
  AlignedVector<float> values;
  std::vector<std::uint16_t> positive;
};

class Engine {
 public:
  Engine(const ChallengeNetwork& network, std::size_t images)
      : network_(network),
        width_(kernels::panel_width(static_cast<std::int64_t>(std::min<std::size_t>(images, kWidest)))),
        bias_(static_cast<std::size_t>(network.neurons), network.bias),
        layers_(network.layers.size()) {
    parallel_ranges(static_cast<std::int64_t>(layers_.size()), 1, [&](Range range) {
      for (auto l = static_cast<std::size_t>(range.begin); l < static_cast<std::size_t>(range.end); ++l) {
        const ChallengeLayer& layer = network.layers[l];
        layers_[l].emplace(layer.topology, layer.values, Range{0, network.neurons},
                           packed_tile_width(network.neurons, layer.topology.density(), sizeof(float)));
      }
    });
  }

  void load(const ChallengeImages& images) {
    panels_.resize((images.size() + lanes() - 1) / lanes());
    for_panels([&](std::size_t p, Workspace&) {
      Panel& panel = panels_[p];
      panel.values.assign(neurons() * lanes(), 0.0f);
      for (std::size_t image = p * lanes(); image < std::min((p + 1) * lanes(), images.size()); ++image) {
        const std::size_t lane = panel.images.size();
        panel.images.push_back(static_cast<std::int32_t>(image));
        for (const std::int32_t neuron : images[image])
          panel.values[static_cast<std::size_t>(neuron) * lanes() + lane] = 1.0f;
      }
      panel.alive.assign(panel.images.size(), 1);
    });
  }

  void run(bool compacting) {
    std::size_t layer = 0;
    for (; compacting && layer < std::min(kCompactedLayers, network_.layers.size()); ++layer) {
      for_panels([&](std::size_t p, Workspace& workspace) { pass(panels_[p], layer, workspace); });
      compact();
    }
    for_panels([&](std::size_t p, Workspace& workspace) {
      Panel& panel = panels_[p];
      for (std::size_t l = layer; l < network_.layers.size() && (!compacting || count_alive(panel) > 0); ++l)
        pass(panel, l, workspace);
    });
  }

  std::vector<std::int32_t> categories() const {
    std::vector<std::int32_t> found;
    for (const Panel& panel : panels_)
      for (std::size_t lane = 0; lane < panel.images.size(); ++lane)
        if (panel.alive[lane] != 0) found.push_back(panel.images[lane]);
    std::sort(found.begin(), found.end());
    return found;
  }

  std::int64_t lane_layers() const { return lane_layers_; }

 private:
  std::size_t lanes() const { return static_cast<std::size_t>(width_); }
  std::size_t neurons() const { return static_cast<std::size_t>(network_.neurons); }

  template <class Body>
  void for_panels(const Body& body) {
    parallel_ranges(static_cast<std::int64_t>(panels_.size()), 1, [&](Range range) {
      Workspace workspace{AlignedVector<float>(neurons() * lanes()),
                          std::vector<std::uint16_t>(neurons() * lanes() / 16)};
      for (std::int64_t p = range.begin; p < range.end; ++p) body(static_cast<std::size_t>(p), workspace);
    });
  }

  void pass(Panel& panel, std::size_t l, Workspace& workspace) {
    const kernels::Epilogue epilogue{.bias = bias_.data(),
                                     .slope = 0.0f,
                                     .zero_is_negative = true,
                                     .cap = kCap,
                                     .positive_bits = workspace.positive.data()};
    layers_[l]->for_tiles([&](std::int64_t first, const kernels::PackedTile& w, kernels::Tile tile) {
      kernels::packed_forward(w, width_, panel.values.data() + first * width_, workspace.values.data(),
                              epilogue, tile);
    });
    std::swap(panel.values, workspace.values);
    const std::size_t words = lanes() / 16;
    std::uint16_t any[8] = {};
    for (std::size_t neuron = 0; neuron < neurons(); ++neuron)
      for (std::size_t word = 0; word < words; ++word)
        any[word] = static_cast<std::uint16_t>(any[word] | workspace.positive[neuron * words + word]);
    for (std::size_t lane = 0; lane < panel.images.size(); ++lane)
      panel.alive[lane] = static_cast<std::uint8_t>(any[lane / 16] >> lane % 16 & 1);
    lane_layers_ += width_;
  }

  static std::size_t count_alive(const Panel& panel) {
    return static_cast<std::size_t>(std::count(panel.alive.begin(), panel.alive.end(), 1));
  }

  // Merges panels once half of all lanes are dead: moving a lane costs about as much as computing one layer
  // of it.
  void compact() {
    struct Lane {
      std::size_t panel, lane;
    };
    std::vector<Lane> living;
    for (std::size_t p = 0; p < panels_.size(); ++p)
      for (std::size_t lane = 0; lane < panels_[p].images.size(); ++lane)
        if (panels_[p].alive[lane] != 0) living.push_back({p, lane});
    if (living.size() * 2 > panels_.size() * lanes()) return;
    const std::vector<Panel> old = std::exchange(panels_, {});
    panels_.resize((living.size() + lanes() - 1) / lanes());
    for_panels([&](std::size_t p, Workspace&) {
      Panel& panel = panels_[p];
      const std::size_t first = p * lanes(), count = std::min(lanes(), living.size() - first);
      panel.values.assign(neurons() * lanes(), 0.0f);
      panel.alive.assign(count, 1);
      for (std::size_t i = 0; i < count; ++i) {
        const Lane& from = living[first + i];
        const float* source = old[from.panel].values.data() + from.lane;
        for (std::size_t neuron = 0; neuron < neurons(); ++neuron)
          panel.values[neuron * lanes() + i] = source[neuron * lanes()];
        panel.images.push_back(old[from.panel].images[from.lane]);
      }
    });
  }

  const ChallengeNetwork& network_;
  int width_;
  std::vector<float> bias_;
  std::vector<std::optional<PackedRows>> layers_;
  std::vector<Panel> panels_;
  std::atomic<std::int64_t> lane_layers_{0};
};

}  // namespace

InferenceResult infer(const ChallengeNetwork& network, const ChallengeImages& images, bool compact) {
  InferenceResult result;
  Engine engine(network, images.size());  // packs the layers, which counts as setup
  const Clock clock;
  engine.load(images);
  engine.run(compact);
  result.categories = engine.categories();
  result.seconds = clock.seconds();
  result.lane_layers = engine.lane_layers();
  return result;
}

std::vector<std::int32_t> infer_in_double(const ChallengeNetwork& network, const ChallengeImages& images) {
  std::vector<std::uint8_t> has_value(images.size(), 0);
  parallel_ranges(static_cast<std::int64_t>(images.size()), 1, [&](Range range) {
    const auto neurons = static_cast<std::size_t>(network.neurons);
    std::vector<double> y(neurons), next(neurons);
    for (auto image = static_cast<std::size_t>(range.begin); image < static_cast<std::size_t>(range.end);
         ++image) {
      std::fill(y.begin(), y.end(), 0.0);
      for (const std::int32_t neuron : images[image]) y[static_cast<std::size_t>(neuron)] = 1.0;
      for (const ChallengeLayer& layer : network.layers) {
        std::size_t k = 0;
        for (std::int32_t target = 0; target < network.neurons; ++target) {
          double z = 0.0;
          for (const std::int32_t source : layer.topology.row(target))
            z += double{layer.values[k++]} * y[static_cast<std::size_t>(source)];
          if (z != 0.0) z += double{network.bias};
          next[static_cast<std::size_t>(target)] = std::clamp(z, 0.0, double{kCap});
        }
        std::swap(y, next);
      }
      has_value[image] = std::any_of(y.begin(), y.end(), [](double value) { return value != 0.0; });
    }
  });
  std::vector<std::int32_t> categories;
  for (std::size_t image = 0; image < images.size(); ++image)
    if (has_value[image] != 0) categories.push_back(static_cast<std::int32_t>(image));
  return categories;
}

}  // namespace tulle::bench
