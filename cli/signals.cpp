#include "signals.h"

#include <unistd.h>

#include <csignal>

#include "exit_codes.h"

namespace tulle::cli {
namespace {

Signals g_signals;
volatile std::sig_atomic_t g_stop_signal = 0;

// Async-signal-safe: only flags are set. Leaving at once does no harm: the newest checkpoint is whole.
extern "C" void on_signal(int signal) {
  if (signal == SIGUSR1) {
    g_signals.save = true;
    return;
  }
  if (signal == SIGINT && g_stop_signal == SIGINT) _exit(kInterrupted);
  g_stop_signal = signal == SIGUSR2 ? SIGTERM : signal;
  g_signals.stop = true;
}

}  // namespace

Signals& catch_signals() {
  struct sigaction action {};
  action.sa_handler = on_signal;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;
  for (const int signal : {SIGINT, SIGTERM, SIGUSR1, SIGUSR2}) sigaction(signal, &action, nullptr);
  return g_signals;
}

int stopped_exit_code() { return g_stop_signal == SIGINT ? kInterrupted : kTerminated; }

}  // namespace tulle::cli
