#include "tulle/train/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <set>

#include "tulle/train/train_testing.h"

namespace tulle::testing {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;
using Field = KeyInfo::Field;

Config read(const std::string& toml, const std::string& base = "/base") {
  Config config;
  read_config_text(config, toml, "c.toml", base);
  return config;
}
std::string read_refusal(const std::string& toml) {
  return refusal([&] { read(toml); }, ErrorKind::kConfig);
}
std::string message_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const std::exception& error) {
    return error.what();
  }
  ADD_FAILURE() << "nothing thrown";
  return "";
}
const KeyInfo& key_of(std::string_view name) {
  for (const KeyInfo& key : config_keys())
    if (key.name == name) return key;
  throw std::invalid_argument(std::string(name));
}

bool has_another_value(const KeyInfo& key) { return key.choices == nullptr || key.choices().size() > 1; }

/// Another value than the default, within the range, if there is one.
void change(const KeyInfo& key, Config& config) {
  const Field field = key.field(config);
  if (auto* const* flag = std::get_if<bool*>(&field)) **flag = !**flag;
  if (auto* const* whole = std::get_if<std::int64_t*>(&field)) **whole += 1;
  if (auto* const* number = std::get_if<double*>(&field))
    **number = std::min(key.maximum, 1.0) * (**number == 0.7 ? 0.6 : 0.7);
  if (auto* const* text = std::get_if<std::string*>(&field)) {
    **text = key.path ? "/some where/\"file\"" : "8 epoch";
    if (key.choices != nullptr)
      **text = key.choices().back() == **text ? key.choices().front() : key.choices().back();
  }
  if (auto* const* list = std::get_if<std::vector<std::int64_t>*>(&field)) **list = {5, 6};
  if (auto* const* list = std::get_if<std::vector<std::string>*>(&field))
    **list = key.name == "model.mix" ? std::vector<std::string>{"identity", "rows"}
                                     : std::vector<std::string>{"hflip", "shift:0.25"};
}

class EveryKey : public ::testing::TestWithParam<KeyInfo> {};

TEST_P(EveryKey, HasADefaultThatMayBe) {
  Config config;
  check_config_value(GetParam(), config);
  finish_config(config);
  EXPECT_FALSE(GetParam().help.empty());
}

TEST_P(EveryKey, ComesBackFromTheEffectiveConfigAndCountsAsGiven) {
  Config config;
  change(GetParam(), config);
  const std::string wanted = config_value(GetParam(), config);
  ASSERT_EQ(wanted != config_value(GetParam(), Config()), has_another_value(GetParam()));
  const bool train = in_sections(GetParam().name, kTrainSections);
  const Config again =
      read(effective_config(config, {}, train ? Sections(kTrainSections) : Sections(kRecoverSections)));
  for (const KeyInfo& key : config_keys()) {
    if (key.path) continue;  // absolute now
    EXPECT_EQ(config_value(key, again), config_value(key, config)) << key.name;
  }
  EXPECT_EQ(config_value(GetParam(), again), wanted);
  EXPECT_TRUE(again.given.contains(std::string(GetParam().name)));
}

TEST_P(EveryKey, TakesTheTextOfItsValueAsAFlagDoes) {
  Config config, again;
  change(GetParam(), config);
  set_config_value(again, GetParam().name, config_value(GetParam(), config));
  EXPECT_EQ(config_value(GetParam(), again), config_value(GetParam(), config));
  EXPECT_THAT(again.given, ElementsAre(std::string(GetParam().name)));
}

TEST_P(EveryKey, RefusesWhatIsOutOfItsRangeOrNotAChoice) {
  const KeyInfo& key = GetParam();
  Config config;
  const Field field = key.field(config);
  std::vector<std::string> bad;
  if (std::holds_alternative<bool*>(field)) bad = {"yes", "1"};
  if (key.choices != nullptr) bad = {"unheard-of"};
  const bool texts = std::holds_alternative<std::vector<std::string>*>(field);
  if (texts) bad = {"[1]", "[[\"x\"]]", "[\"x\"", "[\"x\"]\nother = 2"};
  if (!std::holds_alternative<std::string*>(field) && !std::holds_alternative<bool*>(field) && !texts) {
    bad = {"x", "nan", "inf", "-inf", "1\nother = 2", "[[1]]", "-1e300"};
    if (!std::holds_alternative<std::vector<std::int64_t>*>(field)) bad.push_back("");
    if (std::isfinite(key.minimum)) bad.push_back(std::to_string(std::int64_t(key.minimum) - 1));
    if (key.maximum < 1e18) bad.push_back(std::to_string(std::int64_t(key.maximum) + 1));
    if (key.open_maximum) bad.push_back(std::to_string(std::int64_t(key.maximum)));
  }
  for (const std::string& text : bad)
    EXPECT_THAT(message_of([&] { set_config_value(config, key.name, text); }),
                StartsWith(std::string(key.name)))
        << "'" << text << "'";
}

INSTANTIATE_TEST_SUITE_P(Config, EveryKey, ::testing::ValuesIn(config_keys().begin(), config_keys().end()),
                         [](const auto& info) { return test_title(info.param.name); });

TEST(ConfigKeys, HaveLeafNamesThatAreUniqueForEachVerb) {
  for (const Sections sections : {Sections(kTrainSections), Sections(kRecoverSections)}) {
    std::set<std::string_view> leaves;
    for (const KeyInfo& key : config_keys()) {
      if (!in_sections(key.name, sections)) continue;
      EXPECT_TRUE(leaves.insert(key.leaf()).second) << key.name;
    }
  }
}

class HostileText : public ::testing::TestWithParam<std::string> {};

TEST_P(HostileText, ComesBackFromConfigAndFlag) {
  const std::string& text = GetParam();
  Config config;
  config.data.sep = text;
  config.data.train = "/folder/x" + text + "x";
  const Config again = read(effective_config(config, {"heading " + text}));
  EXPECT_EQ(again.data.sep, text);
  EXPECT_EQ(again.data.train, std::filesystem::path(config.data.train).lexically_normal().string());
  EXPECT_EQ(read(learning_config(config)).data.sep, text);
  Config flag;
  set_config_value(flag, "data.sep", config_value(key_of("data.sep"), config));
  EXPECT_EQ(flag.data.sep, text);
}

INSTANTIATE_TEST_SUITE_P(Config, HostileText,
                         ::testing::Values("\"", "\\", "'", "\n[run]\nname = \"x\"", "\r\n", "\t",
                                           "\x01\x1f\x7f", std::string("a\0b", 3), "\"\"\"", "'''",
                                           "# no comment", "${HOME}", "\u00e4\u65e5\U0001f600",
                                           "\u2028\u0085", "\\u0041", " blank ", "=", ""));

TEST(ConfigText, ThatIsNotUtf8IsRefusedBeforeItSpoilsAFile) {
  Config config;
  EXPECT_THAT(refusal([&] { set_config_value(config, "data.sep", "\xa7"); }, ErrorKind::kConfig),
              AllOf(StartsWith("data.sep, found"), HasSubstr("expected text in UTF-8")));
}

TEST(ConfigFlag, StringsNeedNoQuotesAndListsNoBrackets) {
  Config config;
  set_config_value(config, "run.name", "a b");
  EXPECT_EQ(config.run.name, "a b");
  set_config_value(config, "run.name", R"("a \"b\"")");
  EXPECT_EQ(config.run.name, "a \"b\"");
  set_config_value(config, "data.sep", "\"");
  EXPECT_EQ(config.data.sep, "\"");
  set_config_value(config, "model.hidden", "3,4");
  EXPECT_THAT(config.model.hidden, ElementsAre(3, 4));
  set_config_value(config, "model.hidden", "[5, 6]");
  EXPECT_THAT(config.model.hidden, ElementsAre(5, 6));
  set_config_value(config, "train.learning_rate", "1");
  EXPECT_EQ(config.train.learning_rate, 1.0);
  set_config_value(config, "train.learning_rate", "9007199254740993");  // no double holds it exactly
  EXPECT_EQ(config.train.learning_rate, 9007199254740992.0);
}

TEST(ConfigFlag, OfTheWrongTypeOrNameIsTheCallersMistake) {
  Config config;
  EXPECT_THROW(set_config_value(config, "train.epochs", "2.5"), std::invalid_argument);
  EXPECT_THROW(set_config_value(config, "log.report", "yes"), std::invalid_argument);
  EXPECT_THROW(set_config_value(config, "run.name", R"("\q")"), std::invalid_argument);
  EXPECT_EQ(message_of([&] { set_config_value(config, "train.batchsize", "1"); }),
            "unknown key train.batchsize; did you mean train.batch_size?");
}

TEST(ConfigFile, UnknownKeysNameLineAndTheNearestKey) {
  EXPECT_EQ(read_refusal("[train]\nepochs = 3\nbatchsize = 4\n"),
            "c.toml:3: unknown key train.batchsize; did you mean train.batch_size?");
  EXPECT_THAT(read_refusal("\n[trian]\nepochs = 3\n"), HasSubstr("c.toml:3: unknown key trian.epochs"));
  EXPECT_EQ(read_refusal("xyz = 1\n"), "c.toml:1: unknown key xyz");
  EXPECT_THAT(read_refusal("[[train]]\nepochs = 3\n"), StartsWith("c.toml:1: unknown key train"));
  EXPECT_THAT(read_refusal("[train.epochs]\nx = 3\n"), StartsWith("c.toml:1: train.epochs, found"));
}

TEST(ConfigFile, WrongTypesAndRangesNameLineFoundAndExpected) {
  EXPECT_EQ(read_refusal("[train]\n\nepochs = \"3\"\n"),
            "c.toml:3: train.epochs, found '3', expected a whole number");
  EXPECT_EQ(read_refusal("[train]\nepochs = 3.0\n"),
            "c.toml:2: train.epochs, found 3.0, expected a whole number");
  EXPECT_EQ(read_refusal("[train]\nlearning_rate = true\n"),
            "c.toml:2: train.learning_rate, found true, expected a number");
  EXPECT_EQ(read_refusal("[run]\nname = 1\n"), "c.toml:2: run.name, found 1, expected a text in quotes");
  EXPECT_EQ(read_refusal("[log]\nreport = 1\n"), "c.toml:2: log.report, found 1, expected true or false");
  EXPECT_THAT(read_refusal("[model]\nhidden = [1, 2.0]\n"), EndsWith("expected a list of whole numbers"));
  EXPECT_EQ(read_refusal("[evolve]\nzeta = 1.5\n"),
            "c.toml:2: evolve.zeta, found 1.5, expected at least 0 and at most 1");
  EXPECT_EQ(read_refusal("[train]\nlearning_rate = inf\n"),
            "c.toml:2: train.learning_rate, found inf, expected at least 0 and finite");
  EXPECT_THAT(read_refusal("[train]\noptimizer = \"sdg\"\n"),
              AllOf(StartsWith("c.toml:2: train.optimizer, found 'sdg', expected one of"),
                    EndsWith("did you mean 'sgd'?")));
  EXPECT_THAT(read_refusal("[train]\nepochs = 3\nepochs = 4\n"), StartsWith("c.toml:3: "));
  EXPECT_THAT(read_refusal("[train\n"), StartsWith("c.toml:1: "));
}

TEST(ConfigFile, PathsAreRelativeToIt) {
  const Config config =
      read("[data]\ntrain = \"a/../b.csv\"\ntest = \"/x.csv\"\n[run]\nout = \"o\"\n", "/base");
  EXPECT_EQ(config.data.train, "/base/b.csv");
  EXPECT_EQ(config.data.test, "/x.csv");
  EXPECT_EQ(config.run.out, "/base/o");
  EXPECT_EQ(read("[data]\ntrain = \"-\"\n").data.train, "-");  // standard input
  EXPECT_EQ(read("[data]\ntrain = \"\"\n").data.train, "");
  const TemporaryDirectory folder;
  write_text(folder / "c.toml", "[data]\ntrain = \"x.csv\"\n");
  Config from_file;
  read_config_file(from_file, folder / "c.toml");
  EXPECT_EQ(from_file.data.train, folder / "x.csv");
}

TEST(ConfigFile, ThatCannotBeReadIsRefusedAndAnEmptyOneGivesTheDefaults) {
  const TemporaryDirectory folder;
  Config config;
  refusal([&] { read_config_file(config, folder / "none"); }, ErrorKind::kMissingInput);
  refusal([&] { read_config_file(config, folder.path()); }, ErrorKind::kConfig);
  refusal([&] { read_config_file(config, "/dev/zero"); }, ErrorKind::kConfig);
  ASSERT_EQ(mkfifo((folder / "pipe").c_str(), 0600), 0);
  EXPECT_THAT(refusal([&] { read_config_file(config, folder / "pipe"); }, ErrorKind::kConfig),
              HasSubstr("expected a file"));
  write_text(folder / "large", "");
  std::filesystem::resize_file(folder / "large", (16 << 20) + 1);
  EXPECT_THAT(refusal([&] { read_config_file(config, folder / "large"); }, ErrorKind::kConfig),
              HasSubstr("size, found 16777217 bytes"));
  write_text(folder / "binary", std::string("\x89PNG\0\xff", 6));
  refusal([&] { read_config_file(config, folder / "binary"); }, ErrorKind::kConfig);
  write_text(folder / "empty", "");
  read_config_file(config, folder / "empty");
  EXPECT_TRUE(config.given.empty());
}

class EveryPreset : public ::testing::TestWithParam<PresetInfo> {};

TEST_P(EveryPreset, SetsItsValuesButNeverOverwritesAKeyThatIsGiven) {
  Config plain;
  plain.run.preset = GetParam().name;
  finish_config(plain);
  EXPECT_TRUE(plain.given.empty());
  for (const auto& [name, text] : GetParam().values) {
    Config wanted;
    set_config_value(wanted, name, text);
    EXPECT_EQ(config_value(key_of(name), plain), config_value(key_of(name), wanted)) << name;

    Config given;
    given.run.preset = GetParam().name;
    change(key_of(name), given);
    given.topology.budgets = {1, 2, 3, 4};  // in case the distribution is "explicit" now
    given.data.valid_fraction = 0.1;        // or the schedule "plateau"
    given.given.insert(std::string(name));
    const std::string kept = config_value(key_of(name), given);
    finish_config(given);
    EXPECT_EQ(config_value(key_of(name), given), kept) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(Config, EveryPreset, ::testing::ValuesIn(presets().begin(), presets().end()),
                         [](const auto& info) { return test_title(info.param.name); });

TEST(ConfigInterval, IsACountAndAUnitOrNever) {
  using Unit = Interval::Unit;
  const auto parse = [](const char* text) { return parse_interval("key", text); };
  EXPECT_EQ(parse("never").unit, Unit::kNever);
  EXPECT_EQ(parse("1 epoch").unit, Unit::kEpoch);
  EXPECT_EQ(parse("20 epochs").count, 20);
  EXPECT_EQ(parse("100 step").unit, Unit::kStep);
  EXPECT_EQ(parse("0.5 min").count, 0.5);
  for (const char* text : {"", "1", "epoch", "0 epoch", "-1 step", "1.5 epoch", "1  step", "1 steps ",
                           " 1 step", "1 hour", "inf step", "nan min", "1e300 min", "1\nstep", "Never"})
    EXPECT_THAT(refusal([&] { parse(text); }, ErrorKind::kConfig), StartsWith("key, found '")) << text;
}

TEST(FinishConfig, RefusesWhatNoSingleKeyCanTell) {
  const auto refused = [](const std::string& toml) {
    Config config = read(toml);
    return refusal([&] { finish_config(config); }, ErrorKind::kConfig);
  };
  EXPECT_THAT(refused("[evolve]\nupdate_every = \"5 min\"\n"), StartsWith("evolve.update_every"));
  EXPECT_THAT(refused("[evolve]\nupdate_every = \"5\"\n"), StartsWith("evolve.update_every"));
  EXPECT_THAT(refused("[checkpoint]\nsave_every = \"x\"\n"), StartsWith("checkpoint.save_every"));
  EXPECT_THAT(refused("[log]\nhistograms_every = \"5 step\"\n"), StartsWith("log.histograms_every"));
  const std::string numbering = "[topology]\nnumbering = \"by-source\"\n";
  EXPECT_EQ(refused(numbering + "window = 8\n"),
            "topology.numbering, found 'by-source', expected 'drawn' with topology.window = 8");
  EXPECT_EQ(refused(numbering + "pattern = \"block\"\n"),
            "topology.numbering, found 'by-source', expected 'drawn' with topology.pattern = \"block\"");
  EXPECT_EQ(refused(numbering + "[train]\nstart_from = \"m\"\n"),
            "topology.numbering, found 'by-source', expected 'drawn' with train.start_from");
  EXPECT_THAT(refused(numbering + "[model]\nkind = \"smlp\"\n"), StartsWith("topology.numbering"));
  EXPECT_THAT(refused("[topology]\ndistribution = \"explicit\"\nbudgets = [1, 2]\n"),
              StartsWith("topology.budgets, found 2 numbers, expected 4"));
  for (const char* name : {"", ".", "..", "a/b"})
    EXPECT_THAT(refused(std::string("[run]\nname = \"") + name + "\"\n"), StartsWith("run.name")) << name;
}

TEST(LearningConfig, HoldsWhatChangesTheResultAndNothingElse) {
  const std::string before = learning_config(Config());
  for (const KeyInfo& key : config_keys()) {
    Config config;
    change(key, config);
    const bool ranks = key.name == "parallel.ranks" || key.name == "parallel.transport" ||
                       key.name == "parallel.timeout" || key.name == "parallel.shard_momentum";
    const bool counts = key.name == "run.seed" || key.name == "checkpoint.best" ||
                        (!key.path && !key.name.starts_with("run.") && !key.name.starts_with("checkpoint.") &&
                         !key.name.starts_with("log.") && !key.name.starts_with("recover.") && !ranks);
    EXPECT_EQ(changes_result(key), counts) << key.name;
    EXPECT_EQ(learning_config(config) != before, counts && has_another_value(key)) << key.name;
  }
}

}  // namespace
}  // namespace tulle::testing
