#include "tulle/report/html.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "tulle/report/svg.h"

namespace tulle {
namespace {

constexpr std::string_view kStyle = R"(
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#5c6670;--rule:#d9dee3;--page:#fbfcfd;--card:#fff;
--s0:#0b66c3;--s1:#c2410c;--s2:#0f7b55;--s3:#7c3aed;--s4:#b45309;--s5:#be185d}
@media(prefers-color-scheme:dark){:root{--ink:#e8ebee;--soft:#9aa5b0;--rule:#343b43;--page:#14171a;--card:#1c2024;
--s0:#5aa9ff;--s1:#ff8f5a;--s2:#4fc79a;--s3:#b79bff;--s4:#f0b35a;--s5:#ff7ab6}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:1180px;padding:24px 16px 64px;background:var(--page);color:var(--ink);
font:16px/1.5 system-ui,sans-serif}
h1{font-size:1.7rem;margin:0;overflow-wrap:anywhere}h2{font-size:1.1rem;margin:0 0 12px}
header p,.none,.note{color:var(--soft);margin:4px 0 0;font-size:.9rem;overflow-wrap:anywhere}
.headline{display:flex;flex-wrap:wrap;gap:8px 40px;margin:20px 0}
.headline b{display:block;font-size:1.9rem;line-height:1.2;font-variant-numeric:tabular-nums}
.headline span{color:var(--soft);font-size:.9rem}
main{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,480px),1fr));gap:16px}
section{background:var(--card);border:1px solid var(--rule);border-radius:8px;padding:16px;min-width:0;
break-inside:avoid}
section.wide{grid-column:1/-1}.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{text-align:right;padding:5px 10px;border-top:1px solid var(--rule);white-space:nowrap}
th:first-child,td:first-child{text-align:left}thead th{border-top:0;color:var(--soft);font-weight:600}
table.confusion td,table.confusion th{padding:3px 6px;font-size:.8rem}
table.confusion tr>:first-child{max-width:9rem;overflow:hidden;text-overflow:ellipsis}
td.right{outline:1px solid var(--s2);outline-offset:-2px}
svg{width:100%;height:auto;display:block}svg.map{max-width:420px;margin:auto;border:1px solid var(--rule)}
.tick{font-size:12px;fill:var(--soft)}.label{font-size:13px;fill:var(--ink)}
.grid{stroke:var(--rule);stroke-width:1}.axis{stroke:var(--soft);fill:none}
.line{fill:none;stroke-width:2;stroke-linejoin:round}
.line.s0{stroke:var(--s0)}.line.s1{stroke:var(--s1)}.line.s2{stroke:var(--s2)}
.line.s3{stroke:var(--s3)}.line.s4{stroke:var(--s4)}.line.s5{stroke:var(--s5)}
.dot.s0{fill:var(--s0)}.dot.s1{fill:var(--s1)}.dot.s2{fill:var(--s2)}.dot.s3{fill:var(--s3)}
i.s0{background:var(--s0)}i.s1{background:var(--s1)}i.s2{background:var(--s2)}i.s3{background:var(--s3)}
i.s4{background:var(--s4)}i.s5{background:var(--s5)}
.legend{display:flex;flex-wrap:wrap;gap:4px 18px;margin:8px 0 0;font-size:.85rem}
.legend i{display:inline-block;width:18px;height:3px;margin-right:6px;vertical-align:middle}
.scale{text-align:center;font-size:.85rem;color:var(--soft);margin:8px 0 0}
.scale span{display:inline-flex;vertical-align:middle}.scale i{width:12px;height:12px}
.bars div{display:grid;grid-template-columns:6rem 1fr 5.5rem;align-items:center;gap:10px;font-size:.9rem}
.bars u{display:block;height:12px;background:var(--s0);border-radius:2px}.bars b{text-align:right;font-weight:400}
pre{margin:0;font-size:.8rem;white-space:pre-wrap;overflow-wrap:anywhere}
@media(max-width:600px){th,td{padding:5px 4px;font-size:.85rem}.tick,.label{font-size:19px}}
@media print{body{max-width:none}section{border-color:#bbb}}
)";

std::string percent(double share) { return fmt::format("{:.2f} %", 100.0 * share); }

std::string section(std::string_view title, const std::string& body, bool wide = false) {
  return fmt::format("<section{}><h2>{}</h2>{}</section>", wide ? " class=\"wide\"" : "", escape_html(title),
                     body);
}

std::string headline(const RunRecord& run) {
  std::string out = "<div class=\"headline\">";
  const auto add = [&](const std::string& value, std::string_view name) {
    out += fmt::format("<div><b>{}</b><span>{}</span></div>", escape_html(value), name);
  };
  if (run.epochs.empty()) return out + "<div><b>no epoch finished yet</b></div></div>";
  const EpochRecord& last = run.epochs.back();
  if (last.test_accuracy)
    add(percent(*last.test_accuracy), "test accuracy, last epoch");
  else if (last.valid_accuracy)
    add(percent(*last.valid_accuracy), "validation accuracy, last epoch");
  else
    add(fmt::format("{:.4f}", last.train_loss), "training loss, last epoch");
  add(fmt::format("{}", last.nnz), fmt::format("connections of {}", run.start.dense));
  add(percent(last.density), "density");
  double seconds = 0.0;
  for (const EpochRecord& epoch : run.epochs) seconds += epoch.seconds;
  add(fmt::format("{:.1f} s", seconds), fmt::format("training, {} epochs", last.epoch));
  return out + "</div>";
}

std::string result_table(const ResultRecord& result) {
  std::string out =
      "<div "
      "class=\"scroll\"><table><thead><tr><th></th><th>sparse</th><th>dense</th><th>factor</th></tr></thead>";
  for (const ResultRow& row : result.rows)
    out += fmt::format("<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>", escape_html(row.name),
                       escape_html(row.sparse_text), escape_html(row.dense_text), escape_html(row.factor));
  return out + fmt::format("</table></div><p class=\"note\">{}</p>", escape_html(result.note));
}

// One line per figure that at least one epoch has.
template <class Get>
void add_series(std::vector<Series>& all, const RunRecord& run, std::string name, Get get) {
  Series series{std::move(name), {}, {}};
  bool known = false;
  for (const EpochRecord& epoch : run.epochs) {
    const std::optional<double> value = get(epoch);
    known = known || value.has_value();
    series.x.push_back(epoch.epoch);
    series.y.push_back(value.value_or(std::nan("")));
  }
  if (known) all.push_back(std::move(series));
}

using Epoch = const EpochRecord&;

std::string curves(const RunRecord& run) {
  std::vector<Series> accuracy, loss, rate;
  add_series(accuracy, run, "training", [](Epoch e) { return e.train_accuracy; });
  add_series(accuracy, run, "test", [](Epoch e) { return e.test_accuracy; });
  add_series(accuracy, run, "validation", [](Epoch e) { return e.valid_accuracy; });
  add_series(loss, run, "training", [](Epoch e) { return std::optional(e.train_loss); });
  add_series(loss, run, "test", [](Epoch e) { return e.test_loss; });
  add_series(loss, run, "validation", [](Epoch e) { return e.valid_loss; });
  add_series(rate, run, "learning rate", [](Epoch e) { return std::optional(e.learning_rate); });
  std::string out;
  if (!accuracy.empty())
    out += section("Accuracy", line_chart({"Accuracy by epoch", "epoch", "accuracy", true}, accuracy));
  out += section("Loss", line_chart({"Loss by epoch", "epoch", "loss"}, loss));
  return out + section("Learning rate", line_chart({.title = "Learning rate by epoch",
                                                    .x_label = "epoch",
                                                    .y_label = "learning rate",
                                                    .from_zero = true},
                                                   rate));
}

std::string densities(const RunRecord& run) {
  std::vector<Series> layers;
  const std::size_t count = run.epochs.empty() ? 0 : run.epochs.back().layer_density.size();
  for (std::size_t l = 0; l < count; ++l)
    add_series(layers, run, fmt::format("layer {}", l), [l](Epoch e) {
      return l < e.layer_density.size() ? std::optional(e.layer_density[l]) : std::nullopt;
    });
  if (layers.empty()) return "";
  return section("Density by layer",
                 line_chart({"Density of each layer by epoch", "epoch", "density", true, true}, layers));
}

std::string topology_events(const RunRecord& run) {
  if (run.evolutions.empty()) return "";
  std::map<int, std::map<int, double>> grown;  // layer, epoch
  for (const EvolveRecord& event : run.evolutions)
    grown[event.layer][event.epoch] += static_cast<double>(event.grown);
  std::vector<Series> layers;
  for (const auto& [layer, epochs] : grown) {
    layers.push_back({fmt::format("layer {}", layer), {}, {}});
    for (const auto& [epoch, count] : epochs) {
      layers.back().x.push_back(epoch);
      layers.back().y.push_back(count);
    }
  }
  return section("Topology: connections replaced", line_chart({.title = "Connections replaced by epoch",
                                                               .x_label = "epoch",
                                                               .y_label = "dropped and grown",
                                                               .from_zero = true},
                                                              layers));
}

std::string inputs(const InputsRecord& record) {
  const auto pixels = static_cast<std::size_t>(std::max(record.height, 0)) *
                      static_cast<std::size_t>(std::max(record.width, 0));
  const auto channels = static_cast<std::size_t>(std::max(record.channels, 0));
  if (pixels > 0 && channels > 0 && record.degree.size() == pixels * channels) {
    std::vector<std::int64_t> sum(pixels, 0);  // over the channels
    for (std::size_t i = 0; i < record.degree.size(); ++i) sum[i % pixels] += record.degree[i];
    return section("Connections of each input pixel",
                   heat_map("Connections of each input pixel", record.height, record.width, sum));
  }
  Series series{"connections", {}, {}};
  for (std::size_t i = 0; i < record.degree.size(); ++i) {
    series.x.push_back(static_cast<double>(i));
    series.y.push_back(static_cast<double>(record.degree[i]));
  }
  const std::vector<Series> one{std::move(series)};
  return section("Connections of each input", line_chart({.title = "Connections of each input",
                                                          .x_label = "input",
                                                          .y_label = "connections",
                                                          .from_zero = true},
                                                         one));
}

std::string phases(const RunRecord& run) {
  std::vector<std::pair<std::string_view, double>> rows{{"data", 0.0},     {"forward", 0.0},
                                                        {"backward", 0.0}, {"update", 0.0},
                                                        {"evolve", 0.0},   {"evaluation", 0.0}};
  for (const EpochRecord& epoch : run.epochs) {
    const PhaseSeconds& p = epoch.phases;
    const double seconds[] = {p.data, p.forward, p.backward, p.update, p.evolve, p.eval};
    for (std::size_t i = 0; i < rows.size(); ++i) rows[i].second += seconds[i];
  }
  double most = 1e-12;
  for (const auto& row : rows) most = std::max(most, row.second);
  std::string out = "<div class=\"bars\">";
  for (const auto& [name, seconds] : rows)
    out += fmt::format("<div><span>{}</span><u style=\"width:{:.1f}%\"></u><b>{:.2f} s</b></div>", name,
                       100.0 * seconds / most, seconds);
  return section("Time by phase", out + "</div>");
}

std::string confusion(const ResultRecord& result) {
  const std::size_t classes = result.class_names.size();
  if (classes == 0 || classes > 64 || result.confusion.size() != classes * classes) return "";
  std::string out = "<div class=\"scroll\"><table class=\"confusion\"><thead><tr><th>true \\ predicted</th>";
  for (const std::string& name : result.class_names) out += "<th>" + escape_html(name) + "</th>";
  out += "<th>recall</th></tr></thead>";
  for (std::size_t t = 0; t < classes; ++t) {
    out += "<tr><th>" + escape_html(result.class_names[t]) + "</th>";
    std::int64_t row = 0;
    for (std::size_t p = 0; p < classes; ++p) row += result.confusion[t * classes + p];
    for (std::size_t p = 0; p < classes; ++p)
      out +=
          fmt::format("<td{}>{}</td>", t == p ? " class=\"right\"" : "", result.confusion[t * classes + p]);
    out += fmt::format("<td>{}</td></tr>",
                       row == 0 ? "-"
                                : percent(static_cast<double>(result.confusion[t * classes + t]) /
                                          static_cast<double>(row)));
  }
  return section("Confusion matrix (test)", out + "</table></div>", true);
}

}  // namespace

std::string html_report(const RunRecord& run) {
  std::string name = run.directory;
  while (name.size() > 1 && name.back() == '/') name.pop_back();
  name = escape_html(name.substr(name.find_last_of('/') + 1));
  std::string out = fmt::format(
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
      "content=\"width=device-width,initial-scale=1\"><title>tulle: "
      "{0}</title><style>{1}</style></head><body>"
      "<header><h1>{0}</h1><p>tulle {2} &middot; {3} &middot; {4} threads &middot; seed {5}</p></header>",
      name, kStyle, escape_html(run.start.version), escape_html(run.start.isa), run.start.threads,
      run.start.seed);
  out += headline(run) + "<main>";
  if (run.result && !run.result->rows.empty()) out += section("Result", result_table(*run.result), true);
  if (!run.epochs.empty()) out += curves(run);
  if (run.inputs && !run.inputs->degree.empty()) out += inputs(*run.inputs);
  out += densities(run) + topology_events(run);
  if (!run.epochs.empty()) out += phases(run);
  if (run.result) out += confusion(*run.result);
  if (!run.config.empty()) out += section("Config", "<pre>" + escape_html(run.config) + "</pre>", true);
  return out + "</main></body></html>\n";
}

}  // namespace tulle
