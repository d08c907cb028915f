#include "tulle/data/labels.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <unordered_map>

#include "tulle/base/error.h"
#include "tulle/data/refuse.h"

namespace tulle {
namespace {

[[noreturn]] void refuse_label(const std::string& file, std::size_t row, std::string_view found,
                               std::string_view expected) {
  refuse(file, fmt::format("label of row {}", row + 1), found, expected);
}

// Beyond this, doubles skip whole numbers.
constexpr double kMaxWhole = 9007199254740992.0;

std::string text_of(double whole) { return fmt::format("{}", static_cast<std::int64_t>(whole)); }

void check_whole(const std::vector<double>& numbers, const std::string& file) {
  for (std::size_t row = 0; row < numbers.size(); ++row)
    if (std::abs(numbers[row]) > kMaxWhole || numbers[row] != std::floor(numbers[row]))  // so is NaN
      refuse_label(file, row, fmt::format("{}", numbers[row]),
                   "a whole number of classes; data.task = \"regression\" takes all numbers");
}

template <class T>
std::vector<T> distinct(std::vector<T> values) {
  std::sort(values.begin(), values.end());
  values.erase(std::unique(values.begin(), values.end()), values.end());
  return values;
}

}  // namespace

std::vector<std::string> class_names_of(const RawLabels& labels, const std::string& file) {
  if (!labels.sets.empty()) {
    std::vector<std::string> numbers;
    for (std::int32_t label = 0; label < labels.sets.count; ++label)
      numbers.push_back(fmt::format("{}", label));
    return numbers;
  }
  check_whole(labels.numbers, file);
  std::vector<std::string> names = distinct(labels.names);
  for (const double number : distinct(labels.numbers)) names.push_back(text_of(number));
  if (names.size() < 2)
    throw Error(ErrorKind::kBadData, {.file = file},
                fmt::format("classes, found {}, expected at least 2", names.size()));
  return names;
}

std::vector<std::int32_t> classes_of(const RawLabels& labels, const std::vector<std::string>& class_names,
                                     const std::string& file, bool ignore_unknown) {
  check_whole(labels.numbers, file);
  std::unordered_map<std::string, std::int32_t> class_of;
  for (const std::string& name : class_names)
    class_of.emplace(name, static_cast<std::int32_t>(class_of.size()));
  std::vector<std::int32_t> classes(labels.size(), -1);
  for (std::size_t row = 0; row < classes.size(); ++row) {
    const std::string label = labels.numbers.empty() ? labels.names[row] : text_of(labels.numbers[row]);
    // "01" is a name where the training labels were names.
    auto found = labels.texts.empty() ? class_of.end() : class_of.find(labels.texts[row]);
    if (found == class_of.end()) found = class_of.find(label);
    if (found != class_of.end())
      classes[row] = found->second;
    else if (!ignore_unknown)
      refuse_label(
          file, row, fmt::format("'{}'", label),
          fmt::format(
              "one of the {} classes of the training data; data.ignore_unknown_labels leaves such samples "
              "out",
              class_names.size()));
  }
  return classes;
}

LabelSets sets_of_one(std::vector<std::int32_t> classes, std::int32_t count) {
  LabelSets sets{.row_ptr = std::vector<std::int64_t>(classes.size() + 1), .labels = {}, .count = count};
  std::iota(sets.row_ptr.begin(), sets.row_ptr.end(), std::int64_t{0});
  sets.labels = std::move(classes);
  return sets;
}

std::vector<float> targets_of(const RawLabels& labels, const std::string& file) {
  if (!labels.names.empty())
    refuse_label(file, 0, fmt::format("'{}'", labels.names[0]), "a number for regression");
  std::vector<float> targets;
  for (const double number : labels.numbers) {
    if (!std::isfinite(static_cast<float>(number)))
      refuse_label(file, targets.size(), fmt::format("{}", number), "a finite number");
    targets.push_back(static_cast<float>(number));
  }
  return targets;
}

}  // namespace tulle
