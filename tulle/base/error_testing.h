#pragma once

#include <gtest/gtest.h>

#include <functional>

#include "tulle/base/error.h"

namespace tulle::testing {

/// The kind of the tulle::Error that a call throws; a failure of the test where it throws none.
inline ErrorKind kind_thrown_by(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.kind();
  }
  ADD_FAILURE() << "nothing thrown";
  return ErrorKind::kInternal;
}

}  // namespace tulle::testing
