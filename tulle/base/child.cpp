#include "tulle/base/child.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "tulle/base/error.h"

namespace tulle {

Child start_child(const std::string& program, const std::vector<std::string>& arguments) {
  std::vector<std::string> words{"tulle"};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  argv.reserve(words.size() + 1);
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  int output[2];
  if (pipe2(output, O_CLOEXEC) != 0) throw system_error(errno, "pipe", "create");
  const pid_t id = fork();
  if (id == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);  // nobody would wait for it
    dup2(output[1], STDOUT_FILENO);
    dup2(output[1], STDERR_FILENO);
    execv(program.c_str(), argv.data());
    _exit(127);
  }
  const int fork_error = errno;
  close(output[1]);
  if (id > 0) return {id, output[0]};
  close(output[0]);
  throw system_error(fork_error, program, "start a second process");
}

int wait_for(const Child& child) {
  int status = 0;
  while (waitpid(child.id, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace tulle
