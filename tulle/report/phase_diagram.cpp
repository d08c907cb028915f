#include "tulle/report/phase_diagram.h"

#include <fmt/format.h>

#include <algorithm>

#include "tulle/report/escape.h"
#include "tulle/report/heat_map.h"

namespace tulle {

namespace {

constexpr int kCell = 48, kMargin = 56;

std::string figure(const PhaseDiagram& diagram) {
  const auto columns = static_cast<int>(diagram.columns.size()), rows = static_cast<int>(diagram.rows.size());
  std::string svg =
      fmt::format("<figure><figcaption>{} ({})</figcaption><svg width=\"{}\" height=\"{}\" font-size=\"12\">",
                  escape_html(diagram.title), escape_html(diagram.unit), kMargin + columns * kCell,
                  kMargin + rows * kCell);
  const auto text = [&](int x, int y, const std::string& what, const char* fill) {
    svg +=
        fmt::format("<text x=\"{}\" y=\"{}\" text-anchor=\"middle\" fill=\"{}\">{}</text>", x, y, fill, what);
  };
  text(kMargin + columns * kCell / 2, 14, "nonzeros", "currentColor");
  text(22, 36, "width", "currentColor");
  for (int c = 0; c < columns; ++c)
    text(kMargin + c * kCell + kCell / 2, 36, fmt::format("{}", diagram.columns[static_cast<std::size_t>(c)]),
         "currentColor");
  for (int r = 0; r < rows; ++r) {
    text(22, kMargin + r * kCell + kCell / 2, fmt::format("{}", diagram.rows[static_cast<std::size_t>(r)]),
         "currentColor");
    for (int c = 0; c < columns; ++c) {
      const std::optional<double>& value = diagram.values[static_cast<std::size_t>(r * columns + c)];
      const double share =
          value ? std::clamp((*value - diagram.low) / (diagram.high - diagram.low), 0.0, 1.0) : 0.0;
      svg +=
          fmt::format("<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"{}\"/>", kMargin + c * kCell,
                      kMargin + r * kCell, kCell - 1, kCell - 1, value ? heat_color(share) : "none");
      text(kMargin + c * kCell + kCell / 2, kMargin + r * kCell + kCell / 2 + 4,
           value ? fmt::format("{:.1f}", *value) : "not run",
           value ? (share > 0.6 ? "#000" : "#fff") : "currentColor");
    }
  }
  return svg + "</svg></figure>";
}

}  // namespace

std::string phase_diagrams(const std::string& title, const std::vector<PhaseDiagram>& diagrams) {
  std::string page = fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\"><head><meta "
      "charset=\"utf-8\"><title>{0}</title><style>body{{font-family:sans-serif}}"
      "figure{{display:inline-block;margin:1em}}</style></head><body>\n<h1>{0}</h1>\n",
      escape_html(title));
  for (const PhaseDiagram& diagram : diagrams) page += figure(diagram) + "\n";
  return page + "</body></html>\n";
}

}  // namespace tulle
