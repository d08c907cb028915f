#pragma once

#include "tulle/base/error.h"

namespace tulle::cli {

constexpr int kOk = 0;
constexpr int kInternal = 1;
constexpr int kUsage = 2;
constexpr int kMemory = 12;
constexpr int kInterrupted = 130;  // SIGINT, after a good checkpoint
constexpr int kTerminated = 143;   // SIGTERM, after a good checkpoint

/// The one table from kinds of errors to exit codes.
constexpr int exit_code(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kInternal:
      return kInternal;
    case ErrorKind::kMemory:
      return kMemory;
    case ErrorKind::kBadData:
      return 65;
    case ErrorKind::kMissingInput:
      return 66;
    case ErrorKind::kDiverged:
      return 70;
    case ErrorKind::kCannotWrite:
      return 73;
    case ErrorKind::kIo:
      return 74;
    case ErrorKind::kTemporary:
      return 75;
    case ErrorKind::kPermission:
      return 77;
    case ErrorKind::kConfig:
      return 78;
  }
  return kInternal;
}

}  // namespace tulle::cli
