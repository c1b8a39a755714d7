/// @file
/// What libhaz shows to programs.
#pragma once

/// On what is in the library, and not in the headers.
#define HAZ_API [[gnu::visibility("default")]]
