#pragma once

#include <optional>
#include <string>
#include <vector>

#include "tulle/report/metrics.h"
#include "tulle/report/phase_diagram.h"
#include "tulle/report/samples.h"
#include "tulle/report/structure.h"

namespace tulle {

/// What `tulle recover` wrote.
struct RecoveryRecord {
  std::vector<std::pair<std::string, std::string>> figures;  // name and value, as told
  std::vector<double> psnr;                                  // dB after each step, empty if not recorded
  std::string original, reconstruction;                      // PNG files; empty if it was no image
  std::vector<PhaseDiagram> diagrams;                        // of a grid
};

/// What the page tells about one run, or about one configuration that was run with several seeds. Whatever is
/// missing leaves its section out.
struct ReportRun {
  std::string name;
  std::vector<RunRecord> seeds;           // empty: a recovery
  std::vector<LayerStructure> structure;  // these four of the first seed
  std::vector<MatrixRecord> mixing;       // of an image net
  std::string model_bytes, model_hash;    // as told
  std::vector<SampleRecord> samples;
  std::optional<RecoveryRecord> recovery;
};

/// The last part of a folder's path, which may end in a slash; "run" if there is none.
std::string run_name(const std::string& directory);

/// What the records in a run directory tell: of a training, of one seed after the other in its folders
/// seed-*, or of a recovery or a grid of them. Not read: the model. Throws tulle::Error (kMissingInput) for a
/// folder that is none of these.
ReportRun read_run(const std::string& directory);

}  // namespace tulle
