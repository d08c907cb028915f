// train.ema_decay: the model is the average of the weights over the steps.
#include <gtest/gtest.h>

#include <algorithm>

#include "tulle/base/error.h"
#include "tulle/nn/sparse_layer.h"
#include "tulle/optim/averaging.h"
#include "tulle/sparse/topology_update.h"
#include "tulle/train/evaluate.h"
#include "tulle/train/modes.h"
#include "tulle/train/train_testing.h"

namespace tulle::testing {
namespace {

constexpr double kDecay = 0.6;

Config with_averages() {
  Config config = small_config();
  config.evolve.rule = "none";
  config.train.ema_decay = kDecay;
  return config;
}

std::vector<float> values_of(Network& network) {
  std::vector<float> all;
  for (const Parameter* parameter : network.parameters())
    all.insert(all.end(), parameter->value.begin(), parameter->value.end());
  return all;
}

TEST(Averages, TheModelIsTheAverageOfTheWeightsAfterEachStep) {
  const Dataset data = small_data();
  tulle::Run run = start_run(with_averages(), data);
  ExpectedAverage average{kDecay};
  Diary diary;
  diary.at_batch = [&](const Observer::Batch&) { average.add(values_of(run.model.network)); };
  Signals none;
  train(run, data, nullptr, diary, none);
  const std::vector<float> model = values_of(run.model.network);
  ASSERT_EQ(model.size(), average.values.size());
  for (std::size_t i = 0; i < model.size(); ++i) EXPECT_NEAR(model[i], average.values[i], 1e-6) << i;
}

TEST(Averages, ChangeNothingOfTheTraining) {
  const Dataset data = small_data();
  std::vector<EpochRecord> epochs[2];
  std::vector<float> last[2];
  for (const bool averages : {false, true}) {
    Config config = with_averages();
    config.evolve.rule = "set";
    if (!averages) config.train.ema_decay = 0.0;
    tulle::Run run = start_run(config, data);
    Diary diary;
    diary.at_batch = [&](const Observer::Batch&) { last[averages] = values_of(run.model.network); };
    Signals none;
    train(run, data, nullptr, diary, none);
    epochs[averages] = diary.epochs;
  }
  EXPECT_EQ(last[0], last[1]);
  for (std::size_t e = 0; e < epochs[0].size(); ++e) {
    EXPECT_EQ(epochs[0][e].test_loss, epochs[1][e].raw_test_loss);
    EXPECT_EQ(epochs[0][e].test_accuracy, epochs[1][e].raw_test_accuracy);
    EXPECT_NE(epochs[0][e].test_loss, epochs[1][e].test_loss);
    EXPECT_EQ(epochs[0][e].raw_test_loss, std::nullopt);
  }
}

TEST(Averages, AreWhatIsEvaluatedAndWhatTheBestEpochKeeps) {
  Dataset data = small_data();
  data.valid = blobs(30, 3);
  for (std::int32_t& label : data.valid.classes) label = (label + 1) % 3;  // the more is learnt, the worse
  for (const bool files : {false, true}) {
    const TemporaryDirectory folder;
    RunDirectory directory = RunDirectory::open(folder.path(), hasty_file_ops());
    Config config = with_averages();
    tulle::Run run = start_run(config, data);
    Diary diary;
    Signals none;
    train(run, data, files ? &directory : nullptr, diary, none);
    const auto best = std::ranges::min_element(diary.epochs, {},
                                               [](const EpochRecord& record) { return *record.valid_loss; });
    EXPECT_NE(best + 1, diary.epochs.end());
    EXPECT_EQ(evaluate(run.model, data.valid).loss, *best->valid_loss);
    EXPECT_EQ(evaluate(run.model, data.test).loss, *best->test_loss);
  }
}

TEST(Averages, MoveWithTheirConnectionsAndStartAtTheValueOfThoseThatGrow) {
  std::vector<std::unique_ptr<Layer>> layers;
  layers.push_back(make_sparse_layer({.inputs = 4, .outputs = 2},
                                     Topology::from_keys(2, 4, std::vector<std::uint64_t>{0, 2, 5})));
  Network network(std::move(layers));
  auto& layer = dynamic_cast<SparseLayer&>(network.layer(0));
  layer.weight().value = {1.0f, 2.0f, 3.0f};
  update_averages(network, 0.5, 100);
  layer.weight().value = {3.0f, 6.0f, 9.0f};
  update_averages(network, 0.5, 101);
  EXPECT_EQ(layer.weight().average, (AlignedVector<float>{2.0f, 4.0f, 6.0f}));
  // (0, 0) goes, (1, 3) comes.
  const std::vector<std::uint8_t> drop{1, 0, 0};
  const std::vector<std::uint64_t> grow{7};
  const std::vector<float> values{0.5f};
  layer.replace(replace_connections(*layer.topology(), drop, grow), values);
  EXPECT_EQ(layer.weight().average, (AlignedVector<float>{4.0f, 6.0f, 0.5f}));
  EXPECT_EQ(layer.weight().value, (AlignedVector<float>{6.0f, 9.0f, 0.5f}));
  {
    const AveragesInPlace there(network);
    EXPECT_EQ(layer.weight().value[0], 4.0f);
  }
  EXPECT_EQ(layer.weight().value[0], 6.0f);
}

TEST(Averages, AreRefusedWhereReplicasGoTheirOwnWays) {
  for (const char* mode : {"wasap", "wassp", "local-sgd"}) {
    Config config = with_averages();
    config.parallel.mode = mode;
    try {
      mode_of(config, 2);
      ADD_FAILURE() << mode;
    } catch (const Error& error) {
      EXPECT_EQ(error.what(),
                std::string("train.ema_decay, found 0.6, expected 0 with parallel.mode = \"") + mode + '"');
    }
  }
  Config config = with_averages();
  config.parallel.mode = "sync";
  EXPECT_EQ(mode_of(config, 2).name, "sync");
}

}  // namespace
}  // namespace tulle::testing
