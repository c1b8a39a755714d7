/// @file
/// What the headers use of a running haz: one abstract class and plain data. So a library that
/// somebody's compiler made works with the haz of whatever process loads it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "haz/detail/abi.h"
#include "haz/detail/export.h"

namespace haz::detail {

enum class failure_kind : std::uint32_t {
  invalid,     ///< The caller's input is wrong.
  overloaded,  ///< The object store has no room.
  timeout,
  interrupted,    ///< The running task is to end.
  lost,           ///< The object or actor is gone.
  exists,         ///< The name is taken.
  node_died,      ///< The node has ended.
  infeasible,     ///< The node never has such resources.
  pending_calls,  ///< The actor takes no more calls now.
};

/// Why a call of the engine returned false. Belongs to the caller.
struct failure {
  failure() noexcept { text[0] = '\0'; }  // the rest is not worth the time of each call

  failure_kind kind = failure_kind::invalid;
  char text[1024];  // NOLINT(cppcoreguidelines-pro-type-member-init)
};

/// Bytes that stand behind the stream of a value; see src/wire/value.h.
struct far_bytes {
  const void* data;
  std::size_t size;
  std::size_t field;  ///< Place in the stream of their offset, to be filled in.
};

/// A value as it is written. Everything belongs to the caller.
struct encoded {
  std::byte* stream;  ///< Fields of far bytes are written to.
  std::size_t size;
  const far_bytes* far;
  std::size_t num_far;
  const std::uint64_t* refs;  ///< Objects that are named in it.
  std::size_t num_refs;
};

/// Where a task's result was placed.
struct stored {
  std::uint64_t offset;  ///< In the arena; 0: its bytes are those of the stream.
  std::uint64_t size;
};

struct named_amount {
  const char* name;
  double amount;
};

/// What a constructor's registration says of its actors.
struct actor_spec {
  std::int32_t max_restarts;
  std::uint32_t max_pending_calls;  ///< 0: no limit.
  const named_amount* resources;    ///< Held while the actor lives.
  std::size_t num_resources;
  const std::byte* meta;  ///< Kept for those who ask for the actor by name.
  std::size_t meta_size;
  bool is_detached;               ///< Lives without handles, and longer than this program.
  std::uint32_t max_concurrency;  ///< Calls that run at a time.
};

struct function_spec {
  const char* name;
  const std::byte* code;
  std::size_t code_size;
  const named_amount* resources;
  std::size_t num_resources;
  std::int32_t max_retries;
  bool retry_exceptions;
  std::int64_t timeout_ns;  ///< Negative: none.
  std::int32_t priority;
  const actor_spec* actor;  ///< Null: it is no constructor.
  bool is_python;           ///< Only workers of Python run it.
  bool is_method;           ///< The worker of its actor runs it.
};

/// A call of a registered function.
struct call {
  std::uint32_t function;
  std::uint64_t actor;  ///< Whose method it is; 0: it is none.
  const std::byte* payload;
  std::size_t payload_size;
  const std::uint64_t* dependencies;
  std::size_t num_dependencies;
  const std::uint64_t* refs;
  std::size_t num_refs;
  std::uint32_t num_items;  ///< Calls that it stands for, each with a result of its own: 1, or more
                            ///< of a chunk of a map().
};

struct actor_name {
  const char* name;  ///< Empty: none.
  const char* name_space;
  bool get_if_exists;
};
using bytes_receiver = void (*)(void* context, const std::byte* bytes, std::size_t size) noexcept;

/// A value that was waited for. The bytes stay until the receiver returns, those of a pinned one
/// until its reference is dropped.
struct fetched {
  std::uint64_t id;
  const std::byte* data;
  std::size_t size;
  bool is_ready;
  bool is_pinned;  ///< The receiver holds one reference, which it drops.
  bool is_error;
};
/// Gets the values in order, as many as there are, or so many at a time; where one is an error,
/// only that.
inline constexpr std::size_t fetched_at_once = 128;
using fetched_receiver = void (*)(void* context, const fetched* values, std::size_t count) noexcept;

using ready_callback = void (*)(void* context) noexcept;

/// Members may be called from any thread. Those that return bool say with false that they have
/// failed, and why.
class engine {
 public:
  [[nodiscard]] virtual std::uint32_t version() const noexcept = 0;
  virtual bool register_function(const function_spec& function, std::uint32_t* id,
                                 failure& why) noexcept = 0;
  /// The caller gets one reference of each result; the ids of several follow each other.
  virtual bool submit(const call& call, std::uint64_t* id, failure& why) noexcept = 0;
  /// Starts the actor that the constructor's call makes. The caller gets one handle, which is a
  /// reference.
  virtual bool create_actor(const call& call, const actor_name& name, std::uint64_t* id,
                            failure& why) noexcept = 0;
  /// The caller gets one handle, `receiver` the meta. Fails as `lost` where there is none.
  virtual bool find_actor(const actor_name& name, std::uint64_t* id, bytes_receiver receiver,
                          void* context, failure& why) noexcept = 0;
  virtual void kill_actor(std::uint64_t id, bool no_restart) noexcept = 0;
  /// The caller gets one reference.
  virtual bool put(const encoded& value, std::uint64_t* id, failure& why) noexcept = 0;
  /// Places the result of a task.
  virtual bool store(const encoded& value, stored* place, failure& why) noexcept = 0;
  /// Waits for all, or the first error. `timeout_ns` negative: for ever.
  virtual bool get(const std::uint64_t* ids, std::size_t count, std::int64_t timeout_ns,
                   fetched_receiver receiver, void* context, failure& why) noexcept = 0;
  /// Waits until `needed` of them are ready, or for `timeout_ns`, which is no failure.
  virtual bool wait(const std::uint64_t* ids, std::size_t count, std::size_t needed,
                    std::int64_t timeout_ns, bool* ready, failure& why) noexcept = 0;
  virtual void cancel(std::uint64_t id, bool force, bool recursive) noexcept = 0;
  /// How many CPUs the node gives to tasks.
  virtual bool count_cpus(double* cpus, failure& why) noexcept = 0;
  virtual void add_reference(std::uint64_t id) noexcept = 0;
  virtual void drop_reference(std::uint64_t id) noexcept = 0;
  /// Whether the running task is to end.
  [[nodiscard]] virtual bool is_interrupted() const noexcept = 0;
  /// Calls `resume` once, in haz's own thread, when the object is ready or haz ends; not if it is
  /// ready already, which `is_ready` says. Fails where another language has that thread.
  virtual bool notify(std::uint64_t id, ready_callback resume, void* context, bool* is_ready,
                      failure& why) noexcept = 0;
  /// Ends the actor of this process when the call that runs has ended. Fails where there is none.
  virtual bool exit_actor(failure& why) noexcept = 0;
  /// Keeps the shared memory mapped, also beyond the end of haz, until release_memory().
  [[nodiscard]] virtual void* hold_memory() noexcept = 0;
  virtual void release_memory(void* held) noexcept = 0;

 protected:
  engine() = default;
  ~engine() = default;
  engine(const engine&) = default;
  engine& operator=(const engine&) = default;
};

/// The engine of this process, for headers of that number. @throws not_running_error, usage_error
HAZ_API engine& current_engine(std::uint32_t abi, const char* version);
/// The same if its number is `generation`, else null.
HAZ_API engine* engine_of(std::uint32_t generation, std::uint32_t abi) noexcept;
template <std::uint32_t Abi = abi_version>
engine& current_engine() {
  return current_engine(Abi, HAZ_VERSION);
}
template <std::uint32_t Abi = abi_version>
engine* engine_of(std::uint32_t generation) noexcept {
  return engine_of(generation, Abi);
}
/// Number of the current engine: 1 for the first; 0 while there is none.
HAZ_API std::uint32_t current_generation() noexcept;
/// Throws what `why` stands for.
[[noreturn]] HAZ_API void throw_failure(const failure& why);
/// Throws the exception that an error value stands for.
[[noreturn]] HAZ_API void throw_error_value(const std::byte* bytes, std::size_t size);

}  // namespace haz::detail
