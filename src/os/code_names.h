/// @file
/// Which functions addresses of code belong to.
#pragma once

#include <span>
#include <string>
#include <vector>

namespace haz {

/// Where an address of code is.
struct CodePlace {
  std::string function;  ///< As a person writes it; empty: the file has no symbols.
  std::string file;      ///< Path of the program or library.
  std::string offset;    ///< In it, "0x1234", as addr2line -e FILE takes it.
};

/// Those of addresses that calls return to. Names come from the symbol tables in the files, those
/// of static functions included, unless they were stripped. Slow: reads the files. Any thread.
std::vector<CodePlace> name_code(std::span<void* const> addresses);

/// A name as the compiler writes it, in words for a person.
std::string demangled(const char* name);

}  // namespace haz
