#include "tulle/report/samples.h"

#include <fmt/format.h>

#include <cstdint>

#include "tulle/report/escape.h"

namespace tulle {
namespace {

std::string base64(const std::string& bytes) {
  constexpr char kLetters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (std::size_t at = 0; at < bytes.size(); at += 3) {
    const std::size_t left = std::min<std::size_t>(bytes.size() - at, 3);
    std::uint32_t group = 0;
    for (std::size_t i = 0; i < 3; ++i)
      group = group << 8 | (i < left ? static_cast<std::uint8_t>(bytes[at + i]) : 0u);
    for (std::size_t i = 0; i < 4; ++i) text += i <= left ? kLetters[group >> (18 - 6 * i) & 63] : '=';
  }
  return text;
}

}  // namespace

std::string inline_png(const std::string& png, const std::string& description) {
  return fmt::format("<img alt=\"{}\" src=\"data:image/png;base64,{}\">", escape_html(description),
                     base64(png));
}

std::string matrix_gallery(const std::vector<MatrixRecord>& matrices) {
  if (matrices.empty()) return "";
  std::string html =
      "<p class=\"quiet\">How each block mixes the tokens of a row, and of a column: a line for each token "
      "that "
      "is made, a column for each that it reads; gray is 0, black negative, white positive.</p>"
      "<div class=\"gallery\">";
  for (const MatrixRecord& matrix : matrices)
    html += fmt::format("<figure class=\"sample\">{}<figcaption>{}</figcaption></figure>",
                        inline_png(encode_png(matrix.picture), matrix.name), escape_html(matrix.name));
  return html + "</div>\n";
}

std::string sample_gallery(const std::vector<SampleRecord>& samples) {
  if (samples.empty()) return "";
  std::string html =
      "<p class=\"quiet\">What the network takes test samples for, and how sure it is: the first ones, then "
      "its "
      "surest mistakes.</p><div class=\"gallery\">";
  for (const SampleRecord& sample : samples) {
    const bool right = sample.actual == sample.predicted;
    html += fmt::format(
        "<figure class=\"sample{}\">{}<figcaption><b>{}</b> {:.0f}\u202f%{}</figcaption></figure>",
        right ? "" : " wrong", inline_png(encode_png(sample.picture), sample.actual),
        escape_html(sample.predicted), 100.0 * sample.probability,
        right ? "" : fmt::format("<small>is {}</small>", escape_html(sample.actual)));
  }
  return html + "</div>\n";
}

}  // namespace tulle
