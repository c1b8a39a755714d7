/// @file
/// The main loop of a worker process: takes tasks, calls their functions, hands in what they
/// return. An actor's process runs the calls of its actor in the same way, or in several threads,
/// or on an event loop.
#pragma once

#include <Python.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "arguments.h"
#include "client/ring_client.h"
#include "cpp_function.h"
#include "eager_task.h"
#include "os/process_settings.h"
#include "process_watch.h"
#include "session.h"

namespace haz::py {

/// What the loop needs of haz._core.worker_main; all borrowed for the life of the process.
struct WorkerHooks {
  PyObject* load;  ///< load(code: bytes, number: int) -> callable, or the name of a method
  /// fail(error, name: str | None, number: int) -> (info: dict, retryable: bool); the error of a
  /// function of C++ comes as the info already.
  PyObject* fail;
  PyObject* split;  ///< split(value, num_returns) -> sequence
  PyObject* flush;  ///< flush(ended: bool): writes out what the streams hold
  /// put_back(imported: bool): the process gets its own state again; what may be the set-up of a
  /// module stays if some were imported.
  PyObject* put_back;
  PyObject* set_aside;   ///< set_aside() -> object: as put_back(False), for bring_back()
  PyObject* bring_back;  ///< bring_back(object)
};

/// What a thread runs now.
struct Running {
  TaskId task;
  std::uint32_t attempt = 0;
  std::uint32_t function = 0;
  PyObject* name = nullptr;  ///< str, borrowed for the life of the process.
  PyObject* grant =
      nullptr;  ///< Tuple as running_grant() returns it, borrowed while the task runs.
};

/// A call that runs beside others of its actor, as interrupts find it. With the GIL.
struct ActiveCall {
  TaskId task;
  std::uint32_t attempt = 0;
  unsigned long thread = 0;          ///< Runs in this thread; 0: on the event loop.
  PyObject* asyncio_task = nullptr;  ///< Borrowed; the task on the event loop.
  bool interrupted = false;
};

/// How the process runs what it is given.
enum class CallMode : std::uint8_t {
  kMainThread,  ///< One after the other.
  kThreads,     ///< Several threads take calls from the ring in turn.
  kEventLoop,   ///< As asyncio tasks.
};

/// What one attempt hands in. Bytes and ids lie in `bytes` and `ids` until it is sent.
struct CallResults {
  struct Entry {
    NewValue value;
    std::size_t bytes_at;
    std::size_t ids_at;
    std::size_t num_ids;
  };
  std::vector<Entry> entries;
  std::vector<std::byte> bytes;
  std::vector<ObjectId> ids;
  /// Owned: what must not be let go of before its refs are counted by the node.
  std::vector<PyObject*> kept;
  Outcome outcome = Outcome::kReturned;
  bool is_packed = false;  ///< All of it is there: the function has placed its result itself.

  CallResults() = default;
  CallResults(const CallResults&) = delete;
  CallResults& operator=(const CallResults&) = delete;
  ~CallResults() {
    for (PyObject* object : kept)
      Py_DECREF(object);
  }
  void clear() {
    entries.clear();
    bytes.clear();
    ids.clear();
  }
};

/// One for each worker process. Every member needs the GIL.
class WorkerLoop {
 public:
  WorkerLoop(Session& session, WorkerHooks hooks);
  WorkerLoop(const WorkerLoop&) = delete;
  WorkerLoop& operator=(const WorkerLoop&) = delete;
  ~WorkerLoop();

  /// Runs what comes until the process should end.
  void run();
  /// What the calling thread runs; on an event loop, what the calling coroutine belongs to. A
  /// thread that was started by a task runs what the main thread does.
  [[nodiscard]] Running running() const;
  [[nodiscard]] CallMode mode() const { return mode_; }
  /// The process ends when the task that runs has ended.
  void stop_after_task() { stop_ = true; }
  /// From the constructor's call: calls of methods are for `instance` from now on. `run_calls` is
  /// called by run() where the mode is not kMainThread: it has to see to it that run_thread() is
  /// called by `concurrency` threads, or start_calls() by the event loop.
  void become_actor(PyObject* instance, CallMode mode, std::uint32_t concurrency,
                    PyObject* run_calls);
  /// The actor ends, with the call that runs.
  void exit_actor();
  /// Exit code of the process, when run() has returned.
  [[nodiscard]] int exit_code() const { return exit_code_; }
  /// Interrupts calls, other than one of the main thread, that the node wants interrupted.
  void interrupt_calls();

  /// Runs calls in this thread until the process should end (kThreads).
  void run_thread();
  /// Before become_actor() with kEventLoop: the loop on which calls will run. False: a Python
  /// error.
  bool use_loop(PyObject* loop) { return tasks_.bind(loop); }
  /// Starts the calls that are there, as far as `concurrency` allows and for about a millisecond
  /// (kEventLoop). False: the process should end.
  bool start_calls();
  /// The asyncio task of a call has ended.
  void call_ended(PyObject* call, PyObject* asyncio_task);

 private:
  struct Loaded {
    PyObject* callable = nullptr;  ///< Or the name of a method.
    PyObject* name = nullptr;      ///< str
    CppFunction* cpp = nullptr;    ///< What `callable` comes to, if that is a function of C++.
    bool is_method = false;
    std::int32_t items_ahead = -1;  ///< See FunctionBlock.
  };
  struct Call {
    TaskId task;
    std::uint32_t attempt;
    std::uint32_t num_returns;
    std::uint32_t function;
    std::int64_t began_ns;
  };

  [[nodiscard]] Running running_in_context() const;
  Running& slot();
  Loaded* load(const TaskCommand& command);
  PyObject* invoke(const Loaded& loaded, DecodedArguments& arguments);
  PyObject* call(const TaskCommand& command, bool in_ring,
                 std::unique_lock<std::timed_mutex>& claim, Call& attempt, CallResults& results);
  PyObject* call_cpp(const Loaded& loaded, const TaskCommand& command, CallResults& results);
  bool is_cpp_error_retried(const std::vector<std::byte>& error, std::uint32_t function);
  bool move_large_errors(CallResults& results);
  void execute(const TaskCommand& command, bool in_ring,
               std::unique_lock<std::timed_mutex> claim = {});
  void start_call(const TaskCommand& command, std::int64_t now_ns);
  bool await_end(PyObject* object, PyObject* task);
  void reset_current_call(PyObject* token);
  void finish_call(CallResults& results, const Call& attempt);
  [[noreturn]] void leave_forked_child(PyObject* returned);
  static void add_no_memory(CallResults& results);
  void pack(CallResults& results, PyObject* returned, const Call& call);
  void send(CallResults& results, const Call& call);
  bool add_value(CallResults& results, PyObject* value, bool is_error);
  bool add_returns(CallResults& results, PyObject* returned, std::uint32_t num_returns);
  void add_exception(CallResults& results, const Call& call);
  bool add_error(CallResults& results, PyObject* info);
  void give_back(CallResults& results);
  [[nodiscard]] std::string shown_name() const;
  /// What a task has set before another one runs on top of it.
  struct OuterState {
    PyObject* context = nullptr;  ///< That of the other one.
    PyObject* changes = nullptr;  ///< Of what the hooks know; null: none.
    ProcessSettings settings;     ///< If there are changes.
    bool imported = false;
  };
  static void keep_settings();
  /// `ended`: what was written is all of one task, and no other one runs.
  void flush_output(bool ended = false);
  void clean_up(bool outermost);
  void put_back(bool imported);
  OuterState set_aside();
  void bring_back(const OuterState& outer);
  void leave_if_exit();
  void end_process(int code);
  bool claim_turn(std::unique_lock<std::timed_mutex>& claim);
  void interrupt_if_wanted(ActiveCall& call);
  void add_active(ActiveCall* call) { active_.push_back(call); }
  void remove_active(ActiveCall* call) { std::erase(active_, call); }

  Session& session_;
  RingClient& ring_;
  WorkerHooks hooks_;
  std::unordered_map<std::uint32_t, Loaded> functions_;
  Running main_running_;
  std::vector<ActiveCall*> active_;
  CallMode mode_ = CallMode::kMainThread;
  std::uint32_t concurrency_ = 1;
  std::uint32_t calls_on_loop_ = 0;
  EagerTasks tasks_;
  PyObject* instance_ = nullptr;
  PyObject* run_calls_ = nullptr;
  PyObject* current_call_ = nullptr;  ///< Context variable: the call that a coroutine belongs to.
  std::timed_mutex claim_mutex_;      ///< Held by the thread that takes the next call.
  ProcessWatch watch_;
  TaskContext context_;
  std::atomic<bool> stop_{false};
  bool exiting_ = false;  ///< The call that runs has no result any more.
  int exit_code_ = 0;
};

/// The loop of this process, if it is a worker.
WorkerLoop* worker_loop();
/// Task under which the calling code submits others; none in a driver.
TaskId parent_task(Session& session);
/// Whether a wait in this thread would stop the event loop of an actor.
bool on_event_loop();
/// The streams hold text, to be flushed when the running task has ended.
void note_output();
/// Makes the type of calls on an event loop. Once.
bool init_async_call_type();

}  // namespace haz::py
