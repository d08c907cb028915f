#include <gmock/gmock.h>

#include <map>
#include <string>
#include <vector>

#include "tulle/checkpoint/model_testing.h"
#include "tulle/data/archive.h"
#include "tulle/data/npy.h"
#include "tulle/export/formats.h"

namespace tulle {

ExportModel export_npz;

namespace testing {
namespace {

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;

// The arrays of an archive, by our own reader.
class Arrays {
 public:
  explicit Arrays(const std::string& file) {
    for_members(
        bytes_of(read_text(file)), file, 1 << 20, [](const std::string&) { return true; },
        [&](Member member) {
          const std::string name = member.name.substr(0, member.name.rfind(".npy"));
          bytes_[name] = std::move(member.bytes);
          arrays_[name] = parse_npy(bytes_[name], name, file);
        });
  }

  std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const auto& [name, array] : arrays_) names.push_back(name);
    return names;
  }
  const Array& operator[](const std::string& name) const { return arrays_.at(name); }
  std::vector<double> values(const std::string& name) const {
    std::vector<double> values;
    for (std::int64_t i = 0; i < arrays_.at(name).size(); ++i) values.push_back(arrays_.at(name).at(i));
    return values;
  }

 private:
  std::map<std::string, Content> bytes_;
  std::map<std::string, Array> arrays_;
};

Arrays arrays_of(Model& model) {
  const TemporaryDirectory folder;
  export_npz(folder / "m.npz", model, {});
  return Arrays(folder / "m.npz");
}

TEST(Npz, HoldsSparseMatricesAsScipyKeepsThem) {
  Model model = small_model();
  const Arrays arrays = arrays_of(model);
  EXPECT_THAT(arrays.values("layers.0.weight.indptr"), ElementsAre(0, 2, 2, 3, 5));
  EXPECT_THAT(arrays.values("layers.0.weight.indices"), ElementsAre(0, 2, 1, 0, 1));
  EXPECT_THAT(arrays.values("layers.0.weight.data"), ElementsAreArray(model.network.layer(0).weight().value));
  EXPECT_THAT(arrays.values("layers.0.weight.shape"), ElementsAre(4, 3));
  EXPECT_EQ(arrays["layers.0.weight.format"].text(), "csr");
  EXPECT_TRUE(arrays["layers.0.weight.format"].shape.empty());
}

TEST(Npz, HoldsDenseMatricesBiasesAndScalingAsPlainArrays) {
  Model model = small_model();
  model.scaling = {.kind = "standard", .mean = {1, 2, 3}, .deviation = {2, 0, 4}};
  const Arrays arrays = arrays_of(model);
  EXPECT_THAT(arrays["layers.1.weight"].shape, ElementsAre(2, 4));
  EXPECT_THAT(arrays.values("layers.1.weight"), ElementsAreArray(model.network.layer(1).weight().value));
  EXPECT_THAT(arrays.values("layers.0.bias"), ElementsAreArray(model.network.layer(0).bias().value));
  EXPECT_THAT(arrays.values("data.mean"), ElementsAre(1, 2, 3));
  EXPECT_THAT(arrays.values("data.std"), ElementsAre(2, 0, 4));
  EXPECT_EQ(arrays["loss"].text(), "cross-entropy");
  EXPECT_EQ(arrays["classes"].item, 3u);
  EXPECT_EQ(arrays["layers.0.activation"].text(), "all-relu");
  EXPECT_FLOAT_EQ(static_cast<float>(arrays.values("layers.0.activation.slope").at(0)), -0.3f);
}

TEST(Npz, HoldsWhatAnActivationHasLearnt) {
  Model model = small_model("srelu");
  const Arrays arrays = arrays_of(model);
  EXPECT_THAT(arrays["layers.0.activation.t_hat"].shape, ElementsAre(4));
}

TEST(Npz, HoldsNothingElse) {
  Model model = small_model("tanh");
  EXPECT_THAT(arrays_of(model).names(),
              ElementsAre("classes", "layers.0.activation", "layers.0.bias", "layers.0.weight.data",
                          "layers.0.weight.format", "layers.0.weight.indices", "layers.0.weight.indptr",
                          "layers.0.weight.shape", "layers.1.activation", "layers.1.activation.slope",
                          "layers.1.bias", "layers.1.weight", "loss"));
}

}  // namespace
}  // namespace testing
}  // namespace tulle
