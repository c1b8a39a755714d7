/// @file
/// Jobs: what belongs to one driver of a long-lived node, and ends with it.
#pragma once

#include <cstdint>
#include <string>

#include "base/ids.h"

namespace haz {

/// The functions of one driver, and with them its tasks, actors and workers. A detached actor has a
/// job of its own, which ends with it.
struct Job {
  ProcessId id{};               ///< The driver; of a detached actor a number that no process has.
  bool has_ended = false;       ///< Nothing of it starts any more; some of it may be about to end.
  std::int64_t cpu_held = 0;    ///< By its tasks that run and do not wait, in resource units.
  std::uint64_t last_turn = 0;  ///< When a task of it last got a worker: rises.
};

/// What workers are kept apart by.
struct Environment {
  std::string name{};         ///< As functions give it.
  ProcessId job{};            ///< Whose workers these are; none: there are no jobs on this node.
  std::uint32_t number = 0;   ///< Never used again.
  std::uint32_t classes = 0;  ///< Resource classes that name it.
};

}  // namespace haz
