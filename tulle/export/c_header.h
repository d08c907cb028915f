#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "tulle/export/c_check.h"
#include "tulle/export/c_net.h"

namespace tulle {

/// What a C header says of itself.
struct CHeaderText {
  std::string name = "net";  // what its functions begin with; its macros in capitals
  std::string command;       // that made it
  std::string model_hash;    // of the model file, 32 hex digits
  bool scales = true;        // inputs, as the training did; else they come scaled
};

/// Bytes that a compiled header will take, before it is compiled.
struct CForecast {
  std::int64_t constants = 0;        // of the net's arrays, to the byte
  std::int64_t code = 0;             // an estimate: arm-none-eabi-gcc 12 -Os for Cortex-M4 with its FPU
  std::int64_t ram = 0;              // static
  std::int64_t stack = 0;            // of NAME_predict, an estimate
  std::int64_t self_test_flash = 0;  // more, where NAME_selftest is linked
  std::int64_t self_test_stack = 0;

  std::int64_t flash() const { return constants + code; }
};
CForecast forecast(const CNet& net, const CSelfCheck& check);

/// Throws tulle::Error (kConfig) unless `name` is a name in C, of at most 40 characters, that begins with a
/// letter.
void check_c_name(std::string_view name);

/// One C99 header that computes what net.run() does: no memory but its own static buffer, no library, no
/// state but constants. docs/embedded.md tells how it is used. Memory: its text, about 7 bytes for each byte
/// of constants. Throws as check_c_name().
std::string c_header(const CNet& net, const CSelfCheck& check, const CHeaderText& text);

}  // namespace tulle
