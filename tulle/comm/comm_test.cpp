#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <numeric>
#include <thread>

#include "tulle/base/half.h"
#include "tulle/base/random.h"
#include "tulle/comm/agreement.h"
#include "tulle/comm/collectives.h"
#include "tulle/comm/comm_testing.h"
#include "tulle/comm/long_phase.h"
#include "tulle/comm/mpi.h"
#include "tulle/comm/sum_exchange.h"

namespace tulle::testing {
namespace {

using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Wire = SumExchange::Wire;

std::span<const std::byte> bytes_of(const std::string& text) { return std::as_bytes(std::span(text)); }

TEST(Messages, ArriveInTheOrderInWhichTheyWereSent) {
  const auto thrown = on_ranks(3, [](Communicator& comm) {
    for (int message = 0; message < 100; ++message) {
      if (comm.rank() == 0) {
        int from[3] = {};
        for (const int peer : {2, 1})
          receive_now(comm, peer, std::as_writable_bytes(std::span(&from[peer], 1)));
        EXPECT_THAT(from, ElementsAre(0, 1000 + message, 2000 + message));
      } else {
        const int value = comm.rank() * 1000 + message;
        send_now(comm, 0, std::as_bytes(std::span(&value, 1)));
      }
    }
    if (comm.rank() == 0) {
      EXPECT_EQ(comm.traffic().received, 800u);
      EXPECT_EQ(comm.traffic().sent, 0u);
    }
  });
  EXPECT_THAT(thrown, Each(IsEmpty()));
}

TEST(Messages, WhoeverWaitsForARankThatGaveUpIsTold) {
  const auto thrown = on_ranks(3, [](Communicator& comm) {
    if (comm.rank() == 1) throw std::runtime_error("out of luck");
    std::byte byte{};
    receive_now(comm, 1, {&byte, 1});
  });
  EXPECT_THAT(thrown, ElementsAre(HasSubstr("gave up"), "out of luck", HasSubstr("gave up")));
}

TEST(Messages, ThoseOfTwoRanksArriveThoughAThirdGaveUpMeanwhile) {
  std::atomic<bool> gone = false;
  const auto thrown = on_ranks(3, [&](Communicator& comm) {
    std::byte byte{};
    if (comm.rank() == 2) {
      comm.give_up(1);
      gone = true;
      return;
    }
    const int peer = 1 - comm.rank();
    const auto arriving = comm.receive(peer, {&byte, 1});
    while (!gone) std::this_thread::yield();
    EXPECT_NO_THROW((void)arriving->done());
    const std::byte sent{7};
    send_now(comm, peer, {&sent, 1});
    comm.wait(*arriving, peer);
    EXPECT_EQ(byte, sent);
  });
  EXPECT_THAT(thrown, Each(IsEmpty()));
}

TEST(Messages, ARankThatSaysNothingIsNamedAfterTheTimeLimit) {
  const auto start = std::chrono::steady_clock::now();
  const auto thrown = on_ranks(
      2,
      [](Communicator& comm) {
        std::byte byte{};
        if (comm.rank() == 0) receive_now(comm, 1, {&byte, 1});
      },
      0.2);
  EXPECT_THAT(thrown[0], AllOf(HasSubstr("rank 0: found no message from rank 1 for 0.2 s"),
                               HasSubstr("parallel.timeout")));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
}

TEST(Messages, BothSidesMustNameAsManyBytes) {
  const auto thrown = on_ranks(2, [](Communicator& comm) {
    std::vector<std::byte> bytes(comm.rank() == 0 ? 3 : 4);
    comm.rank() == 0 ? send_now(comm, 1, bytes) : receive_now(comm, 0, bytes);
  });
  EXPECT_THAT(thrown, Each(AllOf(HasSubstr("as many bytes"))));
}

TEST(Messages, NothingIsTakenForAMessageThatWasGivenUp) {
  const auto thrown = on_ranks(
      2,
      [](Communicator& comm) {
        std::vector<std::byte> five(5), three(3);
        if (comm.rank() == 0) {
          (void)comm.send(1, five);  // given up
          send_now(comm, 1, three);
        } else {
          std::this_thread::sleep_for(std::chrono::milliseconds(50));
          receive_now(comm, 0, five);
        }
      },
      0.3);
  EXPECT_THAT(thrown, Each(AnyOf(HasSubstr("found no message"), HasSubstr("gave up"))));
}

TEST(Messages, BytesThatNobodyWaitsForAnyMoreMayGo) {
  on_ranks(2, [](Communicator& comm) {
    for (int turn = 0; turn < 200; ++turn) {
      std::vector<std::byte> gone(1000);
      (void)(comm.rank() == 0 ? comm.send(1, gone) : comm.receive(0, gone));  // given up at once, or met
    }
  });
}

TEST(Messages, TheRankItselfAndRanksThatAreNotThereAreRefused) {
  const auto comm = alone();
  EXPECT_EQ(comm->size(), 1);
  std::byte byte{};
  EXPECT_THROW(comm->send(0, {&byte, 1}), std::invalid_argument);
  EXPECT_THROW(comm->receive(1, {&byte, 1}), std::invalid_argument);
}

void sleep_for(double seconds) { std::this_thread::sleep_for(std::chrono::duration<double>(seconds)); }

TEST(LongPhase, OfOneRankIsWaitedForByAllWhomeverTheyWaitFor) {
  const auto thrown = on_ranks(
      3,
      [&](Communicator& comm) {
        std::byte byte{};
        if (comm.rank() == 0) {
          const LongPhase phase(comm, LongPhase::Of::kThisRank);
          sleep_for(0.7);
        } else {
          receive_now(comm, comm.rank() - 1, {&byte, 1});
        }
        if (comm.rank() < 2) send_now(comm, comm.rank() + 1, {&byte, 1});
      },
      0.2);
  EXPECT_THAT(thrown, Each(IsEmpty()));
}

TEST(LongPhase, OnceOverIsWaitedForNoLonger) {
  const Clock clock;
  const auto thrown = on_ranks(
      2,
      [](Communicator& comm) {
        std::byte byte{};
        if (comm.rank() == 1) return receive_now(comm, 0, {&byte, 1});
        const LongPhase phase(comm, LongPhase::Of::kThisRank, 1000.0);
        sleep_for(0.3);
      },
      0.2);
  EXPECT_THAT(thrown[1], AllOf(HasSubstr("no message from rank 0 for 0.2 s"), HasSubstr("parallel.timeout")));
  EXPECT_LT(clock.seconds(), 100.0);
}

TEST(LongPhase, OfARankThatStaysSilentEndsWithTheTimeThatItAskedFor) {
  const auto thrown = on_ranks(
      2,
      [](Communicator& comm) {
        std::byte byte{};
        const LongPhase phase(comm, LongPhase::Of::kThisRank, 1.0);
        comm.rank() == 1 ? receive_now(comm, 0, {&byte, 1}) : sleep_for(6.0);
      },
      0.2);
  EXPECT_THAT(thrown[1], HasSubstr("for 3.2 s, expected one within parallel.timeout and 3.0 s for a long"));
}

TEST(LongPhase, OfWorkThatIsAlikeIsWaitedForAsLongAsTheOwnPartTells) {
  for (const double own : {0.0, 0.2}) {
    const auto thrown = on_ranks(
        2,
        [&](Communicator& comm) {
          const LongPhase phase(comm, LongPhase::Of::kAlike);
          sleep_for(comm.rank() == 0 ? (own > 0.0 ? 1.2 : 5.0) : own);
          (void)gather_all(comm, comm.rank());
        },
        0.3);
    const bool waited = thrown[1].empty();
    EXPECT_EQ(waited, own > 0.0) << thrown[1];
  }
}

TEST(LongPhase, OfAllRanksLetsThemWaitLongerWithinIt) {
  const auto thrown = on_ranks(
      2,
      [](Communicator& comm) {
        {
          const LongPhase phase(comm, LongPhase::Of::kAllRanks);
          if (comm.rank() == 0) sleep_for(0.7);
          (void)gather_all(comm, comm.rank());
        }
        EXPECT_EQ(comm.time_limit(), 0.2);
      },
      0.2);
  EXPECT_THAT(thrown, Each(IsEmpty()));
}

TEST(GatherAll, GivesEveryRankWhatEachHas) {
  for (const int count : {1, 2, 5}) {
    const auto thrown = on_ranks(count, [](Communicator& comm) {
      const std::vector<int> ranks = gather_all(comm, comm.rank() * 10);
      for (int rank = 0; rank < comm.size(); ++rank)
        EXPECT_EQ(ranks[static_cast<std::size_t>(rank)], rank * 10);
      const auto texts = gather_all(comm, bytes_of(std::string(static_cast<std::size_t>(comm.rank()), 'x')));
      for (int rank = 0; rank < comm.size(); ++rank)
        EXPECT_EQ(std::ssize(texts[static_cast<std::size_t>(rank)]), rank);
    });
    EXPECT_THAT(thrown, Each(IsEmpty()));
  }
}

TEST(TreeSum, IsThatOfTheHalvesForPowersOfTwo) {
  std::vector<float> values(16);
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] = std::ldexp(1.0f, static_cast<int>(i * 7 % 16) * 3);
  for (const int ranks : {1, 2, 4, 8, 16}) {
    const std::size_t own = values.size() / static_cast<std::size_t>(ranks);
    std::vector<float> partial;
    for (std::size_t begin = 0; begin < values.size(); begin += own)
      partial.push_back(tree_sum(std::vector<float>(values.begin() + begin, values.begin() + begin + own)));
    EXPECT_EQ(tree_sum(partial), tree_sum(values)) << ranks;
  }
}

std::vector<float> values_of(int rank, std::size_t size) {
  const Random random{.seed = static_cast<std::uint64_t>(rank) + 1};
  std::vector<float> values(size);
  for (std::size_t i = 0; i < size; ++i) values[i] = random.normal(i);
  return values;
}

struct Sum {
  int ranks;
  Wire wire;
};
class SumsOverRanks : public ::testing::TestWithParam<Sum> {};

// Of a narrow sum the term of the part's owner is not rounded: it does not travel.
std::vector<float> wanted_sum(int ranks, Wire wire, int step, std::size_t size) {
  const auto rounded = [wire](float value) {
    return wire == Wire::kBf16 ? bf16_to_float(float_to_bf16(value)) : value;
  };
  std::vector<std::vector<float>> terms;
  for (int rank = 0; rank < ranks; ++rank) terms.push_back(values_of(rank + step, size));
  if (ranks == 1) return terms[0];
  std::vector<float> sums;
  for (int owner = 0; owner < ranks; ++owner) {
    const Range part = even_range(static_cast<std::int64_t>(size), ranks, owner);
    for (auto i = static_cast<std::size_t>(part.begin); i < static_cast<std::size_t>(part.end); ++i) {
      std::vector<float> here;
      for (int rank = 0; rank < ranks; ++rank) {
        const float value = terms[static_cast<std::size_t>(rank)][i];
        here.push_back(rank == owner ? value : rounded(value));
      }
      sums.push_back(rounded(tree_sum(here)));
    }
  }
  return sums;
}

TEST_P(SumsOverRanks, AreThoseOfTheTreeOnEveryRankForArraysOfAnyLength) {
  const auto [ranks, wire] = GetParam();
  const std::vector<std::size_t> sizes{0, 1, 3, 1000, 20'001};
  const auto thrown = on_ranks(ranks, [&, wire = wire](Communicator& comm) {
    SumExchange exchange(comm, wire);
    for (int step = 0; step < 3; ++step) {  // memory is used again
      std::vector<std::vector<float>> arrays;
      for (const std::size_t size : sizes) arrays.push_back(values_of(comm.rank() + step, size));
      for (std::vector<float>& array : arrays) exchange.start(array);
      exchange.finish();
      for (std::size_t a = 0; a < sizes.size(); ++a)
        EXPECT_EQ(arrays[a] == wanted_sum(comm.size(), wire, step, sizes[a]), true) << sizes[a];
    }
  });
  EXPECT_THAT(thrown, Each(IsEmpty()));
}

INSTANTIATE_TEST_SUITE_P(Ranks, SumsOverRanks,
                         ::testing::Values(Sum{1, Wire::kFloat}, Sum{2, Wire::kFloat}, Sum{3, Wire::kFloat},
                                           Sum{4, Wire::kFloat}, Sum{7, Wire::kFloat}, Sum{2, Wire::kBf16},
                                           Sum{3, Wire::kBf16}, Sum{8, Wire::kBf16}),
                         [](const auto& info) {
                           return std::to_string(info.param.ranks) +
                                  (info.param.wire == Wire::kFloat ? "_float" : "_bf16");
                         });

TEST(SumExchange, SendsEachValueOnceEachWayAmongTwo) {
  for (const Wire wire : {Wire::kFloat, Wire::kBf16})
    on_ranks(2, [wire](Communicator& comm) {
      SumExchange exchange(comm, wire);
      std::vector<float> values(1000, 1.0f);
      exchange.start(values);
      exchange.finish();
      EXPECT_EQ(comm.traffic().sent, wire == Wire::kFloat ? 4000u : 2000u);
      EXPECT_EQ(comm.traffic().received, comm.traffic().sent);
    });
}

TEST(SumExchange, SaysBeforehandWhatEachRankWillSend) {
  for (const int ranks : {1, 2, 3, 5})
    for (const std::int64_t length : {0, 1, 4, 1000})
      for (const Wire wire : {Wire::kFloat, Wire::kBf16})
        on_ranks(ranks, [=](Communicator& comm) {
          SumExchange exchange(comm, wire);
          std::vector<float> values(static_cast<std::size_t>(length), 1.0f);
          exchange.start(values);
          exchange.finish();
          EXPECT_EQ(static_cast<std::int64_t>(comm.traffic().sent),
                    SumExchange::sent_bytes(length, comm.rank(), ranks, wire));
        });
}

TEST(Bf16, RoundsToTheNearestAndTiesToEven) {
  EXPECT_EQ(bf16_to_float(float_to_bf16(1.0f)), 1.0f);
  EXPECT_EQ(float_to_bf16(1.0f + 0x1p-8f), float_to_bf16(1.0f));                // a tie, to even
  EXPECT_EQ(bf16_to_float(float_to_bf16(1.0f + 3 * 0x1p-8f)), 1.0f + 0x1p-6f);  // a tie, to even
  EXPECT_EQ(bf16_to_float(float_to_bf16(1.0f + 0x1.1p-8f)), 1.0f + 0x1p-7f);
  EXPECT_TRUE(std::isinf(bf16_to_float(float_to_bf16(3.4e38f))));
  EXPECT_TRUE(std::isnan(bf16_to_float(float_to_bf16(std::nanf("1")))));
}

TEST(Together, AFailureOfOneRankIsThatOfAllAndNamesIt) {
  const auto thrown = on_ranks(3, [](Communicator& comm) {
    together(comm, [&] {
      if (comm.rank() == 2) throw Error(ErrorKind::kMissingInput, "x.csv: no such file");
    });
  });
  EXPECT_THAT(thrown, Each("rank 2: x.csv: no such file"));
}

TEST(Together, AFailureOfAllIsToldAsItIs) {
  const auto thrown = on_ranks(
      3, [](Communicator& comm) { together(comm, [] { throw Error(ErrorKind::kConfig, "bad key"); }); });
  EXPECT_THAT(thrown, Each("bad key"));
}

TEST(Agreement, NamesTheRankAndTheItemThatDiffer) {
  const auto thrown = on_ranks(4, [](Communicator& comm) {
    const std::uint64_t data = comm.rank() == 2 ? 7 : 5;
    const Item items[] = {{"config", 1}, {"data", data}};
    agree(comm, items, ErrorKind::kConfig);
  });
  EXPECT_THAT(thrown, Each(AllOf(HasSubstr("rank 2: data, found hash"), HasSubstr("as on rank 0"))));
}

TEST(Mpi, IsNotLoadedUnlessALauncherStartedTheProcess) {
  if (std::getenv("OMPI_COMM_WORLD_SIZE") != nullptr) GTEST_SKIP() << "run under a launcher";
  EXPECT_EQ(launched_ranks(), 1);
  EXPECT_EQ(ranks_on_this_machine(), 1);
}

TEST(Patience, DoesNotCountThatTheProcessItselfWasStopped) {
  Patience patience(1.1);
  std::this_thread::sleep_for(std::chrono::milliseconds(1300));  // as if
  EXPECT_TRUE(patience.pause());
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  EXPECT_FALSE(patience.pause());
}

}  // namespace
}  // namespace tulle::testing
