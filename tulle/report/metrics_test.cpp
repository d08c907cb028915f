#include "tulle/report/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tulle/base/error.h"
#include "tulle/base/file_ops_testing.h"

namespace tulle {
namespace {

using Json = nlohmann::json;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::Not;
using ::testing::UnorderedElementsAre;

class Metrics : public ::testing::Test {
 protected:
  std::vector<Json> lines() const {
    std::vector<Json> lines;
    std::istringstream text(testing::read_text(folder_ / "metrics.jsonl"));
    for (std::string line; std::getline(text, line);) lines.push_back(Json::parse(line));
    return lines;
  }
  /// "start", "epoch 469", "evolve", ...: the events, with their step where they have one.
  std::vector<std::string> events() const {
    std::vector<std::string> events;
    for (const Json& line : lines())
      events.push_back(line["event"].get<std::string>() +
                       (line.contains("step") ? " " + line["step"].dump() : ""));
    return events;
  }
  void append_text(const std::string& text) const {
    testing::write_text(folder_ / "metrics.jsonl", testing::read_text(folder_ / "metrics.jsonl") + text);
  }

  testing::TemporaryDirectory folder_;
};

std::vector<std::string> keys(const Json& json) {
  std::vector<std::string> keys;
  for (const auto& [key, value] : json.items()) keys.push_back(key);
  return keys;
}

EpochRecord epoch_at(int epoch, std::int64_t step) {
  EpochRecord record;
  record.epoch = epoch;
  record.step = step;
  return record;
}

TEST_F(Metrics, DegreesThatNoInputCanHaveAreNoInputs) {
  for (const char* degree : {"-1,2", "3,9223372036854775807"}) {
    testing::write_text(
        folder_ / "metrics.jsonl",
        std::string("{\"event\":\"inputs\",\"height\":1,\"width\":2,\"channels\":1,\"degree\":[") + degree +
            "]}\n");
    EXPECT_FALSE(read_metrics(folder_.path()).inputs.has_value()) << degree;
  }
}

TEST_F(Metrics, WhatIsWrittenReadsBack) {
  EpochRecord epoch = epoch_at(3, 1407);
  epoch.train_loss = 0.25;
  epoch.train_accuracy = 0.5;
  epoch.valid_loss = 0.375;
  epoch.learning_rate = 0.125;
  epoch.nnz = 6;
  epoch.density = 0.75;
  epoch.layer_density = {0.5, 1.0};
  epoch.seconds = 2.5;
  epoch.connections_per_second = 1e9;
  epoch.peak_rss = 1 << 20;
  epoch.phases = {.data = 1, .forward = 2, .backward = 3, .update = 4, .evolve = 5, .eval = 6};
  {
    MetricsFile file(folder_.path(), 0);
    file.write(StartRecord{.version = "",
                           .isa = "avx2",
                           .threads = 2,
                           .seed = 7,
                           .nnz = 6,
                           .dense = 8,
                           .files = {{"a.csv", 77}, {"b.csv", 88}}});
    file.write(EvolveRecord{.epoch = 3,
                            .layer = 1,
                            .dropped = 4,
                            .grown = 5,
                            .before = 100,
                            .after = 101,
                            .regrown = 2,
                            .no_inputs = 6,
                            .no_outputs = 7,
                            .explored = 0.25});
    file.write(epoch);
    file.write(InputsRecord{.height = 1, .width = 2, .channels = 1, .degree = {9, 10}});
    file.write(ResultRecord{.rows = {{.name = "loss",
                                      .sparse = 0.5,
                                      .dense = 0.25,
                                      .sparse_text = "0.50",
                                      .dense_text = "0.25",
                                      .factor = "2 x"}},
                            .note = "a note",
                            .class_names = {"cat", "dog"},
                            .confusion = {1, 2, 3, 4}});
    file.write(EndRecord{.reason = "finished", .best_epoch = 3, .exit = 0});
  }
  testing::write_text(folder_ / "config.toml", "seed = 7\n");

  const RunRecord run = read_metrics(folder_.path());
  ASSERT_EQ(run.start.files.size(), 2u);
  EXPECT_EQ(run.start.files[1].path, "b.csv");
  EXPECT_EQ(run.start.files[1].bytes, 88);
  EXPECT_EQ(run.start.isa, "avx2");
  EXPECT_EQ(run.start.threads, 2);
  EXPECT_EQ(run.start.seed, 7);
  EXPECT_EQ(run.start.dense, 8);
  EXPECT_EQ(run.start.time.size(), std::string("2026-01-31T12:00:00Z").size());
  ASSERT_EQ(run.evolutions.size(), 1u);
  EXPECT_EQ(run.evolutions[0].layer, 1);
  EXPECT_EQ(run.evolutions[0].dropped, 4);
  EXPECT_EQ(run.evolutions[0].grown, 5);
  ASSERT_EQ(run.epochs.size(), 1u);
  const EpochRecord& read = run.epochs[0];
  EXPECT_EQ(read.epoch, 3);
  EXPECT_EQ(read.step, 1407);
  EXPECT_EQ(read.train_loss, 0.25);
  EXPECT_EQ(read.train_accuracy, 0.5);
  EXPECT_EQ(read.valid_loss, 0.375);
  EXPECT_EQ(read.test_loss, std::nullopt);
  EXPECT_EQ(read.learning_rate, 0.125);
  EXPECT_EQ(read.nnz, 6);
  EXPECT_EQ(read.density, 0.75);
  EXPECT_THAT(read.layer_density, ElementsAre(0.5, 1.0));
  EXPECT_EQ(read.seconds, 2.5);
  EXPECT_EQ(read.connections_per_second, 1e9);
  EXPECT_EQ(read.peak_rss, 1 << 20);
  const PhaseSeconds& p = read.phases;
  EXPECT_THAT((std::vector<double>{p.data, p.forward, p.backward, p.update, p.evolve, p.eval}),
              ElementsAre(1, 2, 3, 4, 5, 6));
  ASSERT_TRUE(run.inputs.has_value());
  EXPECT_EQ(run.inputs->width, 2);
  EXPECT_THAT(run.inputs->degree, ElementsAre(9, 10));
  ASSERT_TRUE(run.result.has_value());
  EXPECT_EQ(to_json(*run.result), lines()[4].dump());
  EXPECT_EQ(run.end.value().reason, "finished");
  EXPECT_EQ(run.config, "seed = 7\n");
}

// The keys that users_and_interfaces.md, section 4.3, promises; more may come, none may go.
TEST_F(Metrics, KeysAreThoseThatWerePromised) {
  MetricsFile file(folder_.path(), 0);
  file.write(StartRecord{});
  EpochRecord epoch = epoch_at(1, 469);
  epoch.train_accuracy = epoch.test_loss = epoch.test_accuracy = epoch.valid_loss = epoch.valid_accuracy =
      epoch.exploration = 0.5;
  file.write(epoch);
  file.write(EvolveRecord{});
  file.write(CheckpointRecord{.step = 469, .path = "/somewhere/ckpt-000469.safetensors"});
  file.write(EndRecord{});
  const std::vector<Json> written = lines();
  EXPECT_THAT(keys(written.at(0)),
              UnorderedElementsAre("event", "time", "tulle", "isa", "threads", "ranks", "seed", "nnz",
                                   "dense", "config", "machine", "command", "data", "files"));
  EXPECT_THAT(
      keys(written.at(1)),
      UnorderedElementsAre("event", "epoch", "step", "train_loss", "train_acc", "test_loss", "test_acc",
                           "valid_loss", "valid_acc", "lr", "nnz", "density", "layer_density", "layer_nnz",
                           "exploration", "seconds", "conn_per_s", "peak_rss", "phase_s"));
  EXPECT_THAT(keys(written.at(1)["phase_s"]),
              UnorderedElementsAre("data", "forward", "backward", "update", "evolve", "eval", "exchange"));
  EXPECT_THAT(keys(written.at(2)),
              UnorderedElementsAre("event", "epoch", "step", "layer", "before", "after", "dropped", "grown",
                                   "regrown", "no_inputs", "no_outputs", "explored"));
  EXPECT_THAT(keys(written.at(3)), UnorderedElementsAre("event", "step", "path", "bytes", "seconds"));
  EXPECT_EQ(written.at(3)["path"], "ckpt-000469.safetensors");
  EXPECT_THAT(keys(written.at(4)), UnorderedElementsAre("event", "reason", "best_epoch", "exit"));
}

TEST_F(Metrics, NanAndInfinityBecomeNullAndAreNamed) {
  EpochRecord epoch = epoch_at(1, 469);
  epoch.train_loss = std::nan("");
  epoch.test_loss = std::numeric_limits<double>::infinity();
  epoch.test_accuracy = 0.5;
  epoch.connections_per_second = std::nan("");
  MetricsFile(folder_.path(), 0).write(epoch);
  const Json line = lines().at(0);
  for (const char* name : {"train_loss", "test_loss", "conn_per_s"}) {
    EXPECT_TRUE(line.at(name).is_null()) << name;
    EXPECT_THAT(line.at("nonfinite"), Contains(name));
  }
  EXPECT_THAT(line.at("nonfinite"), Not(Contains("test_acc")));
  const EpochRecord read = read_metrics(folder_.path()).epochs.at(0);
  EXPECT_TRUE(std::isnan(read.train_loss));
  EXPECT_TRUE(std::isnan(read.test_loss.value()));
  EXPECT_TRUE(std::isnan(read.connections_per_second));
  EXPECT_EQ(read.test_accuracy, 0.5);
}

TEST_F(Metrics, AResultThatIsNanReadsBack) {
  MetricsFile(folder_.path(), 0)
      .write(ResultRecord{.rows = {{.name = "loss", .sparse = std::nan(""), .dense = 1.0}}});
  const RunRecord run = read_metrics(folder_.path());
  ASSERT_TRUE(run.result.has_value());
  EXPECT_TRUE(std::isnan(run.result->rows.at(0).sparse));
}

TEST_F(Metrics, ATornLastLineIsIgnoredByReadersAndCutByWriters) {
  MetricsFile(folder_.path(), 0).write(epoch_at(1, 469));
  append_text(R"({"event":"epoch","epoch":2,"st)");
  EXPECT_EQ(read_metrics(folder_.path()).epochs.size(), 1u);
  MetricsFile(folder_.path(), 938).write(epoch_at(2, 938));
  EXPECT_THAT(events(), ElementsAre("epoch 469", "epoch 938"));
}

TEST_F(Metrics, LinesOfUnknownEventsKeysAndKindsAreIgnored) {
  MetricsFile(folder_.path(), 0).write(epoch_at(1, 469));
  append_text(
      "{\"event\":\"tomorrow\"}\n[1]\n\"text\"\n{\"event\":3}\n{\"event\":\"epoch\",\"epoch\":\"two\"}\n");
  append_text("{\"event\":\"epoch\",\"epoch\":3,\"new\":[{}]}\n");
  const RunRecord run = read_metrics(folder_.path());
  ASSERT_EQ(run.epochs.size(), 2u);
  EXPECT_EQ(run.epochs[1].epoch, 3);
}

TEST_F(Metrics, GoingOnCutsTheLinesAfterTheCheckpointItStartsFrom) {
  {
    MetricsFile file(folder_.path(), 0);
    file.write(StartRecord{});
    file.write(EvolveRecord{.epoch = 1, .step = 469});
    file.write(epoch_at(1, 469));
    file.write(CheckpointRecord{.step = 469});
    file.write(EvolveRecord{.epoch = 2, .step = 938});
    file.write(epoch_at(2, 938));
  }
  const MetricsFile file(folder_.path(), 469);
  EXPECT_THAT(events(), ElementsAre("start", "evolve 469", "epoch 469", "checkpoint 469"));
}

TEST_F(Metrics, GoingOnFromACheckpointThatWasNotToldCutsTheLinesOfLaterSteps) {
  {
    MetricsFile file(folder_.path(), 0);
    file.write(epoch_at(1, 469));
    file.write(EvolveRecord{.epoch = 2, .step = 938});
    file.write(epoch_at(2, 938));
  }
  const MetricsFile file(folder_.path(), 500);
  EXPECT_THAT(events(), ElementsAre("epoch 469"));
}

TEST_F(Metrics, ALastLineWithoutItsEndIsTorn) {
  MetricsFile(folder_.path(), 0).write(epoch_at(1, 469));
  append_text(R"({"event":"checkpoint","step":469})");
  MetricsFile(folder_.path(), 469).write(epoch_at(2, 938));
  EXPECT_THAT(events(), ElementsAre("epoch 469", "epoch 938"));
}

// A checkpoint asked for by a signal may stand between an epoch's last step and its line.
TEST_F(Metrics, GoingOnCutsAnEpochThatWasToldAfterTheCheckpointOfItsLastStep) {
  {
    MetricsFile file(folder_.path(), 0);
    file.write(CheckpointRecord{.step = 469});
    file.write(EvolveRecord{.epoch = 1, .step = 469});
    file.write(epoch_at(1, 469));
  }
  const MetricsFile file(folder_.path(), 469);
  EXPECT_THAT(events(), ElementsAre("checkpoint 469"));
}

// A training's results are added after its end: the last epoch was told after the checkpoint of its last
// step.
TEST_F(Metrics, AddingToTheEndCutsNothingButATornLine) {
  {
    MetricsFile file(folder_.path(), 0);
    file.write(CheckpointRecord{.step = 469});
    file.write(epoch_at(1, 469));
    file.write(EvolveRecord{.epoch = 1, .step = 469});
  }
  append_text(R"({"event":"en)");
  MetricsFile(folder_.path()).write(EndRecord{});
  EXPECT_THAT(events(), ElementsAre("checkpoint 469", "epoch 469", "evolve 469", "end"));
}

TEST_F(Metrics, GoingOnKeepsThatTheTrainingWasStoppedAndIsNoLongerAtItsEnd) {
  {
    MetricsFile file(folder_.path(), 0);
    file.write(StartRecord{});
    file.write(CheckpointRecord{.step = 100});
    file.write(EndRecord{.reason = "stopped"});
  }
  EXPECT_EQ(read_metrics(folder_.path()).end.value().reason, "stopped");
  MetricsFile(folder_.path(), 100).write(StartRecord{});
  EXPECT_THAT(events(), ElementsAre("start", "checkpoint 100", "end", "start"));
  EXPECT_FALSE(read_metrics(folder_.path()).end.has_value());
}

TEST_F(Metrics, AMissingFileIsMissingInput) {
  try {
    read_metrics(folder_ / "none");
    ADD_FAILURE() << "nothing thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kMissingInput);
    EXPECT_EQ(error.place().file, folder_ / "none/metrics.jsonl");
  }
}

TEST_F(Metrics, AFolderThatIsNotThereCannotBeWrittenInto) {
  EXPECT_THROW(MetricsFile(folder_ / "none", 0), Error);
}

TEST_F(Metrics, FilesOfDataAreNamedWithTheirSizesAndFoldersAreNot) {
  testing::write_text(folder_ / "train.csv", "1,2,3\n");
  const std::vector<DataFile> files = data_files({folder_ / "train.csv", "", folder_.path(), folder_ / "no"});
  ASSERT_EQ(files.size(), 1u);
  EXPECT_EQ(files[0].path, folder_ / "train.csv");
  EXPECT_EQ(files[0].bytes, 6);
}

}  // namespace
}  // namespace tulle
