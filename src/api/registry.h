/// @file
/// The functions that this process' libraries have registered.
#pragma once

#include <string_view>

#include "haz/detail/registry.h"

namespace haz {

/// The function of that name; null if there is none. Any thread.
const detail::remote_function* find_function(std::string_view name);

}  // namespace haz
