#include "node/start_failures.h"

#include <algorithm>

namespace haz {

void StartFailures::note(std::string reason, std::int64_t now_ns) {
  if (own_ + killed_ == 1) first_ns_ = now_ns;
  last_ns_ = now_ns;
  last_ = std::move(reason);
}

void StartFailures::add(std::string reason, const ProcessExit& exit, std::int64_t now_ns) {
  if (exit.signal == 0) {
    add(std::move(reason), now_ns);
    return;
  }
  if (killed_ != 0 && now_ns - last_ns_ > kGapNs) {
    killed_ = 0;
    first_ns_ = now_ns;
  }
  ++killed_;
  note(std::move(reason), now_ns);
}

std::uint32_t StartFailures::pause_ticks() const {
  constexpr std::uint32_t kLongest = 5;
  // Where processes are being killed, the sooner there are more the better.
  return 1U << std::min(std::max(own_, 1U) - 1, kLongest);
}

}  // namespace haz
