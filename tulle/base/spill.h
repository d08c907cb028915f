#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "tulle/base/file_ops.h"

namespace tulle {

/// Files in place of memory, for arrays that do not fit into it and are walked in order (docs/scale.md).
///
/// While it lives, arrays of 64 KiB and more that its thread takes by allocate_aligned() lie in files of
/// `folder`, each mapped into memory as long as the array lives; an empty folder changes nothing. The files
/// have no names: they end with the process, whatever ends it. Their blocks are reserved when an array is
/// taken, so that a full disk is told then and not in the middle of a loop.
class Spilling {
 public:
  /// The folder is made if its parent is there. `files` must outlive the arrays. Throws tulle::Error
  /// (kCannotWrite, kPermission, kIo). So does taking an array.
  explicit Spilling(const std::string& folder, FileOps& files = real_file_ops());
  ~Spilling();
  Spilling(const Spilling&) = delete;
  Spilling& operator=(const Spilling&) = delete;

 private:
  friend bool spilling();
  friend void* allocate_spilled(std::size_t bytes);

  std::string folder_;
  FileOps& files_;
  FileHandle directory_;
  Spilling* before_;
};

/// Whether large arrays of this thread now go to files.
bool spilling();

/// For allocate_aligned() and free_aligned(): null, or false, where memory is to be taken and given back.
void* allocate_spilled(std::size_t bytes);
bool free_spilled(void* memory, std::size_t bytes) noexcept;

/// What is done with a part of an array that lies in a file; of one in memory nothing is. Pages that it
/// shares with what follows are left to that, but for ask_for.
///   ask_for     it will be needed soon: reading begins
///   write_back  it will not change for a while: writing begins
///   release     it is not needed for a while: is written, and gives its memory back
///   unmap       it leaves this process; the system keeps it in memory as long as it likes
/// Throws tulle::Error (kIo) if it cannot be written.
void ask_for(std::span<const std::byte> part);
void write_back(std::span<const std::byte> part);
void release(std::span<const std::byte> part);
void unmap(std::span<const std::byte> part);
/// All arrays of this process that lie in files.
void release_spilled();

/// Whether an array lies in a file.
bool is_spilled(const void* memory);

}  // namespace tulle
