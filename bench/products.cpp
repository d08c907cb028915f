// One sparse layer's products, timed on demand for bench/compare/products.py: reads lines of commands from
// standard input, answers each with one line of JSON. See usage().
#include <fmt/format.h>

#include <fstream>
#include <functional>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "bench/machine.h"
#include "tulle/base/clock.h"
#include "tulle/base/parallel.h"
#include "tulle/kernels/targets.h"
#include "tulle/nn/dense_linear.h"
#include "tulle/nn/inference.h"
#include "tulle/nn/sparse_linear.h"
#include "tulle/sparse/packing.h"

namespace {

using namespace tulle;
using Json = nlohmann::json;

constexpr const char* kUsage = R"(commands, one a line:
  threads N                           for what is loaded afterwards
  machine                             measured limits of this machine
  load FOLDER INPUTS OUTPUTS BATCH    row_ptr (i64), columns (i32), values, x [input][sample], dz [output][sample] (f32)
  time PRODUCT SECONDS                runs it for some SECONDS: the fastest call; its results go to FOLDER/result
  quit
)";

template <class T>
std::vector<T> read_array(const std::string& path, std::size_t count) {
  std::vector<T> values(count);
  std::ifstream file(path, std::ios::binary);
  if (!file.read(reinterpret_cast<char*>(values.data()), static_cast<std::streamsize>(count * sizeof(T))))
    throw std::runtime_error("cannot read " + path);
  return values;
}

// The layer that was loaded, and each product as it is first asked for.
class LoadedLayer {
 public:
  LoadedLayer(std::string folder, std::int32_t inputs, std::int32_t outputs, std::int32_t batch)
      : folder_(std::move(folder)), inputs_(inputs), outputs_(outputs), batch_(batch) {
    auto row_ptr = read_array<std::int64_t>(folder_ + "/row_ptr", static_cast<std::size_t>(outputs) + 1);
    const auto nnz = static_cast<std::size_t>(row_ptr.back());
    auto columns = read_array<std::int32_t>(folder_ + "/columns", nnz);
    values_ = read_array<float>(folder_ + "/values", nnz);
    x_ =
        read_array<float>(folder_ + "/x", static_cast<std::size_t>(inputs) * static_cast<std::size_t>(batch));
    dz_ = read_array<float>(folder_ + "/dz",
                            static_cast<std::size_t>(outputs) * static_cast<std::size_t>(batch));
    topology_ = Topology(outputs, inputs, {row_ptr.begin(), row_ptr.end()}, {columns.begin(), columns.end()});
  }

  // What one call does; results as [output][sample], or one per connection.
  struct Product {
    std::function<void()> call;
    std::function<std::vector<float>()> result;
    std::shared_ptr<void> owner;
    std::int64_t tile_bytes = 0;  // activations that are read again and again
  };

  Product& product(const std::string& name) {
    auto& made = products_[name];
    if (!made.call) made = make(name);
    return made;
  }

 private:
  Panels<float> packed(const std::vector<float>& from, std::int32_t features, int width,
                       PanelBuffer& memory) const {
    const Panels<float> panels = memory.view(features, batch_, width);
    for (std::int32_t f = 0; f < features; ++f)
      for (std::int32_t b = 0; b < batch_; ++b)
        panels.at(b, f) = from[static_cast<std::size_t>(f) * static_cast<std::size_t>(batch_) +
                               static_cast<std::size_t>(b)];
    return panels;
  }
  static std::vector<float> unpacked(Panels<const float> y) {
    std::vector<float> values;
    for (std::int32_t f = 0; f < y.features; ++f)
      for (std::int32_t b = 0; b < y.batch; ++b) values.push_back(y.at(b, f));
    return values;
  }

  Product make(const std::string& name) {
    if (name == "dense") return dense();
    const auto dash = name.find('-');
    const std::string what = name.substr(0, dash),
                      dtype = dash == std::string::npos ? "f32" : name.substr(dash + 1);
    for (const PrecisionInfo& info : precisions())
      if (info.name == dtype) {
        if (what == "forward") return forward(info.precision);
        if (what == "training") return training(info.precision, 0);
        if (what == "weights") return training(info.precision, 1);
        if (what == "both") return training(info.precision, 2);
      }
    throw std::runtime_error("no such product: " + name);
  }

  std::unique_ptr<SparseLinear> layer(Precision precision) const {
    auto made = std::make_unique<SparseLinear>(
        LayerOptions{.inputs = inputs_, .outputs = outputs_, .precision = precision}, topology_);
    made->weight().value.assign(values_.begin(), values_.end());
    return made;
  }

  // As a trained network runs: the library's inference path.
  Product forward(Precision precision) const {
    struct State {
      Network network;
      std::unique_ptr<Inference> inference;
      PanelBuffer memory;
      Panels<float> x;
      Panels<const float> y;
    };
    auto state = std::make_shared<State>();
    std::vector<std::unique_ptr<Layer>> layers;
    layers.push_back(layer(Precision::kFloat));
    state->network = Network(std::move(layers));
    PanelBuffer memory;
    std::vector<kernels::ByteScale> scales;
    if (precision == Precision::kInt8)
      scales = byte_scales(state->network, packed(x_, inputs_, state->network.panel_width(batch_), memory));
    state->inference = std::make_unique<Inference>(
        state->network, Inference::Options{.batch = batch_, .precision = precision, .scales = scales});
    state->x = packed(x_, inputs_, state->inference->panel_width(), state->memory);
    State* const s = state.get();
    const int bytes = precision == Precision::kFloat ? 4 : precision == Precision::kBf16 ? 2 : 1;
    const std::int64_t tile = bytes == 1 ? inputs_ : packed_tile_width(inputs_, topology_.density(), bytes);
    return {[s] { s->y = s->inference->forward(s->x); }, [s] { return unpacked(s->y); }, state,
            tile * s->inference->panel_width() * bytes};
  }

  // As a training step runs: 0 forward, 1 the gradient of the weights, 2 that of weights and inputs.
  Product training(Precision precision, int which) const {
    struct State {
      std::unique_ptr<SparseLinear> layer;
      PanelBuffer memory[4];
      Panels<float> x, y, dz, dx;
    };
    auto state = std::make_shared<State>();
    State* const s = state.get();
    s->layer = layer(precision);
    const int width = std::max(kernels::panel_width(batch_), precision == Precision::kBf16 ? 32 : 16);
    s->x = packed(x_, inputs_, width, s->memory[0]);
    s->y = s->memory[1].view(outputs_, batch_, width);
    s->dz = packed(dz_, outputs_, width, s->memory[2]);
    s->dx = s->memory[3].view(inputs_, batch_, width);
    s->layer->forward({.training = true}, s->x, s->y);
    const int bytes = precision == Precision::kFloat ? 4 : 2;
    const std::int64_t tile =
        std::int64_t{width} * bytes * tile_width(which == 0 ? inputs_ : outputs_, topology_.density());
    if (which == 0)
      return {[s] { s->layer->forward({.training = true}, s->x, s->y); }, [s] { return unpacked(s->y); },
              state, tile};
    const auto gradient = [s] {
      return std::vector<float>(s->layer->weight().gradient.begin(), s->layer->weight().gradient.end());
    };
    if (which == 1) return {[s] { s->layer->backward(s->x, s->dz, {}, nullptr); }, gradient, state, tile};
    return {[s] { s->layer->backward(s->x, s->dz, s->dx, nullptr); }, gradient, state, tile};
  }

  // Our dense layer on oneDNN, at full density: what the sparse one is measured against.
  Product dense() const {
    struct State {
      std::unique_ptr<DenseLinear> layer;
      PanelBuffer memory[2];
      Panels<float> x, y;
    };
    auto state = std::make_shared<State>();
    State* const s = state.get();
    s->layer = std::make_unique<DenseLinear>(LayerOptions{.inputs = inputs_, .outputs = outputs_});
    const std::vector<std::uint64_t> keys = topology_.keys();
    for (std::size_t k = 0; k < keys.size(); ++k) s->layer->weight().value[keys[k]] = values_[k];
    const int width = kernels::panel_width(batch_);
    s->x = packed(x_, inputs_, width, s->memory[0]);
    s->y = s->memory[1].view(outputs_, batch_, width);
    return {[s] { s->layer->forward({}, s->x, s->y); }, [s] { return unpacked(s->y); }, state};
  }

  std::string folder_;
  std::int32_t inputs_, outputs_, batch_;
  std::vector<float> values_, x_, dz_;
  Topology topology_;
  std::map<std::string, Product> products_;
};

Json time(LoadedLayer& layer, const std::string& folder, const std::string& name, double seconds) {
  LoadedLayer::Product& product = layer.product(name);
  double best = 1e30;
  int calls = 0;
  product.call();  // warm
  for (const Clock whole; calls == 0 || whole.seconds() < seconds; ++calls) {
    const Clock clock;
    product.call();
    best = std::min(best, clock.seconds());
  }
  const std::vector<float> result = product.result();
  std::ofstream(folder + "/result", std::ios::binary)
      .write(reinterpret_cast<const char*>(result.data()),
             static_cast<std::streamsize>(result.size() * sizeof(float)));
  return {{"seconds", best}, {"calls", calls}, {"values", result.size()}, {"tile_bytes", product.tile_bytes}};
}

Json machine() {
  Json read = Json::object();
  for (const std::size_t kilobytes : {16, 512, 4096, 262144})
    read[std::to_string(kilobytes)] = {{"in_order", bench::read_bandwidth(kilobytes << 10, false)},
                                       {"random", bench::read_bandwidth(kilobytes << 10, true)}};
  return {{"isa", kernels::current_target()},
          {"threads", thread_count()},
          {"fma_peak", bench::fma_peak()},
          {"bf16_dot_peak", bench::bf16_dot_peak()},
          {"read", read}};
}

}  // namespace

int main() {
  std::unique_ptr<LoadedLayer> layer;
  std::string folder;
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream words(line);
    std::string command, name;
    words >> command;
    try {
      Json answer = Json::object();
      if (command == "quit") return 0;
      if (command == "threads") {
        int threads = 0;
        words >> threads;
        set_thread_count(threads);
      } else if (command == "machine") {
        answer = machine();
      } else if (command == "load") {
        std::int32_t inputs = 0, outputs = 0, batch = 0;
        words >> folder >> inputs >> outputs >> batch;
        layer.reset();
        layer = std::make_unique<LoadedLayer>(folder, inputs, outputs, batch);
      } else if (command == "time" && layer != nullptr) {
        double seconds = 0.0;
        words >> name >> seconds;
        answer = time(*layer, folder, name, seconds);
      } else {
        fmt::print(stderr, "{}", kUsage);
        return 2;
      }
      std::cout << answer.dump() << std::endl;
    } catch (const std::exception& error) {
      std::cout << Json{{"error", error.what()}}.dump() << std::endl;
    }
  }
}
