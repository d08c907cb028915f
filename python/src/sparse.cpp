#include <algorithm>

#include "bind.h"
#include "tulle/base/check.h"
#include "tulle/base/name_table.h"
#include "tulle/base/parallel.h"
#include "tulle/evolve/drop.h"
#include "tulle/evolve/grow.h"
#include "tulle/kernels/gather.h"
#include "tulle/nn/sparse_layer.h"
#include "tulle/sparse/budgets.h"

namespace tulle::python {
namespace {

std::vector<std::uint32_t> counting(std::size_t count) {
  std::vector<std::uint32_t> numbers(count);
  for (std::size_t i = 0; i < count; ++i) numbers[i] = static_cast<std::uint32_t>(i);
  return numbers;
}

// A sparse matrix W [n_out, n_in] with the products that a linear layer needs, all of them on its pattern
// alone. Values belong to the caller, who hands them to each call; the pattern, and the orders it is walked
// in, are kept. One caller at a time.
class SparseProduct {
 public:
  SparseProduct(std::int32_t outputs, std::int32_t inputs, const Array1<std::int64_t>& row_ptr,
                const Array1<std::int32_t>& columns)
      : SparseProduct(Topology(outputs, inputs,
                               RawVector<std::int64_t>(row_ptr.data(), row_ptr.data() + row_ptr.size()),
                               RawVector<std::int32_t>(columns.data(), columns.data() + columns.size()))) {}
  explicit SparseProduct(Topology topology)
      : layer_(make_sparse_layer({.inputs = topology.cols(), .outputs = topology.rows(), .has_bias = true},
                                 topology)),
        zeros_(static_cast<std::size_t>(std::max(topology.cols(), topology.rows())), 0.0f),
        ones_(zeros_.size(), 1.0f) {}

  const Topology& topology() const { return *layer_->topology(); }

  // x [batch, n_in] -> x W^T + bias [batch, n_out].
  nb::object forward(const Array1<float>& values, const std::optional<Array1<float>>& bias,
                     const Array2<float>& x) {
    check(values, x, topology().cols(), "x");
    const auto outputs = static_cast<std::size_t>(topology().rows());
    require(!bias || bias->shape(0) == outputs, "bias, found another length than n_out");
    AlignedVector<float> y(x.shape(0) * outputs);
    if (x.shape(0) > 0) {
      nb::gil_scoped_release release;
      take(values);
      const std::span<const float> b = bias ? span_of(*bias) : std::span<const float>();
      std::ranges::fill(layer_->bias().value, 0.0f);
      std::ranges::copy(b, layer_->bias().value.begin());
      const Panels<float> in = gathered(x, inputs_), out = shaped(outputs_, topology().rows(), x.shape(0));
      layer_->forward({}, in, out);
      scatter(out, y.data());
    }
    return owned<float>(std::move(y), {x.shape(0), outputs});
  }

  // Of a loss with gradient g [batch, n_out] at x W^T + bias: (values' gradient, bias' gradient, x's or
  // None).
  nb::tuple backward(const Array1<float>& values, const Array2<float>& x, const Array2<float>& g,
                     bool want_x) {
    check(values, x, topology().cols(), "x");
    check(values, g, topology().rows(), "gradient");
    require(x.shape(0) == g.shape(0), "gradient, found another batch than x");
    AlignedVector<float> dx(want_x ? x.size() : 0);
    AlignedVector<float> dvalues(values.shape(0), 0.0f),
        dbias(static_cast<std::size_t>(topology().rows()), 0.0f);
    if (x.shape(0) > 0) {
      nb::gil_scoped_release release;
      take(values);
      const Panels<float> in = gathered(x, inputs_), errors = gathered(g, outputs_);
      Panels<float> back{};
      if (want_x) back = shaped(back_, topology().cols(), x.shape(0));
      layer_->backward(in, errors, back, nullptr);
      std::ranges::copy(layer_->weight().gradient, dvalues.begin());
      std::ranges::copy(layer_->bias().gradient, dbias.begin());
      if (want_x) scatter(back, dx.data());
    }
    const nb::object to_x = want_x ? owned<float>(std::move(dx), {x.shape(0), x.shape(1)}) : nb::none();
    return nb::make_tuple(owned<float>(std::move(dvalues)), owned<float>(std::move(dbias)), to_x);
  }

  // The pattern after one event of the rules called `drop` and `grow`: (another SparseProduct, the old place
  // of each of its connections, -1 for grown ones). x, g: of the last step, for rules that look at gradients.
  nb::tuple evolve(const Array1<float>& values, const std::optional<Array1<float>>& gradients,
                   const std::string& drop, const std::string& grow, double zeta, std::uint64_t seed,
                   std::uint32_t step, const std::optional<Array2<float>>& x,
                   const std::optional<Array2<float>>& g) {
    const DropInfo& drop_rule = find_name(drop_rules(), "drop", drop);
    const GrowInfo& grow_rule = find_name(grow_rules(), "grow", grow);
    require(zeta >= 0.0 && zeta < 1.0, "zeta, found a number outside 0 to 1, expected one from 0 to below 1");
    require(!drop_rule.needs_pending, "drop, found 'momentum', expected a rule that needs no optimizer");
    require(!drop_rule.needs_gradients || gradients, "drop, found a rule that needs gradients, and none");
    require(!grow_rule.needs_errors || (x && g),
            "grow, found a rule that needs x and its gradient, and none");
    std::optional<SparseProduct> product;
    std::vector<std::int64_t> places;
    {
      nb::gil_scoped_release release;
      const std::vector<std::uint8_t> marks =
          marks_of(drop_rule, {.topology = topology(),
                               .weights = span_of(values),
                               .gradients = gradients ? span_of(*gradients) : std::span<const float>(),
                               .zeta = zeta,
                               .random = {seed, Stream::kDrop, 0, step}});
      const TopologyUpdate kept = without(topology(), marks);
      GrowInput input{.taken = topology(),
                      .count = topology().nnz() - kept.topology.nnz(),
                      .connections = topology().nnz(),
                      .random = {seed, Stream::kGrow, 0, step}};
      if (x && g) input.inputs = gathered(*x, inputs_), input.errors = gathered(*g, outputs_);
      const std::vector<std::uint64_t> grown =
          grow_rule.grow != nullptr ? grow_rule.grow(input) : std::vector<std::uint64_t>();
      const TopologyUpdate update = with_grown(kept, grown);
      places.assign(update.source.begin(), update.source.end());
      product.emplace(update.topology);
    }
    return nb::make_tuple(nb::cast(std::move(*product)), owned<std::int64_t>(std::move(places)));
  }

 private:
  static constexpr std::int64_t kMaxBatch = std::int64_t{1} << 30;

  void check(const Array1<float>& values, const Array2<float>& x, std::int32_t features,
             const char* name) const {
    require(std::cmp_equal(values.shape(0), topology().nnz()),
            "values, found another length than the pattern's connections");
    require(std::cmp_equal(x.shape(1), features), std::string(name) + ", found " +
                                                      std::to_string(x.shape(1)) + " features, expected " +
                                                      std::to_string(features));
    require(std::cmp_less(x.shape(0), kMaxBatch), std::string(name) + ", found too many rows");
  }

  void take(const Array1<float>& values) {
    std::ranges::copy(span_of(values), layer_->weight().value.begin());
  }

  int width_for(std::size_t batch) const { return batch <= 16 ? 16 : batch <= 32 ? 32 : 64; }
  Panels<float> shaped(PanelBuffer& buffer, std::int32_t features, std::size_t batch) const {
    return buffer.view(features, static_cast<std::int32_t>(batch), width_for(batch));
  }

  Panels<float> gathered(const Array2<float>& x, PanelBuffer& buffer) {
    const auto features = static_cast<std::int32_t>(x.shape(1));
    const Panels<float> panels = shaped(buffer, features, x.shape(0));
    if (rows_.size() < x.shape(0)) rows_ = counting(x.shape(0));
    // Every panel by all threads: a batch seldom has more panels than there are threads.
    parallel_ranges(features, 64, [&](Range range) {
      for (std::int32_t p = 0; p < panels.count(); ++p) {
        const auto first = static_cast<std::size_t>(p) * static_cast<std::size_t>(panels.width);
        const std::size_t lanes = std::min(static_cast<std::size_t>(panels.width), x.shape(0) - first);
        kernels::gather_panel(x.data(), features, std::span(rows_).subspan(first, lanes), range,
                              zeros_.data(), ones_.data(), panels.panel(p), panels.width);
      }
    });
    return panels;
  }

  // Panels as rows of samples.
  static void scatter(Panels<const float> panels, float* rows) {
    constexpr std::int64_t kBlock = 16;  // features: a line of memory of each sample
    const std::int64_t features = panels.features;
    parallel_ranges(features, kBlock, [&](Range range) {
      for (std::int32_t p = 0; p < panels.count(); ++p) {
        const float* const panel = panels.panel(p);
        const std::int32_t first = p * panels.width;
        const std::int32_t lanes = std::min(panels.width, panels.batch - first);
        for (std::int64_t f = range.begin; f < range.end; f += kBlock)
          for (std::int32_t lane = 0; lane < lanes; ++lane)
            for (std::int64_t i = f; i < std::min(f + kBlock, range.end); ++i)
              rows[(first + lane) * features + i] = panel[i * panels.width + lane];
      }
    });
  }

  std::unique_ptr<SparseLayer> layer_;
  std::vector<float> zeros_, ones_;
  std::vector<std::uint32_t> rows_;
  PanelBuffer inputs_, outputs_, back_;
};

nb::tuple arrays_of(const SparseProduct& product) {
  const Topology& topology = product.topology();
  return nb::make_tuple(
      owned<std::int64_t>(std::vector<std::int64_t>(topology.row_ptr().begin(), topology.row_ptr().end())),
      owned<std::int32_t>(std::vector<std::int32_t>(topology.columns().begin(), topology.columns().end())));
}

// A pattern for one layer, drawn as the [topology] keys say.
SparseProduct draw(const std::string& distribution, std::int32_t outputs, std::int32_t inputs, double density,
                   double epsilon, std::int64_t fan_in, std::uint64_t seed, std::uint32_t layer) {
  const TopologyOptions options{
      .distribution = distribution, .epsilon = epsilon, .density = density, .fan_in = fan_in};
  const std::int32_t sizes[] = {inputs, outputs};
  const std::int64_t budget = layer_budgets(options, sizes).front();
  return SparseProduct(draw_topology(options, outputs, inputs, budget, seed, layer));
}

}  // namespace

void bind_sparse(nb::module_& m) {
  nb::class_<SparseProduct>(m, "SparseProduct")
      .def(nb::init<std::int32_t, std::int32_t, const Array1<std::int64_t>&, const Array1<std::int32_t>&>(),
           nb::arg("outputs"), nb::arg("inputs"), nb::arg("row_ptr").noconvert(),
           nb::arg("columns").noconvert())
      .def("forward", &SparseProduct::forward, nb::arg("values").noconvert(),
           nb::arg("bias").noconvert().none(), nb::arg("x").noconvert())
      .def("backward", &SparseProduct::backward, nb::arg("values").noconvert(), nb::arg("x").noconvert(),
           nb::arg("g").noconvert(), nb::arg("want_x"))
      .def("evolve", &SparseProduct::evolve, nb::arg("values").noconvert(),
           nb::arg("gradients").noconvert().none(), nb::arg("drop"), nb::arg("grow"), nb::arg("zeta"),
           nb::arg("seed"), nb::arg("step"), nb::arg("x").noconvert().none(), nb::arg("g").noconvert().none())
      .def("arrays", &arrays_of)
      .def_prop_ro("nnz", [](const SparseProduct& product) { return product.topology().nnz(); })
      .def_prop_ro("shape", [](const SparseProduct& product) {
        return nb::make_tuple(product.topology().rows(), product.topology().cols());
      });
  m.def("draw", &draw, nb::arg("distribution"), nb::arg("outputs"), nb::arg("inputs"), nb::arg("density"),
        nb::arg("epsilon"), nb::arg("fan_in"), nb::arg("seed"), nb::arg("layer"));
}

}  // namespace tulle::python
