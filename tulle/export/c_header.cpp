#include "tulle/export/c_header.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <iterator>
#include <set>
#include <span>

#include "tulle/base/error.h"
#include "tulle/version.h"

namespace tulle {
namespace {

std::string c_float(double value) {
  std::string text = fmt::format("{}", static_cast<float>(value));
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text + "f";
}

// Text from outside cannot end the comment that it is put into.
std::string in_comment(std::string_view text) {
  std::string safe = escape_control(text);
  for (std::size_t i = 0; i + 1 < safe.size(); ++i)
    if ((safe[i] == '*' && safe[i + 1] == '/') || (safe[i] == '/' && safe[i + 1] == '*'))
      safe.insert(i + 1, " ");
  return safe;
}

std::string in_capitals(std::string_view name) {
  std::string capitals(name);
  std::ranges::transform(capitals, capitals.begin(), [](unsigned char c) { return std::toupper(c); });
  return capitals;
}

bool transforms(const CNet& net) { return !net.input.mean.empty() || !net.input.code.empty(); }

// The function that computes layer l, without its prefix; layers of the same types share one.
std::string product_of(const CNet& net, std::size_t l) {
  const CLayer& layer = net.layers[l];
  const std::string form =
      layer.dense() ? "dense" : fmt::format("sparse{}_{}", 8 * layer.row_ptr_bytes, 8 * layer.gap_bytes);
  return form + (l == 0 && (transforms(net) || net.takes_bytes()) ? "_input" : "");
}

class HeaderWriter {
 public:
  HeaderWriter(const CNet& net, const CSelfCheck& check, const CHeaderText& text)
      : net_(net), check_(check), text_(text), n_(text.name), capitals_(in_capitals(text.name)) {}

  std::string write() {
    heading();
    declarations();
    put("\n#if defined({0}_IMPLEMENTATION) && !defined({0}_IMPLEMENTED)\n#define {0}_IMPLEMENTED\n\n",
        capitals_);
    put("#include <stdint.h>\n");
    arrays();
    products();
    predictions();
    self_test();
    put("\n#endif /* {}_IMPLEMENTATION */\n", capitals_);
    return std::move(out_);
  }

 private:
  template <class... Args>
  void put(fmt::format_string<Args...> format, Args&&... args) {
    fmt::format_to(std::back_inserter(out_), format, std::forward<Args>(args)...);
  }

  std::string sizes() const {
    std::string sizes = std::to_string(net_.inputs());
    for (const CLayer& layer : net_.layers) sizes += fmt::format("-{}", layer.outputs);
    return sizes;
  }

  void heading() {
    const CForecast bytes = forecast(net_, check_);
    put("/* {}.h: a sparse network {} in C99, made by tulle {}.\n *\n", n_, sizes(), kVersion);
    put(" * command  {}\n * model    XXH3-128 {}\n", in_comment(text_.command), in_comment(text_.model_hash));
    for (std::size_t l = 0; l < net_.layers.size(); ++l) {
      const CLayer& layer = net_.layers[l];
      put(" * layer {}  {} x {}   nnz {}   {}", l, layer.outputs, layer.inputs, layer.connections,
          layer.dense() ? "dense" : fmt::format("sparse, gaps of {} bits", 8 * layer.gap_bytes));
      const auto fillers = static_cast<std::int64_t>(layer.weight.size()) - layer.connections;
      put("{}\n", fillers > 0 ? fmt::format(", and {} that fill gaps", fillers) : "");
    }
    put(" * weights  {}\n",
        net_.options.int8
            ? fmt::format("int8, a scale per {}", net_.options.scale == CScale::kRow ? "row" : "layer")
            : "float");
    if (net_.takes_bytes())
      put(" * layers   read bytes, of ranges as in the data named above, and add up whole numbers\n");
    put(" * flash    {} B of constants, code about {} B; the self-test about {} B more\n", bytes.constants,
        bytes.code, bytes.self_test_flash);
    put(" * RAM      {} B static; stack about {} B, of the self-test {} B\n *\n", bytes.ram, bytes.stack,
        bytes.self_test_stack);
    put(" * Inputs are {} Outputs are those before\n"
        " * softmax or sigmoid. Define {}_IMPLEMENTATION before the #include in one source file; the others\n"
        " * include it alone. With {}_NO_SELFTEST the self-test is left out.\n *\n",
        text_.scales ? "raw features, as in the training data: scaling is included."
                     : "features that were scaled as those of the training.",
        capitals_, capitals_);
    put(" * This file was generated; tulle claims no rights in it. Weights are whose they were. */\n");
  }

  void declarations() {
    const CForecast bytes = forecast(net_, check_);
    put("#ifndef {0}_H\n#define {0}_H\n\n", capitals_);
    put("#define {}_INPUTS {}\n", capitals_, net_.inputs());
    put("#define {}_OUTPUTS {}\n", capitals_, net_.outputs());
    put("#define {}_SCRATCH {} /* floats */\n", capitals_, scratch());
    put("#define {}_FLASH_BYTES {} /* forecast, without self-test */\n", capitals_, bytes.flash());
    put("#define {}_RAM_BYTES {}\n", capitals_, bytes.ram);
    put("#define {}_SHA \"{}\" /* XXH3-128 of the model file */\n\n", capitals_,
        in_comment(text_.model_hash));
    put("#ifdef __cplusplus\nextern \"C\" {{\n#endif\n\n");
    put("/* y[{0}_OUTPUTS] from x[{0}_INPUTS]. Returns the index of the largest output, the first of equals; "
        "-1\n"
        "   if none is a number. Uses a static buffer: one caller at a time. */\n",
        capitals_);
    put("int {}_predict(const float *x, float *y);\n\n", n_);
    put("/* The same for any number of callers; each has scratch[{}_SCRATCH] of its own. */\n", capitals_);
    put("int {}_predict_r(const float *x, float *y, float *scratch);\n\n", n_);
    put("#ifndef {}_NO_SELFTEST\n", capitals_);
    put("/* Runs a stored input. Returns 0 if every output is as it must be, up to {:.2g}, else 1 + the "
        "first\n"
        "   one that is not. */\n",
        check_.tolerance);
    put("int {}_selftest(void);\n#endif\n\n", n_);
    put("#ifdef __cplusplus\n}}\n#endif\n\n#endif /* {}_H */\n", capitals_);
  }

  // C has no empty arrays.
  std::int64_t scratch() const { return std::max<std::int64_t>(net_.scratch(), 1); }

  template <class Values, class Text>
  void array(const char* type, const std::string& name, const Values& values, const Text& text) {
    put("static const {} {}_{}[] = {{", type, n_, name);
    constexpr std::size_t kLine = 108;
    std::size_t length = kLine;
    for (const auto value : values) {
      const std::string word = text(value);
      if (length + word.size() + 2 > kLine) {
        put("\n  ");
        length = 0;
      }
      put("{},", word);
      length += word.size() + 1;
    }
    put("{}}};\n", std::empty(values) ? "0" : "\n");
  }
  void floats(const std::string& name, std::span<const float> values) {
    array("float", name, values, c_float);
  }
  template <class Values>
  void whole_numbers(const char* type, const std::string& name, const Values& values) {
    array(type, name, values, [](auto value) { return std::to_string(static_cast<std::int64_t>(value)); });
  }

  void arrays() {
    if (!net_.input.mean.empty()) floats("mean", net_.input.mean);
    if (!net_.input.code.empty()) {
      whole_numbers("uint8_t", "code", net_.input.code);
      floats("power", net_.input.power);
    }
    for (std::size_t l = 0; l < net_.layers.size(); ++l) {
      const CLayer& layer = net_.layers[l];
      put("\n");
      if (!layer.dense()) {
        whole_numbers(row_ptr_type(layer), fmt::format("rowptr{}", l), layer.row_ptr);
        whole_numbers(gap_type(layer), fmt::format("gap{}", l), layer.gap);
      }
      if (net_.options.int8)
        whole_numbers("int8_t", fmt::format("val{}", l), layer.weight);
      else
        floats(fmt::format("val{}", l), layer.weight);
      if (net_.options.int8) floats(fmt::format("scale{}", l), layer.scale);
      floats(fmt::format("bias{}", l), layer.bias);
    }
  }

  static const char* row_ptr_type(const CLayer& layer) {
    return layer.row_ptr_bytes == 2 ? "uint16_t" : "uint32_t";
  }
  static const char* gap_type(const CLayer& layer) { return layer.gap_bytes == 1 ? "uint8_t" : "uint16_t"; }
  const char* value_type() const { return net_.options.int8 ? "int8_t" : "float"; }

  std::string product_name(std::size_t l) const { return fmt::format("{}_{}", n_, product_of(net_, l)); }

  // Input c of layer l as its product reads it.
  std::string input_text(std::size_t l) const {
    if (l > 0) return "x[c]";
    std::string x = net_.input.mean.empty() ? "x[c]" : fmt::format("(x[c] - {}_mean[c])", n_);
    if (!net_.input.code.empty()) x = fmt::format("({} * {}_power[{}_code[c]])", x, n_, n_);
    if (!net_.takes_bytes()) return x;
    return fmt::format("{}_byte({}, {})", n_, x, byte_text(0));
  }

  // What the inputs of layer l become bytes by.
  std::string byte_text(std::size_t l) const {
    const CBytes& bytes = *net_.layers[l].bytes;
    return fmt::format("{}, {}", c_float(bytes.per_step), c_float(bytes.offset));
  }

  void products() {
    if (net_.takes_bytes())
      put("\nstatic uint8_t {}_byte(float x, float per_step, float offset) {{\n"
          "  x = x * per_step + offset;\n"
          "  return x >= 255.0f ? 255 : x > 0.0f ? (uint8_t)x : 0;\n}}\n",
          n_);
    std::set<std::string> done;
    for (std::size_t l = 0; l < net_.layers.size(); ++l)
      if (done.insert(product_name(l)).second) product(l);
  }

  void product(std::size_t l) {
    const CLayer& layer = net_.layers[l];
    const bool bytes = net_.takes_bytes(), int8 = net_.options.int8;
    put("\nstatic void {}(uint32_t rows, {}const {} *val,\n    {}const float *bias, float slope, ",
        product_name(l),
        layer.dense()
            ? "uint32_t columns, "
            : fmt::format("const {} *rowptr, const {} *gap, ", row_ptr_type(layer), gap_type(layer)),
        value_type(), int8 ? "const float *scale, " : "");
    put("const {} *x, {}) {{\n", bytes && l > 0 ? "uint8_t" : "float",
        bytes ? "void *y, float per_step, float offset" : "float *y");
    put("  uint32_t r, c, e = 0;\n  for (r = 0; r < rows; ++r) {{\n");
    put("    {}\n", bytes ? "int32_t sum = 0;\n    float z;" : "float sum = 0.0f;");
    const std::string sum =
        fmt::format("sum += {}val[e] * {};", bytes || !int8 ? "" : "(float)", input_text(l));
    if (layer.dense())
      put("    for (c = 0; c < columns; ++c, ++e) {}\n", sum);
    else
      put("    c = 0;\n    for (; e < rowptr[r + 1]; ++e) {{\n      c += gap[e];\n      {}\n    }}\n", sum);
    const char* const row = net_.options.scale == CScale::kRow ? "r" : "0";
    if (bytes) {
      put("    z = (float)sum * scale[{}] + bias[r];\n    if (z < 0.0f) z *= slope;\n", row);
      put("    if (per_step > 0.0f) ((uint8_t *)y)[r] = {}_byte(z, per_step, offset);\n", n_);
      put("    else ((float *)y)[r] = z;\n  }}\n}}\n");
      return;
    }
    if (int8)
      put("    sum = sum * scale[{}] + bias[r];\n", row);
    else
      put("    sum += bias[r];\n");
    put("    y[r] = sum < 0.0f ? sum * slope : sum;\n  }}\n}}\n");
  }

  // Where the outputs of layer l lie.
  std::string place(std::size_t l) const {
    if (l + 1 == net_.layers.size()) return "y";
    const std::string first = net_.takes_bytes() ? "(uint8_t *)scratch" : "scratch";
    return l % 2 == 0 ? first : fmt::format("{} + {}", first, net_.odd_scratch_begin());
  }

  // What the outputs of layer l become bytes by; those of the last stay floats.
  std::string output_bytes(std::size_t l) const {
    if (!net_.takes_bytes()) return "";
    return ", " + (l + 1 == net_.layers.size() ? "0.0f, 0.0f" : byte_text(l + 1));
  }

  void predictions() {
    put("\nint {}_predict_r(const float *x, float *y, float *scratch) {{\n  int i, best = -1;\n", n_);
    if (net_.layers.size() == 1) put("  (void)scratch;\n");
    for (std::size_t l = 0; l < net_.layers.size(); ++l) {
      const CLayer& layer = net_.layers[l];
      const std::string indices =
          layer.dense() ? fmt::format("{}", layer.inputs) : fmt::format("{0}_rowptr{1}, {0}_gap{1}", n_, l);
      put("  {0}({1}, {2}, {3}_val{4}, {5}{3}_bias{4}, {6},\n      {7}, {8}{9});\n", product_name(l),
          layer.outputs, indices, n_, l, net_.options.int8 ? fmt::format("{}_scale{}, ", n_, l) : "",
          c_float(layer.slope), l == 0 ? "x" : place(l - 1), place(l), output_bytes(l));
    }
    put("  for (i = 0; i < {}_OUTPUTS; ++i)\n    if (best < 0 ? y[i] == y[i] : y[i] > y[best]) best = i;\n",
        capitals_);
    put("  return best;\n}}\n");
    put("\nint {0}_predict(const float *x, float *y) {{\n  static float scratch[{1}_SCRATCH];\n"
        "  return {0}_predict_r(x, y, scratch);\n}}\n",
        n_, capitals_);
  }

  void self_test() {
    put("\n#ifndef {}_NO_SELFTEST\n", capitals_);
    const bool bytes = check_.fits_bytes();
    if (bytes)
      whole_numbers("uint8_t", "check_input", check_.input);
    else
      floats("check_input", check_.input);
    array("float", "check_output", check_.output, c_float);
    put("\nint {}_selftest(void) {{\n  float y[{}_OUTPUTS];\n  int i;\n", n_, capitals_);
    if (bytes)
      put("  float x[{1}_INPUTS];\n  for (i = 0; i < {1}_INPUTS; ++i) x[i] = {0}_check_input[i];\n", n_,
          capitals_);
    put("  {}_predict({}, y);\n", n_, bytes ? "x" : n_ + "_check_input");
    put("  for (i = 0; i < {1}_OUTPUTS; ++i) {{\n    const float difference = y[i] - {0}_check_output[i];\n",
        n_, capitals_);
    put("    if (!(difference <= {0} && difference >= -{0})) return 1 + i;\n  }}\n",
        c_float(check_.tolerance));
    put("  return 0;\n}}\n#endif\n");
  }

  const CNet& net_;
  const CSelfCheck& check_;
  const CHeaderText& text_;
  const std::string n_, capitals_;
  std::string out_;
};

}  // namespace

CForecast forecast(const CNet& net, const CSelfCheck& check) {
  const std::int64_t inputs = net.inputs(), outputs = net.outputs();
  const bool bytes = check.fits_bytes();
  CForecast forecast{.constants = net.constant_bytes(), .ram = 4 * std::max<std::int64_t>(net.scratch(), 1)};
  std::set<std::string> products;
  for (std::size_t l = 0; l < net.layers.size(); ++l) products.insert(product_of(net, l));
  const auto layers = static_cast<std::int64_t>(net.layers.size()),
             functions = static_cast<std::int64_t>(products.size());
  forecast.code = (net.takes_bytes() ? 110 + 180 * layers : 60 + 60 * layers + 100 * functions) +
                  (transforms(net) ? 50 : 0);
  forecast.stack = 100;
  forecast.self_test_flash = (bytes ? inputs : 4 * inputs) + 4 * outputs + 100;
  forecast.self_test_stack = (bytes ? 4 * inputs : 0) + 4 * outputs + forecast.stack;
  return forecast;
}

void check_c_name(std::string_view name) {
  const auto is_letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
  const auto is_part = [&](char c) { return is_letter(c) || (c >= '0' && c <= '9') || c == '_'; };
  if (name.empty() || name.size() > 40 || !is_letter(name.front()) || !std::ranges::all_of(name, is_part))
    throw Error(
        ErrorKind::kConfig,
        fmt::format("--name, found '{}', expected a letter, then letters, digits and _, at most 40", name));
}

std::string c_header(const CNet& net, const CSelfCheck& check, const CHeaderText& text) {
  check_c_name(text.name);
  return HeaderWriter(net, check, text).write();
}

}  // namespace tulle
