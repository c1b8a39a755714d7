/// @file
/// What the kernel keeps for a process that its code may change for good.
#pragma once

#include <sched.h>
#include <sys/resource.h>
#include <sys/types.h>

#include <array>
#include <cstddef>

namespace haz {

/// Resource limits, the mask for the modes of new files, and the processors to run on. A value;
/// concerns the calling process and thread.
class ProcessSettings {
 public:
  /// As they are now. For a moment other threads see an empty mask.
  static ProcessSettings current() noexcept;

  /// Puts back what differs now. False if something can't be: a hard limit that was lowered.
  [[nodiscard]] bool put_back() const noexcept;

 private:
  static constexpr std::size_t kLimits = RLIM_NLIMITS;

  std::array<rlimit, kLimits> limits_{};
  mode_t file_mask_ = 0;
  cpu_set_t processors_{};
  bool has_processors_ = false;
};

}  // namespace haz
