// Trainings of small sMLPNets: they learn, they evolve, and they are as exact as any other.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <set>

#include "tulle/checkpoint/model_file.h"
#include "tulle/data/data_testing.h"
#include "tulle/evolve/importance.h"
#include "tulle/train/predictor.h"
#include "tulle/train/smlp_testing.h"
#include "tulle/train/speed.h"
#include "tulle/vision/smlp_net.h"

namespace tulle::testing {
namespace {

using ::testing::HasSubstr;

Config finished(Config config) {
  finish_config(config);
  return config;
}

struct Kind {
  std::string title;
  std::vector<std::pair<std::string, std::string>> keys;
};

class EverySmlp : public ::testing::TestWithParam<Kind> {
 protected:
  Config config(std::int64_t epochs) const {
    Config config = smlp_config();
    for (const auto& [key, text] : GetParam().keys) set_config_value(config, key, text);
    set_config_value(config, "train.epochs", std::to_string(epochs));
    return finished(config);
  }
  const Dataset data_ = images();
};

TEST_P(EverySmlp, LearnsToTellPatternsApart) {
  tulle::Run run = start_run(config(12), data_);
  Observer nobody;
  Signals none;
  const std::int64_t before = run.model.network.connections();
  train(run, data_, nullptr, nobody, none);
  EXPECT_EQ(run.model.network.connections() < before, run.config.evolve.importance_percentile > 0.0);
  EXPECT_LE(run.model.network.connections(), before);
  EXPECT_GT(evaluate(run.model, data_.test).accuracy, 0.9);
}

TEST_P(EverySmlp, GivesTheSameBitsForAnyNumberOfThreads) {
  Bits bits[2];
  for (const int threads : {1, 3}) {
    const Threads use(threads);
    bits[threads == 3] = trained(start_run(config(3), data_), data_);
  }
  EXPECT_EQ(bits[0], bits[1]);
}

TEST_P(EverySmlp, ResumesAsIfItHadNeverStopped) {
  const TemporaryDirectory folder;
  const Config whole = config(3);
  const Bits wanted = trained(start_run(whole, data_), data_);
  for (const std::int64_t stop : {2, 5, 11}) {
    tulle::Run run = start_run(whole, data_);
    Signals signals;
    Diary diary;
    std::int64_t batches = 0;
    diary.at_batch = [&](const Observer::Batch&) { signals.stop = ++batches == stop; };
    RunDirectory directory = RunDirectory::open(folder / std::to_string(stop), hasty_file_ops());
    EXPECT_EQ(train(run, data_, &directory, diary, signals), Ending::kStopped);
    std::vector<std::string> skipped;
    const auto checkpoint = newest_checkpoint(directory.path(), skipped);
    ASSERT_TRUE(checkpoint);
    EXPECT_EQ(trained(resume_run(whole, data_, *checkpoint), data_), wanted) << stop;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, EverySmlp,
    ::testing::Values(
        Kind{"Dense", {}}, Kind{"Bf16", {{"model.dtype", "bf16"}}},
        Kind{"Set", {{"topology.density", "0.4"}, {"topology.distribution", "uniform"}}},
        Kind{"Rigl",
             {{"topology.density", "0.4"},
              {"topology.distribution", "erk"},
              {"evolve.rule", "rigl"},
              {"evolve.update_every", "4 step"}}},
        Kind{"Averages", {{"train.ema_decay", "0.9"}}},
        Kind{"Narrower",
             {{"train.ema_decay", "0.9"},
              {"evolve.importance_percentile", "25"},
              {"evolve.importance_start", "1"},
              {"evolve.importance_every", "5 epoch"}}},
        Kind{"SparserAndNarrower",
             {{"topology.density", "0.4"},
              {"topology.distribution", "uniform"},
              {"evolve.rule", "gse"},
              {"evolve.importance_percentile", "25"},
              {"evolve.importance_strength", "product"},
              {"evolve.importance_start", "1"},
              {"evolve.importance_every", "5 epoch"}}},
        Kind{"PrunedAsPublished",
             {{"topology.density", "0.4"},
              {"topology.distribution", "uniform"},
              {"evolve.importance_form", "published"},
              {"evolve.importance_percentile", "10"},
              {"evolve.importance_start", "1"},
              {"evolve.importance_every", "5 epoch"}}},
        Kind{"WithoutColumns", {{"model.mix", "identity,rows"}, {"evolve.rule", "none"}}},
        Kind{"Static",
             {{"topology.density", "0.4"}, {"topology.distribution", "uniform"}, {"evolve.rule", "none"}}}),
    [](const auto& info) { return info.param.title; });

TEST(Smlp, AveragesAreOfTheRunningStatisticsToo) {
  Config config = smlp_config();
  set_config_value(config, "train.epochs", "2");
  set_config_value(config, "train.ema_decay", "0.5");
  const Dataset data = images();
  tulle::Run run = start_run(finished(config), data);
  ExpectedAverage average{0.5};
  const auto running = [&] {
    std::vector<float> all;
    for (const Statistic& statistic : run.model.network.architecture()->statistics())
      all.insert(all.end(), statistic.value->begin(), statistic.value->end());
    return all;
  };
  Diary diary;
  diary.at_batch = [&](const Observer::Batch&) { average.add(running()); };
  Signals none;
  train(run, data, nullptr, diary, none);
  const std::vector<float> model = running();
  ASSERT_EQ(model.size(), average.values.size());
  ASSERT_GT(model.size(), 0u);
  for (std::size_t i = 0; i < model.size(); ++i)
    EXPECT_NEAR(model[i], average.values[i], 1e-5 * (1.0 + std::abs(average.values[i]))) << i;
}

TEST(Smlp, EvolutionMovesConnectionsOfEveryPointwiseLayer) {
  Config config = smlp_config();
  set_config_value(config, "topology.distribution", "uniform");
  set_config_value(config, "topology.density", "0.3");
  const Dataset data = images();
  tulle::Run run = start_run(finished(config), data);
  Diary diary;
  Signals none;
  train(run, data, nullptr, diary, none);
  std::set<int> layers;
  for (const EvolveRecord& event : diary.events) {
    EXPECT_GT(event.grown, 0);
    EXPECT_EQ(event.before, event.after);
    layers.insert(event.layer);
  }
  EXPECT_EQ(layers.size(), 6u);
}

std::vector<float> outputs(tulle::Run& run, const Dataset& data) {
  std::vector<float> raw(data.test.inputs.bytes.begin(), data.test.inputs.bytes.end()), found(30 * 3);
  Predictor(run.model, 30).predict(raw, found);
  return found;
}

// The oracle: in a copy, the second product is deaf to them.
TEST(Smlp, WithoutItsWeakestHiddenChannelsANetAnswersAsIfNobodyHeardThem) {
  for (const char* density : {"1", "0.5"}) {
    Config config = smlp_config();
    set_config_value(config, "topology.density", density);
    const Dataset data = images();
    tulle::Run run = start_run(finished(config), data), deaf = start_run(finished(config), data);
    for (std::size_t l = 1; l < 6; l += 3) {
      const Layer &first = deaf.model.network.layer(l), &second = deaf.model.network.layer(l + 1);
      const std::int32_t hidden = first.outputs(), inputs = first.inputs();
      std::vector<std::pair<double, std::int32_t>> strengths;
      std::size_t place = 0;
      for (std::int32_t j = 0; j < hidden; ++j) {
        strengths.emplace_back(0.0, j);
        const auto count =
            first.topology() ? first.topology()->row(j).size() : static_cast<std::size_t>(inputs);
        for (std::size_t k = 0; k < count; ++k)
          strengths.back().first += std::abs(double{first.weight().value[place++]});
      }
      std::ranges::sort(strengths);
      std::set<std::int32_t> weakest;
      for (std::int32_t i = 0; i < hidden / 4; ++i)
        weakest.insert(strengths[static_cast<std::size_t>(i)].second);
      place = 0;
      AlignedVector<float>& weights = deaf.model.network.layer(l + 1).weight().value;
      for (std::int32_t target = 0; target < second.outputs(); ++target) {
        std::vector<std::int32_t> all(static_cast<std::size_t>(hidden));
        std::iota(all.begin(), all.end(), 0);
        if (second.topology())
          all.assign(second.topology()->row(target).begin(), second.topology()->row(target).end());
        for (const std::int32_t source : all) {
          if (weakest.contains(source)) weights[place] = 0.0f;
          ++place;
        }
      }
    }
    const auto gone = eliminate_neurons(run.model.network, {.percentile = 25.0, .cascade = false});
    ASSERT_EQ(gone.size(), 2u);
    EXPECT_EQ(gone[1].layer, 4u);
    EXPECT_EQ(gone[0].before, 24);
    EXPECT_EQ(gone[0].after, 18);
    const SmlpShape& shape = smlp_of(run.model.network)->shape();
    EXPECT_EQ(shape.hidden, (std::vector<std::int32_t>{18, 36}));
    if (run.model.network.layer(0).topology() == nullptr) {
      std::int64_t parameters = 0;
      for (const Parameter* parameter : run.model.network.parameters())
        parameters += std::ssize(parameter->value);
      EXPECT_EQ(parameters_of(shape).total(), parameters);
    }
    const std::vector<float> found = outputs(run, data), expected = outputs(deaf, data);
    for (std::size_t i = 0; i < found.size(); ++i) EXPECT_NEAR(found[i], expected[i], 1e-5);
    // And a file keeps it.
    const TemporaryDirectory folder;
    save_model(folder / "m", run.model);
    tulle::Run again = start_run(finished(config), data);
    again.model = load_model(folder / "m").model;
    EXPECT_EQ(outputs(again, data), found);
    set_config_value(config, "train.start_from", folder / "m");
    tulle::Run next = start_run(finished(config), data);
    EXPECT_EQ(smlp_of(next.model.network)->shape().hidden, shape.hidden);
    EXPECT_EQ(outputs(next, data), found);
    save_model(folder / "next", next.model);
    EXPECT_EQ(load_model(folder / "next").model.network.connections(), next.model.network.connections());
  }
}

// With 5 % of the connections most hidden channels have none, or nobody hears them.
TEST(Smlp, HiddenChannelsWithoutInputsLeaveTheirConstantAndThoseWithoutOutputsNothing) {
  Config config = smlp_config();
  set_config_value(config, "topology.density", "0.05");
  set_config_value(config, "topology.distribution", "uniform");
  set_config_value(config, "topology.repair_isolated", "none");
  const Dataset data = images();
  tulle::Run run = start_run(finished(config), data);
  const std::vector<float> before = outputs(run, data);
  for (const LayerElimination& layer : eliminate_neurons(run.model.network, {.percentile = 0.0}))
    EXPECT_LT(layer.after, layer.before);
  const std::vector<float> after = outputs(run, data);
  for (std::size_t i = 0; i < after.size(); ++i) EXPECT_NEAR(after[i], before[i], 1e-5);
}

TEST(Smlp, AnAblatedFuseReadsTheOtherPartsAlone) {
  Config config = smlp_config();
  set_config_value(config, "model.mix", "columns,identity");
  EXPECT_THROW(finish_config(config), Error);  // evolution would bring the rows back
  set_config_value(config, "evolve.rule", "none");
  tulle::Run run = start_run(finished(config), images());
  const Topology* const fuse = run.model.network.layer(0).topology();
  ASSERT_NE(fuse, nullptr);
  EXPECT_EQ(fuse->nnz(), 8 * 16);
  for (const std::int32_t column : fuse->columns()) EXPECT_TRUE(column < 8 || column >= 16);
  EXPECT_EQ(run.model.network.layer(1).topology(), nullptr);
  for (const char* bad : {"[]", "diagonal"}) {
    Config other = smlp_config();
    set_config_value(other, "model.mix", bad);
    EXPECT_THROW(finish_config(other), Error);
  }
}

TEST(Smlp, PredictsSingleImagesAndBatchesAlike) {
  const Dataset data = images();
  tulle::Run run = start_run(finished(smlp_config()), data);
  const Features& inputs = data.test.inputs;
  std::vector<float> raw(inputs.bytes.begin(), inputs.bytes.end());
  std::vector<float> one(30 * 3), many(30 * 3);
  Predictor(run.model, 1).predict(raw, one);
  Predictor(run.model, 30).predict(raw, many);
  for (std::size_t i = 0; i < one.size(); ++i) EXPECT_NEAR(one[i], many[i], 1e-5);
  Predictor(run.model, 30, {.precision = Precision::kBf16}).predict(raw, one);
  for (std::size_t i = 0; i < one.size(); ++i) EXPECT_NEAR(one[i], many[i], 3e-2);
}

TEST(Smlp, TheDenseCopyOfASparseNetGivesItsOutputs) {
  Config config = smlp_config();
  set_config_value(config, "topology.distribution", "uniform");
  set_config_value(config, "topology.density", "0.3");
  tulle::Run run = start_run(finished(config), images());
  for (const int batch : {1, 20})
    EXPECT_LT(measure_speed(run.model.network, std::vector<int>{batch}, 1 << 30)[0].difference, 1e-5);
}

TEST(Smlp, VariantsSetTheirSizesAndKeysThatAreGivenWin) {
  Config config;
  set_config_value(config, "model.kind", "smlp");
  set_config_value(config, "model.variant", "smlp64_p4_deep");
  set_config_value(config, "model.width", "8");
  finish_config(config);
  EXPECT_EQ(config.model.depths, (std::vector<std::int64_t>{2, 4, 2}));
  EXPECT_EQ(config.model.image_size, 64);
  EXPECT_EQ(config.model.width, 8);
  EXPECT_EQ(config.topology.density, 1.0);
}

TEST(Smlp, StartsFromAModelAndWithANewHeadForOtherClasses) {
  const TemporaryDirectory folder;
  Dataset data = images();
  Config config = smlp_config();
  set_config_value(config, "topology.density", "0.3");
  set_config_value(config, "train.epochs", "1");
  tulle::Run first = start_run(finished(config), data);
  Observer nobody;
  Signals none;
  train(first, data, nullptr, nobody, none);
  save_model(folder / "m", first.model);

  set_config_value(config, "run.seed", "9");
  set_config_value(config, "train.start_from", folder / "m");
  const auto arrays = [](const tulle::Run& run) { return run.model.network.architecture()->arrays(); };
  const tulle::Run same = start_run(finished(config), data);
  data.class_names = {"a", "b", "c", "d"};
  const tulle::Run other = start_run(finished(config), data);
  EXPECT_EQ(other.model.network.outputs(), 4);
  for (std::size_t l = 0; l < first.model.network.size(); ++l) {
    const Layer& layer = first.model.network.layer(l);
    EXPECT_EQ(same.model.network.layer(l).weight().value, layer.weight().value);
    EXPECT_EQ(other.model.network.layer(l).weight().value, layer.weight().value);
    ASSERT_NE(layer.topology(), nullptr);
    EXPECT_EQ(*other.model.network.layer(l).topology(), *layer.topology());
  }
  for (std::size_t a = 0; a < arrays(first).size(); ++a) {
    const NamedArray array = arrays(first)[a];
    EXPECT_EQ(*arrays(same)[a].values, *array.values) << array.name;
    EXPECT_EQ(*arrays(other)[a].values == *array.values, !array.name.starts_with("mlp_head.")) << array.name;
  }
  // As many classes, but others.
  data.class_names = {"a", "b", "c"};
  EXPECT_NE(*arrays(start_run(finished(config), data)).back().values, *arrays(first).back().values);

  set_config_value(config, "model.width", "16");
  EXPECT_THAT(refusal([&] { start_run(finished(config), data); }, ErrorKind::kConfig),
              HasSubstr("width 8, depths 1-1, expansion 3, expected 1 x 8 x 8 pixels, patch 2, width 16"));
}

TEST(Smlp, RefusesWhatItHasNoFormOf) {
  const std::pair<const char*, const char*> bad[] = {{"model.loss", "mse"},
                                                     {"evolve.fold", "mean"},
                                                     {"evolve.chain_removal", "true"},
                                                     {"evolve.evolve_dense", "true"},
                                                     {"topology.distribution", "explicit"}};
  for (const auto& [key, text] : bad) {
    Config config = smlp_config();
    set_config_value(config, key, text);
    try {
      finish_config(config);
      ADD_FAILURE() << key;
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr(key));
    }
  }
  Dataset data = images();
  Config config = smlp_config();
  set_config_value(config, "model.image_size", "5");
  EXPECT_THROW(start_run(finished(config), data), Error);
  data.image = {};
  EXPECT_THROW(start_run(finished(smlp_config()), data), Error);
}

}  // namespace
}  // namespace tulle::testing
