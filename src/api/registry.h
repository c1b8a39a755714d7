/// @file
/// The functions that this process' libraries have registered.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "haz/detail/registry.h"

namespace haz {

/// A name that no other function of its library has: a namespace or a source file may have one of
/// the same name as another's. The second of a name is "name#2", by the order of registration.
std::string unique_name_of(const detail::remote_function& function);
/// The function of that unique name, of the library of that path, which is loaded if it must be;
/// "": of the program, or else of any library. Null if there is none. Any thread.
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
