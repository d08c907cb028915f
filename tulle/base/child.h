#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace tulle {

/// A process that this one started.
struct Child {
  pid_t id = 0;
  int output = -1;  // a pipe with all it prints; the caller closes it
};

/// The program that runs.
inline constexpr const char* kThisProgram = "/proc/self/exe";

/// Starts a tulle program with `arguments`. It is killed when this process ends. Throws tulle::Error of
/// system_error's kinds.
Child start_child(const std::string& program, const std::vector<std::string>& arguments);

/// Waits for its end and returns its exit code, 128 and the signal's number if one ended it.
int wait_for(const Child& child);

}  // namespace tulle
