/// @file
/// The engine of this process, which the public headers find by themselves.
#pragma once

#include "haz/detail/engine.h"

namespace haz {

/// From now on `engine` is current, until clear_current_engine(). Gives it a number.
std::uint32_t set_current_engine(detail::engine& engine) noexcept;
void clear_current_engine() noexcept;

}  // namespace haz
