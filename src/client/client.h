/// @file
/// How a process uses its node: one interface, whether the scheduler lives in this process or not.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "sched/scheduler.h"
#include "shm/arena.h"
#include "store/value_store.h"
#include "store/wait.h"
#include "wire/messages.h"
#include "wire/task_command.h"

namespace haz {

/// A task to submit. Spans belong to the caller.
struct Submission {
  TaskId id;
  FunctionId function;
  TaskId parent;
  ObjectId actor{};  ///< Whose method it is; none: a task.
  ObjectId group{};  ///< This and the next two as in TaskSpec.
  std::int32_t bundle = kAnyBundle;
  bool captures = false;
  std::uint32_t num_returns = 1;
  std::uint64_t payload_offset = 0;  ///< From allocate(); 0: the arguments are in `payload`.
  std::uint32_t payload_size = 0;
  std::span<const std::byte> payload{};
  std::span<const ObjectId> dependencies{};
  std::span<const ObjectId> refs{};
};

/// An actor that was found by its name. The process holds one handle.
struct FoundActor {
  ObjectId id;
  std::vector<std::byte> meta;
};

/// Every member may be called from any thread.
class Client {
 public:
  /// Payloads and values up to this size are given as bytes; greater ones lie in the arena.
  static constexpr std::size_t kMaxNearPayload = TaskCommand::kNearBytes;
  static constexpr std::size_t kMaxNearValue = 1024;

  Client() = default;
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;
  virtual ~Client() = default;

  [[nodiscard]] virtual ProcessId process() const = 0;
  /// Random number of the node.
  [[nodiscard]] virtual std::uint64_t epoch() const = 0;
  /// First of `count` consecutive new ids.
  virtual std::uint64_t new_ids(std::uint32_t count) = 0;
  /// kInvalid when the node can never give the resources.
  virtual Result<FunctionId> register_function(const FunctionOptions& options,
                                               std::span<const std::byte> code) = 0;

  /// Memory in the arena to write a value or payload into, 64-byte aligned.
  virtual Result<StoreBlock> allocate(std::uint64_t size, WaitHooks& hooks, StoreUse use) = 0;
  /// The block is written and will be given to submit() or put().
  virtual void seal(const StoreBlock& block) = 0;
  /// The block will not be used.
  virtual void discard(const StoreBlock& block) = 0;

  /// The submitter gets one handle of each return; of a streaming function it is one of stream_of()
  /// the task, which takes kStreamIds ids, and num_returns is 1. The payload's block is the node's
  /// from the call on. kOverloaded: the actor takes no more calls now; where
  /// the scheduler is in another process, that comes as the error of the returns.
  virtual Status submit(const Submission& submission) = 0;
  /// As submit(), but where the scheduler is in another process this waits for its word, and is not
  /// interrupted.
  virtual Status submit_asked(const Submission& submission, WaitHooks& hooks) = 0;
  /// Submits the call of a constructor; the submitter gets one handle of the actor, which is
  /// returned. The payload's block is the node's from the call on. kExists: the name is taken.
  virtual Result<ObjectId> create_actor(const Submission& submission, const ActorSpec& actor,
                                        WaitHooks& hooks) = 0;
  /// kLost when there is none.
  virtual Result<FoundActor> find_actor(const ActorSpec& actor, WaitHooks& hooks) = 0;
  virtual void kill_actor(ObjectId id, bool no_restart) = 0;
  /// As Scheduler::create_group(), of which `spec.creator` and `spec.owner` are set here. The place
  /// of `value` is the node's from the call on.
  virtual Status create_group(GroupSpec& spec, const NewValue& value, WaitHooks& hooks) = 0;
  virtual void remove_group(ObjectId id) = 0;
  /// The caller gets one handle.
  virtual Status put(ObjectId id, const NewValue& value) = 0;
  /// Waits for all, or the first error. `deadline_ns`: monotonic; negative: none.
  virtual WaitOutcome get(std::span<const ObjectId> ids, std::int64_t deadline_ns, WaitHooks& hooks,
                          FetchedValues& out) = 0;
  /// Without waiting: the places in `ids` of the first that are ready, at most `places.size()` of
  /// them. How many those are; fewer than there may be where this process can't tell at once.
  virtual std::size_t find_ready(std::span<const ObjectId> ids, std::span<std::size_t> places) = 0;
  /// Waits until `needed` are ready; `ready` gets a flag for each.
  virtual WaitOutcome wait(std::span<const ObjectId> ids, std::uint32_t needed,
                           std::int64_t deadline_ns, WaitHooks& hooks,
                           std::vector<bool>& ready) = 0;
  /// Takes the next item of a stream, if there is one, of which the caller gets one handle. Without
  /// an `item` it only tells. Does not wait: that is done by wait() on the stream, which is ready
  /// while there is an item, or when it has ended.
  virtual TakenItem take_item(ObjectId stream, ObjectId* item, WaitHooks& hooks) = 0;
  /// To be called before another process gets a reference of `stream` from this one.
  virtual void share_stream(ObjectId stream) = 0;
  /// Reports `token` once the object is ready: completions_fd() is readable then, and
  /// take_completions() has it. False: it is ready, or there is no such object. `near`: a small
  /// value may come along.
  virtual bool subscribe(ObjectId id, std::uint64_t token, bool near) = 0;
  virtual std::vector<std::uint64_t> take_completions() = 0;
  virtual Result<int> completions_fd() = 0;
  virtual void cancel(ObjectId id, bool force, bool recursive) = 0;
  virtual void free(std::span<const ObjectId> ids) = 0;
  /// Counts one more handle of this process. Only while the object is kept by something else.
  virtual void add_reference(ObjectId id) = 0;
  /// From destructors: takes no lock and never waits.
  virtual void drop_reference(ObjectId id) noexcept = 0;
  /// An encoded value that answers `kind`.
  virtual Result<std::vector<std::byte>> query(QueryKind kind, std::uint64_t argument) = 0;

  [[nodiscard]] virtual Arena& arena() = 0;
};

}  // namespace haz
