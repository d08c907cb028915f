#include "tulle/report/machine.h"

#include <fmt/format.h>

#include <filesystem>
#include <fstream>

#include "tulle/base/parallel.h"

namespace tulle {

std::string machine_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const std::size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos)
      return fmt::format("{}, {} cores", line.substr(colon + 2), available_cores());
  }
  return "";
}

std::string command_line() {
  std::ifstream file("/proc/self/cmdline");
  std::string text;
  for (std::string word; std::getline(file, word, '\0');) {
    if (text.empty()) word = std::filesystem::path(word).filename().string();
    const bool is_plain = !word.empty() && word.find_first_of(" \t\n'\"\\$`*?;&|<>()#") == std::string::npos;
    text += fmt::format("{}{}", text.empty() ? "" : " ", is_plain ? word : fmt::format("'{}'", word));
  }
  return text;
}

}  // namespace tulle
