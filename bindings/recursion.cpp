#include "recursion.h"

#include <sys/resource.h>

#include <algorithm>
#include <cstdint>

namespace haz::py {

namespace {

/// Share of the stack that must be left.
constexpr std::size_t kShareLeft = 2;
/// What a stack without a limit is taken to have.
constexpr std::size_t kUsualStackBytes = std::size_t{8} << 20;

int depth_of(const PyThreadState& state) {
#if PY_VERSION_HEX >= 0x030C0000
  return state.py_recursion_limit - state.py_recursion_remaining;
#elif PY_VERSION_HEX >= 0x030B0000
  return state.recursion_limit - state.recursion_remaining;
#else
  return state.recursion_depth;
#endif
}

void set_depth(PyThreadState& state, int depth) {
#if PY_VERSION_HEX >= 0x030C0000
  state.py_recursion_remaining = state.py_recursion_limit - depth;
#elif PY_VERSION_HEX >= 0x030B0000
  state.recursion_remaining = state.recursion_limit - depth;
#else
  state.recursion_depth = depth;
#endif
}

std::size_t stack_bytes() {
  rlimit limit{};
  if (getrlimit(RLIMIT_STACK, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) {
    return kUsualStackBytes;
  }
  return std::min<std::size_t>(limit.rlim_cur, kUsualStackBytes);
}

/// Bytes of the main thread's stack in use, counted from the outermost task.
std::size_t used_bytes() {
  static const auto kOutermost = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
  const auto here = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
  return here < kOutermost ? kOutermost - here : 0;
}

}  // namespace

FreshRecursion::FreshRecursion(bool wanted) {
  const std::size_t used = used_bytes();
  if (!wanted) return;
  static const std::size_t kMost = stack_bytes() / kShareLeft;
  if (used > kMost) return;
  PyThreadState* state = PyThreadState_Get();
  outer_depth_ = depth_of(*state);
  set_depth(*state, 0);
}

FreshRecursion::~FreshRecursion() {
  if (outer_depth_ >= 0) set_depth(*PyThreadState_Get(), outer_depth_);
}

}  // namespace haz::py
