/// @file
/// Memory that stays as it is, whatever becomes of the file that is mapped there.
#pragma once

#include <cstddef>

#include "base/result.h"

namespace haz {

/// Puts a read-only copy of its own under [address, address + size_bytes), rounded outwards to
/// pages, in the place of what is mapped there; who reads meanwhile sees the same bytes. Nobody
/// writes to them now. Errors: kOverloaded (memory); then all is as before.
Status make_private_copy(const std::byte* address, std::size_t size_bytes);

}  // namespace haz
