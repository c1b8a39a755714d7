/// @file
/// Whether the headers that a program was compiled with fit the library that it runs with.
#pragma once

#include <cstdint>

#include "haz/detail/export.h"
#include "haz/version.h"

/// Whether the library works with headers of this number. If not, it remembers that what lies at
/// `place` (null: it need not) was refused. This declaration never changes.
extern "C" HAZ_API bool haz_accepts_headers(std::uint32_t abi, const char* version,
                                            const void* place) noexcept;

namespace haz::detail {

/// Changes with whatever headers and library share: what is declared HAZ_API, layouts of the
/// classes that it takes, the functions of detail::engine. It is part of the names of what is
/// compiled into programs and calls the library first, so that theirs and a library's do not mix.
inline constexpr std::uint32_t abi_version = 7;

/// Says what does not fit. @throws usage_error
[[noreturn]] HAZ_API void throw_other_headers(std::uint32_t abi, const char* version);

/// @throws usage_error where the library does not work with these headers.
template <std::uint32_t Abi = abi_version>
void check_headers(const char* version = HAZ_VERSION) {
  if (!haz_accepts_headers(Abi, version, nullptr)) throw_other_headers(Abi, version);
}

}  // namespace haz::detail
