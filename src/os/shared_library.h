/// @file
/// Shared libraries that are loaded by name, and those that are loaded already.
#pragma once

#include <string>

#include "base/result.h"

namespace haz {

/// Loads the library at `path` ("": what all libraries see) for good, and returns the address of
/// `symbol` in it. kInvalid, in the words of the dynamic linker, if one of the two can't be done.
/// Runs constructors of the library.
Result<const void*> load_symbol(const std::string& path, const char* symbol);

/// Names a library that is loaded; equal names are the same one. Null: there is none.
using LoadedLibrary = const void*;
/// The one that dlopen() finds by that name, which it loads for good if need be.
LoadedLibrary load_library(const char* path);
/// The one in which `place` lies.
LoadedLibrary library_at(const void* place);
/// Its path; "": the program itself.
std::string path_of(LoadedLibrary library);

/// Tells each OpenMP library of this process how many threads loops of the calling thread have from
/// now on, where they do not say, and with `with_blas` OpenBLAS, MKL and BLIS how many they use;
/// nothing where there is none. Thread-safe. Microseconds, or less while no library was loaded
/// since the last call.
void set_library_threads(int num_threads, bool with_blas);

}  // namespace haz
