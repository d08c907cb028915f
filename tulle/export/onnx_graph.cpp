#include "tulle/export/onnx_graph.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <type_traits>

#include "tulle/base/error.h"

namespace tulle {
namespace {

// Field numbers and codes of onnx.proto.
namespace graph {
constexpr int kNode = 1, kName = 2, kInitializer = 5, kInput = 11, kOutput = 12, kSparseInitializer = 15;
}
namespace node {
constexpr int kInput = 1, kOutput = 2, kName = 3, kOpType = 4, kAttribute = 5;
}
namespace attribute {
constexpr int kName = 1, kFloat = 2, kInt = 3, kString = 4, kInts = 8, kType = 20;
constexpr int kIsFloat = 1, kIsInt = 2, kIsString = 3, kAreInts = 7;
}  // namespace attribute
namespace tensor_field {
constexpr int kDims = 1, kDataType = 2, kName = 8, kRawData = 9;
}
namespace sparse_tensor {
constexpr int kValues = 1, kIndices = 2, kDims = 3;
}
namespace value {
constexpr int kName = 1, kType = 2, kTensorType = 1, kElementType = 1, kShape = 2, kDim = 1;
constexpr int kDimValue = 1, kDimParameter = 2;
}  // namespace value

constexpr int kFloat = 1, kInt32 = 6, kInt64 = 7;

template <class T>
constexpr int kDataTypeOf = std::is_same_v<T, float>          ? kFloat
                            : std::is_same_v<T, std::int32_t> ? kInt32
                                                              : kInt64;

// What a message may still be larger than the constants in it.
constexpr std::size_t kMargin = 1 << 20;
constexpr std::size_t kMostBytes = std::numeric_limits<std::int32_t>::max() - kMargin;

}  // namespace

OnnxGraph::OnnxGraph(WireWriter& writer, const std::string& file) : writer_(writer), file_(file) {
  writer_.text(graph::kName, "tulle");
}

void OnnxGraph::need(std::int64_t count, std::size_t bytes) const {
  const std::size_t left = kMostBytes - std::min(kMostBytes, writer_.size());
  if (static_cast<std::size_t>(count) <= left / bytes) return;
  throw Error(ErrorKind::kCannotWrite, {.file = file_},
              "ONNX model, found more than 2 GiB, expected what one protobuf message may hold");
}

std::string OnnxGraph::node(std::string_view op, std::vector<std::string> inputs,
                            std::vector<OnnxAttribute> attributes) {
  std::string output = fmt::format("{}{}_{}", scope_, op, nodes_);
  node_to(output, op, std::move(inputs), std::move(attributes));
  return output;
}

void OnnxGraph::node_to(const std::string& name, std::string_view op, std::vector<std::string> inputs,
                        std::vector<OnnxAttribute> attributes) {
  ++nodes_;
  writer_.message(graph::kNode, [&](WireWriter& message) {
    for (const std::string& input : inputs) message.text(node::kInput, input);
    message.text(node::kOutput, name);
    message.text(node::kName, name);
    message.text(node::kOpType, op);
    for (const OnnxAttribute& entry : attributes)
      message.message(node::kAttribute, [&](WireWriter& field) {
        field.text(attribute::kName, entry.name);
        if (const auto* const whole = std::get_if<std::int64_t>(&entry.value)) {
          field.number(attribute::kInt, *whole);
          field.number(attribute::kType, attribute::kIsInt);
        } else if (const auto* const real = std::get_if<float>(&entry.value)) {
          field.real(attribute::kFloat, *real);
          field.number(attribute::kType, attribute::kIsFloat);
        } else if (const auto* const list = std::get_if<OnnxShape>(&entry.value)) {
          for (const std::int64_t number : *list) field.number(attribute::kInts, number);
          field.number(attribute::kType, attribute::kAreInts);
        } else {
          field.text(attribute::kString, std::get<std::string_view>(entry.value));
          field.number(attribute::kType, attribute::kIsString);
        }
      });
  });
}

template <class T>
void OnnxGraph::tensor(int field, const std::string& name, const OnnxShape& shape,
                       std::span<const T> values) {
  need(static_cast<std::int64_t>(values.size()), sizeof(T));
  writer_.message(field, [&](WireWriter& message) {
    for (const std::int64_t side : shape) message.number(tensor_field::kDims, side);
    message.number(tensor_field::kDataType, kDataTypeOf<T>);
    message.text(tensor_field::kName, name);
    const std::span<std::byte> room = message.bytes(tensor_field::kRawData, values.size_bytes());
    if (!values.empty()) std::memcpy(room.data(), values.data(), room.size());
  });
}

template <class T>
std::string OnnxGraph::constant(std::string_view name, const OnnxShape& shape, std::span<const T> values) {
  std::string full = fmt::format("{}{}", scope_, name);
  tensor(graph::kInitializer, full, shape, values);
  return full;
}
template std::string OnnxGraph::constant(std::string_view, const OnnxShape&, std::span<const float>);
template std::string OnnxGraph::constant(std::string_view, const OnnxShape&, std::span<const std::int32_t>);
template std::string OnnxGraph::constant(std::string_view, const OnnxShape&, std::span<const std::int64_t>);

std::string OnnxGraph::sparse_constant(std::string_view name, std::int64_t rows, std::int64_t columns,
                                       std::span<const float> values, std::span<const std::int64_t> places) {
  std::string full = fmt::format("{}{}", scope_, name);
  const OnnxShape shape{static_cast<std::int64_t>(values.size())};
  writer_.message(graph::kSparseInitializer, [&](WireWriter& message) {
    tensor(sparse_tensor::kValues, full, shape, values);
    tensor(sparse_tensor::kIndices, full + ".places", shape, places);
    message.number(sparse_tensor::kDims, rows);
    message.number(sparse_tensor::kDims, columns);
  });
  return full;
}

void OnnxGraph::input(std::string_view name, std::int64_t columns) {
  value_info(graph::kInput, name, columns);
}

void OnnxGraph::output(std::string_view name, std::int64_t columns) {
  value_info(graph::kOutput, name, columns);
}

void OnnxGraph::value_info(int field, std::string_view name, std::int64_t columns) {
  writer_.message(field, [&](WireWriter& info) {
    info.text(value::kName, name);
    info.message(value::kType, [&](WireWriter& type) {
      type.message(value::kTensorType, [&](WireWriter& matrix) {
        matrix.number(value::kElementType, kFloat);
        matrix.message(value::kShape, [&](WireWriter& shape) {
          shape.message(value::kDim, [](WireWriter& rows) { rows.text(value::kDimParameter, "batch"); });
          shape.message(value::kDim, [&](WireWriter& side) { side.number(value::kDimValue, columns); });
        });
      });
    });
  });
}

}  // namespace tulle
