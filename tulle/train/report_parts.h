#pragma once

#include <string>
#include <vector>

#include "tulle/checkpoint/model.h"
#include "tulle/report/report_run.h"

namespace tulle {

/// Adds what the model itself tells: structure of its layers, size and hash of its file.
/// Cost: O(connections), and the file is read once, unless it is above 1 GB.
void add_model(ReportRun& run, const Model& model, const std::string& path);

/// Adds some test samples with what the model takes them for: the first ones, and the surest mistakes among
/// the first 2,000. Nothing for samples that are no pictures or have no one class.
void add_samples(ReportRun& run, Model& model, const Split& test);

/// read_run() with everything that its first seed's model and test data add; what of these cannot be read is
/// left out; what is damaged of it is told to `skipped`. Throws as read_run().
ReportRun whole_run(const std::string& directory, std::vector<std::string>& skipped);

}  // namespace tulle
