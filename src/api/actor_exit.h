/// @file
/// How a method leaves its actor for good.
#pragma once

namespace haz {

/// Thrown by exit_actor(). No std::exception, so that handlers of those let it pass.
struct ActorExit {};

}  // namespace haz
