#include "os/process_settings.h"

#include <sys/stat.h>

namespace haz {

namespace {

mode_t current_file_mask() noexcept {
  const mode_t mask = ::umask(0);
  ::umask(mask);
  return mask;
}

}  // namespace

ProcessSettings ProcessSettings::current() noexcept {
  ProcessSettings now;
  for (std::size_t kind = 0; kind < kLimits; ++kind) {
    ::getrlimit(static_cast<__rlimit_resource>(kind), &now.limits_[kind]);
  }
  now.file_mask_ = current_file_mask();
  now.has_processors_ = ::sched_getaffinity(0, sizeof now.processors_, &now.processors_) == 0;
  return now;
}

bool ProcessSettings::put_back() const noexcept {
  const ProcessSettings now = current();
  bool done = true;
  for (std::size_t kind = 0; kind < kLimits; ++kind) {
    const rlimit& wanted = limits_[kind];
    const rlimit& found = now.limits_[kind];
    if (found.rlim_cur == wanted.rlim_cur && found.rlim_max == wanted.rlim_max) continue;
    if (::setrlimit(static_cast<__rlimit_resource>(kind), &wanted) != 0) done = false;
  }
  if (now.file_mask_ != file_mask_) ::umask(file_mask_);
  if (has_processors_ && CPU_EQUAL(&now.processors_, &processors_) == 0) {
    done = ::sched_setaffinity(0, sizeof processors_, &processors_) == 0 && done;
  }
  return done;
}

}  // namespace haz
