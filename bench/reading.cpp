// How fast LIBSVM text is read, in bytes of text per second on one thread. The text is a real file, unpacked,
// or one made like reuters: 44 entries a row of 8,315 features, numbers such as 1.2E-02.
#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

#include "tulle/base/clock.h"
#include "tulle/base/parallel.h"
#include "tulle/base/random.h"
#include "tulle/data/gzip.h"
#include "tulle/data/readers.h"

namespace tulle {
ReadBytes read_libsvm;
}

namespace {

tulle::Content made_text() {
  const tulle::Random random{.seed = 1, .stream = tulle::Stream::kData};
  std::string text;
  std::uint64_t place = 0;
  for (int row = 0; row < 40'000; ++row) {
    text += row % 15 == 0 ? "+1" : "-1";
    std::uint64_t index = 0;
    for (int entry = 0; entry < 44; ++entry) {
      index += 1 + random.below(370, place++);
      if (index > 8315) break;
      text += fmt::format(" {}:{:.3E}", index, 0.005 + 0.3 * random.uniform(place++));
    }
    text += '\n';
  }
  const auto* const first = reinterpret_cast<const std::byte*>(text.data());
  return {first, first + text.size()};
}

}  // namespace

int main(int argc, char** argv) {
  using namespace tulle;
  set_thread_count(1);
  const Content bytes = argc > 1 ? read_content(argv[1]) : made_text();
  double best = 1e9;
  std::size_t entries = 0;
  for (int i = 0; i < 7; ++i) {
    const Clock clock;
    entries = read_libsvm(bytes, "text", {}).inputs.sparse.values.size();
    best = std::min(best, clock.seconds());
  }
  fmt::print("{:.1f} MB of LIBSVM text, {} entries: {:.0f} MB/s on one thread\n",
             static_cast<double>(bytes.size()) * 1e-6, entries,
             static_cast<double>(bytes.size()) * 1e-6 / best);
  return 0;
}
