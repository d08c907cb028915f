#include "tulle/export/c_header.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tulle/base/error.h"
#include "tulle/nn/test_network.h"

// What compiled headers compute and weigh is tested in tests/cli/test_export_c.py.

namespace tulle {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string header_of(const NetworkSpec& spec, const CNetOptions& options, const CHeaderText& text = {}) {
  Dice dice;
  const CNet net(make_network(spec, dice), {}, options);
  return c_header(net, make_self_check(net, {}, false, {}), text);
}

TEST(CHeader, NothingFromOutsideEndsItsComment) {
  const std::string header = header_of({.sizes = {3, 2}}, {}, {.command = "tulle */ int x; /* \n evil */"});
  const std::string comment = header.substr(0, header.find("#ifndef"));
  EXPECT_EQ(comment.find("*/"), comment.size() - 3);
  EXPECT_EQ(comment.rfind("/*"), 0u);
  EXPECT_THAT(comment, HasSubstr("* / int x; / * \\n evil * /"));
}

TEST(CHeader, SaysWhetherItScalesItsInputs) {
  const NetworkSpec spec{.sizes = {3, 2}};
  EXPECT_THAT(header_of(spec, {}), HasSubstr("Inputs are raw features"));
  EXPECT_THAT(header_of(spec, {}, {.scales = false}), HasSubstr("Inputs are features that were scaled"));
}

TEST(CHeader, LayersOfTheSameTypesShareOneFunction) {
  const auto products = [](const std::string& header) {
    int count = 0;
    for (std::size_t at = header.find("static void"); at != std::string::npos;
         at = header.find("static void", at + 1))
      ++count;
    return count;
  };
  EXPECT_EQ(products(header_of({.sizes = {30, 20, 20, 5}}, {})), 1);
  EXPECT_EQ(products(header_of({.sizes = {5000, 20, 20, 5}, .densities = {0.0005, 0.5}}, {})), 2);
}

TEST(CHeader, FloatsAreThoseOfTheNetToTheLastBit) {
  Dice dice;
  Network network = make_network({.sizes = {3, 4}, .densities = {1.0}}, dice);
  network.layer(0).weight().value[0] = 16777216.0f;
  network.layer(0).weight().value[1] = 0x1.fffffep-3f;
  network.layer(0).weight().value[2] = 1e-42f;
  const CNet net(network, {}, {});
  const std::string header = c_header(net, make_self_check(net, {}, false, {}), {});
  EXPECT_THAT(header, HasSubstr("16777216.0f,0.24999999f,1e-42f,"));
}

TEST(CHeader, NamesThatAreNoneInCAreRefused) {
  EXPECT_NO_THROW(check_c_name("net_2"));
  for (const char* name : {"", "2net", "_net", "a-b", "a b", "n\xc3\xa4", "net;"})
    EXPECT_THROW(header_of({.sizes = {3, 2}}, {}, {.name = name}), Error) << name;
  EXPECT_THROW(check_c_name(std::string(41, 'a')), Error);
}

TEST(CHeader, BytesOfTheSelfCheckTakeAByteEach) {
  Dice dice;
  const CNet net(make_network({.sizes = {100, 10}}, dice), {}, {});
  CSelfCheck check = make_self_check(net, {}, false, {});
  const CForecast bytes = forecast(net, check);
  check.input[0] = 0.5f;
  const CForecast floats = forecast(net, check);
  EXPECT_EQ(floats.self_test_flash - bytes.self_test_flash, 300);
  EXPECT_EQ(bytes.self_test_stack - floats.self_test_stack, 400);  // where bytes become floats
  EXPECT_THAT(c_header(net, check, {}), Not(HasSubstr("uint8_t net_check_input")));
}

}  // namespace
}  // namespace tulle
