#include "tulle/report/append_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "tulle/base/error.h"

namespace tulle {

AppendFile::AppendFile(std::string path, std::uintmax_t bytes) : path_(std::move(path)) {
  file_ = open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (file_ < 0) throw system_error(errno, path_, "open");
  if (ftruncate(file_, static_cast<off_t>(bytes)) != 0) {
    const int error_number = errno;
    close(file_);
    throw system_error(error_number, path_, "cut");
  }
}

AppendFile::~AppendFile() { close(file_); }

void AppendFile::append(const std::string& text) {
  for (std::size_t done = 0; done < text.size();) {
    const ssize_t written = ::write(file_, text.data() + done, text.size() - done);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) throw system_error(errno, path_, "write");
    done += static_cast<std::size_t>(written);
  }
}

}  // namespace tulle
