/// @file
/// Versions of the headers and of the library.
///
/// A program runs with the library of the version that it was compiled for, and with later ones of
/// the same minor version (0.1.0 with 0.1.3): another one is not even loaded, since its file has
/// another name, `libhaz.so.0.2`. Where headers and library don't fit together all the same, init()
/// throws usage_error, and a library of functions is refused where it is loaded.
#pragma once

#include "haz/detail/export.h"

/// Version of these headers, as "0.1.0".
#define HAZ_VERSION "0.1.0"

namespace haz {

/// Version of the library that runs, as "0.1.0". The text is the library's. Any thread may call it,
/// also without init().
HAZ_API const char* library_version() noexcept;

}  // namespace haz
