#include "tulle/checkpoint/run_directory.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <limits>
#include <optional>
#include <string_view>

#include "tulle/base/check.h"
#include "tulle/checkpoint/atomic_file.h"

namespace tulle {
namespace {

constexpr std::string_view kPrefix = "ckpt-";
constexpr std::string_view kSuffix = ".safetensors";
constexpr const char* kClaim = ".claim";

std::string checkpoint_name(std::int64_t step) { return fmt::format("{}{:06}{}", kPrefix, step, kSuffix); }

std::string in_directory(const std::string& directory, const std::string& name) {
  return (std::filesystem::path(directory) / name).string();
}

std::optional<std::int64_t> step_of(const std::string& name) {
  if (!name.starts_with(kPrefix) || !name.ends_with(kSuffix)) return std::nullopt;
  std::int64_t step = -1;
  std::from_chars(name.data() + kPrefix.size(), name.data() + name.size(), step);
  if (step < 0 || name != checkpoint_name(step)) return std::nullopt;
  return step;
}

FileHandle open_directory(FileOps& files, const std::string& path) {
  FileHandle directory = open_file(files, AT_FDCWD, path, O_RDONLY | O_DIRECTORY);
  if (!directory) throw write_error(errno, path, "open the directory");
  return directory;
}

std::vector<std::string> names_in(FileOps& files, const FileHandle& directory, const std::string& path) {
  std::vector<std::string> names;
  const auto list = [&] {
    names.clear();
    return files.list(directory.get(), &names);
  };
  if (uninterrupted(list) == -1) throw system_error(errno, path, "list the directory");
  return names;
}

void remove(FileOps& files, const FileHandle& directory, const std::string& path, const std::string& name) {
  const auto unlink = [&] { return files.unlinkat(directory.get(), name.c_str()); };
  if (uninterrupted(unlink) == -1 && errno != ENOENT)
    throw write_error(errno, in_directory(path, name), "remove");
}

/// Creates the directory and its parents. Each new entry is synced: a checkpoint is not durable in a
/// directory that is not.
void create_directories(FileOps& files, const std::string& path) {
  std::filesystem::path built;
  for (const std::filesystem::path& part : std::filesystem::path(path)) {
    const std::string parent = built.empty() ? "." : built.string();
    built /= part;
    if (uninterrupted([&] { return files.mkdir(built.c_str()); }) == 0) {
      const FileHandle directory = open_directory(files, parent);
      if (uninterrupted([&] { return files.fsync(directory.get()); }) == -1)
        throw write_error(errno, parent, "sync the directory");
    } else if (errno != EEXIST) {
      throw write_error(errno, path, "create the directory");
    }
  }
}

/// Permissions, quotas and mounts are asked in the only way that tells the truth: by creating a file.
void check_writable(FileOps& files, const FileHandle& directory, const std::string& path) {
  const std::string probe = temporary_name();
  if (!open_file(files, directory.get(), probe, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600))
    throw write_error(errno, path, "write into the directory");
  remove(files, directory, path, probe);
}

FileHandle claim_directory(FileOps& files, const FileHandle& directory, const std::string& path) {
  FileHandle claim = open_file(files, directory.get(), kClaim, O_RDWR | O_CREAT | O_NOFOLLOW, 0666);
  if (!claim) throw write_error(errno, in_directory(path, kClaim), "open");
  if (uninterrupted([&] { return files.lock(claim.get()); }) == 0) return claim;
  if (errno == EAGAIN || errno == EACCES)
    throw Error(ErrorKind::kTemporary, Place{.file = path},
                "run directory, found in use by another training, expected free; choose another directory or "
                "wait for its end");
  throw system_error(errno, in_directory(path, kClaim), "lock");
}

}  // namespace

std::vector<CheckpointFile> list_checkpoints(const std::string& directory, FileOps& files) {
  const FileHandle handle = open_file(files, AT_FDCWD, directory, O_RDONLY | O_DIRECTORY);
  if (!handle) throw system_error(errno, directory, "open the directory");
  std::vector<CheckpointFile> checkpoints;
  for (const std::string& name : names_in(files, handle, directory))
    if (const auto step = step_of(name)) checkpoints.push_back({*step, in_directory(directory, name)});
  std::ranges::sort(checkpoints, std::ranges::greater{}, &CheckpointFile::step);
  return checkpoints;
}

RunDirectory RunDirectory::open(const std::string& path, FileOps& files) {
  create_directories(files, path);
  FileHandle directory = open_directory(files, path);
  FileHandle claim = claim_directory(files, directory, path);
  for (const std::string& name : names_in(files, directory, path))
    if (is_abandoned_temporary(name)) remove(files, directory, path, name);
  check_writable(files, directory,
                 path);  // last: a process that is killed here must not leave a second temporary
  return RunDirectory(files, path, std::move(directory), std::move(claim));
}

void RunDirectory::check_space(std::uint64_t checkpoint_bytes) const {
  std::uint64_t free = 0;
  if (uninterrupted([&] { return files_->free_bytes(directory_.get(), &free); }) == -1)
    throw system_error(errno, path_, "ask for the free space of");
  if (free / 2 < checkpoint_bytes)
    throw Error(ErrorKind::kCannotWrite, Place{.file = path_},
                fmt::format("free space, found {} bytes, expected twice a checkpoint's {} bytes", free,
                            checkpoint_bytes));
}

std::string RunDirectory::checkpoint_path(std::int64_t step) const {
  require(step >= 0, "checkpoint_path: step must not be negative");
  return in_directory(path_, checkpoint_name(step));
}

void RunDirectory::prune(std::int64_t saved_step, int keep, std::span<const std::int64_t> protect) const {
  int older_to_keep = std::max(keep, 2) - 1;
  for (const CheckpointFile& checkpoint : checkpoints()) {
    if (checkpoint.step >= saved_step || std::ranges::find(protect, checkpoint.step) != protect.end())
      continue;
    if (older_to_keep-- > 0) continue;
    remove(*files_, directory_, path_, checkpoint_name(checkpoint.step));
  }
}

}  // namespace tulle
