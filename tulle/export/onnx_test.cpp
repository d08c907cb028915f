#include <gmock/gmock.h>

#include <limits>
#include <map>
#include <string>
#include <vector>

#include "tulle/checkpoint/model_testing.h"
#include "tulle/export/formats.h"
#include "tulle/export/onnx_forms.h"
#include "tulle/export/wire_testing.h"
#include "tulle/version.h"
#include "tulle/vision/smlp_net.h"

namespace tulle {

ExportModel export_onnx;

namespace testing {
namespace {

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

struct Tensor {
  std::vector<std::string> dims;
  std::string type, raw;  // type: 1 float, 6 int32, 7 int64
};

Tensor tensor_of(const WireMessage& message) { return {message.all(1), message.at(2), message.at(9)}; }

// What a test wants to know of an ONNX file.
struct Graph {
  std::vector<std::string> ops;
  std::map<std::string, Tensor> constants;
  std::vector<WireMessage> nodes, sparse;
  std::map<std::string, std::string> metadata;
  WireMessage model, graph;

  explicit Graph(const std::string& bytes) : model(bytes), graph(model.message(7)) {
    for (const std::string& node : graph.all(1)) nodes.emplace_back(node), ops.push_back(nodes.back().at(4));
    for (const std::string& bytes_of_one : graph.all(5)) {
      const WireMessage one(bytes_of_one);
      constants[one.at(8)] = tensor_of(one);
    }
    for (const std::string& one : graph.all(15)) sparse.emplace_back(one);
    for (const std::string& one : model.all(14)) metadata[WireMessage(one).at(1)] = WireMessage(one).at(2);
  }
};

Graph graph_of(Model& model, const ExportOptions& options = {}) {
  const TemporaryDirectory folder;
  export_onnx(folder / "m.onnx", model, options);
  return Graph(read_text(folder / "m.onnx"));
}

Graph graph_of(const std::string& form) {
  Model model = small_model();
  return graph_of(model, {.onnx_form = form});
}

std::vector<float> first_weights() {
  Model model = small_model();
  const auto& values = model.network.layer(0).weight().value;
  return {values.begin(), values.end()};
}

TEST(Onnx, SaysWhatItIsAndWhatItWasMadeFrom) {
  const Graph made = graph_of("sparse-init");
  EXPECT_EQ(made.model.at(1), "9");              // ir_version
  EXPECT_EQ(made.model.at(2), "tulle");          // producer
  EXPECT_EQ(made.model.message(8).at(2), "18");  // opset
  EXPECT_EQ(made.model.at(3), std::string(kVersion));
  EXPECT_EQ(made.metadata.at("tulle_version"), std::string(kVersion));
  EXPECT_EQ(made.metadata.at("classes"), R"(["no","yes"])");
  EXPECT_EQ(made.metadata.at("form"), "sparse-init");
  EXPECT_EQ(made.metadata.at("loss"), "cross-entropy");
}

TEST(Onnx, TakesAndGivesMatricesOfAnyNumberOfRows) {
  const Graph made = graph_of("ell");
  for (const auto& [field, name, columns] : {std::tuple{11, "input", "3"}, {12, "probabilities", "2"}}) {
    const WireMessage value = made.graph.message(field);
    EXPECT_EQ(value.at(1), name);
    const WireMessage matrix = value.message(2).message(1);
    EXPECT_EQ(matrix.at(1), "1");  // float
    const std::vector<std::string> dims = matrix.message(2).all(1);
    ASSERT_EQ(dims.size(), 2u);
    EXPECT_EQ(WireMessage(dims[0]).at(2), "batch");
    EXPECT_EQ(WireMessage(dims[1]).at(1), columns);
  }
}

// The sparse layer of small_model() has the connections 0 <- {0, 2}, 2 <- {1}, 3 <- {0, 1}.
TEST(Onnx, SparseInitializersHaveTheirPlacesInAscendingOrder) {
  const Graph made = graph_of("sparse-init");
  EXPECT_THAT(made.ops, ElementsAre("Gemm", "LeakyRelu", "Gemm", "Softmax"));
  ASSERT_EQ(made.sparse.size(), 1u);
  const Tensor values = tensor_of(made.sparse[0].message(1)), places = tensor_of(made.sparse[0].message(2));
  EXPECT_THAT(made.sparse[0].all(3), ElementsAre("4", "3"));
  EXPECT_EQ(numbers_in<float>(values.raw), first_weights());
  EXPECT_THAT(places.dims, ElementsAre("5"));  // one number for each, not two
  EXPECT_THAT(numbers_in<std::int64_t>(places.raw), ElementsAre(0, 2, 7, 9, 10));
  // Gemm(transB) finds it by its name.
  EXPECT_EQ(made.nodes[0].all(1)[1], made.sparse[0].message(1).at(8));
}

TEST(Onnx, EllHasRowsOfEqualLengthFilledWithNothing) {
  const Graph made = graph_of("ell");
  EXPECT_THAT(made.ops, ElementsAre("Shape", "Concat", "Expand", "GatherElements", "Reshape", "Mul",
                                    "ReduceSum", "Add", "LeakyRelu", "Gemm", "Softmax"));
  EXPECT_THAT(made.sparse, IsEmpty());
  const Tensor& columns = made.constants.at("layers.0.columns");
  EXPECT_EQ(columns.type, "6");
  EXPECT_THAT(columns.dims, ElementsAre("1", "8"));
  EXPECT_THAT(numbers_in<std::int32_t>(columns.raw), ElementsAre(0, 2, 0, 0, 1, 0, 0, 1));
  const std::vector<float> w = first_weights();
  EXPECT_THAT(made.constants.at("layers.0.weight").dims, ElementsAre("4", "2"));
  EXPECT_THAT(numbers_in<float>(made.constants.at("layers.0.weight").raw),
              ElementsAre(w[0], w[1], 0, 0, w[2], 0, w[3], w[4]));
}

TEST(Onnx, CooHasAnEntryForEachConnection) {
  const Graph made = graph_of("coo");
  EXPECT_THAT(made.ops, ElementsAre("Shape", "Concat", "Expand", "GatherElements", "Mul", "Shape", "Concat",
                                    "ConstantOfShape", "Expand", "ScatterElements", "Add", "LeakyRelu",
                                    "Gemm", "Softmax"));
  EXPECT_THAT(made.sparse, IsEmpty());
  for (const char* name : {"layers.0.columns", "layers.0.targets"})
    EXPECT_EQ(made.constants.at(name).type, "6") << name;  // int32
  EXPECT_THAT(numbers_in<std::int32_t>(made.constants.at("layers.0.columns").raw),
              ElementsAre(0, 2, 1, 0, 1));
  EXPECT_THAT(numbers_in<std::int32_t>(made.constants.at("layers.0.targets").raw),
              ElementsAre(0, 0, 2, 3, 3));
  EXPECT_EQ(numbers_in<float>(made.constants.at("layers.0.weight").raw), first_weights());
}

TEST(Onnx, DenseLayersAreProductsInEveryForm) {
  for (const OnnxForm& form : onnx_forms()) {
    const Graph made = graph_of(std::string(form.name));
    EXPECT_THAT(made.constants.at("layers.1.weight").dims, ElementsAre("2", "4")) << form.name;
  }
}

Model one_layer(Topology topology, const std::string& activation = "identity") {
  std::vector<std::unique_ptr<Layer>> layers;
  const LayerOptions options{.inputs = topology.cols(), .outputs = topology.rows(), .activation = activation};
  layers.push_back(std::make_unique<SparseLinear>(options, std::move(topology)));
  return {.network = Network(std::move(layers)), .loss = "mse"};
}

TEST(Onnx, AutoTakesEllUntilPaddingDoublesIt) {
  Model even = one_layer(Topology(2, 4, {0, 3, 4}, {0, 1, 2, 3}));  // 6 entries for 4
  EXPECT_EQ(graph_of(even, {.onnx_form = "auto"}).metadata.at("form"), "ell");
  Model uneven = one_layer(Topology(3, 4, {0, 4, 5, 5}, {0, 1, 2, 3, 0}));  // 12 for 5
  EXPECT_EQ(graph_of(uneven, {.onnx_form = "auto"}).metadata.at("form"), "coo");
}

TEST(Onnx, LayersWithoutAnyConnectionStayValid) {
  for (const OnnxForm& form : onnx_forms()) {
    Model model = one_layer(Topology(2, 3, {0, 0, 0}, {}));
    EXPECT_FALSE(graph_of(model, {.onnx_form = std::string(form.name)}).ops.empty()) << form.name;
  }
}

TEST(Onnx, AFeatureThatDidNotVaryIsDividedByInfinity) {
  Model model = small_model();
  model.scaling = {.kind = "standard", .mean = {1, 2, 3}, .deviation = {2, 0, 4}};
  const Graph made = graph_of(model);
  EXPECT_EQ(made.ops[0], "Sub");
  EXPECT_EQ(made.ops[1], "Div");
  EXPECT_THAT(numbers_in<float>(made.constants.at("data.mean").raw), ElementsAre(1, 2, 3));
  EXPECT_THAT(numbers_in<float>(made.constants.at("data.std").raw),
              ElementsAre(2, std::numeric_limits<float>::infinity(), 4));
  EXPECT_EQ(made.metadata.at("inputs"), "raw");

  const Graph without = graph_of(model, {.preprocess = false});
  EXPECT_EQ(without.ops[0], "Gemm");
  EXPECT_EQ(without.metadata.at("inputs"), "scaled: standard");
}

TEST(Onnx, TheLastOperatorAndTheNameOfTheOutputsFollowFromTheLoss) {
  Model model = small_model();
  const auto last = [&](const std::string& loss, bool probabilities) {
    model.loss = loss;
    const Graph made = graph_of(model, {.probabilities = probabilities});
    return made.ops.back() + " " + WireMessage(made.graph.at(12)).at(1);
  };
  EXPECT_EQ(last("cross-entropy", true), "Softmax probabilities");
  EXPECT_EQ(last("bce", true), "Sigmoid probabilities");
  EXPECT_EQ(last("cross-entropy", false), "Identity logits");
  EXPECT_EQ(last("bce", false), "Identity logits");
  EXPECT_EQ(last("mse", true), "Identity values");
}

// What they compute is compared in tests/python/test_official_readers.py.
TEST(Onnx, ExpressesEveryActivation) {
  for (const ActivationInfo& activation : activations()) {
    Model model = small_model(std::string(activation.name));
    const std::size_t operators = graph_of(model).ops.size();
    EXPECT_EQ(operators > 3, activation.name != "identity") << activation.name;
  }
}

TEST(Onnx, TellsWhatARuntimeWillDoWithIt) {
  const TemporaryDirectory folder;
  Model model = small_model();  // 4 x 3 with 5 connections, the longest row has 2
  const auto facts = [&](const std::string& form) {
    std::map<std::string, std::variant<std::int64_t, double, std::string>> found;
    for (const ExportFact& fact : export_onnx(folder / "m", model, {.onnx_form = form}).facts)
      found[fact.name] = fact.value;
    return found;
  };
  auto found = facts("sparse-init");
  EXPECT_EQ(std::get<std::int64_t>(found.at("expanded_bytes")), 48);
  EXPECT_EQ(std::get<std::int64_t>(found.at("break_even_batch")), 2);  // 12 cells / 5
  found = facts("ell");
  EXPECT_DOUBLE_EQ(std::get<double>(found.at("pad_factor")), 1.6);
  EXPECT_EQ(std::get<std::int64_t>(found.at("break_even_batch")), 1);  // 12 cells / 8 entries
  EXPECT_FALSE(found.contains("expanded_bytes"));
  found = facts("coo");
  EXPECT_EQ(std::get<std::string>(found.at("form")), "coo");
  EXPECT_EQ(std::get<std::int64_t>(found.at("break_even_batch")), 1);
}

TEST(Onnx, RefusesWhatOneMessageCannotHoldBeforeTakingMemory) {
  // One neuron with all 100,000 inputs makes form ell 1e10 entries large.
  constexpr std::int32_t kNeurons = 100'000;
  RawVector<std::int64_t> row_ptr(kNeurons + 1, kNeurons);
  row_ptr[0] = 0;
  RawVector<std::int32_t> columns(kNeurons);
  for (std::int32_t c = 0; c < kNeurons; ++c) columns[static_cast<std::size_t>(c)] = c;
  Model model = one_layer(Topology(kNeurons, kNeurons, std::move(row_ptr), std::move(columns)));
  const TemporaryDirectory folder;
  EXPECT_THAT(
      refusal([&] { export_onnx(folder / "m", model, {.onnx_form = "ell"}); }, ErrorKind::kCannotWrite),
      HasSubstr("/m: ONNX model, found more than 2 GiB"));
  EXPECT_THAT(folder.names(), IsEmpty());
  export_onnx(folder / "m", model, {.onnx_form = "coo"});
}

// 8 x 8 pixels, 4 x 4 tokens of 32 channels, then 2 x 2 of 64. Of the second block's fuse layer, 64 x 192,
// one neuron has 96 connections.
Model image_model() {
  RawVector<std::int64_t> row_ptr(65, 96);
  row_ptr[0] = 0;
  RawVector<std::int32_t> columns(96);
  for (std::int32_t c = 0; c < 96; ++c) columns[static_cast<std::size_t>(c)] = c;
  std::vector<std::optional<Topology>> topologies(6);
  topologies[3] = Topology(64, 192, std::move(row_ptr), std::move(columns));
  const SmlpShape shape{.channels = 1,
                        .height = 8,
                        .width = 8,
                        .patch = 2,
                        .embedding = 32,
                        .depths = {1, 1},
                        .expansion = 2,
                        .classes = 3};
  return {.network = make_smlp(shape, {6, 6, {-0.5f}}, std::move(topologies), 5),
          .class_names = {"a", "b", "c"}};
}

// What they compute is compared in tests/python/test_official_readers.py.
TEST(Onnx, ImageNetworksTakeFlatPixelsAndCallArraysAsThePublishedNetworkDoes) {
  Model model = image_model();
  const Graph made = graph_of(model);
  const std::vector<std::string> dims = made.graph.message(11).message(2).message(1).message(2).all(1);
  EXPECT_EQ(WireMessage(dims.at(1)).at(1), "36");
  for (const NamedArray& array : model.network.architecture()->arrays())
    EXPECT_TRUE(made.constants.contains(array.name)) << array.name;
  EXPECT_TRUE(made.constants.contains("channel_mix.1.2.net.3.weight"));
  ASSERT_EQ(made.sparse.size(), 1u);
  EXPECT_EQ(made.sparse[0].message(1).at(8), "token_mix.1.1.fuse.weight");
}

TEST(Onnx, AnImageIsAsManySamplesToALayerAsItHasTokens) {
  const TemporaryDirectory folder;
  Model model = image_model();
  const std::vector<ExportFact> facts = export_onnx(folder / "m", model, {}).facts;
  EXPECT_EQ(facts.back().name, "break_even_batch");
  EXPECT_EQ(std::get<std::int64_t>(facts.back().value), 64 * 192 / 96 / 4);  // 2 x 2 tokens
}

TEST(Onnx, RefusesUnknownForms) {
  const TemporaryDirectory folder;
  Model model = small_model();
  EXPECT_THAT(refusal([&] { export_onnx(folder / "m", model, {.onnx_form = "eel"}); }, ErrorKind::kConfig),
              HasSubstr("did you mean 'ell'?"));
  EXPECT_THAT(folder.names(), IsEmpty());
}

}  // namespace
}  // namespace testing
}  // namespace tulle
