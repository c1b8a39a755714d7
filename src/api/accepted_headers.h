/// @file
/// Which libraries were compiled with headers that this libhaz does not work with.
#pragma once

#include <string>

namespace haz {

/// What is to be said of the library, loaded by this name; empty: its headers fit.
std::string refused_headers_of(const char* library);

}  // namespace haz
