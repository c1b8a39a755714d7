/// @file
/// Messages in the byte rings between a process and the scheduler's host.
///
/// A record's kind is a MessageKind. Its body is one of the structs below, followed by the parts
/// that it names, each padded to 8 bytes. A body that does not fit a ring lies in the arena, and
/// the record is an IndirectMessage with kIndirectFlag set in its kind.
#pragma once

#include <cstdint>
#include <type_traits>

namespace haz {

enum class MessageKind : std::uint32_t {
  // Process to host.
  kFinished = 1,      ///< FinishedMessage, ValueEntry[], then each value's bytes and refs.
  kSubmit,            ///< SubmitMessage, payload, dependencies, refs.
  kPut,               ///< PutMessage, ValueEntry, bytes, refs.
  kAddReferences,     ///< u64 object ids.
  kDropReferences,    ///< u64 object ids.
  kRequest,           ///< RequestMessage, u64 object ids.
  kWithdraw,          ///< WithdrawMessage; may be answered by kAnswer.
  kStarted,           ///< StartedMessage.
  kCancel,            ///< CancelMessage.
  kFree,              ///< u64 object ids.
  kAllocate,          ///< AllocateMessage; answered by kAnswer.
  kDiscard,           ///< u64 arena offset of an allocation that will not be used.
  kCloseChunk,        ///< u64 arena offset of a chunk that is used up.
  kRegisterFunction,  ///< RegisterMessage, options, code; answered by kAnswer.
  kQuery,             ///< QueryMessage; answered by kAnswer.
  kReady,             ///< Empty: the process takes tasks from now on.
  kCreateActor,  ///< CreateActorMessage, name, namespace, then as kSubmit; answered by kAnswer.
  kFindActor,    ///< FindActorMessage, name, namespace; answered by kAnswer.
  kKillActor,    ///< KillActorMessage.
  kActorExit,    ///< Empty: the actor of this process ends.
  kYield,        ///< YieldMessage, ValueEntry, bytes, refs.
  kNextItem,     ///< NextItemMessage; answered by kAnswer, a TakenItem: ObjectEntry[], near values.
  kReturnItems,  ///< u64 stream, u64 item ids, the last first: they were taken in vain.
  kCreateGroup,  ///< CreateGroupMessage, GroupSpec, ValueEntry, bytes, refs; answered by kAnswer.
  kRemoveGroup,  ///< u64 id of a placement group.
  kAskedSubmit,  ///< u64 number, then as kSubmit; answered by kAnswer.
  kDamaged,  ///< Empty: the process, which runs nothing, has found damage in its memory, and ends.
  kReturnNested,  ///< ReturnNestedMessage.
  kFinishedNear,  ///< FinishedNearMessage, the value's bytes: what most tasks return.

  // Host to process.
  kObjects = 64,  ///< ObjectsMessage, ObjectEntry[], near values: answer to a request.
  kAnswer,        ///< AnswerMessage, bytes.
  kRunNested,     ///< TaskCommand.
};

inline constexpr std::uint32_t kIndirectFlag = 1U << 7;

/// The body lies in the arena. From a process: in memory that it allocated, and the host frees it.
/// From the host: the process gives it back with kDiscard.
struct IndirectMessage {
  std::uint64_t offset;
  std::uint64_t size;
};

enum ValueFlags : std::uint32_t { kValueIsError = 1 };

/// One value; its bytes (when offset is 0) and ids of refs inside follow elsewhere.
struct ValueEntry {
  std::uint64_t offset;
  std::uint64_t size;
  std::uint32_t flags;
  std::uint32_t num_refs;
};
static_assert(sizeof(ValueEntry) == 24);

struct FinishedMessage {
  std::uint64_t task;
  std::uint32_t attempt;
  std::uint32_t outcome;  ///< An Outcome.
  std::uint64_t run_ns;
  std::int64_t ended_ns;  ///< By the machine's monotonic clock.
  std::uint32_t num_values;
  std::uint32_t reserved;
};
static_assert(sizeof(FinishedMessage) == 40);

/// As FinishedMessage, of one value without refs that is not in the arena.
struct FinishedNearMessage {
  std::uint64_t task;
  std::int64_t ended_ns;
  std::uint32_t attempt;
  std::uint32_t run_ns;
  std::uint32_t size;
  std::uint8_t outcome;
  std::uint8_t is_error;
  std::uint16_t reserved;
};
static_assert(sizeof(FinishedNearMessage) == 32);

struct YieldMessage {
  std::uint64_t task;
  std::uint64_t index;  ///< Of the item, from 0.
  std::uint32_t attempt;
  std::uint32_t reserved;
};
static_assert(sizeof(YieldMessage) == 24);

struct NextItemMessage {
  std::uint64_t number;
  std::uint64_t stream;
  std::uint64_t first_item;  ///< The items become objects of this and the following ids.
  std::uint32_t most_items;  ///< 0: only tell whether there is one.
  std::uint32_t reserved;
};

struct SubmitMessage {
  std::uint64_t task;
  std::uint64_t parent;
  std::uint64_t payload_offset;
  std::uint32_t payload_size;
  std::uint32_t function;
  std::uint32_t num_returns;
  std::uint32_t num_dependencies;
  std::uint32_t num_refs;
  std::uint32_t reserved;
  std::uint64_t actor;  ///< Whose method it is, or 0.
  std::uint64_t group;  ///< As in TaskSpec.
  std::int32_t bundle;
  std::uint32_t captures;
};
static_assert(sizeof(SubmitMessage) == 72);

struct CreateActorMessage {
  std::uint64_t number;
  std::uint32_t name_size;
  std::uint32_t namespace_size;
  std::uint32_t get_if_exists;
  std::uint32_t reserved;
};

struct FindActorMessage {
  std::uint64_t number;
  std::uint32_t name_size;
  std::uint32_t namespace_size;
};

struct KillActorMessage {
  std::uint64_t actor;
  std::uint32_t no_restart;
  std::uint32_t reserved;
};

struct CreateGroupMessage {
  std::uint64_t number;
};

struct PutMessage {
  std::uint64_t object;
};

enum RequestFlags : std::uint32_t {
  kRequestGet = 1,       ///< Values are wanted, and an error ends the wait.
  kRequestBlocking = 2,  ///< The process' main thread sleeps on it.
  kRequestThread = 4,    ///< Another thread of it does, while a task runs.
  kRequestNear = 8,      ///< Values that need no pin are wanted.
  kRequestTimed = 16,    ///< It is withdrawn after some time.
  kRequestAwaited = 32,  ///< No thread sleeps on it.
};

struct RequestMessage {
  std::uint64_t number;
  std::uint64_t task;  ///< The running one; 0: none. A nested one may be on its way to its worker.
  std::uint32_t flags;
  std::uint32_t needed;
  std::uint32_t num_objects;
  std::uint32_t reserved;
};

struct WithdrawMessage {
  std::uint64_t number;
  std::uint64_t answer;  ///< Number for a kAnswer when it has been withdrawn; 0: none is wanted.
};

/// The process was sent the attempt to run on top of a wait that was interrupted: it has not begun,
/// and will not.
struct ReturnNestedMessage {
  std::uint64_t task;
  std::uint32_t attempt;
  std::uint32_t reserved;
};

struct StartedMessage {
  std::uint64_t task;
  std::uint32_t attempt;
  std::uint32_t reserved;
};

enum CancelFlags : std::uint32_t { kCancelForce = 1, kCancelRecursive = 2 };

struct CancelMessage {
  std::uint64_t object;
  std::uint32_t flags;
  std::uint32_t reserved;
};

enum class AllocateKind : std::uint32_t { kValue = 0, kChunk = 1, kMessage = 2 };

struct AllocateMessage {
  std::uint64_t number;
  std::uint64_t task;  ///< The running one; 0: none.
  std::uint64_t size;
  AllocateKind kind;
  std::uint32_t reserved;
};

struct RegisterMessage {
  std::uint64_t number;
  std::uint64_t
      code_size;  ///< FunctionOptions as encode_function_options() writes them stand first.
};

enum class QueryKind : std::uint32_t {
  kTotalResources = 1,
  kAvailableResources,
  kSnapshot,
  kNamedActors,  ///< A list of (namespace, name, calls that have not ended, its process or 0).
  kGroups,       ///< A list of placement groups: that of the id `argument`; 0: all.
  kGroupOfTask,  ///< The same, with that of the task `argument`, if it is in one.
  kActorName,    ///< Name of the actor `argument`.
  kIsCancelled,  ///< Whether the task `argument` was cancelled.
  kIsWanted,     ///< Whether anybody has a ref of the first result of the task `argument`.
  // What there is and what has ended, as src/node/state.cpp describes it; `argument`: the most
  // entries of what there is.
  kTasks,
  kActors,
  kObjects,
  kWorkers,
  kTaskOf,  ///< Number of the task that makes, or made, the object `argument`; 0: not known.
};

struct QueryMessage {
  std::uint64_t number;
  QueryKind kind;
  std::uint32_t reserved;
  std::uint64_t argument;
};

struct ObjectEntry {
  std::uint64_t object;
  std::uint64_t offset;  ///< In the arena; for a near value: from the start of the body.
  std::uint64_t size;
  std::uint32_t flags;  ///< ValueFlags, and those below.
  std::uint32_t reserved;
};
static_assert(sizeof(ObjectEntry) == 32);

inline constexpr std::uint32_t kEntryReady = 2;
inline constexpr std::uint32_t kEntryNear = 4;
/// The receiver holds one reference for it, which it must drop.
inline constexpr std::uint32_t kEntryPinned = 8;

struct ObjectsMessage {
  std::uint64_t number;
  std::uint32_t num_objects;
  std::uint32_t unknown;  ///< 1: an object is gone; there are no entries.
};

enum class AnswerStatus : std::uint32_t { kOk = 0, kInvalid, kOverloaded, kLost, kExists };

/// `value` means what the question says; the bytes that follow are text or an encoded value.
struct AnswerMessage {
  std::uint64_t number;
  std::uint64_t value;
  std::uint64_t size;  ///< Size granted, for kAllocate.
  AnswerStatus status;
  std::uint32_t num_bytes;
};

}  // namespace haz
