#include "tulle/report/phase_diagram.h"

#include <fmt/format.h>

#include <algorithm>

#include "tulle/report/escape.h"
#include "tulle/report/heat_map.h"

namespace tulle {
namespace {

constexpr int kCell = 48, kMargin = 56;

}  // namespace

std::string phase_figure(const PhaseDiagram& diagram) {
  const auto columns = static_cast<int>(diagram.columns.size()), rows = static_cast<int>(diagram.rows.size());
  std::string svg = fmt::format(
      "<figure class=\"card\"><figcaption><h3>{0} <small>{1}{4}</small></h3></figcaption>"
      "<svg role=\"img\" class=\"phase\" style=\"max-width:{2}px\" viewBox=\"0 0 {2} {3}\" font-size=\"12\">"
      "<title>{0} in {1} by width and nonzeros</title>",
      escape_html(diagram.title), escape_html(diagram.unit), kMargin + columns * kCell,
      kMargin + rows * kCell, diagram.note.empty() ? "" : "; " + escape_html(diagram.note));
  const auto text = [&](int x, int y, const std::string& what, const char* style = "") {
    svg += fmt::format("<text x=\"{}\" y=\"{}\" class=\"mid\"{}>{}</text>", x, y, style, what);
  };
  text(kMargin + columns * kCell / 2, 14, "nonzeros");
  text(22, 36, "width");
  for (int c = 0; c < columns; ++c)
    text(kMargin + c * kCell + kCell / 2, 36,
         fmt::format("{}", diagram.columns[static_cast<std::size_t>(c)]));
  for (int r = 0; r < rows; ++r) {
    text(22, kMargin + r * kCell + kCell / 2 + 4,
         fmt::format("{}", diagram.rows[static_cast<std::size_t>(r)]));
    for (int c = 0; c < columns; ++c) {
      const std::optional<double>& value = diagram.values[static_cast<std::size_t>(r * columns + c)];
      const int x = kMargin + c * kCell, y = kMargin + r * kCell;
      if (!value) {  // was not run
        text(x + kCell / 2, y + kCell / 2 + 4, "\u2013");
        continue;
      }
      const double share = std::clamp((*value - diagram.low) / (diagram.high - diagram.low), 0.0, 1.0);
      svg += fmt::format("<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"{}\"/>", x, y, kCell - 1,
                         kCell - 1, heat_color(share));
      text(x + kCell / 2, y + kCell / 2 + 4, fmt::format("{:.1f}", *value),
           share > 0.6 ? " style=\"fill:#000\"" : " style=\"fill:#fff\"");
    }
  }
  return svg + "</svg></figure>";
}

}  // namespace tulle
