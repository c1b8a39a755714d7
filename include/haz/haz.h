/// @file
/// All of haz for C++: tasks, refs, shared values, and parallel loops.
///
///     #include <haz/haz.h>
///
///     int square(int x) { return x * x; }
///     HAZ_REMOTE(square);
///
///     int main(int argc, char** argv) {
///       const auto runtime = haz::init(argc, argv);
///       const haz::ref<int> result = haz::task(square).remote(7);
///       return haz::get(result) == 49 ? 0 : 1;
///     }
#pragma once

#include "haz/actor.h"  // IWYU pragma: export
#include "haz/array.h"  // IWYU pragma: export
#if defined(__cpp_impl_coroutine)
#include "haz/await.h"  // IWYU pragma: export
#endif
#include "haz/codec.h"     // IWYU pragma: export
#include "haz/error.h"     // IWYU pragma: export
#include "haz/parallel.h"  // IWYU pragma: export
#include "haz/python.h"    // IWYU pragma: export
#include "haz/ref.h"       // IWYU pragma: export
#include "haz/runtime.h"   // IWYU pragma: export
#include "haz/task.h"      // IWYU pragma: export
#include "haz/version.h"   // IWYU pragma: export
#include "haz/view.h"      // IWYU pragma: export
