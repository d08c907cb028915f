#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "tulle/report/append_file.h"

namespace tulle {

/// RUN/input-links.csv: at every topology event, before anything grows, how many connections each input
/// feature keeps and the sum of their magnitudes, a line "step,input,links,strength" each. They rank the
/// features. Source: Atashgahi et al. 2022, arXiv 2012.00560 (QuickSelection).
class InputLinksFile {
 public:
  /// Opens the file of a run that stands at optimizer step `step`; later events of a training that was
  /// stopped are cut off. Throws tulle::Error of system_error's kinds.
  InputLinksFile(const std::string& run_directory, std::int64_t step);

  /// One event; both have an entry per input. Throws as the constructor.
  void write(std::int64_t step, std::span<const std::int64_t> links, std::span<const double> strength);

 private:
  AppendFile file_;
};

}  // namespace tulle
