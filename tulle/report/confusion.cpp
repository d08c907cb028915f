#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "tulle/report/axis.h"
#include "tulle/report/escape.h"
#include "tulle/report/sections.h"

namespace tulle {
namespace {

constexpr std::size_t kMostClasses = 20;  // that a reader can take in, and a page can hold
constexpr std::size_t kMostPairs = 10;

struct Pair {
  std::size_t actual, predicted;
  std::int64_t count;
  double share;  // of the samples of the actual class
};

std::int64_t row_sum(const ResultRecord& result, std::size_t row) {
  const std::size_t classes = result.class_names.size();
  std::int64_t sum = 0;
  for (std::size_t i = 0; i < classes; ++i) sum += result.confusion[row * classes + i];
  return sum;
}

std::string matrix(const ResultRecord& result) {
  const std::size_t classes = result.class_names.size();
  const bool are_long = std::any_of(result.class_names.begin(), result.class_names.end(),
                                    [](const std::string& name) { return name.size() > 3; });
  std::string html = fmt::format(
      "<div class=\"card\"><h3>Confusion matrix <small>rows: true class, columns: predicted</small></h3>"
      "<div class=\"wide\"><table class=\"confusion{}\"><thead><tr><td></td>",
      are_long ? " long" : "");
  for (const std::string& name : result.class_names)
    html += fmt::format("<th title=\"{0}\"><span>{0}</span></th>", escape_html(name));
  html += "</tr></thead><tbody>";
  for (std::size_t row = 0; row < classes; ++row) {
    const std::string name = escape_html(result.class_names[row]);
    html += fmt::format("<tr><th title=\"{0}\"><span>{0}</span></th>", name);
    const auto sum = static_cast<double>(std::max<std::int64_t>(row_sum(result, row), 1));
    for (std::size_t column = 0; column < classes; ++column) {
      const std::int64_t count = result.confusion[row * classes + column];
      const double share = static_cast<double>(count) / sum;
      // Half a percent of a row is not worth a colour, but a mistake of a few percent must be seen.
      html +=
          fmt::format("<td class=\"{}{}\" style=\"--v:{:.2f}\">{}</td>", row == column ? "hit" : "miss",
                      share > 0.5 ? " on" : "", row == column ? share : std::min(1.0, 3.0 * share), count);
    }
    html += "</tr>";
  }
  return html + "</tbody></table></div></div>\n";
}

std::string worst_pairs(const ResultRecord& result) {
  const std::size_t classes = result.class_names.size();
  std::vector<Pair> pairs;
  for (std::size_t row = 0; row < classes; ++row) {
    const auto sum = static_cast<double>(std::max<std::int64_t>(row_sum(result, row), 1));
    for (std::size_t column = 0; column < classes; ++column) {
      const std::int64_t count = result.confusion[row * classes + column];
      if (row != column && count > 0) pairs.push_back({row, column, count, static_cast<double>(count) / sum});
    }
  }
  const std::size_t shown = std::min(pairs.size(), kMostPairs);
  std::partial_sort(pairs.begin(), pairs.begin() + static_cast<std::ptrdiff_t>(shown), pairs.end(),
                    [](const Pair& a, const Pair& b) {
                      return a.count != b.count ? a.count > b.count : a.share > b.share;
                    });
  if (shown == 0)
    return "<div class=\"card\"><h3>Most often confused</h3><p class=\"quiet\">No mistakes.</p></div>\n";
  std::string html =
      "<div class=\"card\"><h3>Most often confused</h3><table class=\"pairs\"><thead><tr><th>true</th>"
      "<th>taken for</th><th>times</th><th>of its class</th></tr></thead><tbody>";
  for (std::size_t i = 0; i < shown; ++i)
    html += fmt::format("<tr><th>{}</th><th>{}</th><td>{}</td><td>{:.1f}\u202f%</td></tr>",
                        escape_html(result.class_names[pairs[i].actual]),
                        escape_html(result.class_names[pairs[i].predicted]), grouped(pairs[i].count),
                        100.0 * pairs[i].share);
  return html + "</tbody></table></div>\n";
}

}  // namespace

std::string confusion_section(const ResultRecord& result) {
  const std::size_t classes = result.class_names.size();
  if (classes == 0 || result.confusion.size() != classes * classes) return "";
  return (classes <= kMostClasses ? matrix(result) : "") + worst_pairs(result);
}

}  // namespace tulle
