#pragma once

// For tests only: small files of every format, made by hand or by the library that also reads them.

#include <archive.h>
#include <archive_entry.h>
#include <zlib.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tulle::testing {

inline std::string little_endian(std::uint64_t value, int bytes) {
  std::string text;
  for (int b = 0; b < bytes; ++b) text += static_cast<char>(value >> 8 * b & 0xff);
  return text;
}
template <class T>
std::string raw(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

/// An .npy file, version 1 unless told otherwise.
inline std::string npy(std::string_view descr, std::string_view shape, std::string_view data,
                       bool fortran = false, int version = 1) {
  std::string header = "{'descr': '" + std::string(descr) +
                       "', 'fortran_order': " + (fortran ? "True" : "False") +
                       ", 'shape': " + std::string(shape) + ", }";
  const std::size_t head = version == 1 ? 10 : 12;
  while ((head + header.size() + 1) % 64 != 0) header += ' ';
  header += '\n';
  return "\x93NUMPY" + little_endian(static_cast<std::uint64_t>(version), 2) +
         little_endian(header.size(), version == 1 ? 2 : 4) + header + std::string(data);
}

/// Members in an archive, deflated or not.
inline std::string archived(int (*format)(archive*),
                            const std::vector<std::pair<std::string, std::string>>& members,
                            const char* options = "") {
  std::size_t room = 1 << 20;
  for (const auto& [name, bytes] : members) room += bytes.size() + 2048;
  std::string out(room, '\0');
  std::size_t used = 0;
  archive* writer = archive_write_new();
  format(writer);
  archive_write_set_options(writer, options);
  archive_write_set_bytes_per_block(writer, 0);
  archive_write_open_memory(writer, out.data(), out.size(), &used);
  for (const auto& [name, bytes] : members) {
    archive_entry* entry = archive_entry_new();
    archive_entry_set_pathname(entry, name.c_str());
    archive_entry_set_filetype(entry, AE_IFREG);
    archive_entry_set_perm(entry, 0644);
    archive_entry_set_size(entry, static_cast<la_int64_t>(bytes.size()));
    archive_write_header(writer, entry);
    archive_write_data(writer, bytes.data(), bytes.size());
    archive_entry_free(entry);
  }
  archive_write_close(writer);
  archive_write_free(writer);
  out.resize(used);
  return out;
}
inline std::string zip(const std::vector<std::pair<std::string, std::string>>& members) {
  return archived(archive_write_set_format_zip, members);
}
inline std::string tar(const std::vector<std::pair<std::string, std::string>>& members) {
  return archived(archive_write_set_format_ustar, members);
}

inline std::string deflated(std::string_view text) {
  uLongf size = compressBound(text.size());
  std::string out(size, '\0');
  compress(reinterpret_cast<Bytef*>(out.data()), &size, reinterpret_cast<const Bytef*>(text.data()),
           text.size());
  out.resize(size);
  return out;
}

/// A PNG of 8-bit pixels, gray (1 channel) or RGB (3), row by row.
inline std::string png(std::uint32_t width, std::uint32_t height, int channels, std::string_view pixels) {
  const auto big = [](std::uint32_t v) {
    std::string text;
    for (const int shift : {24, 16, 8, 0}) text += static_cast<char>(v >> shift & 0xff);
    return text;
  };
  const auto chunk = [&](const std::string& type, const std::string& data) {
    const std::string body = type + data;
    return big(static_cast<std::uint32_t>(data.size())) + body +
           big(static_cast<std::uint32_t>(
               crc32(0, reinterpret_cast<const Bytef*>(body.data()), static_cast<uInt>(body.size()))));
  };
  std::string rows;
  const std::size_t line = width * static_cast<std::size_t>(channels);
  for (std::uint32_t y = 0; y < height && y * line < pixels.size(); ++y)
    rows += '\0' + std::string(pixels.substr(y * line, line));
  const std::string head =
      big(width) + big(height) + '\x08' + (channels == 1 ? '\0' : '\x02') + std::string(3, '\0');
  return "\x89PNG\r\n\x1a\n" + chunk("IHDR", head) + chunk("IDAT", deflated(rows)) + chunk("IEND", "");
}

/// A MATLAB 5 file of these elements.
inline std::string mat(const std::string& elements) {
  std::string head = "MATLAB 5.0 MAT-file, made for a test";
  head.resize(124, ' ');
  return head + std::string("\x00\x01IM", 4) + elements;
}
inline std::string mat_element(std::uint32_t type, const std::string& data) {
  std::string element = little_endian(type, 4) + little_endian(data.size(), 4) + data;
  element.resize((element.size() + 7) / 8 * 8, '\0');
  return element;
}
/// A full array: class 6 is double; `type` tells how its values are stored.
inline std::string mat_array(const std::string& name, std::uint32_t rows, std::uint32_t cols,
                             std::uint32_t type, const std::string& values, std::uint32_t kind = 6) {
  return mat_element(14, mat_element(6, little_endian(kind, 4) + little_endian(0, 4)) +
                             mat_element(5, little_endian(rows, 4) + little_endian(cols, 4)) +
                             mat_element(1, name) + mat_element(type, values));
}

}  // namespace tulle::testing
