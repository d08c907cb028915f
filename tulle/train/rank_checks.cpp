#include "tulle/train/rank_checks.h"

#include <fmt/format.h>

#include "tulle/base/error.h"
#include "tulle/checkpoint/integrity.h"
#include "tulle/comm/agreement.h"
#include "tulle/kernels/targets.h"
#include "tulle/train/build.h"
#include "tulle/train/modes.h"
#include "tulle/version.h"
#include "tulle/vision/smlp_net.h"

namespace tulle {

void agree_to_start(Communicator& comm, const Run& run) {
  const auto hash = [](std::string_view text) { return content_hash(std::as_bytes(std::span(text))); };
  std::uint64_t network = 0;  // of parts nothing: they are not alike
  for (std::size_t l = 0; l < run.model.network.size() && run.model.network.spread() == nullptr; ++l) {
    const Layer& layer = run.model.network.layer(l);
    network = network * 31 + (layer.topology() != nullptr ? layer.topology()->hash() : 0);
    network = network * 31 + content_hash(std::as_bytes(std::span(layer.weight().value)));
  }
  const std::string version(kVersion), target = kernels::current_target(),
                                       place = fmt::format("{} {}", run.state.step, run.config.train.epochs);
  const Item items[] = {{"version of tulle", hash(version)},
                        {"instruction set", hash(target)},
                        {"config", hash(learning_config(run.config))},
                        {"parallel.shard_momentum", std::uint64_t{run.config.parallel.shard_momentum}},
                        {"training data", hash(run.state.data_identity)},
                        {"step to go on from, or train.epochs", hash(place)},
                        {"network", network}};
  agree(comm, items, ErrorKind::kConfig);
}

void check_last_batch(const Config& config, const Network& network, const Dataset& data, int ranks) {
  const SmlpNet* const net = smlp_of(network);
  if (net == nullptr || mode_of(config, ranks).own_batches) return;
  const std::int64_t size = config.train.batch_size, samples = data.train.inputs.samples;
  const std::int64_t rest = config.train.last_batch == "keep" ? samples % size : 0;
  if (const std::int64_t least = rest > 0 ? rest : size; least < ranks)
    throw Error(ErrorKind::kConfig,
                fmt::format("train.batch_size, found {}, expected one of which every batch has a sample for "
                            "each of {} ranks, but the smallest of {} samples has {}; or train.last_batch = "
                            "\"drop\"",
                            size, ranks, samples, least));
  const SmlpShape& shape = net->shape();
  if ((rest > 0 ? rest : size) == 1 && shape.stage_tokens(shape.stages() - 1) == 1)
    throw Error(
        ErrorKind::kConfig,
        fmt::format("train.batch_size, found {}, expected one that leaves no image alone, as each ends "
                    "as one token and batch norm needs two, but {}",
                    size,
                    rest > 0 ? fmt::format("the last batch has {} % {} = 1 of the images; or "
                                           "train.last_batch = \"drop\"",
                                           samples, size)
                             : "every batch has one"));
}

void check_shards(const Config& config, const Dataset& data, int ranks) {
  const std::int64_t size = config.train.batch_size, smallest = data.train.inputs.samples / ranks;
  if (!mode_of(config, ranks).own_batches || config.train.last_batch == "keep" || smallest >= size) return;
  throw Error(
      ErrorKind::kConfig,
      fmt::format("train.batch_size, found {}, expected at most {}, the samples of the smallest of {} "
                  "workers' shards, as train.last_batch is \"drop\"",
                  size, smallest, ranks));
}

void compare_networks(Communicator& comm, Network& network, std::int64_t step) {
  if (comm.size() == 1) return;
  std::vector<std::string> names;
  std::vector<std::uint64_t> hashes;
  for (std::size_t l = 0; l < network.size(); ++l)
    if (const Topology* const topology = network.layer(l).topology(); topology != nullptr) {
      names.push_back(fmt::format("topology of layer {} at step {}", l, step));
      hashes.push_back(topology->hash());
    }
  for (const Parameter* parameter : network.parameters()) {
    names.push_back(fmt::format("{} at step {}", parameter->name, step));
    hashes.push_back(content_hash(std::as_bytes(std::span(parameter->value))));
  }
  std::vector<Item> items;
  for (std::size_t i = 0; i < names.size(); ++i) items.emplace_back(names[i], hashes[i]);
  agree(comm, items, ErrorKind::kInternal);
}

}  // namespace tulle
