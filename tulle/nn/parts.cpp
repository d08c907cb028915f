#include "tulle/nn/parts.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "tulle/base/check.h"
#include "tulle/base/spill.h"
#include "tulle/comm/collectives.h"
#include "tulle/nn/dense_linear.h"
#include "tulle/nn/sparse_layer.h"

namespace tulle {
namespace {

// body(array of one, the same of the other) for all that is kept of a parameter between two steps.
template <class One, class Other, class Body>
void for_arrays(One& one, Other& other, const Body& body) {
  body(one.value, other.value);
  body(one.m1, other.m1);
  body(one.m2, other.m2);
  body(one.age, other.age);
}

// Entries of a layer's arrays that belong to some of its neurons.
Range entries_of(const Layer& layer, const Parameter& parameter, Range neurons) {
  if (parameter.kind != Parameter::Kind::kWeight) return neurons;
  if (layer.topology() == nullptr) return {neurons.begin * layer.inputs(), neurons.end * layer.inputs()};
  const RowPtr& row_ptr = layer.topology()->row_ptr();
  return {row_ptr[static_cast<std::size_t>(neurons.begin)], row_ptr[static_cast<std::size_t>(neurons.end)]};
}

std::unique_ptr<Layer> make_layer(const LayerOptions& options, std::optional<Topology> topology) {
  if (topology) return make_sparse_layer(options, std::move(*topology));
  return std::make_unique<DenseLinear>(options);
}

// On rank 0 `all` becomes the ranks' arrays one after another, with `counts` entries each.
template <class T>
void collect(Communicator& comm, std::span<const T> own, std::span<T> all,
             std::span<const std::int64_t> counts) {
  if (comm.rank() > 0) {
    if (!own.empty()) send_now(comm, 0, std::as_bytes(own));
    return;
  }
  std::ranges::copy(own, all.begin());
  std::size_t begin = own.size();
  for (int rank = 1; rank < comm.size(); ++rank) {
    const auto count = static_cast<std::size_t>(counts[static_cast<std::size_t>(rank)]);
    if (count > 0) receive_now(comm, rank, std::as_writable_bytes(all.subspan(begin, count)));
    begin += count;
  }
}

// Of the whole layer, on rank 0.
std::optional<Topology> whole_topology(const Layer& part, const Spread& spread, std::size_t l,
                                       std::span<const std::int64_t> neurons,
                                       std::span<const std::int64_t> connections) {
  if (part.topology() == nullptr) return std::nullopt;
  const bool leads = spread.share().rank == 0;
  const auto all = static_cast<std::size_t>(spread.layer(l).neurons);
  RawVector<std::int64_t> row_ptr(leads ? all + 1 : 0);
  RawVector<std::int32_t> columns(leads ? static_cast<std::size_t>(spread.layer(l).connections) : 0);
  Communicator& comm = spread.comm();
  const std::vector<std::int64_t> own = part.topology()->row_ptr().all();
  collect<std::int64_t>(comm, std::span(own).subspan(1),
                        leads ? std::span(row_ptr).subspan(1) : std::span(row_ptr), neurons);
  collect<std::int32_t>(comm, part.topology()->columns(), columns, connections);
  if (!leads) return Topology();
  row_ptr[0] = 0;
  // Each rank counts from its own first connection.
  std::size_t row = 1;
  std::int64_t before = 0;
  for (std::size_t rank = 0; rank < neurons.size(); before += connections[rank++])
    for (std::int64_t end = static_cast<std::int64_t>(row) + neurons[rank]; std::cmp_less(row, end); ++row)
      row_ptr[row] += before;
  return Topology(spread.layer(l).neurons, part.inputs(), std::move(row_ptr), std::move(columns));
}

}  // namespace

Spread::LayerInfo spread_info(const Layer& whole) {
  return {.neurons = whole.outputs(),
          .connections = whole.connections(),
          .grain = whole.topology() == nullptr ? DenseLinear::kTile : 1};
}

std::unique_ptr<Layer> part_of(Layer& whole, Range neurons) {
  require(whole.options().neurons.empty(), "part_of: a layer of which no neuron was removed is needed");
  LayerOptions options = whole.options();
  options.whole_outputs = options.original_outputs = whole.outputs();
  options.outputs = static_cast<std::int32_t>(neurons.end - neurons.begin);
  options.neurons.resize(static_cast<std::size_t>(options.outputs));
  std::iota(options.neurons.begin(), options.neurons.end(), static_cast<std::uint32_t>(neurons.begin));
  std::optional<Topology> topology;
  if (whole.topology() != nullptr) {
    options.storage = Storage::kCompact;
    const Range own = entries_of(whole, whole.weight(), neurons);
    RawVector<std::int64_t> row_ptr(static_cast<std::size_t>(options.outputs) + 1);
    whole.topology()->row_ptr().copy(static_cast<std::size_t>(neurons.begin), row_ptr);
    for (std::int64_t& begin : row_ptr) begin -= own.begin;
    const auto columns = whole.topology()->columns();
    topology.emplace(options.outputs, whole.inputs(), std::move(row_ptr),
                     RawVector<std::int32_t>(columns.begin() + own.begin, columns.begin() + own.end));
  }
  std::unique_ptr<Layer> part = make_layer(options, std::move(topology));
  const std::vector<Parameter*> from = whole.parameters(), to = part->parameters();
  for (std::size_t i = 0; i < from.size(); ++i) {
    const Range own = entries_of(whole, *from[i], neurons);
    for_arrays(*from[i], *to[i], [&](const auto& all, auto& some) {
      if (!all.empty()) some.assign(all.begin() + own.begin, all.begin() + own.end);
    });
  }
  return part;
}

Network part_of(Network& whole, const Share& share) {
  require(whole.architecture() == nullptr && whole.spread() == nullptr,
          "part_of: a whole network of layers that follow each other is needed");
  std::vector<Spread::LayerInfo> infos;
  for (std::size_t l = 0; l < whole.size(); ++l) infos.push_back(spread_info(whole.layer(l)));
  auto spread = std::make_unique<Spread>(share, std::move(infos));
  std::vector<std::unique_ptr<Layer>> layers;
  for (std::size_t l = 0; l < whole.size(); ++l) {
    layers.push_back(part_of(whole.layer(l), spread->own_neurons(l)));
    release_spilled();
  }
  return Network(std::move(layers), std::move(spread));
}

std::optional<Network> whole_of(Network& part) {
  const Spread& spread = *part.spread();
  Communicator& comm = spread.comm();
  const bool leads = comm.rank() == 0;
  std::vector<std::unique_ptr<Layer>> layers;
  for (std::size_t l = 0; l < part.size(); ++l) {
    Layer& layer = part.layer(l);
    std::vector<std::int64_t> neurons;
    for (int rank = 0; rank < comm.size(); ++rank) {
      const Range own = spread.neurons_of(l, rank);
      neurons.push_back(own.end - own.begin);
    }
    const std::vector<std::int64_t> connections = gather_all(comm, layer.connections());
    std::optional<Topology> topology = whole_topology(layer, spread, l, neurons, connections);
    std::unique_ptr<Layer> whole;
    if (leads) {
      LayerOptions options = layer.options();
      options.outputs = options.whole_outputs;
      options.neurons.clear();
      options.original_outputs = options.whole_outputs = 0;
      whole = make_layer(options, std::move(topology));
    }
    const std::vector<Parameter*> from = layer.parameters();
    const std::vector<Parameter*> to = leads ? whole->parameters() : from;
    for (std::size_t i = 0; i < from.size(); ++i) {
      const auto& counts = from[i]->kind == Parameter::Kind::kWeight ? connections : neurons;
      const auto total =
          static_cast<std::size_t>(std::accumulate(counts.begin(), counts.end(), std::int64_t{0}));
      const std::size_t own_size = from[i]->value.size();
      for_arrays(*from[i], *to[i], [&](const auto& own, auto& all) {
        // What the optimizer keeps is kept by all; a rank without entries cannot tell by its arrays.
        const bool any =
            std::ranges::any_of(gather_all(comm, char{!own.empty()}), [](char c) { return c != 0; });
        if (!any) return;
        require(own.size() == own_size, "whole_of: arrays must be of one length");
        if (leads) all.resize(total);
        using Value = typename std::decay_t<decltype(own)>::value_type;
        collect<Value>(comm, own, all, counts);
      });
    }
    if (leads) layers.push_back(std::move(whole));
    release_spilled();
  }
  if (!leads) return std::nullopt;
  return Network(std::move(layers));
}

}  // namespace tulle
