#include "os/process_settings.h"

#include <grp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <utility>

namespace haz {

namespace {

mode_t current_file_mask() noexcept {
  const mode_t mask = ::umask(0);
  ::umask(mask);
  return mask;
}

}  // namespace

ProcessSettings::Owner ProcessSettings::Owner::current() {
  Owner now;
  ::getresuid(&now.users[0], &now.users[1], &now.users[2]);
  ::getresgid(&now.groups[0], &now.groups[1], &now.groups[2]);
  const int count = ::getgroups(0, nullptr);
  if (count <= 0) return now;
  now.more_groups.resize(static_cast<std::size_t>(count));
  if (::getgroups(count, now.more_groups.data()) != count) now.more_groups.clear();
  return now;
}

bool ProcessSettings::Owner::put_back() const {
  const Owner now = current();
  if (now == *this) return true;
  // The right to do the rest comes with the effective user.
  if (now.users != users && ::seteuid(users[1]) != 0) return false;
  if (now.groups != groups && ::setresgid(groups[0], groups[1], groups[2]) != 0) return false;
  if (now.more_groups != more_groups && ::setgroups(more_groups.size(), more_groups.data()) != 0) {
    return false;
  }
  return ::setresuid(users[0], users[1], users[2]) == 0;
}

void ProcessSettings::accept_current() {
  Owner owner = owner_;
  *this = current();
  owner_ = std::move(owner);
}

ProcessSettings ProcessSettings::current() {
  ProcessSettings now;
  now.owner_ = Owner::current();
  for (std::size_t kind = 0; kind < kLimits; ++kind) {
    ::getrlimit(static_cast<__rlimit_resource>(kind), &now.limits_[kind]);
  }
  now.file_mask_ = current_file_mask();
  now.has_processors_ = ::sched_getaffinity(0, sizeof now.processors_, &now.processors_) == 0;
  return now;
}

bool ProcessSettings::put_back() const {
  bool done = owner_.put_back();  // which may take the right to do the rest
  const ProcessSettings now = current();
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
