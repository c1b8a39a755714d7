/// @file
/// Starting threads: a limit that is reached is an error, and not an exception.
#pragma once

#include <system_error>
#include <thread>
#include <utility>

#include "base/result.h"
#include "os/signals.h"
#include "os/system_error.h"

namespace haz {

/// Runs `body` in a new thread, with all signals blocked: they belong to the user's threads. Fails
/// with kOverloaded when there may be no more threads; then `body` never runs.
template <typename Body>
Result<std::thread> start_thread(Body&& body) {
  const ScopedSignalBlock block;
  try {
    return std::thread(std::forward<Body>(body));
  } catch (const std::system_error& error) {
    return system_error("cannot start a thread (ulimit -u, -v)", error.code().value());
  }
}

}  // namespace haz
