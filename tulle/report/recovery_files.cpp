#include "tulle/report/recovery_files.h"

#include <fmt/format.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "tulle/report/axis.h"

namespace tulle {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kMostWidths = 100;             // and budgets of a diagram
constexpr std::uintmax_t kLargestPicture = 200'000;  // bytes that a page can hold

std::string text_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return file ? text.str() : "";
}

std::string picture_of(const std::string& path) {
  std::error_code missing;
  const std::uintmax_t bytes = std::filesystem::file_size(path, missing);
  return missing || bytes > kLargestPicture ? "" : text_of(path);
}

struct Figure {
  const char* key;
  const char* name;
  const char* unit;
  double factor = 1.0;
};

// What a reader asks for first, in this order.
constexpr Figure kFigures[] = {{"psnr", "PSNR", " dB"},
                               {"fresh_psnr", "PSNR of fresh samples", " dB"},
                               {"zero_psnr", "PSNR of zero", " dB"},
                               {"mean_psnr", "PSNR of the mean", " dB"},
                               {"accuracy", "accuracy", "\u202f%", 100.0},
                               {"fresh_accuracy", "accuracy of fresh samples", "\u202f%", 100.0},
                               {"support_precision", "support found, precision", "\u202f%", 100.0},
                               {"support_recall", "support found, recall", "\u202f%", 100.0},
                               {"weight_error", "relative error of the weights", ""},
                               {"budget", "budget", ""},
                               {"nnz", "nonzeros", ""},
                               {"alive", "neurons alive", ""},
                               {"hidden_width", "width", ""},
                               {"samples", "samples", ""},
                               {"features", "features", ""},
                               {"steps", "steps", ""},
                               {"starts", "starts", ""},
                               {"seconds", "seconds", " s"},
                               {"peak_rss", "peak memory", " MB", 1e-6}};

std::vector<std::pair<std::string, std::string>> figures_of(const Json& result) {
  std::vector<std::pair<std::string, std::string>> figures;
  for (const char* key : {"task", "method"})
    if (result.contains(key) && result[key].is_string())
      figures.emplace_back(key, result[key].get<std::string>());
  for (const Figure& figure : kFigures) {
    const auto found = result.find(figure.key);
    if (found == result.end() || !found->is_number()) continue;
    figures.emplace_back(figure.name, (found->is_number_integer() && figure.factor == 1.0
                                           ? grouped(found->get<std::int64_t>())
                                           : fmt::format("{:.4g}", figure.factor * found->get<double>())) +
                                          figure.unit);
  }
  return figures;
}

struct Mean {
  double sum = 0;
  int count = 0;
};

// The scale of the colours: from what is as good as nothing to what is as good as exact.
void set_scale(PhaseDiagram& diagram, const std::string& task) {
  const bool is_accuracy = task == "classify";
  diagram.unit = is_accuracy ? "%" : "dB";
  diagram.low = is_accuracy ? 50.0 : task == "planted" ? -20.0 : 0.0;
  diagram.high = is_accuracy ? 100.0 : 50.0;
}

}  // namespace

std::vector<PhaseDiagram> read_diagrams(const std::string& grid_lines) {
  struct Cells {
    std::string task;
    std::map<std::pair<std::int64_t, std::int64_t>, Mean> means;  // by width and budget
  };
  std::map<std::string, Cells> methods;
  std::set<std::int64_t> widths, budgets;
  std::istringstream lines(grid_lines);
  for (std::string line; std::getline(lines, line);) {
    const Json record = Json::parse(line, nullptr, false);
    try {
      Cells& cells = methods[record.at("method").get<std::string>()];
      cells.task = record.at("task").get<std::string>();
      const auto width = record.at("hidden_width").get<std::int64_t>(),
                 budget = record.at("budget").get<std::int64_t>();
      const double value = cells.task == "classify"
                               ? 100.0 * record.value("fresh_accuracy", record.value("accuracy", 0.0))
                               : record.at("psnr").get<double>();
      widths.insert(width);
      budgets.insert(budget);
      Mean& mean = cells.means[{width, budget}];
      mean.sum += value;
      ++mean.count;
    } catch (const Json::exception&) {  // a torn line, or values of another kind than ours
    }
  }
  // A page with more could not be read.
  std::string note;
  for (const auto& [list, name] : {std::pair(&widths, "widths"), std::pair(&budgets, "budgets")}) {
    if (list->size() <= kMostWidths) continue;
    note += fmt::format("{}the first {} of {} {}", note.empty() ? "" : ", ", kMostWidths, list->size(), name);
    list->erase(std::next(list->begin(), kMostWidths), list->end());
  }
  std::vector<PhaseDiagram> diagrams;
  for (const auto& [method, cells] : methods) {
    if (cells.means.empty()) continue;
    PhaseDiagram diagram{.title = method,
                         .unit = "",
                         .note = note,
                         .rows = {widths.begin(), widths.end()},
                         .columns = {budgets.begin(), budgets.end()},
                         .values = {}};
    set_scale(diagram, cells.task);
    for (const std::int64_t width : widths)
      for (const std::int64_t budget : budgets) {
        const auto mean = cells.means.find({width, budget});
        diagram.values.push_back(
            mean == cells.means.end() ? std::nullopt : std::optional(mean->second.sum / mean->second.count));
      }
    diagrams.push_back(std::move(diagram));
  }
  return diagrams;
}

std::optional<RecoveryRecord> read_recovery(const std::string& directory) {
  RecoveryRecord record;
  record.diagrams = read_diagrams(text_of(directory + "/grid.jsonl"));
  const Json result = Json::parse(text_of(directory + "/result.json"), nullptr, false);
  if (result.is_object()) {
    record.figures = figures_of(result);
    const Json steps = result.value("psnr_by_step", Json::array());
    for (const Json& psnr : steps)
      record.psnr.push_back(psnr.is_number() ? psnr.get<double>() : std::nan(""));
    record.original = picture_of(directory + "/original.png");
    record.reconstruction = picture_of(directory + "/reconstruction.png");
  }
  if (record.figures.empty() && record.diagrams.empty()) return std::nullopt;
  return record;
}

}  // namespace tulle
