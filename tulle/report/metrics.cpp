#include "tulle/report/metrics.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <utility>

#include "tulle/base/error.h"
#include "tulle/report/machine.h"
#include "tulle/version.h"

namespace tulle {
namespace {

using Json = nlohmann::json;

std::string dump(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

// JSON knows no NaN and no infinity: such values become null, and their names are listed.
void put(Json& json, const char* name, std::optional<double> value) {
  if (!value) return;
  if (std::isfinite(*value)) {
    json[name] = *value;
  } else {
    json[name] = nullptr;
    json["nonfinite"].push_back(name);
  }
}

std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", parts.tm_year + 1900, parts.tm_mon + 1,
                     parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec);
}

std::string metrics_path(const std::string& run_directory) { return run_directory + "/metrics.jsonl"; }

// The steps a line was written after; -1 for lines without.
std::int64_t step_of(const Json& line) { return line.value("step", std::int64_t{-1}); }

std::optional<double> number(const Json& line, const char* name) {
  const auto found = line.find(name);
  if (found == line.end()) return std::nullopt;
  return found->is_number() ? found->get<double>() : std::nan("");
}

// Where the records end that a training going on from `step` still stands by: those of its steps. A
// checkpoint of that step is the line: what follows it is done again. Of the lines without a step, "start"
// and "end" are kept behind kept ones; the results of a training that goes on are not.
std::uintmax_t bytes_to_keep(const std::string& path, std::int64_t step) {
  std::uintmax_t keep = 0, end = 0;
  bool at_checkpoint = false;
  std::ifstream file(path);
  for (std::string text; std::getline(file, text) && !file.eof();) {
    const std::uintmax_t begin = std::exchange(end, end + text.size() + 1);
    const Json line = Json::parse(text, nullptr, false);
    if (!line.is_object() || step_of(line) > step) break;
    const std::string event = line.value("event", "");
    const bool is_checkpoint = event == "checkpoint" && step_of(line) == step;
    const bool follows = keep == begin && (event == "start" || event == "end");
    if (is_checkpoint || follows || (step_of(line) >= 0 && !at_checkpoint)) keep = end;
    at_checkpoint = at_checkpoint || is_checkpoint;
  }
  return keep;
}

std::uintmax_t bytes_of_whole_lines(const std::string& path) {
  std::uintmax_t bytes = 0;
  std::ifstream file(path);
  for (std::string text; std::getline(file, text) && !file.eof();) bytes += text.size() + 1;
  return bytes;
}

EpochRecord epoch_of(const Json& line) {
  EpochRecord record;
  record.epoch = line.value("epoch", 0);
  record.step = step_of(line);
  record.train_loss = number(line, "train_loss").value_or(std::nan(""));
  record.train_accuracy = number(line, "train_acc");
  record.test_loss = number(line, "test_loss");
  record.test_accuracy = number(line, "test_acc");
  record.valid_loss = number(line, "valid_loss");
  record.valid_accuracy = number(line, "valid_acc");
  record.raw_test_loss = number(line, "raw_test_loss");
  record.raw_test_accuracy = number(line, "raw_test_acc");
  record.raw_valid_loss = number(line, "raw_valid_loss");
  record.raw_valid_accuracy = number(line, "raw_valid_acc");
  record.learning_rate = number(line, "lr").value_or(0.0);
  record.nnz = line.value("nnz", std::int64_t{0});
  record.density = number(line, "density").value_or(0.0);
  record.layer_density = line.value("layer_density", std::vector<double>{});
  record.layer_nnz = line.value("layer_nnz", std::vector<std::int64_t>{});
  record.exploration = number(line, "exploration");
  record.seconds = number(line, "seconds").value_or(0.0);
  record.connections_per_second = number(line, "conn_per_s").value_or(0.0);
  record.peak_rss = line.value("peak_rss", std::int64_t{0});
  const Json phases = line.value("phase_s", Json::object());
  record.phases = {phases.value("data", 0.0),    phases.value("forward", 0.0), phases.value("backward", 0.0),
                   phases.value("update", 0.0),  phases.value("evolve", 0.0),  phases.value("eval", 0.0),
                   phases.value("exchange", 0.0)};
  return record;
}

ResultRecord result_of(const Json& line) {
  ResultRecord record;
  for (const Json& row : line.value("rows", Json::array())) {
    record.rows.push_back({.name = row.value("name", ""),
                           .sparse = number(row, "sparse").value_or(0.0),
                           .dense = number(row, "dense"),
                           .sparse_text = row.value("sparse_text", ""),
                           .dense_text = row.value("dense_text", ""),
                           .factor = row.value("factor", "")});
  }
  record.note = line.value("note", "");
  record.class_names = line.value("class_names", std::vector<std::string>{});
  record.confusion = line.value("confusion", std::vector<std::int64_t>{});
  return record;
}

std::vector<DataFile> files_of(const Json& line) {
  std::vector<DataFile> files;
  for (const Json& file : line.value("files", Json::array()))
    files.push_back({.path = file.value("path", ""), .bytes = file.value("bytes", std::int64_t{0})});
  return files;
}

void add_line(RunRecord& run, const Json& line) {
  const std::string event = line.value("event", "");
  if (event == "start") {
    run.start = {.version = line.value("tulle", ""),
                 .isa = line.value("isa", ""),
                 .threads = line.value("threads", 0),
                 .ranks = line.value("ranks", 1),
                 .seed = line.value("seed", std::int64_t{0}),
                 .nnz = line.value("nnz", std::int64_t{0}),
                 .dense = line.value("dense", std::int64_t{0}),
                 .time = line.value("time", ""),
                 .machine = line.value("machine", ""),
                 .command = line.value("command", ""),
                 .data = line.value("data", ""),
                 .files = files_of(line)};
    run.end.reset();  // a stopped training goes on
  } else if (event == "epoch") {
    run.epochs.push_back(epoch_of(line));
  } else if (event == "evolve") {
    run.evolutions.push_back({.epoch = line.value("epoch", 0),
                              .step = step_of(line),
                              .layer = line.value("layer", 0),
                              .dropped = line.value("dropped", std::int64_t{0}),
                              .grown = line.value("grown", std::int64_t{0}),
                              .before = line.value("before", std::int64_t{0}),
                              .after = line.value("after", std::int64_t{0}),
                              .regrown = line.value("regrown", std::int64_t{0}),
                              .no_inputs = line.value("no_inputs", std::int64_t{0}),
                              .no_outputs = line.value("no_outputs", std::int64_t{0}),
                              .explored = number(line, "explored").value_or(0.0)});
  } else if (event == "stable") {
    run.stable = {.epoch = line.value("epoch", 0),
                  .step = step_of(line),
                  .events = line.value("events", std::int64_t{0}),
                  .survivors = number(line, "survivors").value_or(0.0)};
  } else if (event == "importance") {
    run.eliminations.push_back({.epoch = line.value("epoch", 0),
                                .step = step_of(line),
                                .connections_before = line.value("connections_before", std::int64_t{0}),
                                .connections = line.value("connections", std::int64_t{0}),
                                .neurons = line.value("neurons", std::vector<std::int64_t>{})});
  } else if (event == "inputs") {
    const auto degree = line.value("degree", std::vector<std::int64_t>{});
    const auto possible = [](std::int64_t d) { return d >= 0 && d < std::int64_t{1} << 31; };  // of targets
    if (!std::ranges::all_of(degree, possible)) return;
    run.inputs = {.height = line.value("height", 0),
                  .width = line.value("width", 0),
                  .channels = line.value("channels", 0),
                  .degree = degree};
  } else if (event == "result") {
    run.result = result_of(line);
  } else if (event == "end") {
    run.end = {.reason = line.value("reason", ""),
               .best_epoch = line.value("best_epoch", 0),
               .exit = line.value("exit", 0)};
  }
}

}  // namespace

std::string to_json(const ResultRecord& record) {
  Json rows = Json::array();
  for (const ResultRow& row : record.rows) {
    Json entry{{"name", row.name},
               {"sparse_text", row.sparse_text},
               {"dense_text", row.dense_text},
               {"factor", row.factor}};
    put(entry, "sparse", row.sparse);
    put(entry, "dense", row.dense);
    rows.push_back(std::move(entry));
  }
  return dump({{"event", "result"},
               {"rows", std::move(rows)},
               {"note", record.note},
               {"class_names", record.class_names},
               {"confusion", record.confusion}});
}

MetricsFile::MetricsFile(const std::string& run_directory, std::int64_t step)
    : file_(metrics_path(run_directory), bytes_to_keep(metrics_path(run_directory), step)) {}

MetricsFile::MetricsFile(const std::string& run_directory)
    : file_(metrics_path(run_directory), bytes_of_whole_lines(metrics_path(run_directory))) {}

std::vector<DataFile> data_files(const std::vector<std::string>& paths) {
  std::vector<DataFile> files;
  for (const std::string& path : paths) {
    std::error_code error;
    const std::uintmax_t bytes =
        std::filesystem::is_regular_file(path, error) ? std::filesystem::file_size(path, error) : 0;
    if (!error && bytes > 0) files.push_back({path, static_cast<std::int64_t>(bytes)});
  }
  return files;
}

void MetricsFile::write(const StartRecord& r) {
  Json files = Json::array();
  for (const DataFile& file : r.files) files.push_back({{"path", file.path}, {"bytes", file.bytes}});
  append(dump({{"event", "start"},
               {"time", utc_now()},
               {"tulle", std::string(kVersion)},
               {"isa", r.isa},
               {"threads", r.threads},
               {"ranks", r.ranks},
               {"seed", r.seed},
               {"nnz", r.nnz},
               {"dense", r.dense},
               {"config", r.config},
               {"machine", machine_name()},
               {"command", command_line()},
               {"data", r.data},
               {"files", std::move(files)}}));
}

std::string to_json(const EpochRecord& r) {
  Json json{{"event", "epoch"},
            {"epoch", r.epoch},
            {"step", r.step},
            {"nnz", r.nnz},
            {"layer_density", r.layer_density},
            {"layer_nnz", r.layer_nnz},
            {"peak_rss", r.peak_rss},
            {"phase_s",
             {{"data", r.phases.data},
              {"forward", r.phases.forward},
              {"backward", r.phases.backward},
              {"update", r.phases.update},
              {"evolve", r.phases.evolve},
              {"eval", r.phases.eval},
              {"exchange", r.phases.exchange}}}};
  put(json, "lr", r.learning_rate);
  put(json, "density", r.density);
  put(json, "exploration", r.exploration);
  put(json, "seconds", r.seconds);
  put(json, "conn_per_s", r.connections_per_second);
  put(json, "train_loss", r.train_loss);
  put(json, "train_acc", r.train_accuracy);
  put(json, "test_loss", r.test_loss);
  put(json, "test_acc", r.test_accuracy);
  put(json, "valid_loss", r.valid_loss);
  put(json, "valid_acc", r.valid_accuracy);
  put(json, "raw_test_loss", r.raw_test_loss);
  put(json, "raw_test_acc", r.raw_test_accuracy);
  put(json, "raw_valid_loss", r.raw_valid_loss);
  put(json, "raw_valid_acc", r.raw_valid_accuracy);
  return dump(json);
}

void MetricsFile::write(const EpochRecord& r) { append(to_json(r)); }

std::string to_json(const EvolveRecord& r) {
  Json json{{"event", "evolve"},        {"epoch", r.epoch},          {"step", r.step},
            {"layer", r.layer},         {"before", r.before},        {"after", r.after},
            {"dropped", r.dropped},     {"grown", r.grown},          {"regrown", r.regrown},
            {"no_inputs", r.no_inputs}, {"no_outputs", r.no_outputs}};
  put(json, "explored", r.explored);
  return dump(json);
}

void MetricsFile::write(const EvolveRecord& r) { append(to_json(r)); }

void MetricsFile::write(const StableRecord& r) {
  append(dump({{"event", "stable"},
               {"epoch", r.epoch},
               {"step", r.step},
               {"events", r.events},
               {"survivors", r.survivors}}));
}

void MetricsFile::write(const ImportanceRecord& r) {
  append(dump({{"event", "importance"},
               {"epoch", r.epoch},
               {"step", r.step},
               {"connections_before", r.connections_before},
               {"connections", r.connections},
               {"neurons", r.neurons}}));
}

void MetricsFile::write(const ParallelRecord& r) {
  Json json{{"event", "parallel"},
            {"epoch", r.epoch},
            {"sent", r.sent},
            {"received", r.received},
            {"staleness_max", r.staleness_max},
            {"discarded", r.discarded}};
  put(json, "staleness_mean", r.staleness_mean);
  append(dump(json));
}

void MetricsFile::write(const CheckpointRecord& r) {
  append(dump({{"event", "checkpoint"},
               {"step", r.step},
               {"path", std::filesystem::path(r.path).filename().string()},
               {"bytes", r.bytes},
               {"seconds", r.seconds}}));
}

void MetricsFile::write(const InputsRecord& r) {
  append(dump({{"event", "inputs"},
               {"height", r.height},
               {"width", r.width},
               {"channels", r.channels},
               {"degree", r.degree}}));
}

void MetricsFile::write(const ResultRecord& r) { append(to_json(r)); }

void MetricsFile::write(const EndRecord& r) {
  append(dump({{"event", "end"}, {"reason", r.reason}, {"best_epoch", r.best_epoch}, {"exit", r.exit}}));
}

RunRecord read_metrics(const std::string& run_directory) {
  RunRecord run;
  run.directory = run_directory;
  std::ifstream file(metrics_path(run_directory));
  if (!file) throw system_error(errno, metrics_path(run_directory), "open");
  for (std::string text; std::getline(file, text);) {
    const Json line = Json::parse(text, nullptr, false);
    if (!line.is_object()) continue;  // a torn last line
    try {
      add_line(run, line);
    } catch (const Json::exception&) {  // values of another kind than ours: nothing we know
    }
  }
  std::ostringstream config;
  if (std::ifstream text(run_directory + "/config.toml"); text) config << text.rdbuf();
  run.config = config.str();
  return run;
}

}  // namespace tulle
