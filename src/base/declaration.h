/// @file
/// What the texts of declarations say, as macros get them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace haz {

/// Items of a list between commas that stand outside of brackets, without spaces around them.
std::vector<std::string_view> split_list(std::string_view list);

/// What stands in the brackets that `text` begins with: up to its end where they are not closed,
/// nothing where it begins with another character.
std::string_view in_brackets(std::string_view text);

/// A signature "(double, int) -> bool" with the names of its parameters, "x, n"; unchanged where
/// there are not as many.
std::string with_names(const std::string& signature, std::string_view names);

/// The names of the parameters in "name(type first, type second)", with commas between them; empty
/// if not all have one.
std::string names_in(std::string_view declaration);

}  // namespace haz
