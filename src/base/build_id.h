/// @file
/// Which build of the core this is.
#pragma once

namespace haz {

/// Version, and a hash of the core's sources: processes share memory only with those of the same
/// build.
const char* build_id() noexcept;

}  // namespace haz
