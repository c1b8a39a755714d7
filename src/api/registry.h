/// @file
/// The functions that this process' libraries have registered.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "haz/detail/registry.h"

namespace haz {

/// The function of that name; null if there is none. Any thread.
const detail::remote_function* find_function(std::string_view name);
/// The same, of the library of that path, which is loaded if it must be; "": of the program.
const detail::remote_function* find_function(std::string_view name, const std::string& library);
/// The functions of the library that dlopen() finds by that name, in the order in which they were
/// registered.
std::vector<const detail::remote_function*> functions_of(const char* library);
/// The methods that stand in the HAZ_ACTOR of this constructor.
std::vector<const detail::remote_function*> methods_of(const detail::remote_function& constructor);
/// Names of its parameters with commas between them; "": they were not registered.
std::string parameters_of(const detail::remote_function& function);
/// For messages: "(double radius) -> double", or without the names.
std::string signature_of(const detail::remote_function& function);
/// The path of the library that has registered the function; "": it is the program's own.
std::string library_of(const detail::remote_function& function);

}  // namespace haz
