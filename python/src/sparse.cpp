#include <fmt/format.h>

#include <algorithm>
#include <mutex>
#include <utility>

#include "bind.h"
#include "tulle/base/check.h"
#include "tulle/base/name_table.h"
#include "tulle/base/parallel.h"
#include "tulle/evolve/drop.h"
#include "tulle/evolve/grow.h"
#include "tulle/evolve/rule.h"
#include "tulle/kernels/targets.h"
#include "tulle/kernels/tokens.h"
#include "tulle/nn/sparse_layer.h"
#include "tulle/sparse/budgets.h"
#include "tulle/sparse/weight_init.h"

namespace tulle::python {
namespace {

// Arrays that are written in place: results go straight into memory that the caller's allocator has at hand.
template <class T>
using Out1 = nb::ndarray<T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
template <class T>
using Out2 = nb::ndarray<T, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
// int32 or int64.
using Indices = nb::ndarray<nb::ro, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

// Lengths that must agree.
void expect(const char* what, std::uint64_t found, std::int64_t expected) {
  if (!std::cmp_equal(found, expected))
    throw std::invalid_argument(fmt::format("{}, found {}, expected {}", what, found, expected));
}

void copy(std::span<const float> from, float* to) {
  constexpr std::int64_t kGrain = 1 << 17;  // less is copied before a second thread is awake
  parallel_ranges(std::ssize(from), kGrain, [&](Range part) {
    std::copy_n(from.data() + part.begin, part.end - part.begin, to + part.begin);
  });
}

// How many floats hold samples [batch, features] as the kernels read them. That memory is the caller's: what
// a training step gathers of x on its way forward it reads again on its way back.
std::size_t panel_floats(std::size_t samples, std::size_t features) {
  constexpr std::size_t kMost = std::size_t{1} << 30;
  require(samples < kMost && features < kMost, "x, found a side of 2^30 or more, expected a smaller one");
  const auto batch = static_cast<std::int32_t>(samples);
  const Panels<float> shape{nullptr, static_cast<std::int32_t>(features), batch, kernels::panel_width(batch)};
  return static_cast<std::size_t>(shape.count() * shape.panel_size());
}

template <class T>
Panels<T> panels_in(T* memory, std::size_t floats, std::size_t samples, std::size_t features) {
  expect("panels, floats", floats, static_cast<std::int64_t>(panel_floats(samples, features)));
  require(floats == 0 || reinterpret_cast<std::uintptr_t>(memory) % 64 == 0,
          "panels, found memory off a multiple of 64 bytes");
  const auto batch = static_cast<std::int32_t>(samples);
  return {memory, static_cast<std::int32_t>(features), batch, kernels::panel_width(batch)};
}

// Rows of samples to panels.
void gather(const Array2<float>& x, Panels<float> panels) {
  // Every panel by all threads: a batch seldom has more panels than there are threads.
  parallel_ranges(panels.features, 64, [&](Range features) {
    for (std::int32_t p = 0; p < panels.count(); ++p) {
      const std::int64_t first = std::int64_t{p} * panels.width;
      kernels::to_panel(x.data() + first * panels.features + features.begin, panels.features,
                        std::min<std::int64_t>(panels.width, panels.batch - first),
                        features.end - features.begin, panels.width,
                        panels.panel(p) + features.begin * panels.width);
    }
  });
}

// And back.
void scatter(Panels<const float> panels, float* rows) {
  constexpr std::int32_t kRows = 16;  // what is worth a thread
  parallel_ranges(panels.batch, kRows, [&](Range range) {
    for (std::int64_t first = range.begin; first < range.end; first += kRows)
      kernels::from_panel(
          panels.panel(static_cast<std::int32_t>(first / panels.width)) + first % panels.width,
          std::min<std::int64_t>(kRows, range.end - first), panels.features, panels.width,
          rows + first * panels.features);
  });
}

// Panels for the length of a call. They come from the heap and go back to it: a product that kept them would
// hold memory for the largest batch it ever saw.
class PanelMemory {
 public:
  PanelMemory(std::size_t samples, std::size_t features)
      : memory_(panel_floats(samples, features)),
        panels_(panels_in(memory_.data(), memory_.size(), samples, features)) {}
  PanelMemory(const PanelMemory&) = delete;
  PanelMemory& operator=(const PanelMemory&) = delete;

  Panels<float> panels() const { return panels_; }
  RawVector<float> memory() && { return std::move(memory_); }

 private:
  RawVector<float> memory_;
  Panels<float> panels_;
};

// The panels of x [batch, features] as one array.
nb::object gathered(const Array2<float>& x) {
  PanelMemory memory(x.shape(0), x.shape(1));
  {
    const nb::gil_scoped_release release;
    gather(x, memory.panels());
  }
  return owned<float>(std::move(memory).memory());
}

template <class T>
RawVector<T> taken(const Indices& indices, const std::string& name) {
  const auto from = [&]<class Found>(const Found* found) {
    RawVector<T> out(indices.shape(0));
    for (std::size_t i = 0; i < out.size(); ++i) {
      require(std::in_range<T>(found[i]), name + ", found one beyond int32, expected all below 2^31");
      out[i] = static_cast<T>(found[i]);
    }
    return out;
  };
  if (indices.dtype() == nb::dtype<std::int32_t>())
    return from(static_cast<const std::int32_t*>(indices.data()));
  require(indices.dtype() == nb::dtype<std::int64_t>(),
          name + ", found another dtype, expected int32 or int64");
  return from(static_cast<const std::int64_t*>(indices.data()));
}

Topology topology_of(std::int32_t outputs, std::int32_t inputs, const Indices& row_ptr,
                     const Indices& columns) {
  return Topology(outputs, inputs, taken<std::int64_t>(row_ptr, "row pointers"),
                  taken<std::int32_t>(columns, "columns"));
}

// (row pointers, columns).
nb::tuple arrays_of(const Topology& topology) {
  return nb::make_tuple(
      owned<std::int64_t>(topology.row_ptr().all()),
      owned<std::int32_t>(std::vector<std::int32_t>(topology.columns().begin(), topology.columns().end())));
}

// A sparse matrix W [n_out, n_in] with the products that a linear layer needs, all of them on its pattern
// alone. Values belong to the caller, who hands them to each call; the pattern, and the orders it is walked
// in, are kept. Callers on several threads wait for each other.
class SparseProduct {
 public:
  explicit SparseProduct(Topology topology)
      : layer_(make_sparse_layer({.inputs = topology.cols(), .outputs = topology.rows(), .has_bias = true},
                                 std::move(topology))) {}

  const Topology& topology() const { return *layer_->topology(); }

  // y [batch, n_out] = x W^T + bias. Returns the panels of x [batch, n_in], as one array: the way back reads
  // them again.
  nb::object forward(const Array1<float>& values, const std::optional<Array1<float>>& bias,
                     const Array2<float>& x, const Out2<float>& y) {
    check(values.shape(0), bias ? bias->shape(0) : rows(), x.shape(0), x.shape(1), y.shape(0), y.shape(1));
    PanelMemory in(x.shape(0), columns());
    if (x.shape(0) > 0) {
      const nb::gil_scoped_release release;
      const std::lock_guard lock(*busy_);
      gather(x, in.panels());
      copy(span_of(values), layer_->weight().value.data());
      std::ranges::fill(layer_->bias().value, 0.0f);
      if (bias) std::ranges::copy(span_of(*bias), layer_->bias().value.begin());
      const PanelMemory out(x.shape(0), rows());
      layer_->forward({}, in.panels(), out.panels());
      scatter(out.panels(), y.data());
    }
    return owned<float>(std::move(in).memory());
  }

  // Of a loss with gradient g [batch, n_out] at x W^T + bias: the gradients of values and bias, and that of x
  // if it is asked for.
  void backward(const Array1<float>& values, const Array1<float>& x, const Array2<float>& g,
                const Out1<float>& dvalues, const Out1<float>& dbias, const std::optional<Out2<float>>& dx) {
    check(values.shape(0), rows(), g.shape(0), columns(), g.shape(0), g.shape(1));
    check_gradients(dvalues, dbias, dx, g.shape(0));
    const Panels<const float> in = panels_in(x.data(), x.size(), g.shape(0), columns());
    const nb::gil_scoped_release release;
    const std::lock_guard lock(*busy_);
    if (in.batch == 0) {
      std::fill_n(dvalues.data(), dvalues.size(), 0.0f);
      std::fill_n(dbias.data(), dbias.size(), 0.0f);
      return;
    }
    const PanelMemory errors(g.shape(0), rows()), back(dx ? g.shape(0) : 0, columns());
    gather(g, errors.panels());
    if (dx) copy(span_of(values), layer_->weight().value.data());
    layer_->backward(in, errors.panels(), dx ? back.panels() : Panels<float>(), nullptr);
    copy(layer_->weight().gradient, dvalues.data());
    copy(layer_->bias().gradient, dbias.data());
    if (dx) scatter(back.panels(), dx->data());
  }

  // The same in double precision by plain loops, for checks of gradients. Each sum is one thread's.
  void forward64(const Array1<double>& values, const std::optional<Array1<double>>& bias,
                 const Array2<double>& x, const Out2<double>& y) const {
    check(values.shape(0), bias ? bias->shape(0) : rows(), x.shape(0), x.shape(1), y.shape(0), y.shape(1));
    const nb::gil_scoped_release release;
    parallel_ranges(static_cast<std::int64_t>(x.shape(0)), 1, [&](Range samples) {
      for (std::int64_t b = samples.begin; b < samples.end; ++b) {
        const double* const from = x.data() + b * topology().cols();
        double* const to = y.data() + b * topology().rows();
        for (std::int32_t row = 0; row < topology().rows(); ++row) to[row] = bias ? bias->data()[row] : 0.0;
        for_connections([&](std::int32_t row, std::int32_t column, std::int64_t k) {
          to[row] += values.data()[k] * from[column];
        });
      }
    });
  }

  void backward64(const Array1<double>& values, const Array2<double>& x, const Array2<double>& g,
                  const Out1<double>& dvalues, const Out1<double>& dbias,
                  const std::optional<Out2<double>>& dx) const {
    check(values.shape(0), rows(), x.shape(0), x.shape(1), g.shape(0), g.shape(1));
    check_gradients(dvalues, dbias, dx, x.shape(0));
    const nb::gil_scoped_release release;
    std::fill_n(dvalues.data(), dvalues.size(), 0.0);
    std::fill_n(dbias.data(), dbias.size(), 0.0);
    if (dx) std::fill_n(dx->data(), dx->size(), 0.0);
    for (std::size_t b = 0; b < x.shape(0); ++b) {
      const double* const from = x.data() + b * x.shape(1);
      const double* const error = g.data() + b * g.shape(1);
      double* const to = dx ? dx->data() + b * x.shape(1) : nullptr;
      for (std::size_t row = 0; row < g.shape(1); ++row) dbias.data()[row] += error[row];
      for_connections([&](std::int32_t row, std::int32_t column, std::int64_t k) {
        dvalues.data()[k] += error[row] * from[column];
        if (to != nullptr) to[column] += error[row] * values.data()[k];
      });
    }
  }

  // W^T, and for each of its values the position in those of W.
  nb::tuple transposed() const {
    std::unique_ptr<SparseProduct> product;
    SourceIndex index;
    {
      const nb::gil_scoped_release release;
      index = make_source_index(topology(), std::max(topology().rows(), 1));
      RawVector<std::int32_t> targets(index.positions.size());
      for (std::size_t k = 0; k < targets.size(); ++k) targets[k] = index.target(k);
      product = std::make_unique<SparseProduct>(Topology(
          topology().cols(), topology().rows(),
          RawVector<std::int64_t>(index.source_ptr.begin(), index.source_ptr.end()), std::move(targets)));
    }
    return nb::make_tuple(nb::cast(product.release(), nb::rv_policy::take_ownership),
                          owned<std::uint32_t>(std::move(index.positions)));
  }

  // The pattern after one event of a rule, with as many connections: (another SparseProduct, the old place of
  // each of its connections, -1 for grown ones, whether these are to start at 0). x (panels), g: of the last
  // step, for rules that look at gradients of cells.
  nb::tuple evolve(const Array1<float>& values, const std::optional<Array1<float>>& gradients,
                   const std::string& rule, double zeta, std::uint64_t seed, std::uint32_t event,
                   const std::optional<Array1<float>>& x, const std::optional<Array2<float>>& g) const {
    const RuleInfo& found = find_name(rules(), "rule", rule);
    require(!found.drop.empty(), "rule, found 'none', expected one that changes the topology");
    const DropInfo& drop = find_name(drop_rules(), "drop", found.drop);
    const GrowInfo& grow = find_name(grow_rules(), "grow", found.grow);
    expect("values, length", values.shape(0), topology().nnz());
    require(zeta >= 0.0 && zeta < 1.0, "zeta, found a number outside 0 to 1, expected one from 0 to below 1");
    if (gradients) expect("gradient of values, length", gradients->shape(0), topology().nnz());
    if (g) expect("gradient, features", g->shape(1), topology().rows());
    require(!drop.needs_gradients || gradients,
            "rule, found '" + rule + "', which looks at gradients of values, and no gradient");
    require(!grow.needs_errors || (x && g),
            "rule, found '" + rule + "', which looks at the last batch, and none was kept");
    constexpr std::pair<std::string_view, std::string_view> kZero{"evolve.grow_init", "zero"};
    const bool zero_start = grow.zero_start || std::ranges::find(found.values, kZero) != found.values.end();
    std::unique_ptr<SparseProduct> product;
    RawVector<std::int64_t> places;
    {
      const nb::gil_scoped_release release;
      const PanelMemory errors(grow.needs_errors ? g->shape(0) : 0, rows());
      const std::vector<std::uint8_t> marks =
          marks_of(drop, {.topology = topology(),
                          .weights = span_of(values),
                          .gradients = gradients ? span_of(*gradients) : std::span<const float>(),
                          .zeta = zeta,
                          .random = {seed, Stream::kDrop, 0, event}});
      const std::int64_t dropped = std::ranges::count(marks, std::uint8_t{1});
      GrowInput input{.taken = topology(),
                      .count = dropped,
                      .connections = topology().nnz(),
                      .random = {seed, Stream::kGrow, 0, event}};
      require(
          std::cmp_less_equal(input.count, topology().cells() - static_cast<std::uint64_t>(topology().nnz())),
          "zeta, found more connections to replace than there are free cells, expected a smaller one");
      if (grow.needs_errors) {
        input.inputs = panels_in(x->data(), x->size(), g->shape(0), columns());
        input.errors = errors.panels();
        gather(*g, errors.panels());
      }
      TopologyUpdate update = replace_connections(topology(), marks, grow.grow(input));
      places = std::move(update.source);
      product = std::make_unique<SparseProduct>(std::move(update.topology));
    }
    return nb::make_tuple(nb::cast(product.release(), nb::rv_policy::take_ownership),
                          owned<std::int64_t>(std::move(places)), zero_start);
  }

 private:
  std::size_t rows() const { return static_cast<std::size_t>(topology().rows()); }
  std::size_t columns() const { return static_cast<std::size_t>(topology().cols()); }

  // `samples` of x and `results` of what comes out of it, or of its gradient.
  void check(std::uint64_t values, std::uint64_t bias, std::uint64_t samples, std::uint64_t features,
             std::uint64_t results, std::uint64_t outputs) const {
    expect("values, length", values, topology().nnz());
    expect("bias, length", bias, topology().rows());
    expect("x, features", features, topology().cols());
    expect("output, samples", results, static_cast<std::int64_t>(samples));
    expect("output, features", outputs, topology().rows());
  }
  template <class T>
  void check_gradients(const Out1<T>& dvalues, const Out1<T>& dbias, const std::optional<Out2<T>>& dx,
                       std::uint64_t samples) const {
    expect("gradient of values, length", dvalues.shape(0), topology().nnz());
    expect("gradient of bias, length", dbias.shape(0), topology().rows());
    if (!dx) return;
    expect("gradient of x, samples", dx->shape(0), static_cast<std::int64_t>(samples));
    expect("gradient of x, features", dx->shape(1), topology().cols());
  }

  template <class Body>
  void for_connections(const Body& body) const {
    for (std::int32_t row = 0; row < topology().rows(); ++row)
      for (std::int64_t k = topology().row_ptr()[static_cast<std::size_t>(row)];
           k < topology().row_ptr()[static_cast<std::size_t>(row) + 1]; ++k)
        body(row, topology().columns()[static_cast<std::size_t>(k)], k);
  }

  std::unique_ptr<SparseLayer> layer_;
  std::unique_ptr<std::mutex> busy_ = std::make_unique<std::mutex>();
};

// A pattern for each layer sizes[l] -> sizes[l + 1], drawn as the [topology] keys say: (row pointers,
// columns).
nb::list draw(const std::string& distribution, const std::vector<std::int32_t>& sizes, double density,
              double epsilon, std::int64_t fan_in, std::uint64_t seed) {
  require(sizes.size() > 1 && std::ranges::all_of(sizes, [](std::int32_t size) { return size > 0; }),
          "sizes, found none, one or one below 1, expected two or more positive ones");
  const TopologyOptions options{
      .distribution = distribution, .epsilon = epsilon, .density = density, .fan_in = fan_in};
  const std::vector<std::int64_t> budgets = layer_budgets(options, sizes);
  nb::list patterns;
  for (std::size_t l = 0; l < budgets.size(); ++l)
    patterns.append(arrays_of(
        draw_topology(options, sizes[l + 1], sizes[l], budgets[l], seed, static_cast<std::uint32_t>(l))));
  return patterns;
}

// Start values on a pattern, by the law of this name with the true number of connections of each neuron.
nb::object start_values(const std::string& law, std::int32_t outputs, std::int32_t inputs,
                        const Indices& row_ptr, const Indices& columns, std::uint64_t seed,
                        std::uint32_t layer) {
  const Topology topology = topology_of(outputs, inputs, row_ptr, columns);
  return owned<float>(initial_weights(find_name(weight_inits(), "values", law),
                                      {.topology = topology, .sparse_fan = true},
                                      {seed, Stream::kValue, layer, 0}));
}

}  // namespace

void bind_sparse(nb::module_& m) {
  // A graph of PyTorch's that is alive when the interpreter ends is never freed, nor what it holds of ours.
  nb::set_leak_warnings(false);
  nb::class_<SparseProduct>(m, "SparseProduct")
      .def(
          "__init__",
          [](SparseProduct* self, std::int32_t outputs, std::int32_t inputs, const Indices& row_ptr,
             const Indices& columns) {
            new (self) SparseProduct(topology_of(outputs, inputs, row_ptr, columns));
          },
          nb::arg("outputs"), nb::arg("inputs"), nb::arg("row_ptr").noconvert(),
          nb::arg("columns").noconvert())
      .def("forward", &SparseProduct::forward, nb::arg("values").noconvert(),
           nb::arg("bias").noconvert().none(), nb::arg("x").noconvert(), nb::arg("y").noconvert())
      .def("forward", &SparseProduct::forward64, nb::arg("values").noconvert(),
           nb::arg("bias").noconvert().none(), nb::arg("x").noconvert(), nb::arg("y").noconvert())
      .def("backward", &SparseProduct::backward, nb::arg("values").noconvert(), nb::arg("x").noconvert(),
           nb::arg("g").noconvert(), nb::arg("dvalues").noconvert(), nb::arg("dbias").noconvert(),
           nb::arg("dx").noconvert().none())
      .def("backward", &SparseProduct::backward64, nb::arg("values").noconvert(), nb::arg("x").noconvert(),
           nb::arg("g").noconvert(), nb::arg("dvalues").noconvert(), nb::arg("dbias").noconvert(),
           nb::arg("dx").noconvert().none())
      .def("transposed", &SparseProduct::transposed)
      .def("evolve", &SparseProduct::evolve, nb::arg("values").noconvert(),
           nb::arg("gradients").noconvert().none(), nb::arg("rule"), nb::arg("zeta"), nb::arg("seed"),
           nb::arg("event"), nb::arg("x").noconvert().none(), nb::arg("g").noconvert().none())
      .def("arrays", [](const SparseProduct& product) { return arrays_of(product.topology()); })
      .def_prop_ro("nnz", [](const SparseProduct& product) { return product.topology().nnz(); })
      .def_prop_ro("shape", [](const SparseProduct& product) {
        return nb::make_tuple(product.topology().rows(), product.topology().cols());
      });
  m.def("gather", &gathered, nb::arg("x").noconvert());
  m.def("start_values", &start_values, nb::arg("law"), nb::arg("outputs"), nb::arg("inputs"),
        nb::arg("row_ptr").noconvert(), nb::arg("columns").noconvert(), nb::arg("seed"), nb::arg("layer"));
  m.def("draw", &draw, nb::arg("distribution"), nb::arg("sizes"), nb::arg("density"), nb::arg("epsilon"),
        nb::arg("fan_in"), nb::arg("seed"));
}

}  // namespace tulle::python
