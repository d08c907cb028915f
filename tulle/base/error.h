#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

namespace tulle {

/// What went wrong, by what the caller can do about it. The command line maps each kind to one exit code
/// (cli/exit_codes.h).
enum class ErrorKind {
  kInternal,      // a bug of ours
  kMemory,        // more memory needed than there is or than allowed
  kBadData,       // a file whose content is wrong
  kMissingInput,  // a file that is not there
  kDiverged,      // NaN or infinity in the training
  kCannotWrite,   // output cannot be created or written
  kIo,            // the device failed
  kTemporary,     // may work later: directory in use, peer lost
  kPermission,    // not allowed
  kConfig,        // a key, a value or a combination that cannot be
};

/// Where in the world an error sits. Unset parts are left out of the message.
struct Place {
  std::string file;
  std::int64_t offset = -1;  // byte offset, for binary files
  std::int64_t line = -1;    // line number from 1, for text files
};

/// A refusal with one clear line: "FILE@OFFSET: what" or "FILE:LINE: what", control characters escaped.
/// `what` follows the pattern "thing, found X, expected Y; hint".
class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const Place& place, std::string_view what);
  Error(ErrorKind kind, std::string_view what) : Error(kind, Place{}, what) {}

  ErrorKind kind() const noexcept { return kind_; }
  const Place& place() const noexcept { return place_; }

 private:
  ErrorKind kind_;
  Place place_;
};

/// Error of an operating system call on `path`, its kind chosen by `error_number` (errno): missing file,
/// permission, no space or size limit -> kCannotWrite, the rest kIo.
Error system_error(int error_number, const std::string& path, std::string_view operation);

/// `text` with control characters as \xNN and \n, so that a file cannot draw on the reader's terminal. UTF-8
/// passes.
std::string escape_control(std::string_view text);

}  // namespace tulle
