#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "tulle/base/aligned.h"
#include "tulle/base/file_ops.h"
#include "tulle/checkpoint/safetensors_header.h"

namespace tulle {

/// A named array somebody else owns.
struct TensorView {
  std::string name;
  DType dtype = DType::U8;
  std::vector<std::int64_t> shape;  // row-major; empty: one element
  std::span<const std::byte> bytes;
};

/// Whether elements of `dtype` are kept in memory as T. F16 and BF16 are std::uint16_t bits, BOOL
/// std::uint8_t.
template <class T>
bool is_stored_as(DType dtype) {
  switch (dtype) {
    case DType::U8:
    case DType::BOOL:
      return std::is_same_v<T, std::uint8_t>;
    case DType::I8:
      return std::is_same_v<T, std::int8_t>;
    case DType::U16:
    case DType::F16:
    case DType::BF16:
      return std::is_same_v<T, std::uint16_t>;
    case DType::I16:
      return std::is_same_v<T, std::int16_t>;
    case DType::U32:
      return std::is_same_v<T, std::uint32_t>;
    case DType::I32:
      return std::is_same_v<T, std::int32_t>;
    case DType::U64:
      return std::is_same_v<T, std::uint64_t>;
    case DType::I64:
      return std::is_same_v<T, std::int64_t>;
    case DType::F32:
      return std::is_same_v<T, float>;
    case DType::F64:
      return std::is_same_v<T, double>;
  }
  return false;
}

// The checksums, the last two tensors of a file of ours: a CRC-32C of every MiB before them, and the XXH3-128
// digest of everything before it (integrity.h).
constexpr std::string_view kCrcTensor = "tulle.crc32c";
constexpr std::string_view kDigestTensor = "tulle.digest";

/// Saves tensors and metadata as a safetensors file with checksums, by write_file_atomically(). The tensors
/// are sorted by element size, largest first, then by name, and the data starts at a multiple of 64: each
/// tensor is aligned to its element. The same content gives the same bytes. The tensors are not copied.
///
/// Throws  std::invalid_argument for what a reader would refuse: names twice or reserved, text that is not
/// UTF-8, a
///         shape that is not that of the bytes, more than the limits of safetensors_header.h.
///         Error as write_file_atomically().
void write_safetensors(const std::string& path, const Metadata& metadata, std::vector<TensorView> tensors,
                       FileOps& files = real_file_ops());
/// The same in memory.
std::vector<std::byte> safetensors_bytes(const Metadata& metadata, std::vector<TensorView> tensors);

/// A safetensors file in memory, all of it checked: layout and, where it has them, checksums.
class SafetensorsFile {
 public:
  /// Throws Error kBadData with the place of the fault; nothing is allocated before its size is checked. Also
  /// kMissingInput, kPermission, kIo.
  static SafetensorsFile read(const std::string& path, FileOps& files = real_file_ops());
  /// The same for bytes that are in memory; `name` stands for the file in messages.
  static SafetensorsFile parse(std::vector<std::byte> bytes, const std::string& name);

  SafetensorsFile(SafetensorsFile&&) = default;
  SafetensorsFile& operator=(SafetensorsFile&&) = default;

  const std::string& name() const { return name_; }
  const Metadata& metadata() const { return metadata_; }
  /// In the order of the data, without the checksums.
  const std::vector<TensorView>& tensors() const { return tensors_; }
  /// Files of other programs have none.
  bool has_checksums() const { return has_checksums_; }

  /// nullptr if there is no tensor of this name. Cost: O(log tensors).
  const TensorView* find(std::string_view tensor) const;

  /// The elements of a tensor, where they lie.
  /// Throws  Error kBadData if it is missing, of another type, or not aligned (which only other programs
  /// write).
  template <class T>
  std::span<const T> as(std::string_view tensor) const {
    const TensorView& view = get(tensor, is_stored_as<T>, alignof(T));
    return {reinterpret_cast<const T*>(view.bytes.data()), view.bytes.size() / sizeof(T)};
  }

  /// A copy of the elements of a tensor, aligned or not.
  template <class T>
  std::vector<T> copy(std::string_view tensor) const {
    const TensorView& view = get(tensor, is_stored_as<T>, 1);
    std::vector<T> values(view.bytes.size() / sizeof(T));
    if (!values.empty()) std::memcpy(values.data(), view.bytes.data(), view.bytes.size());
    return values;
  }

 private:
  SafetensorsFile() = default;
  void take(std::span<const std::byte> bytes, const std::string& name);
  void check_integrity();
  const TensorView& get(std::string_view tensor, bool (*fits)(DType), std::size_t alignment) const;
  std::int64_t offset_of(const TensorView& tensor) const { return tensor.bytes.data() - bytes_.data(); }

  std::string name_;
  // What the views look at lies in one of these, whose buffers stay where they are when the object moves.
  std::vector<std::byte> given_;
  RawVector<std::byte> read_;
  std::span<const std::byte> bytes_;
  Metadata metadata_;
  std::vector<TensorView> tensors_;
  std::vector<std::uint32_t> by_name_;  // indices into tensors_
  bool has_checksums_ = false;
};

}  // namespace tulle
