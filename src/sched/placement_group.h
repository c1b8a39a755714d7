/// @file
/// Placement groups: resources that are reserved together, for tasks and actors to run with.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "sched/list.h"
#include "sched/resources.h"
#include "sched/task.h"

namespace haz {

/// What a call that makes a placement group says.
struct GroupSpec {
  ObjectId id{};             ///< Of the object that becomes ready when the group is reserved.
  ProcessId creator{};       ///< Gets one reference of that.
  ObjectId owner{};          ///< The actor with which the group ends; none: the job, or the node.
  ProcessId job{};           ///< With which it ends, too; none: there are no jobs.
  bool is_detached = false;  ///< Lives until it is removed, whatever becomes of its creator.
  std::string name{};        ///< Empty: none.
  std::string name_space{};
  std::string strategy{};  ///< How the bundles lie on nodes: all the same on this one.
  std::vector<std::vector<std::pair<std::string, double>>> bundles{};  ///< Name to amount, each.
};

/// One part of a placement group. While it is reserved it holds resources of the node, and its
/// tasks take theirs from these.
struct Bundle {
  PlacementGroup* group = nullptr;
  ResourceRequest request;   ///< What it reserves.
  bool is_reserved = false;  ///< `grant` and `amounts` count.
  ResourceGrant grant;       ///< Of the node.
  ResourceAmounts amounts;   ///< What is free of that.
  std::uint32_t users = 0;   ///< Grants that were taken from it.
};

enum class GroupState : std::uint8_t {
  kPending,   ///< Waits for resources.
  kReserved,  ///< Its object is ready.
  kRemoved,   ///< Its bundles go as soon as the processes that use them have ended.
};

/// A placement group. It is named by an object, whose references are the handles; but it lives
/// until it is removed, whoever has handles.
struct PlacementGroup {
  ObjectId id;
  GroupState state = GroupState::kPending;
  bool referenced = true;     ///< Its object exists.
  bool has_actors = false;    ///< It ever had some.
  bool held_up = false;       ///< Tasks that came later use what it needs.
  bool seen_waiting = false;  ///< At the last tell_waiting().
  bool told_waiting = false;  ///< That was told.
  std::uint32_t ticks_held_up = 0;
  std::uint64_t order = 0;  ///< Among those of ready tasks.
  ObjectId owner;
  ProcessId job;
  std::string name;
  std::string name_space;
  std::string strategy;
  ResourceRequest total;        ///< Of all bundles.
  std::vector<Bundle> bundles;  ///< Pointers to them stay good.
  /// Of its tasks: what they ask for, and of which bundle.
  std::vector<std::unique_ptr<ResourceClass>> classes;
  List<Task, &Task::group_link> tasks;  ///< All that have not ended.
};

/// Whether those who came later make way for one that was held up for so many ticks: for a part of
/// the time only, since it may need what is only given back when one of the others has run. The
/// first time for so many ticks, then each time for twice as many, so that it comes to an end
/// whatever time those take that hold what it needs, and in proportion to that: with a share of a
/// quarter, after at most ten times theirs.
inline bool makes_others_wait(std::uint64_t ticks_held_up) {
  constexpr std::uint64_t kFirstTicks = 64;
  constexpr std::uint64_t kFirstPeriod = 4 * kFirstTicks;
  constexpr int kMostDoublings = 12;  // from then on the times stay: nine minutes of 36
  const int doublings = std::min(
      static_cast<int>(std::bit_width(ticks_held_up / kFirstPeriod + 1)) - 1, kMostDoublings);
  const std::uint64_t began = kFirstPeriod * ((std::uint64_t{1} << doublings) - 1);
  return (ticks_held_up - began) % (kFirstPeriod << doublings) < kFirstTicks << doublings;
}

}  // namespace haz
