/// @file
/// Where the exceptions of tasks were thrown.
///
/// This library has a __cxa_throw of its own, which notes the stack while a task runs, and then
/// calls the one of the C++ library. Where that is not what a program's throws call (a C++ library
/// that is linked statically before this one), exceptions have no stack, and nothing else changes.
#pragma once

#include <exception>
#include <string>
#include <vector>

namespace haz {

/// For as long as it exists the stacks of what this thread throws are noted.
class ThrowStacks {
 public:
  ThrowStacks() noexcept;
  ~ThrowStacks();
  ThrowStacks(const ThrowStacks&) = delete;
  ThrowStacks& operator=(const ThrowStacks&) = delete;
};

/// The functions that were active when `exception` was thrown in this thread, the innermost first,
/// up to the task's function: "simulate(int) (program+0x1234)". Empty where that is not known.
std::vector<std::string> stack_of(const std::exception_ptr& exception);

}  // namespace haz
