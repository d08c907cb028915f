#include "tulle/checkpoint/model_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tulle/checkpoint/file_parts_testing.h"
#include "tulle/checkpoint/model_testing.h"

namespace tulle::testing {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class ModelFile : public ::testing::Test {
 protected:
  std::string path_of(const std::string& name) const { return folder_ / name; }
  LoadedModel round_trip(Model& model, const TrainingState* state = nullptr) const {
    save_model(path_of("m"), model, state);
    return load_model(path_of("m"));
  }

  TemporaryDirectory folder_;
};

class EveryActivationInAModelFile : public ModelFile, public ::testing::WithParamInterface<ActivationInfo> {};

TEST_P(EveryActivationInAModelFile, ComesBackBitForBitWithItsParameters) {
  Model model = small_model(std::string(GetParam().name));
  LoadedModel loaded = round_trip(model);
  EXPECT_EQ(bits_of(loaded.model.network), bits_of(model.network));
  const LayerOptions& options = loaded.model.network.layer(0).options();
  EXPECT_EQ(options.activation, GetParam().name);
  EXPECT_EQ(options.alpha, 0.3);
  EXPECT_EQ(options.dropout, 0.25);
  EXPECT_EQ(loaded.model.network.layer(1).topology(), nullptr);
}

std::string name_of(std::string_view name) {
  std::string text(name);
  std::ranges::replace(text, '-', '_');
  return text;
}
INSTANTIATE_TEST_SUITE_P(Activations, EveryActivationInAModelFile,
                         ::testing::ValuesIn(activations().begin(), activations().end()),
                         [](const auto& info) { return name_of(info.param.name); });

class EveryOptimizerInACheckpoint : public ModelFile, public ::testing::WithParamInterface<OptimizerInfo> {};

TEST_P(EveryOptimizerInACheckpoint, ComesBackBitForBitWithItsState) {
  Model model = small_model("srelu");
  fill_state(model.network, GetParam());
  const TrainingState state = some_state();
  LoadedModel loaded = round_trip(model, &state);
  EXPECT_EQ(bits_of(loaded.model.network), bits_of(model.network));
}

TEST_P(EveryOptimizerInACheckpoint, LeavesItsStateOutOfAModelFile) {
  Model model = small_model();
  fill_state(model.network, GetParam());
  LoadedModel loaded = round_trip(model);
  EXPECT_FALSE(loaded.state);
  for (const Parameter* parameter : loaded.model.network.parameters()) {
    EXPECT_THAT(parameter->m1, IsEmpty());
    EXPECT_THAT(parameter->m2, IsEmpty());
    EXPECT_THAT(parameter->age, IsEmpty());
  }
}

INSTANTIATE_TEST_SUITE_P(Optimizers, EveryOptimizerInACheckpoint,
                         ::testing::ValuesIn(optimizers().begin(), optimizers().end()),
                         [](const auto& info) { return name_of(info.param.name); });

TEST_F(ModelFile, ACheckpointIsAModelFileAndKeepsWhereTheTrainingStands) {
  Model model = small_model();
  const TrainingState state = some_state();
  const LoadedModel loaded = round_trip(model, &state);
  EXPECT_TRUE(loaded.checksummed);
  EXPECT_EQ(loaded.model.class_names, model.class_names);
  ASSERT_TRUE(loaded.state);
  EXPECT_EQ(loaded.state->epoch, 3);
  EXPECT_EQ(loaded.state->batch_in_epoch, 2);
  EXPECT_EQ(loaded.state->step, 17);
  EXPECT_EQ(loaded.state->loss_sum, 0.1 + 0.2);  // to the last bit
  EXPECT_EQ(loaded.state->correct, 5);
  EXPECT_EQ(loaded.state->samples, 8);
  EXPECT_EQ(loaded.state->seconds, 1.5);
  EXPECT_EQ(loaded.state->data_identity, "0123456789abcdef");
  EXPECT_THAT(loaded.state->stability.connections, ElementsAre(9, 8));
  EXPECT_THAT(loaded.state->stability.survivors, ElementsAre(7, 8));
  EXPECT_EQ(loaded.state->stability.stable_step, 16);
  ASSERT_EQ(loaded.state->gathered.size(), 2u);
  EXPECT_EQ(loaded.state->gathered[0].cells, state.gathered[0].cells);
  EXPECT_EQ(loaded.state->gathered[0].sums, state.gathered[0].sums);
  EXPECT_THAT(loaded.state->gathered[1].cells, IsEmpty());
}

TEST_F(ModelFile, KeepsWhatTurnsRawDataIntoPredictions) {
  Model model = small_model();
  model.loss = "bce";
  model.scaling = {.kind = "standard", .mean = {1, -2, 3}, .deviation = {0, 0.5, 1e-30f}};
  model.image = {.channels = 3, .height = 1, .width = 1};
  model.seed = ~std::uint64_t{0};
  model.config = "[train]\nepochs = 3\n";
  const LoadedModel loaded = round_trip(model);
  EXPECT_EQ(loaded.model.loss, "bce");
  EXPECT_EQ(loaded.model.scaling.kind, "standard");
  EXPECT_EQ(loaded.model.scaling.mean, model.scaling.mean);
  EXPECT_EQ(loaded.model.scaling.deviation, model.scaling.deviation);
  EXPECT_EQ(loaded.model.image.channels, 3);
  EXPECT_EQ(loaded.model.seed, ~std::uint64_t{0});
  EXPECT_EQ(loaded.model.network.layer(0).options().seed, ~std::uint64_t{0});
  EXPECT_EQ(loaded.model.config, model.config);
}

TEST_F(ModelFile, KeepsThePrecisionOfALayerAndRefusesOneThatNoTrainingHas) {
  std::vector<std::unique_ptr<Layer>> layers;
  layers.push_back(
      std::make_unique<SparseLinear>(LayerOptions{.inputs = 2, .outputs = 2, .precision = Precision::kBf16},
                                     Topology(2, 2, {0, 1, 2}, {0, 1})));
  Model model{.network = Network(std::move(layers)), .class_names = {"no", "yes"}, .config = "[run]\n"};
  EXPECT_EQ(round_trip(model).model.network.layer(0).options().precision, Precision::kBf16);
  FileParts parts(path_of("m"));
  parts.edit("model", [](Json& json) { json["layers"][0]["dtype"] = "int8"; });
  parts.write(path_of("m"));
  EXPECT_THROW(load_model(path_of("m")), Error);
}

TEST_F(ModelFile, ClassNamesMayHoldAnyText) {
  Model model = small_model();
  model.class_names = {"\"quoted\"\\\n\t\x01", "\u00e4\u65e5\U0001f600 ,[]{}"};
  EXPECT_EQ(round_trip(model).model.class_names, model.class_names);
  model.class_names = {"latin \xe4", ""};  // no UTF-8: readable, but not the same
  EXPECT_THAT(round_trip(model).model.class_names, ElementsAre("latin \ufffd", ""));
}

TEST_F(ModelFile, ARegressionHasNoClassNames) {
  Model model = small_model();
  model.class_names.clear();
  model.loss = "mse";
  EXPECT_THAT(round_trip(model).model.class_names, IsEmpty());
}

TEST_F(ModelFile, TheSameModelGivesTheSameBytesAndTheSizeIsTold) {
  Model model = small_model();
  const std::int64_t bytes = save_model(path_of("a"), model);
  save_model(path_of("b"), model);
  EXPECT_EQ(read_text(path_of("a")), read_text(path_of("b")));
  EXPECT_EQ(bytes, static_cast<std::int64_t>(read_text(path_of("a")).size()));
}

TEST_F(ModelFile, HasTheTensorsOfTheFormatInTheirOrderAtAlignedPlaces) {
  Model model = small_model();
  model.scaling = {.kind = "unit", .mean = {0, 0, 0}, .deviation = {255, 255, 255}};
  for (const OptimizerInfo& optimizer : optimizers())
    if (optimizer.name == "adam") fill_state(model.network, optimizer);
  const TrainingState state = some_state();
  save_model(path_of("m"), model, &state);
  const SafetensorsFile file = SafetensorsFile::read(path_of("m"));
  std::vector<std::string> names;
  for (const TensorView& t : file.tensors()) names.push_back(t.name);
  EXPECT_THAT(names, ElementsAre("layers.0.candidates", "layers.0.weight.crow",  // 8 bytes an element
                                 "data.mean", "data.std", "layers.0.bias", "layers.0.bias.m1",
                                 "layers.0.bias.m2", "layers.0.candidate_sums", "layers.0.weight.col",
                                 "layers.0.weight.m1", "layers.0.weight.m2", "layers.0.weight.val",
                                 "layers.1.bias", "layers.1.bias.m1", "layers.1.bias.m2", "layers.1.weight",
                                 "layers.1.weight.m1", "layers.1.weight.m2", "layers.0.bias.age",
                                 "layers.0.weight.age", "layers.1.bias.age", "layers.1.weight.age"));
  const std::vector<std::int64_t> matrix{2, 4};
  EXPECT_EQ(file.find("layers.1.weight")->shape, matrix);
  std::uint64_t header = 0;
  const std::string text = read_text(path_of("m"));
  std::memcpy(&header, text.data(), 8);
  EXPECT_EQ((8 + header) % 64, 0u);
}

TEST_F(ModelFile, HasTheMetadataOfTheFormat) {
  Model model = small_model();
  const TrainingState state = some_state();
  save_model(path_of("m"), model, &state);
  const FileParts parts(path_of("m"));
  std::vector<std::string> keys;
  for (const auto& [key, text] : parts.metadata) keys.push_back(key);
  EXPECT_THAT(keys, ElementsAre("batch_in_epoch", "classes", "config", "data", "epoch", "format",
                                "format_version", "model", "preprocess", "progress", "rng", "seed", "sparse",
                                "stability", "step", "tulle_version", "xxh3"));
  EXPECT_EQ(parts.metadata.at("format"), "tulle");
  EXPECT_EQ(parts.metadata.at("format_version"), "1");
  EXPECT_EQ(parts.metadata.at("sparse"), R"({"layers.0.weight":{"layout":"csr","shape":[4,3]}})");
  EXPECT_EQ(parts.metadata.at("rng"), R"({"algorithm":"philox4x32-10","key":7})");
  // The slope of the first hidden layer is -alpha.
  const Json layer = Json::parse(parts.metadata.at("model")).at("layers").at(0);
  EXPECT_FLOAT_EQ(layer.at("slope").get<float>(), -0.3f);
}

TEST_F(ModelFile, TheHashOfATensorIsXxh3OfItsBytes) {
  EXPECT_EQ(hash_of(bytes_of("abc")), "78af5f94892f3950");
  Model model = small_model();
  save_model(path_of("m"), model);
  FileParts parts(path_of("m"));
  const Json hashes = Json::parse(parts.metadata.at("xxh3"));
  EXPECT_EQ(hashes.size(), parts.tensors.size());
  for (const auto& [name, part] : parts.tensors) EXPECT_EQ(hashes.at(name), hash_of(part.bytes)) << name;
}

TEST_F(ModelFile, AnotherProgramsCopyWithoutChecksumsLoadsUncheckedAndItsHashesCount) {
  Model model = small_model();
  save_model(path_of("m"), model);
  // The file as another writer has it: the same, without the two tensors of checksums.
  FileParts parts(path_of("m"));
  std::string data;
  std::vector<TensorEntry> entries;
  const SafetensorsFile file = SafetensorsFile::read(path_of("m"));
  for (const TensorView& t : file.tensors()) {
    entries.push_back({t.name, t.dtype, t.shape, data.size(), data.size() + t.bytes.size()});
    data += text_of(t.bytes);
  }
  write_text(path_of("copy"), make_header(parts.metadata, entries) + data);
  LoadedModel loaded = load_model(path_of("copy"));
  EXPECT_FALSE(loaded.checksummed);
  EXPECT_EQ(bits_of(loaded.model.network), bits_of(model.network));

  data.back() ^= 1;
  write_text(path_of("copy"), make_header(parts.metadata, entries) + data);
  EXPECT_THAT(refusal([&] { load_model(path_of("copy")); }),
              AllOf(HasSubstr("copy: tensor 'layers.1.weight', found hash"), HasSubstr("damaged")));
}

TEST(DataIdentity, ChangesWithAnyValueLabelOrShape) {
  Split split;
  split.inputs = {.samples = 2, .features = 2, .bytes = {1, 2, 3, 4}, .floats = {}};
  split.classes = {0, 1};
  const std::string identity = data_identity(split);
  EXPECT_EQ(identity.size(), 16u);
  EXPECT_EQ(data_identity(split), identity);

  std::vector<Split> others(8, split);
  others[0].inputs.bytes[3] = 7;
  others[1].inputs.bytes[0] = 0;
  others[2].classes[1] = 0;
  others[3].inputs.samples = 1, others[3].inputs.features = 4;  // the same bytes, cut otherwise
  others[4].inputs.bytes.clear();
  others[4].inputs.floats = {1, 2, 3, 4};
  others[5].classes.clear();
  others[5].targets = {0, 1};
  others[6].classes = {1, 0};
  others[7].inputs.bytes.clear();  // bytes of features moved over into the labels
  others[7].classes = {0x04030201, 0, 1};
  for (std::size_t i = 0; i < others.size(); ++i) EXPECT_NE(data_identity(others[i]), identity) << i;
}

}  // namespace
}  // namespace tulle::testing
