#pragma once

#include <string>

namespace tulle {

/// The processor's name and the cores this process may use: "Intel(R) Xeon(R) @ 2.60GHz, 2 cores"; "" where
/// the system does not tell.
std::string machine_name();

/// The words this process was started with, those with spaces or quotes in quotes.
std::string command_line();

}  // namespace tulle
