// Checkpoints of a network in parts, of which every rank writes its own.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tulle/checkpoint/model_parts.h"
#include "tulle/comm/comm_testing.h"
#include "tulle/data/data_testing.h"
#include "tulle/nn/parts.h"
#include "tulle/train/modes_testing.h"

namespace tulle::testing {
namespace {

using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Config rows_config(const char* optimizer) {
  Config config = config_of("rows", 3);
  config.model.hidden = {300, 200};
  config.run.storage = "compact";
  config.train.batch_size = 16;
  config.train.optimizer = optimizer;
  return config;
}

// What body(run, comm) does on three ranks after a few steps of a training.
std::vector<std::string> after_steps(const Config& config, const Dataset& data,
                                     const std::function<void(tulle::Run&, Communicator&)>& body) {
  return on_ranks(
      3,
      [&](Communicator& comm) {
        tulle::Run run = start_run(config, data, {comm.rank(), comm.size()});
        run.model.network.spread()->connect(comm);
        for (Parameter* parameter : run.model.network.parameters()) {
          make_optimizer(config.train)->prepare(*parameter);
          float value = 0.25f * static_cast<float>(comm.rank());
          for (auto* state : {&parameter->m1, &parameter->m2})
            for (float& entry : *state) entry = value += 0.5f;
        }
        body(run, comm);
      },
      /*time_limit=*/20.0);
}

TEST(RowsParts, MakeTheFileThatOneRankWouldWrite) {
  const Dataset data = many_data();
  for (const char* optimizer : {"set-sgd", "adam"}) {
    const TemporaryDirectory folder;
    const auto thrown = after_steps(rows_config(optimizer), data, [&](tulle::Run& run, Communicator& comm) {
      const auto size = save_parts(comm.rank() == 0 ? folder / "parts" : "", run.model, &run.state);
      ASSERT_TRUE(size.has_value());
      std::optional<Network> whole = whole_of(run.model.network);
      if (!whole) return;
      std::swap(run.model.network, *whole);
      EXPECT_EQ(save_model(folder / "whole", run.model, &run.state), *size);
    });
    EXPECT_THAT(thrown, Each(IsEmpty()));
    EXPECT_EQ(read_text(folder / "parts") == read_text(folder / "whole"), true) << optimizer;
    EXPECT_EQ(folder.names(), (std::vector<std::string>{"parts", "whole"}));
    EXPECT_TRUE(load_model(folder / "parts").checksummed);
  }
}

TEST(RowsParts, AreNotWrittenWhereARankDoesNotSeeTheFolder) {
  struct Elsewhere : FileOps {
    int openat(int, const char*, int, mode_t) override {
      errno = ENOENT;
      return -1;
    }
  } elsewhere;
  const TemporaryDirectory folder;
  const auto thrown = after_steps(rows_config("sgd"), many_data(), [&](tulle::Run& run, Communicator& comm) {
    EXPECT_FALSE(save_parts(comm.rank() == 0 ? folder / "parts" : "", run.model, &run.state,
                            comm.rank() == 2 ? elsewhere : real_file_ops()));
  });
  EXPECT_THAT(thrown, Each(IsEmpty()));
  EXPECT_THAT(folder.names(), IsEmpty());
}

TEST(RowsParts, OfARankWithAFullDiskFailOnAllAndLeaveTheOldFile) {
  struct Full : FileOps {
    ssize_t write(int, const void*, std::size_t) override {
      errno = ENOSPC;
      return -1;
    }
  } full;
  const TemporaryDirectory folder;
  for (const int failing : {0, 2}) {
    write_text(folder / "parts", "old");
    const auto thrown =
        after_steps(rows_config("sgd"), many_data(), [&](tulle::Run& run, Communicator& comm) {
          (void)save_parts(comm.rank() == 0 ? folder / "parts" : "", run.model, &run.state,
                           comm.rank() == failing ? full : real_file_ops());
        });
    EXPECT_THAT(thrown, Each(HasSubstr("rank " + std::to_string(failing) + ": ")));
    EXPECT_EQ(read_text(folder / "parts"), "old");
    EXPECT_EQ(folder.names(), (std::vector<std::string>{"parts"}));
  }
}

}  // namespace
}  // namespace tulle::testing
