// One libFuzzer program for everything that reads bytes it cannot trust. TULLE_FUZZ names the target; see
// targets() for the names. What loads must also be whole: sizes that fit, indices inside, a model that runs.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "tulle/base/error.h"
#include "tulle/base/parallel.h"
#include "tulle/checkpoint/model_file.h"
#include "tulle/data/gzip.h"
#include "tulle/data/readers.h"
#include "tulle/train/config.h"

namespace {

using Bytes = std::span<const std::byte>;
using Target = std::function<void(Bytes)>;

void expect(bool holds) {
  if (!holds) std::abort();
}

void check_rows(const std::vector<std::int64_t>& row_ptr, std::int64_t rows, std::size_t entries) {
  expect(row_ptr.size() == static_cast<std::size_t>(rows) + 1 && row_ptr.front() == 0);
  for (std::size_t r = 0; r + 1 < row_ptr.size(); ++r) expect(row_ptr[r] <= row_ptr[r + 1]);
  expect(row_ptr.back() == static_cast<std::int64_t>(entries));
}

void check_split(const tulle::RawSplit& split) {
  const tulle::Features& inputs = split.inputs;
  expect(inputs.samples >= 0 && inputs.features >= 0);
  if (inputs.is_sparse()) {
    check_rows(inputs.sparse.row_ptr, inputs.samples, inputs.sparse.columns.size());
    expect(inputs.sparse.values.size() == inputs.sparse.columns.size());
    for (std::size_t r = 0; r < static_cast<std::size_t>(inputs.samples); ++r)
      for (std::int64_t k = inputs.sparse.row_ptr[r]; k < inputs.sparse.row_ptr[r + 1]; ++k) {
        const std::int32_t column = inputs.sparse.columns[static_cast<std::size_t>(k)];
        expect(column >= 0 && column < inputs.features);
        expect(k == inputs.sparse.row_ptr[r] ||
               inputs.sparse.columns[static_cast<std::size_t>(k) - 1] < column);
      }
  } else {
    const auto values = static_cast<std::size_t>(inputs.samples) * static_cast<std::size_t>(inputs.features);
    expect(std::max(inputs.bytes.size(), inputs.floats.size()) == values || inputs.features == 0);
  }
  const tulle::LabelSets& sets = split.labels.sets;
  if (!sets.empty())
    check_rows(sets.row_ptr, static_cast<std::int64_t>(split.labels.size()), sets.labels.size());
  for (const std::int32_t label : sets.labels) expect(label >= 0 && label < sets.count);
}

void load_model(Bytes bytes) {
  tulle::LoadedModel loaded = tulle::parse_model({bytes.begin(), bytes.end()}, "fuzz");
  tulle::Network& network = loaded.model.network;
  if (network.cells() > 1 << 20) return;
  tulle::PanelBuffer memory;
  network.forward({}, memory.view(network.inputs(), 1, network.panel_width(1)));
}

std::map<std::string, Target> targets() {
  std::map<std::string, Target> all;
  for (const tulle::ReaderInfo& reader : tulle::readers())
    if (reader.read != nullptr)
      all[std::string(reader.name)] = [&reader](Bytes bytes) {
        for (const bool lenient : {false, true}) {
          tulle::ReadOptions options;
          options.allow_nonfinite = lenient;
          options.duplicates = lenient ? "sum" : "error";
          options.max_rows = lenient ? 3 : 0;
          try {
            check_split(reader.read(bytes, "fuzz", options));
          } catch (const tulle::Error&) {
          }
        }
        if (reader.fits != nullptr) reader.fits(bytes);
      };
  all["gzip"] = [](Bytes bytes) { tulle::unpack({bytes.begin(), bytes.end()}, "fuzz", 1 << 20); };
  all["model"] = load_model;
  all["config"] = [](Bytes bytes) {
    tulle::Config config;
    tulle::read_config_text(config, {reinterpret_cast<const char*>(bytes.data()), bytes.size()}, "fuzz", "");
    tulle::finish_config(config);
  };
  return all;
}

const Target& target() {
  static const Target chosen = [] {
    tulle::set_thread_count(1);
    const char* const name = std::getenv("TULLE_FUZZ");
    const auto all = targets();
    const auto found = all.find(name == nullptr ? "" : name);
    if (found == all.end()) {
      for (const auto& entry : all) std::fprintf(stderr, "TULLE_FUZZ may be %s\n", entry.first.c_str());
      std::abort();
    }
    return found->second;
  }();
  return chosen;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    target()(Bytes(reinterpret_cast<const std::byte*>(data), size));
  } catch (const tulle::Error&) {
  }
  return 0;
}
