/// @file
/// How deep Python functions may call each other in a task that runs on top of another one.
#pragma once

#include <Python.h>

#include <cstddef>

namespace haz::py {

/// While it lives, the calling thread counts its recursion from 0, whatever lies below on its
/// stack; afterwards as before. Where little is left of the thread's stack, which the count
/// protects, it goes on as it was. For the main thread, with the GIL.
class FreshRecursion {
 public:
  /// `wanted`: whether it is to do anything.
  explicit FreshRecursion(bool wanted);
  ~FreshRecursion();
  FreshRecursion(const FreshRecursion&) = delete;
  FreshRecursion& operator=(const FreshRecursion&) = delete;

 private:
  int outer_depth_ = -1;  ///< -1: nothing was changed.
};

}  // namespace haz::py
