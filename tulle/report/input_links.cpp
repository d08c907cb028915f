#include "tulle/report/input_links.h"

#include <fmt/format.h>

#include <charconv>
#include <fstream>
#include <iterator>

namespace tulle {
namespace {

constexpr std::string_view kHeading = "step,input,links,strength\n";

std::string path_in(const std::string& run_directory) { return run_directory + "/input-links.csv"; }

// Of the heading and the lines of steps up to `step`.
std::uintmax_t bytes_to_keep(const std::string& path, std::int64_t step) {
  std::ifstream file(path);
  std::string line;
  if (!std::getline(file, line) || file.eof() || line + "\n" != kHeading) return 0;
  std::uintmax_t keep = kHeading.size();
  while (std::getline(file, line) && !file.eof()) {
    std::int64_t of_line = 0;
    const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), of_line);
    if (error != std::errc{} || of_line > step) break;
    keep += line.size() + 1;
  }
  return keep;
}

}  // namespace

InputLinksFile::InputLinksFile(const std::string& run_directory, std::int64_t step)
    : file_(path_in(run_directory), bytes_to_keep(path_in(run_directory), step)) {
  if (bytes_to_keep(path_in(run_directory), step) == 0) file_.append(std::string(kHeading));
}

void InputLinksFile::write(std::int64_t step, std::span<const std::int64_t> links,
                           std::span<const double> strength) {
  std::string text;
  for (std::size_t input = 0; input < links.size(); ++input)
    fmt::format_to(std::back_inserter(text), "{},{},{},{}\n", step, input, links[input], strength[input]);
  file_.append(text);
}

}  // namespace tulle
