/// @file
/// Objects as the scheduler sees them, and those who wait for them.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/ids.h"
#include "sched/value_bytes.h"

namespace haz {

struct Task;
struct Object;

enum class ObjectState : std::uint8_t {
  kPending,  ///< Its task has not ended.
  kReady,    ///< Holds a value.
  kError,    ///< Holds an error, which is a value too.
};

/// What an object stands for.
enum class ObjectRole : std::uint8_t {
  kValue,
  kStream,  ///< For the items of a streaming task; it has no value. See Stream.
  kDemand,  ///< For the demand for such items; it has no value.
  kGroup,   ///< For a placement group: its value counts when that is reserved.
};

/// Who waits: a task for its arguments, or a request for its objects.
struct Waiter {
  enum class Kind : std::uint8_t { kTask, kRequest };
  explicit Waiter(Kind waiter_kind) : kind(waiter_kind) {}
  Kind kind;
  std::uint32_t missing = 0;  ///< Objects that are still pending.
};

/// One waiter's place in one object's list.
struct WaitNode {
  WaitNode* previous = nullptr;  ///< The first one's is the last, so that both ends are at hand.
  WaitNode* next = nullptr;
  Object* object = nullptr;
  Waiter* waiter = nullptr;
};

/// A value on its way into the scheduler; the bytes and ids belong to the caller. The place in the
/// arena belongs to the scheduler from the call on, whatever comes of it. An error has no place
/// there: every return and every dependent task gets a copy of its bytes.
struct NewValue {
  std::uint64_t offset = 0;  ///< Place in the arena; 0: the bytes are in `bytes`.
  std::uint64_t size = 0;    ///< In bytes.
  bool is_error = false;
  std::span<const std::byte> bytes{};
  const ValueBytes* shared = nullptr;  ///< Instead of `bytes`, where they have an owner already.
  std::span<const ObjectId> refs{};    ///< Objects that the value refers to.
};

/// One object. Freed when nothing refers to it: `refs` counts handles of processes, pins of
/// readers, arguments of tasks that have not ended, places in other objects, and the task that
/// makes it.
struct Object {
  ObjectId id;
  std::uint32_t refs = 0;
  ObjectState state = ObjectState::kPending;  ///< Of one that has no value it goes back and forth.
  ObjectRole role = ObjectRole::kValue;
  bool is_actor = false;        ///< Its references are handles of the actor of this id.
  bool closes_task = false;     ///< A streaming one without consumers: when nobody else has it.
  Task* producer = nullptr;     ///< The unfinished task that makes it.
  WaitNode* waiters = nullptr;  ///< Those who wait, first come first.
  std::uint64_t offset = 0;     ///< Place in the arena; 0: the value is in `bytes`.
  std::uint64_t size = 0;       ///< Size of the value in bytes.
  ValueBytes bytes;
  std::unique_ptr<std::vector<ObjectId>> inner;  ///< Objects that the value refers to.
};

}  // namespace haz
