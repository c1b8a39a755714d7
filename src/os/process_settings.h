/// @file
/// What the kernel keeps for a process that its code may change for good.
#pragma once

#include <sched.h>
#include <sys/resource.h>
#include <sys/types.h>

#include <array>
#include <cstddef>
#include <vector>

namespace haz {

/// Resource limits, the mask for the modes of new files, the processors to run on, and the user and
/// groups, real, effective and saved. A value; concerns the calling process and thread.
class ProcessSettings {
 public:
  /// As they are now. For a moment other threads see an empty mask.
  static ProcessSettings current();

  /// Takes the present settings for those to put back, but for the user and the groups.
  void accept_current();

  /// Puts back what differs now. False if something can't be: a hard limit that was lowered, a user
  /// who was given up.
  [[nodiscard]] bool put_back() const;

 private:
  static constexpr std::size_t kLimits = RLIM_NLIMITS;

  struct Owner {
    std::array<uid_t, 3> users{};
    std::array<gid_t, 3> groups{};
    std::vector<gid_t> more_groups;

    static Owner current();
    [[nodiscard]] bool put_back() const;
    bool operator==(const Owner&) const = default;
  };

  Owner owner_;
  std::array<rlimit, kLimits> limits_{};
  mode_t file_mask_ = 0;
  cpu_set_t processors_{};
  bool has_processors_ = false;
};

}  // namespace haz
