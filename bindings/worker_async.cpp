/// @file
/// Calls of an actor with `async def` methods: each is a task of one asyncio event loop, which the
/// main thread runs. The loop's selector starts the calls that have come (start_calls), and sleeps
/// on a descriptor that a thread of the ring client signals.

#include <nanobind/nanobind.h>

#include <utility>

#include "item_sender.h"
#include "os/clock.h"
#include "worker_loop.h"

namespace nb = nanobind;

namespace haz::py {

namespace {

/// A call that runs on the event loop, and the callback at its end. Made by tp_alloc, of zeros.
struct AsyncCallObject {  // NOLINT(cppcoreguidelines-pro-type-member-init)
  PyObject_HEAD std::uint32_t num_returns;
  std::uint32_t function;
  std::int64_t began_ns;
  PyObject* name;  ///< Borrowed for the life of the process.
  ActiveCall active;
};

PyTypeObject* async_call_type = nullptr;

AsyncCallObject* as_call(PyObject* object) { return reinterpret_cast<AsyncCallObject*>(object); }

PyObject* call_ended(PyObject* self, PyObject* args, PyObject* /*kwargs*/) {
  if (WorkerLoop* loop = worker_loop(); loop != nullptr && PyTuple_GET_SIZE(args) == 1) {
    loop->call_ended(self, PyTuple_GET_ITEM(args, 0));
  }
  Py_RETURN_NONE;
}

void dealloc_call(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  type->tp_free(self);
  Py_DECREF(type);
}

PyType_Slot call_slots[] = {
    {Py_tp_dealloc, reinterpret_cast<void*>(dealloc_call)},
    {Py_tp_call, reinterpret_cast<void*>(call_ended)},
    {0, nullptr},
};

PyType_Spec call_spec{"haz._native.AsyncCall", sizeof(AsyncCallObject), 0,
                      Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, call_slots};

/// Whether an event loop has to go on with `returned` for its result.
bool is_awaitable(PyObject* returned) {
  if (PyCoro_CheckExact(returned)) return true;
  const PyAsyncMethods* methods = Py_TYPE(returned)->tp_as_async;
  return methods != nullptr && methods->am_await != nullptr;
}

/// Hands in the items of what a streaming method has returned, a reference that this takes over:
/// returns their number, or what has to be awaited for it: of an async generator, and of one that
/// must wait for its consumers, which would stop the loop. New reference, or nullptr with a Python
/// error.
PyObject* stream(ItemSender& sender, PyObject* returned) {
  const PyAsyncMethods* methods = Py_TYPE(returned)->tp_as_async;
  const bool is_async = methods != nullptr && methods->am_anext != nullptr;
  const bool waits = sender.is_bounded() && PyIter_Check(returned) != 0;
  if (!is_async && !waits) return send_items(sender, returned);
  static PyObject* stream_items = nullptr;
  PyObject* coroutine = nullptr;
  if (cached_attribute(stream_items, "haz._core.actor_worker", "stream_items") != nullptr) {
    const nb::object shared = nb::cast(sender);
    coroutine = PyObject_CallFunctionObjArgs(stream_items, returned, shared.ptr(), nullptr);
  }
  Py_DECREF(returned);
  return coroutine;
}

/// Calls the method `name` of `object`, without arguments or with one. New reference.
PyObject* call_method(PyObject* name, PyObject* object, PyObject* argument = nullptr) {
  PyObject* arguments[] = {object, argument};
  return PyObject_VectorcallMethod(name, arguments, argument != nullptr ? 2 : 1, nullptr);
}

/// Names of methods of asyncio tasks.
struct TaskMethods {
  PyObject* done = PyUnicode_InternFromString("done");
  PyObject* result = PyUnicode_InternFromString("result");
  PyObject* add_done_callback = PyUnicode_InternFromString("add_done_callback");
};

const TaskMethods& task_methods() {
  static const TaskMethods kMethods;
  return kMethods;
}

}  // namespace

bool init_async_call_type() {
  if (async_call_type != nullptr) return true;
  async_call_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&call_spec));
  return async_call_type != nullptr;
}

Running WorkerLoop::running_in_context() const {
  PyObject* call = nullptr;
  if (PyContextVar_Get(current_call_, nullptr, &call) != 0) {
    PyErr_Clear();
    return {};
  }
  if (call == nullptr) return {};
  const AsyncCallObject& found = *as_call(call);
  const Running running{found.active.task, found.active.attempt, found.function, found.name};
  Py_DECREF(call);
  return running;
}

bool WorkerLoop::start_calls() {
  // Calls that never wait must not keep the loop from its timers and files.
  constexpr std::int64_t kTurnNs = kMillisecondNs;
  const auto must_stop = [this] {
    return stop_.load(std::memory_order_relaxed) || ring_.should_stop();
  };
  const std::int64_t end = monotonic_ns() + kTurnNs;
  std::int64_t now = 0;
  while (calls_on_loop_ < concurrency_ && now < end && !must_stop()) {
    const TaskCommand* command = ring_.claim_task();
    if (command == nullptr) break;
    now = monotonic_ns();
    start_call(*command, now);
  }
  return !must_stop();
}

void WorkerLoop::start_call(const TaskCommand& command, std::int64_t now_ns) {
  PyObject* object = async_call_type->tp_alloc(async_call_type, 0);
  if (object == nullptr) Py_FatalError("haz: no memory for a call");
  AsyncCallObject& call = *as_call(object);
  call.num_returns = command.num_returns;
  call.function = command.function;
  call.began_ns = now_ns;
  call.active.task = TaskId{command.task};
  call.active.attempt = command.attempt;
  if ((command.flags & kReportStart) != 0) {
    ring_.report_start(call.active.task, call.active.attempt);
  }
  const bool has_memory = (command.flags & kNoMemory) == 0;
  PyObject* token = PyContextVar_Set(current_call_, object);
  DecodedArguments arguments;
  const Loaded* loaded = has_memory ? load(command) : nullptr;
  const bool decoded =
      loaded != nullptr && decode_arguments(session_, command, loaded->name, arguments);
  ring_.release_task();
  main_running_ = {};
  if (loaded != nullptr) call.name = loaded->name;
  PyObject* returned = decoded ? invoke(*loaded, arguments) : nullptr;
  if (returned != nullptr && loaded->items_ahead >= 0) {
    ItemSender sender(session_, call.active.task, call.active.attempt,
                      std::exchange(call.num_returns, 1), loaded->items_ahead);
    returned = stream(sender, returned);
  }
  if (returned != nullptr && is_awaitable(returned)) {
    PyObject* task = tasks_.start(returned, call.name);
    Py_DECREF(returned);
    if (task != nullptr && await_end(object, task)) {
      reset_current_call(token);
      Py_DECREF(object);
      return;
    }
    returned = task != nullptr && PyErr_Occurred() == nullptr
                   ? call_method(task_methods().result, task)
                   : nullptr;
    Py_XDECREF(task);
  }
  if (returned == nullptr && PyErr_Occurred() != nullptr) leave_if_exit();
  const Call attempt{call.active.task, call.active.attempt, call.num_returns, call.function,
                     call.began_ns};
  CallResults results;
  if (exiting_) {
    PyErr_Clear();  // what was raised on the way out
  } else if (!has_memory) {
    add_no_memory(results);
  } else {
    pack(results, returned, attempt);
  }
  finish_call(results, attempt);
  reset_current_call(token);
  Py_DECREF(object);
}

/// Has call_ended() called for the call `object` at the end of `task`, whose reference this takes
/// over then. False: it has ended, or there is a Python error.
bool WorkerLoop::await_end(PyObject* object, PyObject* task) {
  PyObject* done = call_method(task_methods().done, task);
  if (done == nullptr) return false;
  Py_DECREF(done);
  if (done == Py_True) return false;
  PyObject* added = call_method(task_methods().add_done_callback, task, object);
  if (added == nullptr) return false;
  Py_DECREF(added);
  AsyncCallObject& call = *as_call(object);
  Py_INCREF(object);  // until its end
  call.active.asyncio_task = task;
  ++calls_on_loop_;
  add_active(&call.active);
  // An interrupt that came during its first step has not found it.
  interrupt_if_wanted(call.active);
  Py_DECREF(task);  // the loop holds it
  return true;
}

void WorkerLoop::reset_current_call(PyObject* token) {
  if (token == nullptr || PyContextVar_Reset(current_call_, token) != 0) PyErr_Clear();
  Py_XDECREF(token);
}

void WorkerLoop::finish_call(CallResults& results, const Call& attempt) {
  flush_output();
  if (!exiting_) send(results, attempt);
}

void WorkerLoop::call_ended(PyObject* object, PyObject* asyncio_task) {
  AsyncCallObject& call = *as_call(object);
  remove_active(&call.active);
  call.active.asyncio_task = nullptr;
  --calls_on_loop_;
  PyObject* token = PyContextVar_Set(current_call_, object);
  const Call attempt{call.active.task, call.active.attempt, call.num_returns, call.function,
                     call.began_ns};
  CallResults results;
  pack(results, call_method(task_methods().result, asyncio_task), attempt);
  finish_call(results, attempt);
  reset_current_call(token);
  Py_DECREF(object);
  if (!start_calls()) ring_.signal_calls();
}

void WorkerLoop::interrupt_calls() {
  ring_.note_interrupts();
  for (ActiveCall* call : active_)
    interrupt_if_wanted(*call);
}

void WorkerLoop::interrupt_if_wanted(ActiveCall& call) {
  if (call.interrupted || !ring_.interrupts(call.task, call.attempt)) return;
  call.interrupted = true;
  if (call.asyncio_task == nullptr) {
    PyThreadState_SetAsyncExc(call.thread, PyExc_KeyboardInterrupt);
    return;
  }
  // This may run inside of a signal handler, and the loop may be asleep.
  PyObject* loop = PyObject_CallMethod(call.asyncio_task, "get_loop", nullptr);
  PyObject* cancel = PyObject_GetAttrString(call.asyncio_task, "cancel");
  PyObject* done = loop != nullptr && cancel != nullptr
                       ? PyObject_CallMethod(loop, "call_soon_threadsafe", "O", cancel)
                       : nullptr;
  if (done == nullptr) PyErr_Clear();
  Py_XDECREF(done);
  Py_XDECREF(cancel);
  Py_XDECREF(loop);
}

}  // namespace haz::py
