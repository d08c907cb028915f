#include "tulle/evolve/prune.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "tulle/base/error.h"
#include "tulle/nn/compaction.h"
#include "tulle/sparse/selection.h"

namespace tulle {
namespace {

using Marks = std::vector<std::uint8_t>;

template <class T>
bool parse(std::string_view text, T& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc{} && end == text.data() + text.size();
}

std::vector<float> magnitudes_of(const Layer& layer) {
  std::vector<float> magnitudes;
  for (const float w : layer.weight().value) magnitudes.push_back(std::abs(w));
  return magnitudes;
}

// Takes the mark of the strongest weight back if nothing would stay.
void keep_one(const std::vector<float>& magnitudes, Marks& marks) {
  if (magnitudes.empty() || std::ranges::find(marks, std::uint8_t{0}) != marks.end()) return;
  marks[static_cast<std::size_t>(std::ranges::max_element(magnitudes) - magnitudes.begin())] = 0;
}

void mark_weakest(const std::vector<float>& magnitudes, double share, Marks& marks) {
  const auto count = static_cast<std::int64_t>(std::floor(share * static_cast<double>(magnitudes.size())));
  mark_weakest_of_each_sign(magnitudes, 0, count, marks);
}

void mark_nm(const Layer& layer, const std::vector<float>& magnitudes, int n, int m, Marks& marks) {
  const Topology* const topology = layer.topology();
  std::vector<std::size_t> order;
  std::size_t place = 0;
  for (std::int32_t row = 0; !marks.empty() && row < layer.outputs(); ++row) {
    const std::size_t end =
        place + static_cast<std::size_t>(topology ? std::ssize(topology->row(row)) : layer.inputs());
    const auto column = [&, begin = place](std::size_t k) {
      return topology ? topology->row(row)[k - begin] : static_cast<std::int32_t>(k - begin);
    };
    while (place < end) {
      const std::int32_t group = column(place) / m;
      order.clear();
      for (; place < end && column(place) / m == group; ++place) order.push_back(place);
      std::ranges::stable_sort(order, std::ranges::greater{}, [&](std::size_t k) { return magnitudes[k]; });
      for (std::size_t i = static_cast<std::size_t>(n); i < order.size(); ++i) marks[order[i]] = 1;
    }
  }
}

}  // namespace

PruneForm parse_prune_form(std::string_view option, std::string_view text) {
  const auto share_after = [&](std::string_view prefix, PruneForm& form) {
    return text.starts_with(prefix) && parse(text.substr(prefix.size()), form.share) && form.share >= 0.0 &&
           form.share < 1.0;
  };
  PruneForm form;
  if (text == "nonzero") return form;
  form.kind = PruneForm::Kind::kMagnitude;
  if (share_after("magnitude:", form)) return form;
  form.kind = PruneForm::Kind::kMagnitudeLayer;
  if (share_after("magnitude-layer:", form)) return form;
  form.kind = PruneForm::Kind::kNm;
  const std::size_t colon = text.rfind(':');
  if (text.starts_with("nm:") && colon > 3 && parse(text.substr(3, colon - 3), form.n) &&
      parse(text.substr(colon + 1), form.m) && form.n >= 1 && form.m >= form.n && form.m <= 1024)
    return form;
  throw Error(ErrorKind::kConfig, fmt::format("{}, found '{}', expected magnitude:S or magnitude-layer:S "
                                              "with S from 0 up to 1, nonzero, or nm:N:M",
                                              option, text));
}

Network pruned(Network& network, const PruneForm& form) {
  std::vector<std::vector<float>> magnitudes;
  std::vector<Marks> marks;
  for (std::size_t l = 0; l < network.size(); ++l) {
    magnitudes.push_back(magnitudes_of(network.layer(l)));
    marks.emplace_back(magnitudes[l].size(), std::uint8_t{0});
  }
  if (form.kind == PruneForm::Kind::kMagnitude) {
    std::vector<float> all;
    for (const auto& layer : magnitudes) all.insert(all.end(), layer.begin(), layer.end());
    Marks together(all.size(), 0);
    mark_weakest(all, form.share, together);
    auto next = together.begin();
    for (Marks& layer : marks) {
      std::copy_n(next, layer.size(), layer.begin());
      next += static_cast<std::ptrdiff_t>(layer.size());
    }
  }
  for (std::size_t l = 0; l < network.size(); ++l) {
    const Layer& layer = network.layer(l);
    const bool inner = l + 1 < network.size() || network.architecture() != nullptr;
    if (form.kind == PruneForm::Kind::kMagnitudeLayer && inner)
      mark_weakest(magnitudes[l], form.share, marks[l]);
    if (form.kind == PruneForm::Kind::kNonzero)
      for (std::size_t k = 0; k < marks[l].size(); ++k) marks[l][k] = layer.weight().value[k] == 0.0f ? 1 : 0;
    if (form.kind == PruneForm::Kind::kNm) mark_nm(layer, magnitudes[l], form.n, form.m, marks[l]);
    keep_one(magnitudes[l], marks[l]);
  }
  return without_connections(network, marks);
}

}  // namespace tulle
