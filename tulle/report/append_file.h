#pragma once

#include <cstdint>
#include <string>

namespace tulle {

/// A text file of a run that grows while it goes on; what is appended is written at once.
class AppendFile {
 public:
  /// Opens or creates it and cuts it to `bytes`. Throws tulle::Error of system_error's kinds.
  AppendFile(std::string path, std::uintmax_t bytes);
  ~AppendFile();
  AppendFile(const AppendFile&) = delete;
  AppendFile& operator=(const AppendFile&) = delete;

  /// Throws as the constructor.
  void append(const std::string& text);

 private:
  std::string path_;
  int file_ = -1;
};

}  // namespace tulle
