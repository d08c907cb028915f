#include "tulle/checkpoint/import_smlp.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>

#include "tulle/base/error.h"
#include "tulle/vision/smlp_net.h"

namespace tulle {
namespace {

constexpr std::string_view kWrapper = "module.";
constexpr std::string_view kFirst = "to_patch_embedding.0.0.weight";

// Tensors by name, without the prefix of wrappers.
std::map<std::string, const TensorView*> by_name(const SafetensorsFile& file) {
  std::map<std::string, const TensorView*> all;
  for (const TensorView& tensor : file.tensors()) {
    const bool wrapped = tensor.name.starts_with(kWrapper);
    all[wrapped ? tensor.name.substr(kWrapper.size()) : tensor.name] = &tensor;
  }
  return all;
}

constexpr std::int64_t kMostSide = 1 << 24;  // more than check_shape() lets through

// The side'th size of a tensor; 0 if there is no such tensor or side, which check_shape() or the comparison
// of all shapes then refuses.
std::int64_t side(const std::map<std::string, const TensorView*>& tensors, const std::string& name,
                  std::size_t number) {
  const auto found = tensors.find(name);
  if (found == tensors.end() || found->second->shape.size() <= number) return 0;
  return std::min<std::int64_t>(found->second->shape[number], kMostSide);
}

SmlpShape shape_of(const std::map<std::string, const TensorView*>& tensors) {
  const std::string first(kFirst);
  const auto whole = [&](const std::string& name, std::size_t number) {
    return static_cast<int>(side(tensors, name, number));
  };
  SmlpShape shape{.channels = whole(first, 1),
                  .patch = whole(first, 2),
                  .embedding = whole(first, 0),
                  .depths = {},
                  .classes = whole("mlp_head.0.weight", 0)};
  const auto pixels = [&](const std::string& name) {
    return static_cast<int>(std::min<std::int64_t>(side(tensors, name, 0) * shape.patch, kMostSide));
  };
  shape.height = pixels("token_mix.0.1.proh_w.weight");
  shape.width = pixels("token_mix.0.1.proj_h.weight");
  const int hidden = whole("channel_mix.0.2.net.0.weight", 0);
  shape.expansion = shape.embedding > 0 ? hidden / shape.embedding : 0;
  int block = 0;
  for (std::size_t stage = 0; stage < 8; ++stage) {
    if (!tensors.contains(fmt::format("to_patch_embedding.{}.0.weight", stage))) break;
    shape.depths.push_back(0);
    while (side(tensors, fmt::format("channel_mix.{}.1.weight", block), 0) == shape.stage_channels(stage) &&
           shape.depths.back() < 1000)
      ++block, ++shape.depths.back();
  }
  return shape;
}

}  // namespace

bool is_smlp(const SafetensorsFile& file) {
  return file.find(kFirst) != nullptr || file.find(std::string(kWrapper) + std::string(kFirst)) != nullptr;
}

Import import_smlp(const SafetensorsFile& file) {
  const std::map<std::string, const TensorView*> tensors = by_name(file);
  const SmlpShape shape = shape_of(tensors);
  const auto refuse = [&](const std::string& text) {
    throw Error(ErrorKind::kBadData, {.file = file.name()}, text);
  };
  try {
    check_shape(shape);
  } catch (const Error& error) {
    refuse(error.what());
  }
  std::size_t bytes = 0;
  for (const TensorView& tensor : file.tensors()) bytes += tensor.bytes.size();
  if (parameters_of(shape).total() > static_cast<std::int64_t>(bytes))  // memory is taken for all of them
    refuse(fmt::format("tensors, found {} bytes, expected those of {} parameters", bytes,
                       parameters_of(shape).total()));

  Import import;
  import.model.network = make_smlp(shape, {}, {}, 1);
  Network& network = import.model.network;
  std::vector<NamedArray> arrays = network.architecture()->arrays();
  for (std::size_t l = 0; l < network.size(); ++l) {
    Layer& layer = network.layer(l);
    arrays.push_back({layer.weight().name, weight_shape(layer), &layer.weight().value});
    if (layer.options().has_bias)
      arrays.push_back({layer.bias().name, {layer.outputs()}, &layer.bias().value});
  }
  std::vector<std::string> faults;
  std::map<std::string, bool> known;
  for (const NamedArray& array : arrays) {
    known[array.name] = true;
    const auto found = tensors.find(array.name);
    if (found == tensors.end())
      faults.push_back(array.name + " is missing");
    else if (found->second->shape != array.shape)
      faults.push_back(fmt::format("{} has shape [{}], expected [{}]", array.name,
                                   fmt::join(found->second->shape, ", "), fmt::join(array.shape, ", ")));
  }
  for (const auto& [name, tensor] : tensors)
    if (!known.contains(name) && !name.ends_with(".num_batches_tracked"))
      faults.push_back(name + " is unknown");
  if (!faults.empty()) refuse(fmt::format("tensors of an sMLPNet: {}", fmt::join(faults, "; ")));
  for (const NamedArray& array : arrays) {
    const std::vector<float> values = floats_of(file, *tensors.at(array.name));
    std::ranges::copy(values, array.values->begin());
  }
  for (std::size_t l = 0; l < network.size(); ++l) {
    const auto& values = network.layer(l).weight().value;
    import.layers.push_back({network.layer(l).weight().name, std::ranges::count(values, 0.0f), false});
  }
  import.model.image = {.channels = shape.channels, .height = shape.height, .width = shape.width};
  return import;
}

}  // namespace tulle
