/// @file
/// Errors of system calls as haz::Error.
#pragma once

#include <sys/resource.h>

#include <cerrno>
#include <string>
#include <string_view>
#include <system_error>

#include "base/result.h"

namespace haz {

/// The Error for a failed system call: `what` was tried, `error_number` says why it failed. Being
/// out of a resource becomes kOverloaded, a missing call kUnavailable, a missing process kLost.
inline Error system_error(std::string_view what, int error_number) {
  ErrorKind kind = ErrorKind::kInvalid;
  switch (error_number) {
    case EAGAIN:
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case ENOBUFS:
    case ENOSPC:
    case ETOOMANYREFS:
      kind = ErrorKind::kOverloaded;
      break;
    case ENOSYS:
    case EPERM:
    case EACCES:
      kind = ErrorKind::kUnavailable;
      break;
    case ESRCH:
    case EPIPE:
    case ECONNRESET:
      kind = ErrorKind::kLost;
      break;
    default:
      break;
  }
  std::string message(what);
  message += ": ";
  message += std::generic_category().message(error_number);
  rlimit limit{};
  if (error_number == EMFILE && getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    message += " (at most " + std::to_string(limit.rlim_cur) + ": RLIMIT_NOFILE, ulimit -n)";
  }
  return Error{kind, std::move(message)};
}

}  // namespace haz
