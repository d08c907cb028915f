#include "tulle/export/onnx_smlp.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <vector>

#include "tulle/export/onnx_forms.h"
#include "tulle/vision/smlp_net.h"

namespace tulle {
namespace {

// Two orders of the same values: planes [image, channel, row, column], as convolutions and norms read them,
// and tokens [image * row * column, channel], as layers do.
class SmlpWriter {
 public:
  SmlpWriter(OnnxGraph& graph, Network& network, std::string_view form)
      : graph_(graph), network_(network), net_(*smlp_of(network)), form_(form) {
    for (NamedArray& array : net_.arrays()) arrays_.emplace(array.name, std::move(array));
  }

  std::string write(const std::string& x) {
    const SmlpShape& shape = net_.shape();
    std::string planes = pad(x);
    std::size_t block = 0;
    for (std::size_t stage = 0; stage < shape.stages(); ++stage) {
      planes = embed(stage, planes);
      for (int b = 0; b < shape.depths[stage]; ++b, ++block) planes = write_block(stage, block, planes);
    }
    return classify(planes);
  }

 private:
  void enter(std::string part) {
    graph_.enter(part);
    part_ = std::move(part) + ".";
  }

  /// The array of the part at work that files call `name`.
  const NamedArray& find(const std::string& name) const { return arrays_.at(part_ + name); }
  std::string array(const std::string& name, const OnnxShape& shape) {
    return graph_.constant<float>(name, shape, *find(name).values);
  }
  std::string array(const std::string& name) { return array(name, find(name).shape); }

  // Flat images as planes of the network's size. The pixels around them have a value for each channel, which
  // operator Pad does not know: it leaves 0 there, to which they are added.
  std::string pad(const std::string& x) {
    const SmlpShape& shape = net_.shape();
    const SmlpInput& input = net_.input();
    enter("images");
    std::string planes =
        graph_.node("Reshape", {x, graph_.list("shape", {-1, shape.channels, input.height, input.width})});
    const std::int64_t down = shape.height - input.height, across = shape.width - input.width;
    if (down == 0 && across == 0) return planes;
    const std::int64_t top = down / 2, left = across / 2;
    planes = graph_.node("Pad",
                         {planes, graph_.list("sides", {0, 0, top, left, 0, 0, down - top, across - left})});
    std::vector<float> around;
    for (const float padding : input.padding)
      for (std::int64_t row = 0; row < shape.height; ++row)
        for (std::int64_t column = 0; column < shape.width; ++column) {
          const bool inside =
              row >= top && row < top + input.height && column >= left && column < left + input.width;
          around.push_back(inside ? 0.0f : padding);
        }
    return graph_.node("Add", {planes, graph_.constant<float>(
                                           "around", {shape.channels, shape.height, shape.width}, around)});
  }

  // Patches that do not overlap, or the merge of 2 x 2 tokens. What an odd side has too much, Conv leaves
  // out.
  std::string embed(std::size_t stage, const std::string& planes) {
    enter(fmt::format("to_patch_embedding.{}.0", stage));
    const std::int64_t side = find("weight").shape.back();
    return graph_.node("Conv", {planes, array("weight")}, {{"strides", OnnxShape{side, side}}});
  }

  // By the running statistics.
  std::string batch_norm(const std::string& part, const std::string& planes) {
    enter(part);
    return graph_.node("BatchNormalization",
                       {planes, array("weight"), array("bias"), array("running_mean"), array("running_var")});
  }

  std::string active_norm(const std::string& part, const std::string& planes) {
    const std::string normed = batch_norm(part, planes);
    return write_onnx_gelu(graph_, normed);
  }

  // Every row (last axis) by W, or every column by H.
  std::string mix_rows(const std::string& u, std::int64_t width) {
    const AlignedVector<float>& weight = *find("proj_h.weight").values;
    std::vector<float> transposed;  // what stands to the right of a product
    for (std::int64_t in = 0; in < width; ++in)
      for (std::int64_t out = 0; out < width; ++out)
        transposed.push_back(weight[static_cast<std::size_t>(out * width + in)]);
    const std::string sums =
        graph_.node("MatMul", {u, graph_.constant<float>("proj_h.weight", {width, width}, transposed)});
    return graph_.node("Add", {sums, array("proj_h.bias")});
  }
  std::string mix_columns(const std::string& u, std::int64_t height) {
    const std::string sums = graph_.node("MatMul", {array("proh_w.weight", {height, height}), u});
    return graph_.node("Add", {sums, array("proh_w.bias", {height, 1})});
  }

  std::string tokens_of(const std::string& planes, std::int64_t channels) {
    const std::string turned = graph_.node("Transpose", {planes}, {{"perm", OnnxShape{0, 2, 3, 1}}});
    return graph_.node("Reshape", {turned, graph_.list("tokens", {-1, channels})});
  }
  std::string planes_of(const std::string& tokens, std::size_t stage) {
    const SmlpShape& shape = net_.shape();
    const OnnxShape sides{-1, shape.stage_height(stage), shape.stage_width(stage),
                          shape.stage_channels(stage)};
    const std::string turned = graph_.node("Reshape", {tokens, graph_.list("planes", sides)});
    return graph_.node("Transpose", {turned}, {{"perm", OnnxShape{0, 3, 1, 2}}});
  }

  // Layer `number` of the network on tokens.
  std::string sums(std::size_t number, const std::string& tokens) {
    const Layer& layer = network_.layer(number);
    enter(layer.options().name);
    return write_onnx_sums(graph_, layer, form_, tokens);
  }

  std::string write_block(std::size_t stage, std::size_t block, const std::string& planes) {
    const SmlpShape& shape = net_.shape();
    const std::int64_t channels = shape.stage_channels(stage);
    const std::string token_mix = fmt::format("token_mix.{}", block),
                      channel_mix = fmt::format("channel_mix.{}", block);
    const std::string a = active_norm(token_mix + ".0.conv_merge.BN", planes);
    enter(token_mix + ".0.conv_merge.Conv");
    const std::string d =
        graph_.node("Conv", {a, array("weight")}, {{"group", channels}, {"pads", OnnxShape{1, 1, 1, 1}}});
    const std::string u = active_norm(token_mix + ".1.BN", d);
    enter(token_mix + ".1");
    const std::string mixed = graph_.node(
        "Concat", {u, mix_rows(u, shape.stage_width(stage)), mix_columns(u, shape.stage_height(stage))},
        {{"axis", std::int64_t{1}}});
    const std::string fused = sums(3 * block, tokens_of(mixed, 3 * channels));
    const std::string y = graph_.node("Add", {tokens_of(planes, channels), fused});

    enter(channel_mix + ".1");
    const std::string normed = graph_.node("LayerNormalization", {y, array("weight"), array("bias")});
    const std::string z = sums(3 * block + 1, normed);
    const std::string branch = sums(3 * block + 2, write_onnx_gelu(graph_, z));
    return planes_of(graph_.node("Add", {y, branch}), stage);
  }

  std::string classify(const std::string& planes) {
    const std::string normed = batch_norm("batch_norm", planes);
    const std::string pooled =
        graph_.node("ReduceMean", {normed, graph_.list("axes", {2, 3})}, {{"keepdims", std::int64_t{0}}});
    enter("mlp_head.0");
    return graph_.node("Gemm", {pooled, array("weight"), array("bias")}, {{"transB", std::int64_t{1}}});
  }

  OnnxGraph& graph_;
  Network& network_;
  SmlpNet& net_;
  std::string_view form_;
  std::map<std::string, NamedArray> arrays_;
  std::string part_;
};

}  // namespace

std::string write_onnx_smlp(OnnxGraph& graph, Network& network, std::string_view form, const std::string& x) {
  return SmlpWriter(graph, network, form).write(x);
}

}  // namespace tulle
