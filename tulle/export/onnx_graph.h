#pragma once

#include <concepts>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "tulle/base/wire_format.h"

namespace tulle {

using OnnxShape = std::vector<std::int64_t>;  // empty: one number

struct OnnxAttribute {
  std::string_view name;
  std::variant<std::int64_t, float, std::string_view, OnnxShape> value;
};

/// The graph of an ONNX model (onnx.ai/onnx/repo-docs/IR.html), written as it is made: nodes in an order in
/// which each finds its inputs, constants anywhere. Values are called by the names that these calls return.
/// Throws Error kCannotWrite as soon as the model would not fit into the 2 GiB of a protobuf message.
class OnnxGraph {
 public:
  /// `file` stands in messages.
  OnnxGraph(WireWriter& writer, const std::string& file);

  /// Throws unless `count` numbers of `bytes` each fit: to be asked before memory is taken for them.
  void need(std::int64_t count, std::size_t bytes) const;

  /// What the names of the nodes and constants to come begin with.
  void enter(std::string scope) { scope_ = std::move(scope) + "."; }

  /// The output of operator `op`.
  std::string node(std::string_view op, std::vector<std::string> inputs,
                   std::vector<OnnxAttribute> attributes = {});
  /// The same with an output called `name`, whatever the scope.
  void node_to(const std::string& name, std::string_view op, std::vector<std::string> inputs,
               std::vector<OnnxAttribute> attributes = {});

  /// T is float, std::int32_t or std::int64_t.
  template <class T>
  std::string constant(std::string_view name, const OnnxShape& shape, std::span<const T> values);
  /// One number.
  template <class T>
  requires std::integral<T> || std::floating_point<T> std::string constant(std::string_view name, T value) {
    return constant(name, {}, std::span<const T>(&value, 1));
  }
  /// Whole numbers, as operators take shapes and axes.
  std::string list(std::string_view name, const OnnxShape& values) {
    return constant<std::int64_t>(name, {static_cast<std::int64_t>(values.size())}, values);
  }
  /// A matrix of which `values` are stored, at row * columns + column each, ascending.
  std::string sparse_constant(std::string_view name, std::int64_t rows, std::int64_t columns,
                              std::span<const float> values, std::span<const std::int64_t> places);

  /// Declares a float matrix of any number of rows, one a sample.
  void input(std::string_view name, std::int64_t columns);
  void output(std::string_view name, std::int64_t columns);

 private:
  template <class T>
  void tensor(int field, const std::string& name, const OnnxShape& shape, std::span<const T> values);
  void value_info(int field, std::string_view name, std::int64_t columns);
  WireWriter& writer_;
  const std::string& file_;
  std::string scope_;
  int nodes_ = 0;
};

}  // namespace tulle
