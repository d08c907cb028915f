// Files of sMLPNets: ours, and state dicts of PyTorch. tests/oracle/freeze.py wrote what PyTorch computes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "tulle/base/name_table.h"
#include "tulle/checkpoint/file_parts_testing.h"
#include "tulle/checkpoint/import.h"
#include "tulle/checkpoint/model_testing.h"
#include "tulle/nn/loss.h"
#include "tulle/optim/optimizer.h"
#include "tulle/sparse/sampling.h"
#include "tulle/vision/smlp_net.h"

namespace tulle::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

Model small_smlp(bool sparse) {
  const SmlpShape shape{.channels = 1,
                        .height = 8,
                        .width = 12,
                        .patch = 2,
                        .embedding = 4,
                        .depths = {1, 1},
                        .expansion = 2,
                        .classes = 3,
                        .drop_path = 0.1};
  std::vector<std::optional<Topology>> topologies;
  if (sparse)
    for (const LayerOptions& layer : smlp_layer_options(shape)) {
      topologies.emplace_back();
      if (layer.index != 1)
        topologies.back() = random_topology(layer.outputs, layer.inputs, 7,
                                            {.seed = 3, .layer = static_cast<std::uint32_t>(layer.index)});
    }
  Model model{.network = make_smlp(shape, {6, 12, {-0.5f}}, std::move(topologies), 5),
              .class_names = {"a", "b", "c"},
              .image = {1, 6, 12},
              .seed = 5,
              .config = "[run]\n"};
  float next = 0.1f;
  for (const NamedArray& array : model.network.architecture()->arrays())
    if (array.name.find("running") != std::string::npos)
      for (float& value : *array.values) value = next += 0.01f;
  return model;
}

std::vector<float> outputs_of(Network& network, std::span<const float> images, std::int32_t count) {
  PanelBuffer memory;
  const Panels<float> x = memory.view(network.inputs(), count, 16);
  for (std::int32_t b = 0; b < count; ++b)
    for (std::int32_t f = 0; f < x.features; ++f)
      x.at(b, f) = images[static_cast<std::size_t>(b) * static_cast<std::size_t>(x.features) +
                          static_cast<std::size_t>(f)];
  const Panels<const float> y = network.forward({}, x);
  std::vector<float> all;
  for (std::int32_t b = 0; b < count; ++b)
    for (std::int32_t k = 0; k < y.features; ++k) all.push_back(y.at(b, k));
  return all;
}

class SmlpFile : public ::testing::TestWithParam<bool> {
 protected:
  TemporaryDirectory folder_;
};

TEST_P(SmlpFile, ComesBackBitForBit) {
  Model model = small_smlp(GetParam());
  for (const OptimizerInfo& optimizer : optimizers())
    if (optimizer.name == "adamw") fill_state(model.network, optimizer);
  const TrainingState state{.step = 3, .data_identity = "x"};
  const std::string path = folder_ / "m.safetensors";
  save_model(path, model, &state);
  LoadedModel loaded = load_model(path);
  ASSERT_TRUE(loaded.state);
  EXPECT_EQ(bits_of(loaded.model.network), bits_of(model.network));
  const std::vector<float> images(3 * 72, 0.3f);
  EXPECT_EQ(outputs_of(loaded.model.network, images, 3), outputs_of(model.network, images, 3));
  EXPECT_EQ(loaded.model.image.height, 6);
  const SmlpNet* const net = smlp_of(loaded.model.network);
  ASSERT_NE(net, nullptr);
  EXPECT_EQ(net->shape().drop_path, 0.1);
  EXPECT_EQ(net->input().padding, std::vector<float>{-0.5f});
}

INSTANTIATE_TEST_SUITE_P(DenseAndSparse, SmlpFile, ::testing::Bool());

struct SmlpDamage {
  const char* complaint;
  void (*change)(FileParts&);
};

TEST(SmlpFile, DamagesAreRefusedWithFileAndField) {
  const TemporaryDirectory folder;
  const std::string path = folder / "m.safetensors";
  using Parts = FileParts;
  const SmlpDamage damages[] = {
      {"'model', model.patch, found 0", [](Parts& f) { f.edit("model", [](Json& m) { m["patch"] = 0; }); }},
      {"field 'width'", [](Parts& f) { f.edit("model", [](Json& m) { m["width"] = "x"; }); }},
      {"'model', parameters, found", [](Parts& f) { f.edit("model", [](Json& m) { m["height"] = 60000; }); }},
      {"'model', parameters, found",
       [](Parts& f) { f.edit("model", [](Json& m) { m["embedding"] = 16000; }); }},
      {"depths, found -1", [](Parts& f) { f.edit("model", [](Json& m) {
                                            m["depths"] = {1, "x"};
                                          }); }},
      {"'model', sparse, found 5 entries",
       [](Parts& f) { f.edit("model", [](Json& m) { m["sparse"].erase(0); }); }},
      {"'model', image, found other sides",
       [](Parts& f) { f.edit("model", [](Json& m) {
                        m["image"] = {9, 12};
                      }); }},
      {"hidden channels, found 1 numbers, expected 2",
       [](Parts& f) { f.edit("model", [](Json& m) { m["hidden"] = {8}; }); }},
      {"hidden channels, found 9, expected 1 to 8",
       [](Parts& f) { f.edit("model", [](Json& m) {
                        m["hidden"] = {9, 8};
                      }); }},
      {"hidden channels, found -1",
       [](Parts& f) { f.edit("model", [](Json& m) {
                        m["hidden"] = {8, "x"};
                      }); }},
      {"channel_mix.0.2.net.0.weight",
       [](Parts& f) { f.edit("model", [](Json& m) {
                        m["hidden"] = {7, 16};
                      }); }},
      {"drop_path, found 2", [](Parts& f) { f.edit("model", [](Json& m) { m["drop_path"] = 2.0; }); }},
      {"tensor 'batch_norm.running_var', found none",
       [](Parts& f) { f.tensors.erase("batch_norm.running_var"); }},
      {"tensor 'mlp_head.0.weight', found another type or shape",
       [](Parts& f) {
         f.tensors.at("mlp_head.0.weight").shape = {8, 3};
       }},
      {"tensor 'token_mix.1.1.proj_h.weight'",
       [](Parts& f) { f.tensors.at("token_mix.1.1.proj_h.weight").shape = {9}; }},
  };
  for (const SmlpDamage& damage : damages) {
    Model model = small_smlp(false);
    save_model(path, model);
    FileParts parts(path);
    damage.change(parts);
    parts.write(path);
    try {
      load_model(path);
      ADD_FAILURE() << damage.complaint;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kBadData);
      EXPECT_THAT(error.what(), AllOf(HasSubstr(path), HasSubstr(damage.complaint)));
    }
  }
}

// What PyTorch computed for one tiny network.
class FromPyTorch : public ::testing::TestWithParam<std::string> {
 protected:
  FromPyTorch()
      : oracle_(SafetensorsFile::read((std::filesystem::path(__FILE__).parent_path() / "../../tests/oracle" /
                                       ("smlpnet_" + GetParam() + ".safetensors"))
                                          .lexically_normal()
                                          .string())) {}

  /// The state dict alone, as a file.
  std::string state_dict(const std::function<void(std::vector<TensorView>&)>& change = {}) {
    std::vector<TensorView> tensors;
    for (const TensorView& tensor : oracle_.tensors())
      if (tensor.name.starts_with("to_patch") || tensor.name.starts_with("token_mix") ||
          tensor.name.starts_with("channel_mix") || tensor.name.starts_with("batch_norm") ||
          tensor.name.starts_with("mlp_head"))
        tensors.push_back(tensor);
    if (change) change(tensors);
    const std::string path = folder_ / "pytorch.safetensors";
    write_safetensors(path, {}, std::move(tensors));
    return path;
  }

  Panels<const float> images(const Network& network, PanelBuffer& memory) const {
    const auto values = oracle_.as<float>("images");
    const Panels<float> x = memory.view(network.inputs(), 3, 16);
    for (std::int32_t b = 0; b < 3; ++b)
      for (std::int32_t f = 0; f < x.features; ++f)
        x.at(b, f) = values[static_cast<std::size_t>(b * x.features + f)];
    return x;
  }

  static void expect_near(std::span<const float> found, std::span<const float> wanted, float tolerance,
                          const std::string& what) {
    ASSERT_EQ(found.size(), wanted.size()) << what;
    float most = 0.02f;  // gradients that are 0 in truth are rounding here
    for (const float value : wanted) most = std::max(most, std::abs(value));
    for (std::size_t i = 0; i < found.size(); ++i)
      EXPECT_NEAR(found[i], wanted[i], tolerance * most) << what << " " << i;
  }

  SafetensorsFile oracle_;
  TemporaryDirectory folder_;
};

TEST_P(FromPyTorch, GivesTheSameLogits) {
  Import import = import_safetensors(state_dict(), {});
  expect_near(outputs_of(import.model.network, oracle_.as<float>("images"), 3),
              oracle_.as<float>("eval.logits"), 1e-5f, "logits");
}

TEST_P(FromPyTorch, TrainsTheSame) {
  Import import = import_safetensors(state_dict(), {});
  Network& network = import.model.network;
  const auto coefficients = oracle_.as<float>("coefficients");
  PanelBuffer memory;
  const Panels<const float> y = network.forward({.training = true}, images(network, memory));
  std::vector<float> logits;
  const Panels<float> gradient = network.output_gradient();
  for (std::int32_t b = 0; b < 3; ++b)
    for (std::int32_t k = 0; k < y.features; ++k) {
      logits.push_back(y.at(b, k));
      gradient.at(b, k) = coefficients[static_cast<std::size_t>(b * y.features + k)];
    }
  network.backward();
  expect_near(logits, oracle_.as<float>("train.logits"), 1e-5f, "logits");
  for (const Parameter* parameter : network.parameters())
    expect_near(parameter->gradient, oracle_.as<float>("gradient." + parameter->name), 1e-4f,
                parameter->name);
  for (const NamedArray& array : network.architecture()->arrays())
    if (array.name.find("running") != std::string::npos)
      expect_near(*array.values, oracle_.as<float>("after." + array.name), 1e-5f, array.name);
}

TEST_P(FromPyTorch, FiveStepsOfAdamWLowerTheLossAlike) {
  Import import = import_safetensors(state_dict(), {});
  Network& network = import.model.network;
  const auto optimizer = find_name(optimizers(), "optimizer", "adamw").make({.weight_decay = 1.0});
  for (Parameter* parameter : network.parameters()) optimizer->prepare(*parameter);
  const auto wanted = oracle_.as<float>("adamw.losses");
  const std::vector<std::int32_t> classes{0, 1, 2};
  for (const float loss : wanted) {
    PanelBuffer memory;
    const Panels<const float> y = network.forward({.training = true}, images(network, memory));
    const LossResult found =
        find_name(losses(), "loss", "cross-entropy")
            .compute(y, {.classes = classes, .values = {}}, {}, network.output_gradient());
    EXPECT_NEAR(found.loss_sum / 3.0, loss, 1e-5 * loss);
    network.backward();
    for (Parameter* parameter : network.parameters()) optimizer->step(*parameter, 1e-3f);
  }
  EXPECT_LT(wanted.back(), wanted.front());
}

TEST_P(FromPyTorch, GoesBackWithEveryBitUnderTheSameNames) {
  Import import = import_safetensors(state_dict(), {});
  const std::string path = folder_ / "ours.safetensors";
  save_model(path, import.model);
  const SafetensorsFile ours = SafetensorsFile::read(path);
  std::size_t seen = 0;
  const SafetensorsFile back = SafetensorsFile::read(state_dict());
  for (const TensorView& theirs : back.tensors()) {
    if (theirs.name.ends_with("num_batches_tracked")) continue;
    const TensorView* const found = ours.find(theirs.name);
    ASSERT_NE(found, nullptr) << theirs.name;
    EXPECT_EQ(found->shape, theirs.shape) << theirs.name;
    EXPECT_TRUE(std::ranges::equal(found->bytes, oracle_.find(theirs.name)->bytes)) << theirs.name;
    ++seen;
  }
  EXPECT_EQ(seen, ours.tensors().size());
}

TEST_P(FromPyTorch, ThePrefixOfWrappersGoes) {
  const std::string path = state_dict([](std::vector<TensorView>& tensors) {
    for (TensorView& tensor : tensors) tensor.name = "module." + tensor.name;
  });
  EXPECT_NE(smlp_of(import_safetensors(path, {}).model.network), nullptr);
}

TEST_P(FromPyTorch, EveryFaultIsNamedAtOnce) {
  const std::vector<float> other(6, 0.0f);
  const std::string path = state_dict([&](std::vector<TensorView>& tensors) {
    std::erase_if(tensors, [](const TensorView& t) { return t.name == "batch_norm.bias"; });
    for (TensorView& tensor : tensors)
      if (tensor.name == "channel_mix.1.1.weight")
        tensor = {tensor.name, DType::F32, {2, 3}, std::as_bytes(std::span(other))};
    tensors.push_back({"more.weight", DType::F32, {6}, std::as_bytes(std::span(other))});
  });
  try {
    import_safetensors(path, {});
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kBadData);
    EXPECT_THAT(error.what(), AllOf(HasSubstr(path), HasSubstr("batch_norm.bias is missing"),
                                    HasSubstr("more.weight is unknown")));
  }
}

INSTANTIATE_TEST_SUITE_P(Tiny, FromPyTorch, ::testing::Values("square", "odd_side", "not_square"));

}  // namespace
}  // namespace tulle::testing
