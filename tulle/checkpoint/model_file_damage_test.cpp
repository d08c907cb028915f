// Model files that are wrong: each is refused, and the refusal says where.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <random>

#include "tulle/checkpoint/file_parts_testing.h"
#include "tulle/checkpoint/model_testing.h"

namespace tulle::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

/// A checkpoint of small_model() with adam's state and a scaling, on disk.
class Checkpoint {
 public:
  Checkpoint() {
    Model model = small_model();
    model.scaling = {.kind = "unit", .mean = {0, 0, 0}, .deviation = {255, 255, 255}};
    model.image = {.channels = 1, .height = 3, .width = 1};
    for (const OptimizerInfo& optimizer : optimizers())
      if (optimizer.name == "adam") fill_state(model.network, optimizer);
    const TrainingState state = some_state();
    save_model(path(), model, &state);
  }
  std::string path() const { return folder_ / "m.safetensors"; }
  std::vector<std::byte> bytes() const {
    const Content content = bytes_of(read_text(path()));
    return {content.begin(), content.end()};
  }

 private:
  TemporaryDirectory folder_;
};

struct Damage {
  const char* title;
  const char* complaint;  // what the refusal must say
  void (*change)(FileParts&);
};

using Parts = FileParts;
const auto layer = [](Json& model, std::size_t l) -> Json& { return model.at("layers").at(l); };

// One damage a row; each file has valid checksums and hashes.
const Damage kDamages[] = {
    {"FormatMissing", "metadata 'format', found none", [](Parts& f) { f.metadata.erase("format"); }},
    {"FormatOther", "metadata 'format', found pt", [](Parts& f) { f.metadata["format"] = "pt"; }},
    {"VersionMissing", "'format_version', found none", [](Parts& f) { f.metadata.erase("format_version"); }},
    {"VersionNoNumber", "'format_version', found", [](Parts& f) { f.metadata["format_version"] = "1.0"; }},
    {"ModelMissing", "metadata 'model', found none", [](Parts& f) { f.metadata.erase("model"); }},
    {"ModelBroken", "'model', found broken", [](Parts& f) { f.metadata["model"].pop_back(); }},
    {"ModelNoObject", "'model', field 'kind'", [](Parts& f) { f.metadata["model"] = "[1]"; }},
    {"ModelTooDeep", "metadata 'model', found broken JSON",
     [](Parts& f) { f.metadata["model"] = std::string(100000, '[') + std::string(100000, ']'); }},
    {"ModelTooLong", "metadata 'model', found 8388612 bytes",
     [](Parts& f) { f.metadata["model"] = "[\"" + std::string(8 << 20, 'x') + "\"]"; }},
    {"KindOther", "model kind, found tree",
     [](Parts& f) { f.edit("model", [](Json& m) { m["kind"] = "tree"; }); }},
    {"LossOther", "loss, found 'l1'", [](Parts& f) { f.edit("model", [](Json& m) { m["loss"] = "l1"; }); }},
    {"LossMissing", "field 'loss'", [](Parts& f) { f.edit("model", [](Json& m) { m.erase("loss"); }); }},
    {"LayersMissing", "field 'layers'",
     [](Parts& f) { f.edit("model", [](Json& m) { m.erase("layers"); }); }},
    {"LayersNone", "number of layers, found 0",
     [](Parts& f) { f.edit("model", [](Json& m) { m["layers"] = Json::array(); }); }},
    {"LayersTooMany", "number of layers, found 10001",
     [](Parts& f) { f.edit("model", [](Json& m) { m["layers"] = std::vector<int>(10001); }); }},
    {"LayersNoList", "number of layers",
     [](Parts& f) { f.edit("model", [](Json& m) {
                      m["layers"] = Json::object({{"a", 1}});
                    }); }},
    {"InputsMissing", "field 'inputs'",
     [](Parts& f) { f.edit("model", [](Json& m) { layer(m, 0).erase("inputs"); }); }},
    {"InputsZero", "field 'inputs', found 0",
     [](Parts& f) { f.edit("model", [](Json& m) { layer(m, 0)["inputs"] = 0; }); }},
    {"InputsFraction", "field 'inputs', found none or of another type",
     [](Parts& f) { f.edit("model", [](Json& m) { layer(m, 0)["inputs"] = 3.0; }); }},
    {"InputsTrue", "field 'inputs'",
     [](Parts& f) { f.edit("model", [](Json& m) { layer(m, 0)["inputs"] = true; }); }},
    {"InputsBeyond64Bits", "field 'inputs'",
     [](Parts& f) { f.edit("model", [](Json& m) { layer(m, 0)["inputs"] = ~std::uint64_t{0} - 5; }); }},
    {"InputsNobodySpeaksFor", "inputs of layer 0, found 2147483646",
     [](Parts& f) { f.edit("model", [](Json& m) { layer(m, 0)["inputs"] = 2147483646; }); }},
    {"InputsFewerThanColumns", "layers.0.weight",
     [](Parts& f) { f.edit("model", [](Json& m) { layer(m, 0)["inputs"] = 2; }); }},
    {"DenseBeyondItsFile", "tensor 'layers.0.weight', found none",
     [](Parts& f) {
       f.edit("model", [](Json& m) {
         layer(m, 0)["sparse"] = false;
         layer(m, 0)["inputs"] = 8000000;
         layer(m, 0)["outputs"] = 2147483646;
       });
     }},
    {"ChainBroken", "inputs of layer 1, found 5, expected 4",
     [](Parts& f) { f.edit("model", [](Json& m) { layer(m, 1)["inputs"] = 5; }); }},
    {"ChainBrokenAndHuge", "inputs of layer 1, found 2147483646",
     [](Parts& f) { f.edit("model", [](Json& m) { layer(m, 1)["inputs"] = 2147483646; }); }},
    {"OutputsMore", "tensor 'layers.0.weight.crow', found another type or shape, expected I64 of 6 values",
     [](Parts& f) { f.edit("model", [](Json& m) { layer(m, 0)["outputs"] = 5; }); }},
    {"OutputsTooMany", "field 'outputs'",
     [](Parts& f) { f.edit("model", [](Json& m) { layer(m, 0)["outputs"] = 2147483647; }); }},
    {"ActivationOther", "activation, found 'rulu'",
     [](Parts& f) { f.edit("model", [](Json& m) { layer(m, 0)["activation"] = "rulu"; }); }},
    {"ActivationNoText", "field 'activation'",
     [](Parts& f) { f.edit("model", [](Json& m) { layer(m, 0)["activation"] = 1; }); }},
    {"AlphaNoNumber", "field 'alpha'",
     [](Parts& f) { f.edit("model", [](Json& m) { layer(m, 0)["alpha"] = "0.6"; }); }},
    {"AlphaHuge", "alpha, found 1e+300",
     [](Parts& f) { f.edit("model", [](Json& m) { layer(m, 0)["alpha"] = 1e300; }); }},
    {"DropoutOne", "dropout, found 1",
     [](Parts& f) { f.edit("model", [](Json& m) { layer(m, 0)["dropout"] = 1.0; }); }},
    {"DropoutNegative", "dropout, found -0.1",
     [](Parts& f) { f.edit("model", [](Json& m) { layer(m, 0)["dropout"] = -0.1; }); }},
    {"SparseNoFlag", "field 'sparse'",
     [](Parts& f) { f.edit("model", [](Json& m) { layer(m, 0)["sparse"] = 1; }); }},
    {"SparseUnlikeTheTensors", "tensor 'layers.0.weight', found none",
     [](Parts& f) { f.edit("model", [](Json& m) { layer(m, 0)["sparse"] = false; }); }},
    {"LayoutMissing", "metadata 'sparse', found none", [](Parts& f) { f.metadata.erase("sparse"); }},
    {"LayoutOther", "metadata 'sparse', found other matrices", [](Parts& f) { f.metadata["sparse"] = "{}"; }},
    {"SeedMissing", "metadata 'seed', found none", [](Parts& f) { f.metadata.erase("seed"); }},
    {"SeedNegative", "metadata 'seed', found '-1'", [](Parts& f) { f.metadata["seed"] = "-1"; }},
    {"SeedTooLarge", "metadata 'seed'", [](Parts& f) { f.metadata["seed"] = "18446744073709551616"; }},
    {"SeedEmpty", "metadata 'seed'", [](Parts& f) { f.metadata["seed"] = ""; }},
    {"ConfigMissing", "metadata 'config', found none", [](Parts& f) { f.metadata.erase("config"); }},
    {"HashesMissing", "metadata 'xxh3', found none", [](Parts& f) { f.metadata.erase("xxh3"); }},
    {"PreprocessMissing", "'preprocess', found none", [](Parts& f) { f.metadata.erase("preprocess"); }},
    {"ScaleOther", "'preprocess', scale, found 'log'",
     [](Parts& f) { f.edit("preprocess", [](Json& p) { p["scale"] = "log"; }); }},
    {"MeanMissing", "tensor 'data.mean', found none", [](Parts& f) { f.tensors.erase("data.mean"); }},
    {"DeviationMissing", "tensor 'data.std', found none", [](Parts& f) { f.tensors.erase("data.std"); }},
    {"ImageShort", "'preprocess', image, found [1,3]",
     [](Parts& f) { f.edit("preprocess", [](Json& p) {
                      p["image"] = {1, 3};
                    }); }},
    {"ImageOfOtherSize", "'preprocess', image, found [1,2,2]",
     [](Parts& f) { f.edit("preprocess", [](Json& p) {
                      p["image"] = {1, 2, 2};
                    }); }},
    {"ImageNegative", "'preprocess', image",
     [](Parts& f) { f.edit("preprocess", [](Json& p) {
                      p["image"] = {-1, -3, 1};
                    }); }},
    {"ImageOverflows", "'preprocess', image",
     [](Parts& f) { f.edit("preprocess", [](Json& p) {
                      p["image"] = {1ll << 62, 4, 3};
                    }); }},
    {"ImageHalfZero", "'preprocess', image",
     [](Parts& f) { f.edit("preprocess", [](Json& p) {
                      p["image"] = {0, 3, 1};
                    }); }},
    {"ClassesMissing", "metadata 'classes', found none", [](Parts& f) { f.metadata.erase("classes"); }},
    {"ClassesNoList", "metadata 'classes', found no list", [](Parts& f) { f.metadata["classes"] = "{}"; }},
    {"ClassesNoTexts", "metadata 'classes', found another type",
     [](Parts& f) { f.metadata["classes"] = "[1,2]"; }},
    {"ClassesTooMany", "metadata 'classes', found 3 names, expected 2",
     [](Parts& f) { f.metadata["classes"] = R"(["a","b","c"])"; }},
    {"EpochMissing", "metadata 'epoch', found none", [](Parts& f) { f.metadata.erase("epoch"); }},
    {"EpochNegative", "metadata 'epoch'", [](Parts& f) { f.metadata["epoch"] = "-3"; }},
    {"BatchNoNumber", "metadata 'batch_in_epoch'", [](Parts& f) { f.metadata["batch_in_epoch"] = "2x"; }},
    {"StepTooLarge", "metadata 'step'", [](Parts& f) { f.metadata["step"] = "9223372036854775808"; }},
    {"RngMissing", "metadata 'rng', found none", [](Parts& f) { f.metadata.erase("rng"); }},
    {"RngOther", "metadata 'rng', algorithm, found 'mt19937'",
     [](Parts& f) { f.edit("rng", [](Json& r) { r["algorithm"] = "mt19937"; }); }},
    {"RngOtherKey", "metadata 'rng', key, found 8",
     [](Parts& f) { f.edit("rng", [](Json& r) { r["key"] = 8; }); }},
    {"ProgressMissing", "metadata 'progress', found none", [](Parts& f) { f.metadata.erase("progress"); }},
    {"LossSumNull", "field 'loss_sum'",
     [](Parts& f) { f.edit("progress", [](Json& p) { p["loss_sum"] = nullptr; }); }},
    {"SamplesNegative", "field 'samples', found -1",
     [](Parts& f) { f.edit("progress", [](Json& p) { p["samples"] = -1; }); }},
    {"CorrectFraction", "field 'correct'",
     [](Parts& f) { f.edit("progress", [](Json& p) { p["correct"] = 0.5; }); }},
    {"SecondsMissing", "field 'seconds'",
     [](Parts& f) { f.edit("progress", [](Json& p) { p.erase("seconds"); }); }},
    {"SurvivorsTooMany", "'stability', survivors, found other counts",
     [](Parts& f) { f.edit("stability", [](Json& s) { s["survivors"][1] = 9; }); }},
    {"SurvivorsTooFew", "'stability', survivors, found other counts",
     [](Parts& f) { f.edit("stability", [](Json& s) { s["survivors"].erase(s["survivors"].begin()); }); }},
    {"SurvivorsNoNumbers", "'stability', survivors",
     [](Parts& f) { f.edit("stability", [](Json& s) { s["survivors"][0] = "7"; }); }},
    {"StableStepMissing", "field 'stable_step'",
     [](Parts& f) { f.edit("stability", [](Json& s) { s.erase("stable_step"); }); }},
    {"DataMissing", "metadata 'data', found none", [](Parts& f) { f.metadata.erase("data"); }},
    {"RowsStartLate", "layers.0.weight",
     [](Parts& f) { f.tensors["layers.0.weight.crow"].at<std::int64_t>(0) = 1; }},
    {"RowsFall", "layers.0.weight",
     [](Parts& f) { f.tensors["layers.0.weight.crow"].at<std::int64_t>(1) = 4; }},
    {"RowsEndLate", "layers.0.weight",
     [](Parts& f) { f.tensors["layers.0.weight.crow"].at<std::int64_t>(4) = 6; }},
    {"RowsNegative", "layers.0.weight",
     [](Parts& f) { f.tensors["layers.0.weight.crow"].at<std::int64_t>(1) = -1; }},
    {"ColumnTooLarge", "layers.0.weight",
     [](Parts& f) { f.tensors["layers.0.weight.col"].at<std::int32_t>(4) = 3; }},
    {"ColumnNegative", "layers.0.weight",
     [](Parts& f) { f.tensors["layers.0.weight.col"].at<std::int32_t>(0) = -1; }},
    {"ColumnTwice", "layers.0.weight",
     [](Parts& f) { f.tensors["layers.0.weight.col"].at<std::int32_t>(1) = 0; }},
    {"ColumnsFall", "layers.0.weight",
     [](Parts& f) { f.tensors["layers.0.weight.col"].at<std::int32_t>(3) = 2; }},
    {"ColumnsMissing", "'layers.0.weight.col', found none",
     [](Parts& f) { f.tensors.erase("layers.0.weight.col"); }},
    {"ValuesFewer", "'layers.0.weight.val', found another type or shape",
     [](Parts& f) {
       f.tensors["layers.0.weight.val"] = {DType::F32, {4}, std::vector<std::byte>(16)};
     }},
    {"ValuesOfOtherType", "'layers.0.weight.val', found another type or shape",
     [](Parts& f) { f.tensors["layers.0.weight.val"].dtype = DType::I32; }},
    {"MatrixTurned", "'layers.1.weight', found another type or shape",
     [](Parts& f) {
       f.tensors["layers.1.weight"].shape = {4, 2};
     }},
    {"BiasMissing", "tensor 'layers.1.bias', found none", [](Parts& f) { f.tensors.erase("layers.1.bias"); }},
    {"MomentumOfOtherShape", "'layers.0.weight.m1', found another type or shape",
     [](Parts& f) {
       f.tensors["layers.0.weight.m1"] = {DType::F32, {4}, std::vector<std::byte>(16)};
     }},
    {"CandidateOutside", "'layers.0.candidates', found other numbers, expected ascending ones below 12",
     [](Parts& f) { f.tensors["layers.0.candidates"].at<std::uint64_t>(2) = 12; }},
    {"CandidateTwice", "'layers.0.candidates', found other numbers",
     [](Parts& f) { f.tensors["layers.0.candidates"].at<std::uint64_t>(1) = 1; }},
    {"CandidatesWithoutSums", "'layers.0.candidate_sums', found none",
     [](Parts& f) { f.tensors.erase("layers.0.candidate_sums"); }},
    {"AgeOfOtherType", "'layers.0.bias.age', found another type or shape",
     [](Parts& f) { f.tensors["layers.0.bias.age"].dtype = DType::I16; }},
};

void PrintTo(const Damage& damage, std::ostream* out) { *out << damage.title; }

class EveryDamage : public ::testing::TestWithParam<Damage> {};

TEST_P(EveryDamage, IsRefusedWithFileAndFieldAtOnce) {
  const Checkpoint checkpoint;
  FileParts parts(checkpoint.path());
  GetParam().change(parts);
  parts.write(checkpoint.path());
  const auto start = std::chrono::steady_clock::now();
  const std::string message = refusal([&] { load_model(checkpoint.path()); });
  EXPECT_THAT(message, AllOf(StartsWith(checkpoint.path() + ": "), HasSubstr(GetParam().complaint)));
  EXPECT_LT(message.size(), 400u);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
}

INSTANTIATE_TEST_SUITE_P(ModelFile, EveryDamage, ::testing::ValuesIn(kDamages),
                         [](const auto& info) { return std::string(info.param.title); });

TEST(DamagedModelFile, IsWholeBeforeTheDamage) {
  const Checkpoint checkpoint;
  FileParts parts(checkpoint.path());
  parts.write(checkpoint.path());
  EXPECT_TRUE(load_model(checkpoint.path()).state);
}

TEST(DamagedModelFile, OfANewerFormatSaysWhoWroteIt) {
  const Checkpoint checkpoint;
  FileParts parts(checkpoint.path());
  parts.metadata = {
      {"format", "tulle"}, {"format_version", "2"}, {"tulle_version", "9.1"}};  // all else unknown
  parts.write(checkpoint.path());
  EXPECT_EQ(refusal([&] { load_model(checkpoint.path()); }),
            checkpoint.path() +
                ": format_version, found 2 (written by tulle 9.1), expected at most 1; a newer "
                "tulle is needed");
}

TEST(DamagedModelFile, WithAHashThatIsNotItsTensorsIsRefused) {
  const Checkpoint checkpoint;
  FileParts parts(checkpoint.path());
  parts.tensors["layers.0.bias"].bytes[0] ^= std::byte{1};
  parts.write(checkpoint.path(), /*new_hashes=*/false);
  EXPECT_THAT(refusal([&] { load_model(checkpoint.path()); }),
              HasSubstr("tensor 'layers.0.bias', found hash"));
}

TEST(DamagedModelFile, EveryTruncationIsRefused) {
  const Checkpoint checkpoint;
  const std::vector<std::byte> whole = checkpoint.bytes();
  EXPECT_TRUE(parse_model(whole, "m").checksummed);
  for (std::size_t size = 0; size < whole.size(); ++size)
    EXPECT_THAT(refusal([&] {
                  parse_model({whole.begin(), whole.begin() + static_cast<long>(size)}, "m");
                }),
                StartsWith("m"))
        << size;
}

TEST(DamagedModelFile, EveryFlippedBitIsFound) {
  const Checkpoint checkpoint;
  const std::vector<std::byte> whole = checkpoint.bytes();
  std::mt19937 dice(test_seed());
  for (int i = 0; i < 1000; ++i) {
    std::vector<std::byte> damaged = whole;
    const std::size_t bit = dice() % (8 * whole.size());
    damaged[bit / 8] ^= std::byte{1} << (bit % 8);
    EXPECT_THAT(refusal([&] { parse_model(damaged, "m"); }), StartsWith("m")) << "bit " << bit;
  }
}

}  // namespace
}  // namespace tulle::testing
