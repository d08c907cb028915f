#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tulle/report/append_file.h"

namespace tulle {

/// A file that a run read.
struct DataFile {
  std::string path;
  std::int64_t bytes = 0;
};

/// The regular files among `paths`, with their sizes as they are now; folders and "" are left out.
std::vector<DataFile> data_files(const std::vector<std::string>& paths);

/// The records of a run, one JSON object a line in RUN/metrics.jsonl. Keys are never renamed, only added;
/// readers ignore what they do not know, and a torn last line.
struct StartRecord {
  std::string version, isa, config = "config.toml";
  int threads = 0, ranks = 1;
  std::int64_t seed = 0, nnz = 0, dense = 0;
  // Set when the line is written: UTC, ISO 8601; the processor; the words the program was started with.
  std::string time, machine, command;
  std::string data;             // hash of the training data
  std::vector<DataFile> files;  // that data came from
};

/// Seconds of an epoch by phase.
struct PhaseSeconds {
  double data = 0, forward = 0, backward = 0, update = 0, evolve = 0, eval = 0;
  double exchange = 0;  // waiting for other ranks, and adding up what they send
};

struct EpochRecord {
  int epoch = 0;  // from 1
  std::int64_t step = 0;
  double train_loss = 0;
  std::optional<double> train_accuracy, test_loss, test_accuracy, valid_loss, valid_accuracy;
  // Where those above are of averages (train.ema_decay): of the weights themselves.
  std::optional<double> raw_test_loss, raw_test_accuracy, raw_valid_loss, raw_valid_accuracy;
  double learning_rate = 0;
  std::int64_t nnz = 0;
  double density = 0;
  std::vector<double> layer_density;
  std::vector<std::int64_t> layer_nnz;
  std::optional<double> exploration;  // share of all cells that ever were connections (R_s)
  double seconds = 0;
  double connections_per_second = 0;  // nnz * samples / seconds of forward, backward, update, exchange
  std::int64_t peak_rss = 0;
  PhaseSeconds phases;
};

struct EvolveRecord {
  int epoch = 0;
  std::int64_t step = 0;
  int layer = 0;
  std::int64_t dropped = 0, grown = 0;
  std::int64_t before = 0, after = 0;          // connections
  std::int64_t regrown = 0;                    // of those grown: dropped by the same event
  std::int64_t no_inputs = 0, no_outputs = 0;  // targets and sources without a connection
  double explored = 0;                         // share of the layer's cells that ever were connections
};

/// The end of topology events where connections no longer change (evolve.stable_events).
struct StableRecord {
  int epoch = 0;
  std::int64_t step = 0;
  std::int64_t events = 0;  // that were looked at
  double survivors = 0;     // share of connections that were there before and after them
};

/// An importance event: neurons of each hidden layer after it.
struct ImportanceRecord {
  int epoch = 0;
  std::int64_t step = 0;
  std::int64_t connections_before = 0, connections = 0;
  std::vector<std::int64_t> neurons;
};

/// What the ranks of a training told each other in an epoch; bytes are rank 0's, of the whole run so far.
struct ParallelRecord {
  int epoch = 0;
  std::uint64_t sent = 0, received = 0;
  double staleness_mean = 0;  // wasap: steps that gradients missed
  std::int64_t staleness_max = 0, discarded = 0;
};

struct CheckpointRecord {
  std::int64_t step = 0;
  std::string path;
  std::int64_t bytes = 0;
  double seconds = 0;
};

/// Connections of each input feature at the end of the training; height is 0 if the inputs are no image.
struct InputsRecord {
  int height = 0, width = 0, channels = 0;
  std::vector<std::int64_t> degree;
};

/// One line of the result table: the figure of this network and of the dense one, if it was run.
struct ResultRow {
  std::string name;
  double sparse = 0;
  std::optional<double> dense;
  std::string sparse_text, dense_text, factor;  // as printed
};

struct ResultRecord {
  std::vector<ResultRow> rows;
  std::string note;
  std::vector<std::string> class_names;
  std::vector<std::int64_t> confusion;  // [true class][predicted class]
};

struct EndRecord {
  std::string reason;
  int best_epoch = 0, exit = 0;
};

/// The line of a record in metrics.jsonl, without its end.
std::string to_json(const EpochRecord& record);
std::string to_json(const EvolveRecord& record);
std::string to_json(const ResultRecord& record);

/// RUN/metrics.jsonl, appended to line by line, each line written at once.
class MetricsFile {
 public:
  /// Opens the file of a run that stands at optimizer step `step`: what a training that was stopped wrote
  /// beyond its checkpoint of that step is cut off. Throws tulle::Error of system_error's kinds.
  MetricsFile(const std::string& run_directory, std::int64_t step);
  /// Opens the file to go on where it ends; only a torn last line is cut off.
  explicit MetricsFile(const std::string& run_directory);

  void write(const StartRecord&);
  void write(const EpochRecord&);
  void write(const EvolveRecord&);
  void write(const StableRecord&);
  void write(const ImportanceRecord&);
  void write(const ParallelRecord&);
  void write(const CheckpointRecord&);
  void write(const InputsRecord&);
  void write(const ResultRecord&);
  void write(const EndRecord&);

 private:
  void append(const std::string& line) { file_.append(line + "\n"); }

  AppendFile file_;
};

/// Everything a metrics file tells.
struct RunRecord {
  std::string directory;
  StartRecord start;
  std::vector<EpochRecord> epochs;
  std::vector<EvolveRecord> evolutions;
  std::optional<StableRecord> stable;
  std::vector<ImportanceRecord> eliminations;
  std::optional<InputsRecord> inputs;
  std::optional<ResultRecord> result;
  std::optional<EndRecord> end;
  std::string config;  // text of RUN/config.toml
};

/// Throws tulle::Error (kMissingInput) if there is no metrics file.
RunRecord read_metrics(const std::string& run_directory);

}  // namespace tulle
