#include "tulle/kernels/fused.h"

#include <algorithm>

#include "tulle/kernels/test_problem.h"

namespace tulle::kernels {
namespace {

class Fused : public EveryTarget {};

TEST_P(Fused, TakesTheConnectionsOfItsSourcesInTheirOrder) {
  Dice dice;
  for (const std::int64_t count : {0, 1, 15, 16, 17, 100, 1000})
    for (const auto& [first, sources] : {std::pair{0, 50}, {20, 1}, {10, 0}, {30, 20}, {0, 7}}) {
      std::vector<std::int32_t> columns, rows, own_columns, own_rows, own_places;
      for (std::int32_t k = 0; k < count; ++k) {
        columns.push_back(static_cast<std::int32_t>(dice.below(50)));
        rows.push_back(k / 3);
        if (columns.back() < first || columns.back() >= first + sources) continue;
        own_columns.push_back(columns.back());
        own_rows.push_back(rows.back());
        own_places.push_back(k);
      }
      const auto room = static_cast<std::size_t>(count) + 16;
      std::vector<std::int32_t> found_columns(room), found_rows(room), found_places(room);
      const std::int64_t own = select_sources(columns.data(), rows.data(), count, first, sources,
                                              found_columns.data(), found_rows.data(), found_places.data());
      for (auto* found : {&found_columns, &found_rows, &found_places})
        found->resize(static_cast<std::size_t>(own));
      EXPECT_EQ(found_columns, own_columns);
      EXPECT_EQ(found_rows, own_rows);
      EXPECT_EQ(found_places, own_places);
    }
}

INSTANTIATE_TEST_SUITE_P(Targets, Fused, testing::ValuesIn(available_targets()));

}  // namespace
}  // namespace tulle::kernels
