/// @file
/// What a task of C++ has thrown, as the value that stands for it.
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

namespace haz {

/// The exception that is being handled as an error's value. Call it in a catch block.
std::vector<std::byte> pack_current_exception(std::string_view task_name);

}  // namespace haz
