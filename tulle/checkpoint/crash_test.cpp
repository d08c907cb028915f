// Power loss and kill -9 while saving. Directories as they may look after a power loss are made from the
// record of what was done: whatever was not synced may be there, be torn, or be missing.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <map>
#include <random>
#include <thread>

#include "tulle/base/error.h"
#include "tulle/base/file_ops_testing.h"
#include "tulle/checkpoint/run_directory.h"
#include "tulle/checkpoint/safetensors.h"

namespace tulle {
namespace {

using testing::FileEvent;
using testing::read_text;
using testing::RecordingFileOps;
using testing::TemporaryDirectory;
using testing::write_text;
using Directory = std::map<std::string, std::string>;  // name -> content

void save(const std::string& path, std::int64_t step, FileOps& files = real_file_ops()) {
  const std::vector<std::int64_t> values(1500, step);  // 12 kB: three pages that can be torn apart
  const std::int64_t count = static_cast<std::int64_t>(values.size());
  write_safetensors(path, {{"step", std::to_string(step)}},
                    {{"values", DType::I64, {count}, std::as_bytes(std::span(values))}}, files);
}

/// The step whose checkpoint resuming would use, -1 if there is none that loads.
std::int64_t resumed_step(const std::string& directory) {
  for (const CheckpointFile& checkpoint : list_checkpoints(directory)) {
    try {
      const SafetensorsFile file = SafetensorsFile::read(checkpoint.path);
      for (const std::int64_t value : file.as<std::int64_t>("values")) EXPECT_EQ(value, checkpoint.step);
      return checkpoint.step;
    } catch (const Error&) {
    }
  }
  return -1;
}

/// A disk and what the system still holds in memory.
class Disk {
 public:
  explicit Disk(const Directory& durable) {
    for (const auto& [name, content] : durable) {
      names_[name] = --next_old_;
      files_[next_old_].synced = content;
    }
  }

  void apply(const FileEvent& event) {
    switch (event.kind) {
      case FileEvent::kReserve:
      case FileEvent::kWrite:
        files_[event.file].pending.push_back(event);
        break;
      case FileEvent::kSyncFile:
        files_[event.file] = {content(event.file, [](auto) { return kAll; }), {}};
        break;
      case FileEvent::kCreate:
      case FileEvent::kRename:
      case FileEvent::kUnlink:
        pending_.push_back(event);
        break;
      case FileEvent::kSyncDirectory:
        names_ = names((1u << pending_.size()) - 1);
        pending_.clear();
        break;
      case FileEvent::kCompleted:
        break;
    }
  }

  /// Calls visit(image) for every subset of the unsynced changes of names, each with several ways of tearing
  /// data.
  template <class Visit>
  void after_power_loss(std::mt19937& random, Visit visit) const {
    for (unsigned subset = 0; subset < 1u << pending_.size(); ++subset) {
      const auto names_left = names(subset);
      for (int way = 0; way < 6; ++way) {
        const auto kept = [&](std::size_t size) {
          return way == 0 ? 0 : way == 1 ? kAll : random() % 2 ? kAll : random() % (size / 512 + 1) * 512;
        };
        Directory image;
        for (const auto& [name, file] : names_left) image[name] = content(file, kept);
        visit(image);
      }
    }
  }

 private:
  static constexpr std::size_t kAll = std::string::npos;
  struct File {
    std::string synced;
    std::vector<FileEvent> pending;
  };

  /// The names if only these of the pending changes reached the disk (bit i: the i-th).
  std::map<std::string, int> names(unsigned subset) const {
    std::map<std::string, int> names = names_;
    std::map<std::string, int> created;  // a rename takes the file along, even if its creation is lost
    for (std::size_t i = 0; i < pending_.size(); ++i) {
      const FileEvent& event = pending_[i];
      const bool kept = subset >> i & 1;
      if (event.kind == FileEvent::kCreate) {
        created[event.name] = event.file;
        if (kept) names[event.name] = event.file;
      } else if (event.kind == FileEvent::kRename && kept) {
        names[event.name] = created.contains(event.from) ? created.at(event.from) : names.at(event.from);
        names.erase(event.from);
      } else if (event.kind == FileEvent::kUnlink && kept) {
        names.erase(event.name);
      }
    }
    return names;
  }

  /// The content if of each pending write only the first kept(size) bytes reached the disk; what is missing
  /// is zero.
  template <class Kept>
  std::string content(int number, Kept kept) const {
    const auto file = files_.find(number);
    if (file == files_.end()) return "";
    std::string content = file->second.synced;
    for (const FileEvent& event : file->second.pending) {
      const std::size_t end = event.offset + event.bytes.size();
      const std::size_t count = std::min(kept(event.bytes.size()), event.bytes.size());
      if (content.size() < end && (count > 0 || kept(512) > 0)) content.resize(end, '\0');
      if (count > 0) content.replace(event.offset, count, event.bytes, 0, count);
    }
    return content;
  }

  std::map<std::string, int> names_;  // durable
  std::map<int, File> files_;
  std::vector<FileEvent> pending_;  // changes of names
  int next_old_ = 0;
};

Directory content_of(const TemporaryDirectory& directory) {
  Directory content;
  for (const std::string& name : directory.names()) content[name] = read_text(directory / name);
  return content;
}

void write_image(const TemporaryDirectory& directory, const Directory& image) {
  for (const std::string& name : directory.names()) std::filesystem::remove(directory / name);
  for (const auto& [name, content] : image) write_text(directory / name, content);
}

/// In how many of the possible images after a power loss at any instant a completed save is lost.
int lost_saves(RecordingFileOps::Broken broken, int* images) {
  const TemporaryDirectory directory, crashed;
  RecordingFileOps files(broken);
  Directory durable;
  {
    const RunDirectory run = RunDirectory::open(directory.path(), files);
    for (const std::int64_t step : {1, 2}) save(run.checkpoint_path(step), step);
    durable = content_of(directory);
    for (const std::int64_t step : {3, 4}) {
      save(run.checkpoint_path(step), step, files);
      files.completed(step);
      run.prune(step, 2);
    }
  }

  std::mt19937 random(testing::test_seed());
  Disk disk(durable);
  std::int64_t completed = 2;
  int lost = 0;
  for (const FileEvent& event : files.events()) {
    disk.apply(event);
    if (event.kind == FileEvent::kCompleted) completed = event.step;
    disk.after_power_loss(random, [&](const Directory& image) {
      write_image(crashed, image);
      lost += resumed_step(crashed.path()) < completed;
      ++*images;
    });
  }
  return lost;
}

TEST(PowerLoss, AtAnyInstantLosesNoCompletedCheckpoint) {
  int images = 0;
  EXPECT_EQ(lost_saves({}, &images), 0);
  EXPECT_GT(images, 200);
  std::cout << images << " images\n";
}

TEST(PowerLoss, WouldLoseOneIfTheFileWereNotSynced) {
  int images = 0;
  EXPECT_GT(lost_saves({.file_sync = true}, &images), 0);
}

TEST(PowerLoss, WouldLoseOneIfTheDirectoryWereNotSyncedBeforePruning) {
  int images = 0;
  EXPECT_GT(lost_saves({.directory_sync = true}, &images), 0);
}

/// In how many images a replaced file is neither the old one nor the new one.
int mixtures(RecordingFileOps::Broken broken) {
  const TemporaryDirectory directory;
  const std::string path = directory / "model.safetensors";
  save(path, 1);
  const Directory old_files = content_of(directory);
  RecordingFileOps files(broken);
  save(path, 2, files);
  files.completed(2);
  const std::string old_file = old_files.at("model.safetensors");
  const std::string new_file = read_text(path);

  std::mt19937 random(testing::test_seed());
  Disk disk(old_files);
  bool completed = false;
  int mixed = 0;
  for (const FileEvent& event : files.events()) {
    disk.apply(event);
    completed |= event.kind == FileEvent::kCompleted;
    disk.after_power_loss(random, [&](const Directory& image) {
      const auto found = image.find("model.safetensors");
      const bool good =
          found != image.end() && (found->second == new_file || (!completed && found->second == old_file));
      mixed += !good;
    });
  }
  return mixed;
}

TEST(PowerLoss, LeavesAReplacedFileOldOrNew) {
  EXPECT_EQ(mixtures({}), 0);
  EXPECT_GT(mixtures({.file_sync = true}), 0);
  EXPECT_GT(mixtures({.directory_sync = true}), 0);
}

TEST(Kill, AtAnyInstantLosesNoCompletedCheckpointAndLeavesOneTemporaryAtMost) {
  std::mt19937 random(testing::test_seed());
  const TemporaryDirectory directory;
  std::int64_t first = 1;
  for (int round = 0; round < 30; ++round) {
    int pipe[2];
    ASSERT_EQ(::pipe(pipe), 0);
    const pid_t child = ::fork();
    if (child == 0) {
      const RunDirectory run = RunDirectory::open(directory.path());
      for (std::int64_t step = first;; ++step) {
        save(run.checkpoint_path(step), step);
        if (::write(pipe[1], &step, sizeof(step)) != sizeof(step)) ::_exit(1);
        run.prune(step, 2);
      }
    }
    ::close(pipe[1]);
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 20'000));
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    std::int64_t completed = first - 1;
    while (::read(pipe[0], &completed, sizeof(completed)) == sizeof(completed)) {
    }
    ::close(pipe[0]);

    const std::int64_t resumed = resumed_step(directory.path());
    ASSERT_GE(resumed, completed > 0 ? completed : -1);
    const auto temporaries = [&] {
      return std::ranges::count_if(directory.names(),
                                   [](const auto& name) { return name.starts_with(".tmp-"); });
    };
    ASSERT_LE(temporaries(), 1);
    RunDirectory::open(directory.path());
    ASSERT_EQ(temporaries(), 0);
    first = std::max(resumed, completed) + 1;
  }
  EXPECT_GT(first, 1) << "no save was completed in any round";
}

}  // namespace
}  // namespace tulle
