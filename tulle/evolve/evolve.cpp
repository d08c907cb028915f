#include "tulle/evolve/evolve.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <numeric>
#include <utility>

#include "tulle/base/check.h"
#include "tulle/base/parallel.h"
#include "tulle/base/spill.h"
#include "tulle/evolve/renew_rows.h"
#include "tulle/nn/bf16_weights.h"
#include "tulle/nn/dense_linear.h"
#include "tulle/nn/sparse_layer.h"
#include "tulle/sparse/budgets.h"
#include "tulle/sparse/sampling.h"
#include "tulle/sparse/selection.h"

namespace tulle {

InitContext init_context(const Network& network, std::size_t l, const Topology& topology,
                         const WeightLaw& law) {
  const bool has_source = l > 0 && network.architecture() == nullptr;
  InitContext context = init_context(has_source ? &network.layer(l - 1) : nullptr, topology, law);
  if (network.spread() != nullptr) {
    context.targets = network.outputs(l);
    context.connections = network.connections(l);
  }
  return context;
}

InitContext init_context(const Layer* source, const Topology& topology, const WeightLaw& law) {
  InitContext context{.topology = topology, .sparse_fan = law.sparse_fan};
  if (source != nullptr)
    context.source_second_moment = second_moment(source->activation()) / (1.0 - source->dropout());
  return context;
}

CellDraw grow_draw(const Evolution& how, std::uint64_t seed, std::uint32_t step, std::size_t l) {
  return {
      .law = how.window,
      .key = {.seed = seed, .stream = Stream::kGrow, .layer = static_cast<std::uint32_t>(l), .event = step}};
}

namespace {

// Networks with fewer connections evolve their layers side by side; in larger ones the temporaries, 16 bytes
// for each connection of a layer, would add up.
constexpr std::int64_t kSideBySide = std::int64_t{1} << 24;

/// What a layer has left, connection by connection, once it has shrunk to its budget.
struct Rest {
  std::vector<std::uint8_t> gone{};  // flags of all connections; none: nothing had to go
  Topology topology{};
  std::vector<float> weights{}, gradients{}, pending{};
};

// Those of the values whose connections stay.
std::vector<float> left_of(std::span<const float> values, std::span<const std::uint8_t> gone) {
  std::vector<float> left;
  for (std::size_t k = 0; k < values.size(); ++k)
    if (gone[k] == 0) left.push_back(values[k]);
  return left;
}

/// One event at work: the layers go through each stage together, because some choices look at all of them.
class Event {
 public:
  Event(Network& network, const Evolution& how, const EvolveEvent& event)
      : network_(network), how_(how), event_(event) {
    // The last layer of a chain gives the outputs; an architecture's layers all lie inside.
    const std::size_t inner = network.size() - (network.architecture() == nullptr ? 1 : 0);
    for (std::size_t l = 0; l < inner; ++l) {
      auto* layer = dynamic_cast<SparseLayer*>(&network.layer(l));
      if (layer == nullptr) continue;
      const std::int64_t connections = network.connections(l);
      const RowShare share = network.row_share(l);
      if (static_cast<double>(connections) / static_cast<double>(share.cells(*layer->topology())) <=
          how.max_density)
        work_.push_back(
            {.l = l, .layer = layer, .share = share, .result = {.layer = l, .before = connections}});
    }
  }

  void gather(std::vector<CellScores>& scores) {
    scores.resize(network_.size());
    for (const Work& work : work_) {
      GrowInput input = grow_input(work, *work.layer->topology());
      look_at_last_step(work, input);
      how_.grow->gather(input, how_.momentum, scores[work.l]);
    }
  }

  std::vector<LayerEvolution> run() {
    set_budgets();
    if (how_.in_rows)
      for_layers([&](Work& work) { renew(work); });
    else if (how_.global || how_.chain_removal || how_.redistribute != Redistribute::kNone)
      stage_by_stage();
    else
      for_layers([&](Work& work) {  // a layer alone: what it needs for a while is gone before the next one's
        const bool bf16 = work.layer->weight().is_bf16();
        widen(work.layer->weight());
        shrink_to_budget(work);
        mark(work);
        mark_what_shrank(work);
        drop(work);
        grow(work);
        if (bf16) narrow(work.layer->weight());
      });
    if (how_.dense_layers) renew_dense_layers();

    std::vector<LayerEvolution> results;
    for (Work& work : work_) results.push_back(std::move(work.result));
    return results;
  }

 private:
  struct Work {
    std::size_t l;
    SparseLayer* layer;
    RowShare share{};
    std::int64_t budget = 0;  // connections after the event
    std::int64_t count = 0;   // to grow
    std::vector<float> pending{};
    Rest rest{};
    std::vector<std::uint8_t> marks{};  // of what goes: first of the rest's connections, then of all
    Topology kept{};
    LayerEvolution result{};
  };

  // Choices that look at all layers.
  void stage_by_stage() {
    std::vector<Parameter*> bf16;
    for (Work& work : work_)
      if (work.layer->weight().is_bf16()) bf16.push_back(&work.layer->weight());
    for (Parameter* weight : bf16) widen(*weight);
    for_layers([&](Work& work) { shrink_to_budget(work); });
    if (how_.global)
      mark_over_all_layers();
    else
      for_layers([&](Work& work) { mark(work); });
    for (Work& work : work_) mark_what_shrank(work);
    if (how_.chain_removal) mark_chains();
    for_layers([&](Work& work) { drop(work); });
    if (how_.grow->grow != nullptr && how_.redistribute != Redistribute::kNone) redistribute();
    for_layers([&](Work& work) { grow(work); });
    for (Parameter* weight : bf16) narrow(*weight);
  }

  void renew(Work& work) const {
    const Topology& topology = *work.layer->topology();
    renew_rows(*work.layer,
               {.zeta = event_.zeta,
                .law = how_.law.law,
                .context = init_context(network_, work.l, topology, how_.law),
                .drops = random(Stream::kDrop, work.l),
                .sources = random(Stream::kGrow, work.l),
                .values = random(Stream::kGrowValue, work.l)},
               work.result);
    count_isolated(topology, work.share, work.result);
  }

  void mark(Work& work) const { work.marks = marks_of(*how_.drop, drop_input(work), how_.min_fan_in); }
  // One set of marks for all that goes: drop and grow see what the shrink took as they see the rest.
  static void mark_what_shrank(Work& work) {
    if (work.rest.gone.empty()) return;
    std::size_t k = 0;
    for (std::uint8_t& gone : work.rest.gone)
      if (gone == 0) gone = work.marks[k++];
    work.marks = std::move(work.rest.gone);
    work.rest = {};
  }
  void drop(Work& work) const {
    work.kept = kept(*work.layer->topology(), work.marks);
    const std::int64_t left = work.share.sum(work.kept.nnz());
    work.result.dropped = work.result.before - left;
    if (how_.grow->grow != nullptr) work.count = std::max<std::int64_t>(work.budget - left, 0);
  }

  template <class Body>
  void for_layers(const Body& body) {
    auto one = [&](int i) { body(work_[static_cast<std::size_t>(i)]); };
    const auto count = static_cast<int>(work_.size());
    // Rules that go through every cell use all threads for each layer.
    if (network_.connections() < kSideBySide && !how_.grow->every_cell && !spilling() &&
        network_.spread() == nullptr) {
      parallel_parts(count, one);
      return;
    }
    for (int i = 0; i < count; ++i) {
      one(i);
      release_spilled();
    }
  }

  Random random(Stream stream, std::size_t l) const {
    return {
        .seed = event_.seed, .stream = stream, .layer = static_cast<std::uint32_t>(l), .event = event_.step};
  }

  std::vector<float> pending_steps(const Parameter& parameter) const {
    require(event_.optimizer != nullptr, "evolve: this rule needs the optimizer");
    std::vector<float> pending(parameter.value.size());
    event_.optimizer->pending(parameter, static_cast<float>(event_.learning_rate), pending);
    return pending;
  }

  DropInput drop_input(const Topology& topology, std::size_t l, const Parameter& weight,
                       std::vector<float>& pending) const {
    if (how_.drop->needs_pending) pending = pending_steps(weight);
    return drop_input(topology, l, weight.value, weight.gradient, pending, {});
  }
  DropInput drop_input(const Topology& topology, std::size_t l, std::span<const float> weights,
                       std::span<const float> gradients, std::span<const float> pending,
                       const RowShare& share) const {
    return {.topology = topology,
            .weights = weights,
            .gradients = gradients,
            .pending = pending,
            .zeta = event_.zeta,
            .learning_rate = event_.learning_rate,
            .soft_beta = how_.soft_beta,
            .mest_gamma = how_.mest_gamma,
            .threshold = how_.threshold,
            .random = random(Stream::kDrop, l),
            .share = share};
  }
  // The rule chooses among what the shrink has left.
  DropInput drop_input(Work& work) const {
    const Topology& all = *work.layer->topology();
    const Parameter& weight = work.layer->weight();
    if (how_.drop->needs_pending) work.pending = pending_steps(weight);
    Rest& rest = work.rest;
    if (rest.gone.empty())
      return drop_input(all, work.l, weight.value, weight.gradient, work.pending, work.share);
    rest.topology = kept(all, rest.gone);
    rest.weights = left_of(weight.value, rest.gone);
    rest.gradients = left_of(weight.gradient, rest.gone);
    rest.pending = left_of(work.pending, rest.gone);
    return drop_input(rest.topology, work.l, rest.weights, rest.gradients, rest.pending, work.share);
  }

  void set_budgets() {
    for (Work& work : work_) work.budget = work.result.before;
    if (!event_.density || work_.empty()) return;
    std::vector<LayerShape> shapes;
    for (const Work& work : work_) shapes.push_back({work.layer->inputs(), network_.outputs(work.l)});
    const std::vector<std::int64_t> budgets =
        layer_budgets({.distribution = how_.distribution, .density = *event_.density}, shapes);
    for (std::size_t i = 0; i < work_.size(); ++i) work_[i].budget = budgets[i];
  }

  void shrink_to_budget(Work& work) const {
    const std::int64_t excess = work.result.before - work.budget;
    if (excess <= 0) return;
    const AlignedVector<float>& weights = work.layer->weight().value;
    std::vector<float> magnitudes(weights.size());
    std::ranges::transform(weights, magnitudes.begin(), [](float w) { return std::abs(w); });
    work.rest.gone.assign(weights.size(), 0);
    mark_weakest_of_each_sign(magnitudes, 0, excess, work.rest.gone, work.share);
  }

  void mark_over_all_layers() {
    std::vector<DropInput> inputs;
    std::vector<float> scores;
    for (Work& work : work_) {
      inputs.push_back(drop_input(work));
      std::vector<float> own(inputs.back().weights.size());
      how_.drop->score(inputs.back(), own);
      scores.insert(scores.end(), own.begin(), own.end());
    }
    std::vector<std::uint8_t> marks(scores.size(), 0);
    mark_weakest_of_each_sign(scores, 0, share_of(event_.zeta, static_cast<std::int64_t>(scores.size())),
                              marks);
    std::size_t first = 0;
    for (std::size_t i = 0; i < work_.size(); ++i) {
      const std::size_t size = inputs[i].weights.size();
      std::vector<std::uint8_t>& own = work_[i].marks;
      own.assign(marks.begin() + static_cast<std::ptrdiff_t>(first),
                 marks.begin() + static_cast<std::ptrdiff_t>(first + size));
      keep_at_least(work_[i], std::span(scores).subspan(first, size));
      if (how_.min_fan_in > 0) spare_strongest(inputs[i].topology, inputs[i].weights, how_.min_fan_in, own);
      first += size;
    }
  }

  // Takes back marks, those of the highest scores, until the layer keeps min_links connections.
  void keep_at_least(Work& work, std::span<const float> scores) const {
    const auto size = static_cast<std::int64_t>(scores.size());
    const auto marked = std::count(work.marks.begin(), work.marks.end(), std::uint8_t{1});
    if (size - marked >= how_.min_links) return;
    std::ranges::fill(work.marks, std::uint8_t{0});
    mark_weakest_of_each_sign(scores, 0, std::max<std::int64_t>(size - how_.min_links, 0), work.marks);
  }

  // Connections into hidden neurons without outputs and out of hidden neurons without inputs, to a fixed
  // point. Layers that do not evolve count with all they have.
  void mark_chains() {
    for (bool changed = true; changed;) {
      changed = false;
      for (std::size_t i = 0; i < work_.size(); ++i) {
        Work& work = work_[i];
        const std::vector<bool> used = used_sources(work.l + 1);
        const std::vector<bool> fed = work.l == 0 ? std::vector<bool>{} : fed_targets(work.l - 1);
        std::size_t k = 0;
        for (std::int32_t target = 0; target < work.layer->outputs(); ++target)
          for (const std::int32_t source : work.layer->topology()->row(target)) {
            const bool leads_nowhere = !used[static_cast<std::size_t>(target)];
            const bool from_nowhere = work.l > 0 && !fed[static_cast<std::size_t>(source)];
            if (work.marks[k] == 0 && (leads_nowhere || from_nowhere)) work.marks[k] = 1, changed = true;
            ++k;
          }
      }
    }
  }

  const Work* work_of(std::size_t l) const {
    const auto found = std::ranges::find(work_, l, &Work::l);
    return found == work_.end() ? nullptr : &*found;
  }

  // body(target, source) for what layer l has or keeps.
  template <class Body>
  void for_kept(std::size_t l, const Body& body) const {
    const Topology& topology = *network_.layer(l).topology();
    const Work* const work = work_of(l);
    std::size_t k = 0;
    for (std::int32_t target = 0; target < topology.rows(); ++target)
      for (const std::int32_t source : topology.row(target))
        if (const std::size_t place = k++; work == nullptr || work->marks[place] == 0) body(target, source);
  }

  std::vector<bool> used_sources(std::size_t l) const {
    const Layer& layer = network_.layer(l);
    std::vector<bool> used(static_cast<std::size_t>(layer.inputs()), layer.topology() == nullptr);
    if (layer.topology() != nullptr)
      for_kept(l, [&](std::int32_t, std::int32_t source) { used[static_cast<std::size_t>(source)] = true; });
    return used;
  }

  std::vector<bool> fed_targets(std::size_t l) const {
    const Layer& layer = network_.layer(l);
    std::vector<bool> fed(static_cast<std::size_t>(layer.outputs()), layer.topology() == nullptr);
    if (layer.topology() != nullptr)
      for_kept(l, [&](std::int32_t target, std::int32_t) { fed[static_cast<std::size_t>(target)] = true; });
    return fed;
  }

  double statistic(const Work& work) const {
    if (how_.redistribute == Redistribute::kNonzeros) return static_cast<double>(work.kept.nnz());
    const Parameter& weight = work.layer->weight();
    const std::vector<float> pending =
        how_.redistribute == Redistribute::kMomentum ? pending_steps(weight) : std::vector<float>{};
    double sum = 0.0;
    for (std::size_t k = 0; k < work.marks.size(); ++k)
      if (work.marks[k] == 0) sum += std::abs(pending.empty() ? weight.value[k] : pending[k]);
    return std::isfinite(sum) ? sum : 0.0;
  }

  // What all layers are to grow together, shared out by the statistic.
  void redistribute() {
    std::int64_t left = 0;
    std::vector<double> weight;
    std::vector<std::int64_t> room;
    for (Work& work : work_) {
      left += std::exchange(work.count, 0);
      weight.push_back(statistic(work));
      const Topology& taken = how_.regrow_dropped ? work.kept : *work.layer->topology();
      room.push_back(static_cast<std::int64_t>(taken.cells()) - taken.nnz());
    }
    const std::vector<std::int64_t> shares = shared_out(left, weight, room);
    for (std::size_t i = 0; i < work_.size(); ++i) work_[i].count = shares[i];
  }

  GrowInput grow_input(const Work& work, const Topology& taken) const {
    const CellDraw draw = grow_draw(how_, event_.seed, event_.step, work.l);
    return {.taken = taken,
            .share = work.share,
            .count = work.count,
            .connections = work.result.before,
            .candidates = how_.candidates,
            .window = draw.law,
            .random = draw.key};
  }
  void look_at_last_step(const Work& work, GrowInput& input) const {
    input.inputs = network_.layer_inputs(work.l);
    input.errors = network_.errors(work.l);
    require(!work.layer->gates_errors(),
            "evolve: this rule needs dL/dz, which a compact layer does not leave behind; use the fast form");
    require(input.errors.batch > 0, "evolve: this rule needs a batch whose errors were kept");
  }

  SourceUse kept_inputs(const Work& work) const {
    std::vector<float> weights;
    for (std::size_t k = 0; k < work.marks.size(); ++k)
      if (work.marks[k] == 0) weights.push_back(work.layer->weight().value[k]);
    return source_use(work.kept, weights);
  }

  void grow(Work& work) const {
    if (how_.tells_inputs && work.l == 0) work.result.kept = kept_inputs(work);
    const Topology& old = *work.layer->topology();
    const Topology& taken = how_.regrow_dropped ? work.kept : old;
    std::vector<std::uint64_t> cells;
    if (work.count > 0) {
      GrowInput input = grow_input(work, taken);
      if (!event_.gathered.empty())
        input.gathered = &event_.gathered[work.l];
      else if (how_.grow->needs_errors)
        look_at_last_step(work, input);
      cells = how_.grow->grow(input);
    }
    work.kept = {};
    TopologyUpdate update = replace_connections(old, work.marks, cells);
    std::int64_t counts[] = {update.regrown, std::ssize(cells)};
    work.share.sum(counts);
    work.result.regrown = counts[0];
    work.result.grown = counts[1];
    work.result.after = work.result.before - work.result.dropped + work.result.grown;
    work.marks = std::vector<std::uint8_t>();  // = {} would keep the memory
    if (network_.spread() != nullptr) network_.spread()->set_connections(work.l, work.result.after);
    const std::vector<float> values = start_values(work, update.topology, cells);
    work.layer->replace(std::move(update), values);
    count_isolated(*work.layer->topology(), work.share, work.result);
    work.result.grown_cells = std::move(cells);
  }

  static void count_isolated(const Topology& topology, const RowShare& share, LayerEvolution& result) {
    std::vector<std::uint8_t> used(static_cast<std::size_t>(topology.cols()), 0);
    parallel_ranges(topology.nnz(), 1 << 14, [&](Range range) {  // several may find the same source
      for (auto k = static_cast<std::size_t>(range.begin); k < static_cast<std::size_t>(range.end); ++k)
        std::atomic_ref(used[static_cast<std::size_t>(topology.columns()[k])])
            .store(1, std::memory_order_relaxed);
    });
    share.unite(used);
    result.no_outputs = std::count(used.begin(), used.end(), std::uint8_t{0});
    std::atomic<std::int64_t> no_inputs = 0;
    parallel_ranges(topology.rows(), 1 << 14, [&](Range range) {
      std::int64_t empty = 0;
      for (std::int64_t target = range.begin; target < range.end; ++target)
        empty += topology.row(static_cast<std::int32_t>(target)).empty() ? 1 : 0;
      no_inputs += empty;
    });
    result.no_inputs = share.sum(no_inputs);
  }

  // Of the connections that grow into `topology`, in their order.
  std::vector<float> start_values(const Work& work, const Topology& topology,
                                  std::span<const std::uint64_t> cells) const {
    return grown_weights(*how_.law.law, init_context(network_, work.l, topology, how_.law),
                         random(Stream::kGrowValue, work.l), cells, work.share.first_key(topology));
  }

  // The published code treats a hidden layer of density 1 like any other: what it drops can only grow in the
  // same places, with new values.
  void renew_dense_layers() {
    for (std::size_t l = 0; l + 1 < network_.size(); ++l) {
      auto* layer = dynamic_cast<DenseLinear*>(&network_.layer(l));
      if (layer == nullptr) continue;
      Parameter& weight = layer->weight();
      const Topology all = full_topology(layer->outputs(), layer->inputs());
      std::vector<float> pending;
      const std::vector<std::uint8_t> marks =
          marks_of(*how_.drop, drop_input(all, l, weight, pending), how_.min_fan_in);
      const InitContext context = init_context(network_, l, all, how_.law);
      const Random values = random(Stream::kGrowValue, l);
      for (std::size_t k = 0; k < marks.size(); ++k) {
        if (marks[k] == 0) continue;
        const auto target = static_cast<std::int32_t>(k / static_cast<std::size_t>(layer->inputs()));
        weight.value[k] = draw_weight(*how_.law.law, how_.law.law->spread(context, target), values, k);
        for (AlignedVector<float>* state : {&weight.gradient, &weight.m1, &weight.m2, &weight.outer})
          if (!state->empty()) (*state)[k] = 0.0f;
        if (!weight.average.empty()) weight.average[k] = weight.value[k];
        if (!weight.age.empty()) weight.age[k] = 0;
      }
    }
  }

  Network& network_;
  const Evolution& how_;
  const EvolveEvent& event_;
  std::vector<Work> work_;
};

}  // namespace

SourceUse source_use(const Topology& topology, std::span<const float> weights) {
  const auto sources = static_cast<std::size_t>(topology.cols());
  SourceUse use{.connections = std::vector<std::int64_t>(sources, 0),
                .strength = std::vector<double>(sources, 0.0)};
  for (std::size_t k = 0; k < weights.size(); ++k) {
    const auto source = static_cast<std::size_t>(topology.columns()[k]);
    ++use.connections[source];
    use.strength[source] += std::abs(static_cast<double>(weights[k]));
  }
  return use;
}

std::vector<LayerEvolution> evolve(Network& network, const Evolution& how, const EvolveEvent& event) {
  require(how.drop != nullptr && how.grow != nullptr && how.law.law != nullptr,
          "evolve: an incomplete Evolution");
  require(!how.global || how.drop->score != nullptr,
          "evolve: a global ranking needs a drop rule with a score");
  require(event.gathered.empty() || event.gathered.size() == network.size(),
          "evolve: gathered scores must be those of every layer");
  return Event(network, how, event).run();
}

void gather(Network& network, const Evolution& how, const EvolveEvent& event,
            std::vector<CellScores>& scores) {
  require(how.gathers(), "gather: a grow rule that gathers is needed");
  Event(network, how, event).gather(scores);
}

}  // namespace tulle
