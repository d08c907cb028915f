#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "commands.h"
#include "exit_codes.h"
#include "tulle/checkpoint/model_file.h"
#include "tulle/checkpoint/safetensors.h"
#include "tulle/report/result.h"
#include "tulle/vision/smlp_net.h"

namespace tulle::cli {
namespace {

using Json = nlohmann::json;

struct Degrees {
  std::int64_t least = 0, most = 0, without = 0;
  double mean = 0.0;
};

Degrees degrees_of(const std::vector<std::int64_t>& degrees) {
  Degrees result;
  if (degrees.empty()) return result;
  const auto [low, high] = std::minmax_element(degrees.begin(), degrees.end());
  result = {*low, *high, std::count(degrees.begin(), degrees.end(), 0), 0.0};
  for (const std::int64_t degree : degrees)
    result.mean += static_cast<double>(degree) / static_cast<double>(degrees.size());
  return result;
}

struct Ends {
  std::vector<std::int64_t> in, out;  // connections of each target, of each source
};

Ends ends_of(const Layer& layer) {
  const Topology* topology = layer.topology();
  std::vector<std::int64_t> in(static_cast<std::size_t>(layer.outputs()), layer.inputs());
  std::vector<std::int64_t> out(static_cast<std::size_t>(layer.inputs()), layer.outputs());
  if (topology != nullptr) {
    std::fill(out.begin(), out.end(), 0);
    for (std::int32_t r = 0; r < topology->rows(); ++r)
      in[static_cast<std::size_t>(r)] = static_cast<std::int64_t>(topology->row(r).size());
    for (const std::int32_t column : topology->columns()) ++out[static_cast<std::size_t>(column)];
  }
  return {std::move(in), std::move(out)};
}

Json layer_row(const Layer& layer, std::size_t l, const Ends& ends) {
  const Topology* topology = layer.topology();
  const Degrees in_degree = degrees_of(ends.in), out_degree = degrees_of(ends.out);
  const std::int64_t cells = std::int64_t{layer.inputs()} * layer.outputs();
  const std::int64_t bytes = topology == nullptr ? 4 * cells
                                                 : (layer.weight().is_bf16() ? 6 : 8) * layer.connections() +
                                                       8 * (std::int64_t{layer.outputs()} + 1);
  return {{"layer", l},
          {"shape", {layer.outputs(), layer.inputs()}},
          {"stored", topology == nullptr ? "dense" : "sparse"},
          {"nnz", layer.connections()},
          {"density", static_cast<double>(layer.connections()) / static_cast<double>(cells)},
          {"activation", layer.options().activation},
          {"in_degree", {in_degree.least, in_degree.mean, in_degree.most}},
          {"out_degree", {out_degree.least, out_degree.mean, out_degree.most}},
          {"neurons_without_inputs", in_degree.without},
          {"sources_without_outputs", out_degree.without},
          {"bytes", bytes},
          {"bytes_dense", 4 * cells}};
}

Json counts_row(const SmlpCounts& counts) {
  return {{"total", counts.total()}, {"channel_mix", counts.channel_mix},
          {"fuse", counts.fuse},     {"patches_and_merges", counts.embedding},
          {"head", counts.head},     {"depthwise", counts.depthwise},
          {"norms", counts.norms},   {"row_and_column_mix", counts.row_and_column_mix}};
}

// Of a dense network of this shape.
Json image_net(const SmlpNet& net) {
  const SmlpShape& shape = net.shape();
  return {{"image", {shape.channels, shape.height, shape.width}},
          {"patch", shape.patch},
          {"width", shape.embedding},
          {"depths", shape.depths},
          {"expansion", shape.expansion},
          {"parameters", counts_row(parameters_of(shape))},
          {"multiplications", counts_row(multiplications_of(shape))}};
}

Json describe_model(const LoadedModel& loaded) {
  Json layers = Json::array();
  std::int64_t bytes = 0, dense = 0, dead = 0;
  bool bf16 = false;
  std::vector<std::int64_t> into;  // what leads into the sources of the layer
  for (std::size_t l = 0; l < loaded.model.network.size(); ++l) {
    Ends ends = ends_of(loaded.model.network.layer(l));
    layers.push_back(layer_row(loaded.model.network.layer(l), l, ends));
    bf16 = bf16 || loaded.model.network.layer(l).weight().is_bf16();
    bytes += layers.back()["bytes"].get<std::int64_t>();
    dense += layers.back()["bytes_dense"].get<std::int64_t>();
    // A hidden neuron is dead if nothing leads into it or nothing leads out of it.
    for (std::size_t j = 0; j < std::min(into.size(), ends.out.size()); ++j)
      dead += into[j] == 0 || ends.out[j] == 0;
    into = std::move(ends.in);
  }
  Json out{{"kind", loaded.state ? "checkpoint" : "model"},
           {"layers", layers},
           {"nnz", loaded.model.network.connections()},
           {"density", loaded.model.network.density()},
           {"bytes", bytes},
           {"bytes_dense", dense},
           {"dead_neurons", dead},
           {"loss", loaded.model.loss},
           {"scale", loaded.model.scaling.kind},
           {"classes", loaded.model.class_names},
           {"seed", loaded.model.seed},
           {"dtype", bf16 ? "bf16" : "f32"},
           {"checksums", loaded.checksummed ? "good" : "unchecked"}};
  if (const SmlpNet* const net = smlp_of(loaded.model.network); net != nullptr) {
    out["image_net"] = image_net(*net);
    out.erase("dead_neurons");  // what layers make is added to what went by them
  }
  if (loaded.state) {
    out["epoch"] = loaded.state->epoch;
    out["step"] = loaded.state->step;
  }
  return out;
}

void print_model(const Json& m) {
  fmt::print("{}   loss {}   scale {}   seed {}   checksums {}\n", m["kind"].get<std::string>(),
             m["loss"].get<std::string>(), m["scale"].get<std::string>(), m["seed"].get<std::uint64_t>(),
             m["checksums"].get<std::string>());
  if (m.contains("step"))
    fmt::print("stands after epoch {}, step {}\n", m["epoch"].get<std::int64_t>(),
               m["step"].get<std::int64_t>());
  fmt::print("\n{:<5} {:>13} {:>11} {:>9}  {:<6}  {:<10} {:>20} {:>20} {:>11} {:>11}\n", "layer", "shape",
             "nnz", "density", "stored", "activation", "in-degree", "out-degree", "bytes", "dense");
  const auto degree = [](const Json& d) {
    return fmt::format("{}..{:.1f}..{}", d[0].get<std::int64_t>(), d[1].get<double>(),
                       d[2].get<std::int64_t>());
  };
  for (const Json& row : m["layers"])
    fmt::print(
        "{:<5} {:>13} {:>11} {:>7.2f} %  {:<6}  {:<10} {:>20} {:>20} {:>11} {:>11}\n",
        row["layer"].get<int>(),
        fmt::format("{} x {}", row["shape"][0].get<std::int64_t>(), row["shape"][1].get<std::int64_t>()),
        row["nnz"].get<std::int64_t>(), 100.0 * row["density"].get<double>(),
        row["stored"].get<std::string>(), row["activation"].get<std::string>(), degree(row["in_degree"]),
        degree(row["out_degree"]), bytes_text(row["bytes"].get<std::int64_t>()),
        bytes_text(row["bytes_dense"].get<std::int64_t>()));
  fmt::print("\ntotal  nnz {} ({:.2f} %)   {} against {} dense   {}classes {}\n",
             m["nnz"].get<std::int64_t>(), 100.0 * m["density"].get<double>(),
             bytes_text(m["bytes"].get<std::int64_t>()), bytes_text(m["bytes_dense"].get<std::int64_t>()),
             m.contains("dead_neurons")
                 ? fmt::format("dead neurons {}   ", m["dead_neurons"].get<std::int64_t>())
                 : "",
             m["classes"].size());
  if (!m.contains("image_net")) return;
  const Json& net = m["image_net"];
  fmt::print("\nsMLPNet for {} images, patch {}, width {}, depths {}; dense it has:\n{:<20} {:>14} {:>16}\n",
             net["image"].dump(), net["patch"].get<int>(), net["width"].get<int>(), net["depths"].dump(), "",
             "parameters", "multiplications");
  for (const auto& [part, count] : net["parameters"].items())
    fmt::print("{:<20} {:>14} {:>16}\n", part, count.get<std::int64_t>(),
               net["multiplications"][part].get<std::int64_t>());
}

int inspect(const std::string& path, bool json) {
  const SafetensorsFile file = SafetensorsFile::read(path);
  const auto format = file.metadata().find("format");
  const bool own = format != file.metadata().end() && format->second == "tulle";
  Json out;
  if (own) {
    out = describe_model(load_model(path, Storage::kCompact, /*keep_bf16=*/true));
  } else {
    out = {{"kind", "safetensors"},
           {"checksums", file.has_checksums() ? "good" : "unchecked"},
           {"tensors", Json::array()}};
    for (const TensorView& tensor : file.tensors())
      out["tensors"].push_back({{"name", tensor.name},
                                {"dtype", dtype_name(tensor.dtype)},
                                {"shape", tensor.shape},
                                {"bytes", tensor.bytes.size()}});
  }
  out["file"] = path;
  if (json) {
    fmt::print("{}\n", out.dump(2, ' ', false, Json::error_handler_t::replace));
  } else if (own) {
    print_model(out);
  } else {
    fmt::print("safetensors   checksums {}\n", out["checksums"].get<std::string>());
    for (const Json& tensor : out["tensors"])
      fmt::print("{:<48} {:<5} {:<20} {}\n", escape_control(tensor["name"].get<std::string>()),
                 tensor["dtype"].get<std::string>(), tensor["shape"].dump(),
                 bytes_text(tensor["bytes"].get<std::int64_t>()));
  }
  return kOk;
}

}  // namespace

Command inspect_command(CLI::App& app) {
  auto path = std::make_shared<std::string>();
  auto json = std::make_shared<bool>(false);
  app.add_option("file", *path, "model, checkpoint or any safetensors file")->required();
  app.add_flag("--json", *json, "one JSON document");
  return [path, json] { return inspect(*path, *json); };
}

}  // namespace tulle::cli
