#pragma once

// For tests only: model files taken apart and put together again.

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "tulle/checkpoint/model_metadata.h"
#include "tulle/checkpoint/safetensors.h"

namespace tulle::testing {

/// A model file in pieces that may be changed.
struct FileParts {
  struct Part {
    DType dtype;
    std::vector<std::int64_t> shape;
    std::vector<std::byte> bytes;

    template <class T>
    T& at(std::size_t i) {
      return reinterpret_cast<T*>(bytes.data())[i];
    }
  };
  Metadata metadata;
  std::map<std::string, Part> tensors;

  explicit FileParts(const std::string& path) {
    const SafetensorsFile file = SafetensorsFile::read(path);
    metadata = file.metadata();
    for (const TensorView& t : file.tensors())
      tensors[t.name] = {t.dtype, t.shape, {t.bytes.begin(), t.bytes.end()}};
  }
  /// With valid checksums and hashes, whatever the content.
  void write(const std::string& path, bool new_hashes = true) {
    std::vector<TensorView> views;
    Json hashes = Json::object();
    for (const auto& [name, part] : tensors) {
      views.push_back({name, part.dtype, part.shape, part.bytes});
      hashes[name] = hash_of(part.bytes);
    }
    if (new_hashes && metadata.contains("xxh3")) metadata["xxh3"] = hashes.dump();
    write_safetensors(path, metadata, views);
  }
  /// Changes JSON inside the metadata.
  void edit(const std::string& key, const std::function<void(Json&)>& change) {
    Json json = Json::parse(metadata.at(key));
    change(json);
    metadata[key] = json.dump();
  }
};

}  // namespace tulle::testing
