#include "worker_loop.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <utility>

#include "item_sender.h"
#include "os/clock.h"
#include "python_error.h"
#include "recursion.h"

namespace haz::py {

namespace {

WorkerLoop* the_loop = nullptr;
/// Of the threads that run calls of an actor beside the main one.
thread_local Running running_here;
thread_local bool is_call_thread = false;

bool on_main_thread() {
  static const pid_t kMain = getpid();
  return gettid() == kMain;
}

}  // namespace

WorkerLoop* worker_loop() { return the_loop; }

TaskId parent_task(Session& session) {
  if (session.ring() == nullptr) return {};
  return the_loop != nullptr ? the_loop->running().task : session.ring()->running_task();
}

bool on_event_loop() {
  return the_loop != nullptr && the_loop->mode() == CallMode::kEventLoop && on_main_thread();
}

namespace {

constexpr int kFailedExit = 1;

/// The exit code that the SystemExit which is set asks for; clears it.
int exit_code_of_error() {
  int code = kFailedExit;
  PyObject* error = take_exception();
  PyObject* value = error != nullptr ? PyObject_GetAttrString(error, "code") : nullptr;
  if (value == Py_None) code = 0;
  if (value != nullptr && PyLong_Check(value)) code = static_cast<int>(PyLong_AsLong(value));
  if (PyErr_Occurred() != nullptr) PyErr_Clear();
  Py_XDECREF(value);
  Py_XDECREF(error);
  return code;
}

}  // namespace

WorkerLoop::WorkerLoop(Session& session, WorkerHooks hooks)
    : session_(session),
      ring_(*session.ring()),
      hooks_(hooks),
      current_call_(PyContextVar_New("haz_call", nullptr)) {
  the_loop = this;
}

WorkerLoop::~WorkerLoop() {
  the_loop = nullptr;
  Py_CLEAR(instance_);
  Py_CLEAR(run_calls_);
}

void WorkerLoop::run() {
  if (!watch_.start() || !context_.start()) return;
  keep_settings();
  ring_.set_nested_runner([this](const TaskCommand& command) {
    // A function of C++ that waits does not hold the GIL.
    const PyGILState_STATE state = PyGILState_Ensure();
    execute(command, false);
    PyGILState_Release(state);
  });
  ring_.ready();
  while (!stop_.load(std::memory_order_relaxed) && mode_ == CallMode::kMainThread) {
    GilHooks hooks;
    const TaskCommand* command = ring_.next_task(hooks);
    if (command != nullptr) {
      execute(*command, true);
    } else if (PyErr_Occurred() == nullptr) {
      return;
    } else {
      PyErr_Clear();
    }
  }
  if (mode_ == CallMode::kMainThread || stop_.load(std::memory_order_relaxed)) return;
  PyObject* done = PyObject_CallNoArgs(run_calls_);
  if (done == nullptr) {
    leave_if_exit();
    if (PyErr_Occurred() != nullptr) PyErr_WriteUnraisable(run_calls_);
  }
  Py_XDECREF(done);
}

Running WorkerLoop::running() const {
  if (is_call_thread) return running_here;
  if (mode_ == CallMode::kEventLoop && !main_running_.task) return running_in_context();
  return main_running_;
}

// ---- one attempt -------------------------------------------------------------------------------

namespace {

/// What the node has given the task, as a tuple. New reference.
PyObject* shown_grant(const TaskCommand& command) {
  TaskGrant grant{};
  const std::size_t size =
      std::min<std::size_t>(sizeof grant, TaskCommand::kNearBytes - command.grant_at);
  std::memcpy(&grant, command.near_bytes.data() + command.grant_at, size);
  PyObject* gpus = PyTuple_New(grant.num_gpus);
  for (std::uint32_t i = 0; gpus != nullptr && i < grant.num_gpus; ++i)
    PyTuple_SET_ITEM(gpus, i, PyLong_FromLong(grant.gpus[i]));
  PyObject* shown = gpus != nullptr ? Py_BuildValue("(N)", gpus) : nullptr;
  if (shown == nullptr) Py_FatalError("haz: no memory for a task");
  return shown;
}

}  // namespace

namespace {

/// The function of C++ that a callable is, or wraps; of a method's name, that of the actor's class.
/// Borrowed, since what is loaded stays.
CppFunction* cpp_function_behind(PyObject* callable, PyObject* instance) {
  if (CppFunction* function = as_cpp_function(callable)) return function;
  PyObject* function = nullptr;
  if (PyUnicode_Check(callable) == 0) {
    function = PyObject_GetAttrString(callable, "__haz_cpp__");
  } else if (instance != nullptr && as_cpp_object(instance) != nullptr) {
    PyObject* method = PyObject_GetAttr(reinterpret_cast<PyObject*>(Py_TYPE(instance)), callable);
    if (method != nullptr) function = PyObject_GetAttrString(method, "__haz_cpp__");
    Py_XDECREF(method);
  }
  PyErr_Clear();
  CppFunction* const found = function != nullptr ? as_cpp_function(function) : nullptr;
  Py_XDECREF(function);
  return found;
}

}  // namespace

WorkerLoop::Loaded* WorkerLoop::load(const TaskCommand& command) {
  Loaded& loaded = functions_[command.function];
  if (loaded.callable != nullptr) return &loaded;
  const std::byte* block = session_.client().arena().at(command.function_offset);
  FunctionBlock head{};
  std::memcpy(&head, block, sizeof head);
  const char* name = reinterpret_cast<const char*>(block + sizeof head);
  if (loaded.name == nullptr) {
    loaded.name = PyUnicode_DecodeUTF8(name, head.name_size, "replace");
    if (loaded.name == nullptr) return nullptr;
  }
  slot().name = loaded.name;
  PyObject* code = PyBytes_FromStringAndSize(name + head.name_size, head.code_size);
  if (code == nullptr) return nullptr;
  PyObject* callable = PyObject_CallFunction(hooks_.load, "NI", code, command.function);
  if (callable == nullptr) return nullptr;
  loaded.is_method = PyUnicode_Check(callable) != 0;
  loaded.cpp = cpp_function_behind(callable, instance_);
  loaded.items_ahead = head.items_ahead;
  loaded.callable = callable;
  return &loaded;
}

Running& WorkerLoop::slot() { return is_call_thread ? running_here : main_running_; }

/// Calls what was loaded. New reference, or nullptr with a Python error.
PyObject* WorkerLoop::invoke(const Loaded& loaded, DecodedArguments& arguments) {
  const bool is_cpp_method = as_cpp_function(loaded.callable) != nullptr &&
                             loaded.cpp->kind == haz::detail::function_kind::method;
  if (is_cpp_method && instance_ != nullptr) {
    arguments.values.insert(arguments.values.begin(), Py_NewRef(instance_));
    ++arguments.num_positional;
  }
  if (!loaded.is_method) {
    return PyObject_Vectorcall(loaded.callable, arguments.values.data(), arguments.num_positional,
                               arguments.names);
  }
  arguments.values.insert(arguments.values.begin(), Py_NewRef(instance_));
  ++arguments.num_positional;
  return PyObject_VectorcallMethod(loaded.callable, arguments.values.data(),
                                   arguments.num_positional, arguments.names);
}

/// Calls the function; what it returns are `attempt.num_returns` results. Of a streaming one the
/// items are handed in, and the result is their number. New reference, or nullptr with a Python
/// error.
PyObject* WorkerLoop::call(const TaskCommand& command, bool in_ring,
                           std::unique_lock<std::timed_mutex>& claim, Call& attempt,
                           CallResults& results) {
  DecodedArguments arguments;
  bool decoded = false;
  const Loaded* loaded = load(command);
  if (loaded != nullptr && loaded->cpp != nullptr && loaded->items_ahead < 0 &&
      (attempt.num_returns == 1 || has_items(command, ring_.arena()))) {
    slot().name = loaded->name;
    const TaskCommand copy = command;
    if (in_ring) ring_.release_task();
    if (claim.owns_lock()) claim.unlock();
    return call_cpp(*loaded, copy, results);
  }
  if (loaded != nullptr) {
    slot().name = loaded->name;
    decoded = decode_arguments(session_, command, loaded->name, arguments);
  }
  if (in_ring) ring_.release_task();
  if (claim.owns_lock()) claim.unlock();
  if (!decoded) return nullptr;
  if (ring_.interrupt_pending()) {
    PyErr_SetNone(PyExc_KeyboardInterrupt);
    return nullptr;
  }
  PyObject* returned = invoke(*loaded, arguments);
  if (returned == nullptr || loaded->items_ahead < 0) return returned;
  ItemSender sender(session_, attempt.task, attempt.attempt, std::exchange(attempt.num_returns, 1),
                    loaded->items_ahead);
  return send_items(sender, returned);
}

void WorkerLoop::execute(const TaskCommand& command, bool in_ring,
                         std::unique_lock<std::timed_mutex> claim) {
  const std::int64_t claimed_ns = in_ring ? ring_.claimed_ns() : 0;
  Call attempt{TaskId{command.task}, command.attempt, command.num_returns, command.function,
               claimed_ns != 0 ? claimed_ns : monotonic_ns()};
  Running& here = slot();
  const bool outermost = !here.task;
  const FreshRecursion recursion(!outermost);
  const OuterState outer_state = outermost ? OuterState{} : set_aside();
  PyObject* grant = (command.flags & kHasGrant) != 0 ? shown_grant(command) : nullptr;
  const Running outer = std::exchange(
      here, Running{attempt.task, attempt.attempt, attempt.function, here.name, grant});
  const auto outer_attempt =
      ring_.begin_attempt(attempt.task, attempt.attempt, (command.flags & kReportStart) != 0);
  ActiveCall active{attempt.task, attempt.attempt, PyThread_get_thread_ident()};
  if (is_call_thread) add_active(&active);
  CallResults results;
  if ((command.flags & kNoMemory) != 0) {
    if (in_ring) ring_.release_task();
    if (claim.owns_lock()) claim.unlock();
    add_no_memory(results);
  } else {
    PyObject* returned = call(command, in_ring, claim, attempt, results);
    if (forked()) leave_forked_child(returned);
    if (returned == nullptr && instance_ != nullptr) leave_if_exit();
    if (exiting_) {
      PyErr_Clear();  // of exit_actor(), from a constructor too, or what was raised on its way out
    } else if (!results.is_packed) {
      pack(results, returned, attempt);
    }
  }
  // From here on an interrupt comes too late: what follows must not be its victim.
  ring_.end_attempt({});
  if (is_call_thread) remove_active(&active);
  clean_up(outermost);
  if (!outermost) bring_back(outer_state);
  ring_.end_attempt(outer_attempt);
  if (outer_attempt.first && ring_.interrupt_pending()) PyErr_SetInterrupt();
  here = outer;
  Py_XDECREF(grant);
  if (!exiting_) send(results, attempt);
}

/// The function has forked, and this is the child, which returns from it: it ends here, and only
/// the parent's return counts.
void WorkerLoop::leave_forked_child(PyObject* returned) {
  int code = returned != nullptr ? 0 : kFailedExit;
  if (returned == nullptr && PyErr_ExceptionMatches(PyExc_SystemExit) != 0) {
    code = exit_code_of_error();
  } else if (returned == nullptr) {
    PyErr_Print();
  }
  flush_output();
  _exit(code);
}

// ---- actors ------------------------------------------------------------------------------------

void WorkerLoop::become_actor(PyObject* instance, CallMode mode, std::uint32_t concurrency,
                              PyObject* run_calls) {
  instance_ = Py_NewRef(instance);
  mode_ = mode;
  concurrency_ = concurrency;
  run_calls_ = Py_NewRef(run_calls);
}

void WorkerLoop::exit_actor() {
  ring_.exit_actor();
  end_process(0);
}

/// The process ends as soon as this returns to the loop; the call that runs gets no result here.
void WorkerLoop::end_process(int code) {
  exiting_ = true;
  exit_code_ = code;
  stop_.store(true, std::memory_order_relaxed);
  ring_.stop();
}

/// Takes a SystemExit that leaves a method: without a code the actor has ended by itself, with one
/// its process has failed.
void WorkerLoop::leave_if_exit() {
  if (PyErr_ExceptionMatches(PyExc_SystemExit) == 0) return;
  if (exiting_) {
    PyErr_Clear();
    return;
  }
  const int code = exit_code_of_error();
  if (code == 0) {
    exit_actor();
  } else {
    end_process(code);
  }
}

/// Waits for the turn to take a call. False: the process should end.
bool WorkerLoop::claim_turn(std::unique_lock<std::timed_mutex>& claim) {
  constexpr std::chrono::milliseconds kWait{50};
  while (!stop_.load(std::memory_order_relaxed)) {
    PyThreadState* state = PyEval_SaveThread();
    const bool got = claim.try_lock_for(kWait);
    PyEval_RestoreThread(state);
    if (PyErr_CheckSignals() != 0) PyErr_Clear();
    if (got) return true;
  }
  return false;
}

void WorkerLoop::run_thread() {
  is_call_thread = true;
  for (;;) {
    std::unique_lock claim(claim_mutex_, std::defer_lock);
    if (!claim_turn(claim)) return;
    GilHooks hooks;
    const TaskCommand* command = ring_.next_task(hooks);
    if (command != nullptr) {
      execute(*command, true, std::move(claim));
    } else if (PyErr_Occurred() == nullptr) {
      return;
    } else {
      PyErr_Clear();
    }
  }
}

}  // namespace haz::py
