/// @file
/// Checks of our own invariants. A failed check is a bug of haz, never of its user: it prints what
/// failed and aborts, since going on with broken shared state is worse than a death that is
/// noticed.
#pragma once

#include <cstdio>
#include <cstdlib>

namespace haz::detail {

[[noreturn]] inline void check_failed(const char* file, int line, const char* condition,
                                      const char* message) {
  std::fprintf(stderr, "haz: internal error at %s:%d: %s (%s)\n", file, line, message, condition);
  std::abort();
}

}  // namespace haz::detail

/// Aborts with `message` when `condition` is false. Always on.
#define HAZ_CHECK(condition, message)                                       \
  do {                                                                      \
    if (!(condition)) [[unlikely]] {                                        \
      ::haz::detail::check_failed(__FILE__, __LINE__, #condition, message); \
    }                                                                       \
  } while (false)
