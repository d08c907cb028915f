#pragma once

#include <string>
#include <vector>

namespace tulle::cli {

constexpr int kNoPort = -1;

/// Shows the page of the runs in these directories, as far as they have come, to this machine's browsers, and
/// prints its address: / is the page, /metrics.json the records, everything else is refused. Reads nothing
/// but the records, at most once a second, on low priority; a directory need not exist yet. Port 0: any free
/// one. Goes on until a signal ends the process. Throws tulle::Error: kTemporary if the port is in use,
/// kPermission if it is not for us.
int serve_runs(const std::vector<std::string>& directories, int port);

/// A training's live page: serve_runs() in a process of its own, so that nothing a browser does can slow the
/// training or break it. Ends with this object, and with this process.
class LivePage {
 public:
  /// Throws as serve_runs().
  LivePage(const std::string& directory, int port);
  ~LivePage();
  LivePage(const LivePage&) = delete;
  LivePage& operator=(const LivePage&) = delete;

  const std::string& address() const { return address_; }

 private:
  int process_ = 0;
  std::string address_;
};

}  // namespace tulle::cli
