#include <fmt/format.h>

#include <utility>

#include "tulle/base/name_table.h"
#include "tulle/checkpoint/atomic_file.h"
#include "tulle/export/c_check.h"
#include "tulle/export/c_header.h"
#include "tulle/export/c_net.h"
#include "tulle/export/formats.h"

namespace tulle {

ExportModel export_c_header;

namespace {

// 939008 as "939 008".
std::string in_groups(std::int64_t number) {
  std::string digits = std::to_string(number);
  for (auto at = static_cast<std::ptrdiff_t>(digits.size()) - 3; at > 0; at -= 3)
    digits.insert(static_cast<std::size_t>(at), 1, ' ');
  return digits;
}

void tell_sizes(const CNet& net, const CSelfCheck& check, std::vector<ExportFact>& facts) {
  const CForecast bytes = forecast(net, check);
  facts.push_back(
      {"flash", bytes.flash(),
       fmt::format("flash {} B (weights {} B, code about {} B)   RAM {} B static   stack about {} B",
                   in_groups(bytes.flash()), in_groups(bytes.constants), bytes.code, in_groups(bytes.ram),
                   bytes.stack)});
  facts.push_back({"constants", bytes.constants, ""});
  facts.push_back({"ram", bytes.ram, ""});
  facts.push_back({"stack", bytes.stack, ""});
  facts.push_back({"dense_flash", net.dense_bytes(),
                   fmt::format("dense float flash would be {} B + biases", in_groups(net.dense_bytes()))});
  facts.push_back(
      {"self_test_flash", bytes.self_test_flash,
       fmt::format(
           "self-test on {}, tolerance {:.2g}; where it is called: about {} B of flash, {} B of stack",
           check.from_data ? "the first sample" : "a fixed pattern", check.tolerance,
           in_groups(bytes.self_test_flash), in_groups(bytes.self_test_stack))});
  facts.push_back({"self_test_stack", bytes.self_test_stack, ""});
  facts.push_back({"self_test_tolerance", check.tolerance, ""});
}

void tell_comparison(const CComparison& with, std::vector<ExportFact>& facts) {
  facts.push_back({"max_difference", with.largest_difference,
                   fmt::format("|C - engine| max over {} rows {:.3g}   arg-max equal {}/{}", with.rows,
                               with.largest_difference, with.same_arg_max, with.rows)});
  facts.push_back({"rows", with.rows, ""});
  facts.push_back({"same_arg_max", with.same_arg_max, ""});
  if (with.labelled == 0) return;
  const auto samples = static_cast<double>(with.labelled);
  const double engine = static_cast<double>(with.correct_engine) / samples;
  const double c = static_cast<double>(with.correct_c) / samples;
  facts.push_back({"accuracy_change", c - engine,
                   fmt::format("accuracy {:.2f} % -> {:.2f} %: change {:+.2f} points over {} rows",
                               100.0 * engine, 100.0 * c, 100.0 * (c - engine), with.labelled)});
}

}  // namespace

Exported export_c_header(const std::string& path, Model& model, const ExportOptions& options) {
  const ExportOptions::CHeader& how = options.c_header;
  const CNetOptions net_options{
      .int8 = how.int8 || how.int8_activations,
      .int8_activations = how.int8_activations,
      .scale = find_name(c_scales(), "--scale", how.scale).choice,
      .gap = find_name(c_gaps(), "--gap", how.gap).choice,
  };
  CNet net(model.network, options.preprocess ? model.scaling : Scaling(), net_options);
  const bool scaled = !options.preprocess;
  if (how.int8_activations) {
    if (how.samples.inputs.samples == 0)
      throw Error(ErrorKind::kConfig,
                  "--int8-activations, found no samples, expected --data to measure activations on");
    net.take_bytes(calibrate(net, model, scaled, how.samples));
  }
  const CSelfCheck check = make_self_check(net, model, scaled, how.samples);
  const std::string text = c_header(
      net, check,
      {.name = how.name, .command = how.command, .model_hash = how.model_hash, .scales = options.preprocess});
  Exported done{.bytes = static_cast<std::int64_t>(text.size()), .facts = {}};
  tell_sizes(net, check, done.facts);
  if (how.samples.inputs.samples > 0)
    tell_comparison(compare_with_engine(net, model, scaled, how.samples), done.facts);
  if (!options.check_only) write_file_atomically(path, text);
  return done;
}

}  // namespace tulle
