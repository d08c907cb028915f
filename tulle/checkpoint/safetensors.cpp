#include "tulle/checkpoint/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <numeric>
#include <stdexcept>
#include <utility>

#include "tulle/base/check.h"
#include "tulle/base/error.h"
#include "tulle/checkpoint/atomic_file.h"
#include "tulle/checkpoint/integrity.h"
#include "tulle/checkpoint/safetensors_layout.h"

namespace tulle {
namespace {

static_assert(std::endian::native == std::endian::little, "files are little-endian and written as memory is");

constexpr std::uint64_t kLengthBytes = 8;

/// Bytes of the JSON text, from the first 8 bytes of the file.
std::uint64_t json_bytes(std::span<const std::byte> start, std::uint64_t file_bytes,
                         const std::string& file) {
  const auto refuse = [&](std::string_view thing, std::uint64_t found, std::string_view expected) {
    throw Error(ErrorKind::kBadData, Place{file, 0},
                fmt::format("{}, found {}, expected {}", thing, found, expected));
  };
  if (file_bytes < kLengthBytes) refuse("file size", file_bytes, "at least 8; not a safetensors file");
  std::uint64_t length = 0;
  std::memcpy(&length, start.data(), kLengthBytes);
  const std::uint64_t left = file_bytes - kLengthBytes;
  if (length > left)
    refuse("header length", length,
           fmt::format("at most {}, the rest of the file, if this is a safetensors file", left));
  if (length > kMaxHeaderBytes) refuse("header length", length, fmt::format("at most {}", kMaxHeaderBytes));
  return length;
}

std::string_view text_in(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// The entries for these tensors, one after the other.
std::vector<TensorEntry> lay_out(std::span<const TensorView> tensors) {
  std::vector<TensorEntry> entries;
  std::uint64_t end = 0;
  for (const TensorView& tensor : tensors) {
    const std::uint64_t begin = end;
    end += tensor.bytes.size();
    entries.push_back({tensor.name, tensor.dtype, tensor.shape, begin, end});
  }
  return entries;
}

/// What we write, we must be able to read.
void require_readable(std::string_view header, std::uint64_t data_bytes, const std::string& path) {
  try {
    const std::uint64_t length = json_bytes(std::as_bytes(std::span(header)), header.size(), path);
    parse_header(header.substr(kLengthBytes, length), data_bytes, path);
  } catch (const Error& error) {
    throw std::invalid_argument(std::string("write_safetensors: ") + error.what());
  }
}

// The pieces of a file go to `take`; `name` stands for the file in messages.
template <class Take>
void assemble(const std::string& name, const Metadata& metadata, std::vector<TensorView> tensors,
              const Take& take) {
  for (const TensorView& tensor : tensors)
    require(tensor.name != kCrcTensor && tensor.name != kDigestTensor,
            "write_safetensors: tensor name '" + tensor.name + "' is reserved");
  std::ranges::sort(tensors, before_in_file<TensorView>);
  const std::string header = header_of(name, metadata, lay_out(tensors));

  std::uint64_t data_bytes = 0;
  std::vector<std::span<const std::byte>> pieces{std::as_bytes(std::span(header))};
  for (const TensorView& tensor : tensors) {
    pieces.push_back(tensor.bytes);
    data_bytes += tensor.bytes.size();
  }
  std::vector<std::byte> table(crc_table_bytes(header.size() + data_bytes));
  Digest digest{};
  pieces.emplace_back(table);
  pieces.emplace_back(digest);
  const Pieces all(pieces);
  std::ranges::copy(crc_table(all.first(all.size() - 2)), table.begin());  // `pieces` looks at both
  digest = xxh3_digest(all.first(all.size() - 1));
  take(all);
}

}  // namespace

std::string header_of(const std::string& name, const Metadata& metadata, std::vector<TensorEntry> tensors) {
  const std::uint64_t data_bytes = tensors.empty() ? 0 : tensors.back().end;
  const auto add = [&](std::string_view checksum) {
    tensors.push_back({.name = std::string(checksum), .dtype = DType::U8, .shape = {0}});
  };
  add(kCrcTensor);
  add(kDigestTensor);
  const auto place = [](TensorEntry& entry, std::uint64_t begin, std::uint64_t bytes) {
    entry.shape = {static_cast<std::int64_t>(bytes)};
    entry.begin = begin;
    entry.end = begin + bytes;
  };
  // The header names the size of the table, which covers the header: both only grow until they agree.
  std::string header;
  std::uint64_t table_bytes = 0;
  for (std::uint64_t size = 0; header.empty() || size != table_bytes;) {
    table_bytes = size;
    place(tensors[tensors.size() - 2], data_bytes, table_bytes);
    place(tensors.back(), data_bytes + table_bytes, sizeof(Digest));
    header = make_header(metadata, tensors);
    size = crc_table_bytes(header.size() + data_bytes);
  }
  require_readable(header, data_bytes + table_bytes + sizeof(Digest), name);
  return header;
}

void write_safetensors(const std::string& path, const Metadata& metadata, std::vector<TensorView> tensors,
                       FileOps& files) {
  assemble(path, metadata, std::move(tensors),
           [&](Pieces pieces) { write_file_atomically(path, pieces, files); });
}

std::vector<std::byte> safetensors_bytes(const Metadata& metadata, std::vector<TensorView> tensors) {
  std::vector<std::byte> bytes;
  assemble("memory", metadata, std::move(tensors), [&](Pieces pieces) {
    std::size_t size = 0;
    for (const std::span<const std::byte> piece : pieces) size += piece.size();
    bytes.reserve(size);
    for (const std::span<const std::byte> piece : pieces)
      bytes.insert(bytes.end(), piece.begin(), piece.end());
  });
  return bytes;
}

SafetensorsFile SafetensorsFile::read(const std::string& path, FileOps& files) {
  std::uint64_t size = 0;
  const FileHandle file = open_for_reading(files, path, &size);
  {
    // The header first: a file that is not what it should be costs no memory for its data.
    std::vector<std::byte> start(std::min(size, kLengthBytes));
    read_exactly(files, file, path, 0, start);
    std::vector<std::byte> json(json_bytes(start, size, path));
    read_exactly(files, file, path, kLengthBytes, json);
    parse_header(text_in(json), size - kLengthBytes - json.size(), path);
  }
  SafetensorsFile whole;
  whole.read_.resize(size);
  read_exactly(files, file, path, 0, whole.read_);
  whole.take(whole.read_, path);
  return whole;
}

SafetensorsFile SafetensorsFile::parse(std::vector<std::byte> bytes, const std::string& name) {
  SafetensorsFile file;
  file.given_ = std::move(bytes);
  file.take(file.given_, name);
  return file;
}

void SafetensorsFile::take(std::span<const std::byte> bytes, const std::string& name) {
  const std::uint64_t length = json_bytes(bytes, bytes.size(), name);
  name_ = name;
  bytes_ = bytes;
  const auto data = bytes_.subspan(kLengthBytes + length);
  SafetensorsHeader header = parse_header(text_in(bytes_.subspan(kLengthBytes, length)), data.size(), name);
  metadata_ = std::move(header.metadata);
  tensors_.reserve(header.tensors.size());
  for (TensorEntry& entry : header.tensors)
    tensors_.push_back({std::move(entry.name), entry.dtype, std::move(entry.shape),
                        data.subspan(entry.begin, entry.end - entry.begin)});
  check_integrity();

  by_name_.resize(tensors_.size());
  std::iota(by_name_.begin(), by_name_.end(), 0u);
  std::ranges::sort(by_name_, {}, [&](std::uint32_t i) -> const std::string& { return tensors_[i].name; });
}

/// Takes the checksums off the list of tensors, if there are any, and compares them with the bytes.
void SafetensorsFile::check_integrity() {
  const auto is_checksum = [](const TensorView& tensor) {
    return tensor.name == kCrcTensor || tensor.name == kDigestTensor;
  };
  if (std::ranges::none_of(tensors_, is_checksum)) return;
  const auto refuse = [&](std::int64_t offset, std::string_view what) {
    throw Error(ErrorKind::kBadData, Place{name_, offset}, what);
  };

  // One of them without the other is a damaged name, not a file of somebody else.
  const std::size_t count = tensors_.size();
  if (count < 2 || tensors_[count - 2].name != kCrcTensor || tensors_[count - 1].name != kDigestTensor)
    refuse(0, fmt::format(
                  "checksums, found elsewhere or only one, expected tensors {} and {} at the end; file is "
                  "damaged or was rewritten by another program",
                  kCrcTensor, kDigestTensor));
  const TensorView digest = tensors_[count - 1];
  const TensorView table = tensors_[count - 2];
  const std::span<const std::byte> all(bytes_);
  const std::span<const std::byte> covered[] = {all.first(static_cast<std::size_t>(offset_of(table))),
                                                table.bytes};

  const std::vector<std::byte> crcs_found = crc_table(Pieces(covered).first(1));
  if (table.bytes.size() != crcs_found.size() || digest.bytes.size() != sizeof(Digest))
    refuse(offset_of(table),
           fmt::format("size of the checksums, found {} and {} bytes, expected {} and {}", table.bytes.size(),
                       digest.bytes.size(), crcs_found.size(), sizeof(Digest)));
  const auto different = std::ranges::mismatch(table.bytes, crcs_found);
  if (different.in1 != table.bytes.end()) {
    const std::int64_t block = (different.in1 - table.bytes.begin()) / 4;
    refuse(block * static_cast<std::int64_t>(kCrcBlock),
           "1 MiB from here, found another CRC-32C, expected the one stored; file is damaged");
  }
  if (!std::ranges::equal(digest.bytes, xxh3_digest(covered)))
    refuse(offset_of(digest),
           "digest of the file, found another one, expected the one stored; file is damaged");
  tensors_.resize(count - 2);
  has_checksums_ = true;
}

const TensorView* SafetensorsFile::find(std::string_view tensor) const {
  const auto name_of = [&](std::uint32_t i) -> std::string_view { return tensors_[i].name; };
  const auto place = std::ranges::lower_bound(by_name_, tensor, {}, name_of);
  return place != by_name_.end() && name_of(*place) == tensor ? &tensors_[*place] : nullptr;
}

const TensorView& SafetensorsFile::get(std::string_view tensor, bool (*fits)(DType),
                                       std::size_t alignment) const {
  const TensorView* const view = find(tensor);
  if (view == nullptr)
    throw Error(ErrorKind::kBadData, Place{.file = name_},
                fmt::format("tensor '{}', found none, expected one", tensor));
  const Place place{name_, offset_of(*view)};
  if (!fits(view->dtype))
    throw Error(
        ErrorKind::kBadData, place,
        fmt::format("type of tensor '{}', found {}, expected another", tensor, dtype_name(view->dtype)));
  if (reinterpret_cast<std::uintptr_t>(view->bytes.data()) % alignment != 0)
    throw Error(
        ErrorKind::kBadData, place,
        fmt::format("tensor '{}', found not aligned, expected a multiple of {} bytes", tensor, alignment));
  return *view;
}

}  // namespace tulle
