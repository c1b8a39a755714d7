/// @file
/// The main loop of a worker process: takes tasks, calls their functions, hands in what they
/// return.
#include <nanobind/nanobind.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "arguments.h"
#include "base/check.h"
#include "item_sender.h"
#include "object_ref.h"
#include "os/clock.h"
#include "os/process_settings.h"
#include "process_watch.h"
#include "session.h"
#include "values.h"
#include "wire/value.h"

namespace nb = nanobind;

namespace haz::py {

namespace {

/// What the loop needs of haz._core.worker_main; all borrowed for the life of the process.
struct WorkerHooks {
  PyObject* load;   ///< load(code: bytes, number: int) -> callable
  PyObject* fail;   ///< fail(error, name: str | None, number: int) -> (info: dict, retryable: bool)
  PyObject* split;  ///< split(value, num_returns) -> sequence
  PyObject* flush;  ///< flush(): writes out what the streams hold
  /// put_back(imported: bool): the process gets its own state again; what may be the set-up of a
  /// module stays if some were imported.
  PyObject* put_back;
  PyObject* set_aside;   ///< set_aside() -> object: as put_back(False), for bring_back()
  PyObject* bring_back;  ///< bring_back(object)
};

struct LoadedFunction {
  PyObject* callable = nullptr;
  PyObject* name = nullptr;       ///< str
  std::int32_t items_ahead = -1;  ///< See FunctionBlock.
};

/// The streams hold text.
bool written = false;

/// What a process has before its first task.
ProcessSettings& own_settings() {
  static ProcessSettings settings = ProcessSettings::current();
  return settings;
}

int note_changes(const char* event, PyObject* /*args*/, void* /*data*/) {
  constexpr std::array<std::string_view, 3> kPrefixes = {"os.", "sys.", "resource."};
  constexpr std::array<std::string_view, 8> kEvents = {
      "os.chdir",     "os.fchdir",      "os.putenv",          "os.unsetenv",
      "sys.settrace", "sys.setprofile", "resource.setrlimit", "resource.prlimit",
  };
  for (const std::string_view prefix : kPrefixes) {
    if (std::strncmp(event, prefix.data(), prefix.size()) != 0) continue;
    if (std::find(kEvents.begin(), kEvents.end(), event) != kEvents.end()) {
      ProcessWatch::note_change();
    }
  }
  return 0;
}

PyObject* take_exception() {
#if PY_VERSION_HEX >= 0x030C0000
  return PyErr_GetRaisedException();
#else
  PyObject* type = nullptr;
  PyObject* value = nullptr;
  PyObject* traceback = nullptr;
  PyErr_Fetch(&type, &value, &traceback);
  PyErr_NormalizeException(&type, &value, &traceback);
  if (traceback != nullptr && value != nullptr) PyException_SetTraceback(value, traceback);
  Py_XDECREF(type);
  Py_XDECREF(traceback);
  return value;
#endif
}

class WorkerLoop {
 public:
  WorkerLoop(Session& session, WorkerHooks hooks)
      : session_(session), ring_(*session.ring()), hooks_(hooks) {}

  void run() {
    if (!watch_.start() || !context_.start()) return;
    own_settings();
    ring_.set_nested_runner([this](const TaskCommand& command) { execute(command, false); });
    ring_.ready();
    for (;;) {
      GilHooks hooks;
      const TaskCommand* command = ring_.next_task(hooks);
      if (command == nullptr) {
        if (PyErr_Occurred() == nullptr) return;
        PyErr_Clear();
        continue;
      }
      execute(*command, true);
      if (stop_) return;
    }
  }

  [[nodiscard]] PyObject* running_name() const { return running_name_; }
  [[nodiscard]] std::uint32_t running_function() const { return running_function_; }
  void stop_after_task() { stop_ = true; }

 private:
  /// What one attempt hands in. Bytes and ids lie in `bytes` and `ids` until it is sent.
  struct Results {
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

    Results() = default;
    Results(const Results&) = delete;
    Results& operator=(const Results&) = delete;
    ~Results() {
      for (PyObject* object : kept)
        Py_DECREF(object);
    }
    void clear() {
      entries.clear();
      bytes.clear();
      ids.clear();
    }
  };

  LoadedFunction* function_of(const TaskCommand& command) {
    LoadedFunction& function = functions_[command.function];
    if (function.callable != nullptr) return &function;
    const std::byte* block = session_.client().arena().at(command.function_offset);
    FunctionBlock head{};
    std::memcpy(&head, block, sizeof head);
    const char* name = reinterpret_cast<const char*>(block + sizeof head);
    if (function.name == nullptr) {
      function.name = PyUnicode_DecodeUTF8(name, head.name_size, "replace");
      if (function.name == nullptr) return nullptr;
    }
    running_name_ = function.name;
    PyObject* code = PyBytes_FromStringAndSize(name + head.name_size, head.code_size);
    if (code == nullptr) return nullptr;
    function.items_ahead = head.items_ahead;
    function.callable = PyObject_CallFunction(hooks_.load, "NI", code, command.function);
    return function.callable != nullptr ? &function : nullptr;
  }

  /// New reference, or nullptr with a Python error. `items_ahead` becomes that of the function.
  PyObject* invoke(const TaskCommand& command, bool in_ring, std::int32_t& items_ahead) {
    DecodedArguments arguments;
    bool decoded = false;
    const LoadedFunction* function = function_of(command);
    if (function != nullptr) {
      running_name_ = function->name;
      decoded = decode_arguments(session_, command, arguments);
    }
    if (in_ring) ring_.release_task();
    if (!decoded) return nullptr;
    if (ring_.interrupt_pending()) {
      PyErr_SetNone(PyExc_KeyboardInterrupt);
      return nullptr;
    }
    items_ahead = function->items_ahead;
    return PyObject_Vectorcall(function->callable, arguments.values.data(),
                               arguments.num_positional, arguments.names);
  }

  /// Calls the function; what it returns are `num_returns` results. Of a streaming one the items
  /// are handed in, and the result is their number. New reference, or nullptr with a Python error.
  PyObject* call(const TaskCommand& command, bool in_ring, std::uint32_t& num_returns) {
    std::int32_t items_ahead = -1;
    PyObject* returned = invoke(command, in_ring, items_ahead);
    if (returned == nullptr || items_ahead < 0) return returned;
    ItemSender sender(session_, ring_.running_task(), ring_.running_attempt(),
                      std::exchange(num_returns, 1), items_ahead);
    return send_items(sender, returned);
  }

  void execute(const TaskCommand& shared, bool in_ring) {
    const std::int64_t begin = monotonic_ns();
    const TaskId task{shared.task};
    const std::uint32_t attempt = shared.attempt;
    std::uint32_t num_returns = shared.num_returns;
    const std::pair outer{ring_.running_task(), ring_.running_attempt()};
    const OuterState outer_state = outer.first ? set_aside() : OuterState{};
    PyObject* const outer_name = running_name_;
    const std::uint32_t outer_function = std::exchange(running_function_, shared.function);
    ring_.begin_attempt(task, attempt, (shared.flags & kReportStart) != 0);
    Results results;
    if ((shared.flags & kNoMemory) != 0) {
      if (in_ring) ring_.release_task();
      add_plain_error(results, "object_store_full",
                      "the object store had no room for the arguments of this task");
    } else {
      PyObject* returned = call(shared, in_ring, num_returns);
      if (forked()) leave_forked_child(returned);
      if (returned == nullptr || !add_returns(results, returned, num_returns)) {
        add_exception(results);
      }
      if (returned != nullptr) results.kept.push_back(returned);
    }
    // From here on an interrupt comes too late: what follows must not be its victim.
    ring_.end_attempt({});
    clean_up(!outer.first);
    if (outer.first) bring_back(outer_state);
    ring_.end_attempt(outer);
    if (outer.first && ring_.interrupt_pending()) PyErr_SetInterrupt();
    running_name_ = outer_name;
    running_function_ = outer_function;
    send(results, task, attempt, monotonic_ns() - begin);
  }

  /// The function has forked, and this is the child, which returns from it: it ends here, and only
  /// the parent's return counts.
  [[noreturn]] void leave_forked_child(PyObject* returned) {
    constexpr int kFailed = 1;
    int code = returned != nullptr ? 0 : kFailed;
    if (returned == nullptr && PyErr_ExceptionMatches(PyExc_SystemExit) != 0) {
      PyObject* error = take_exception();
      PyObject* value = error != nullptr ? PyObject_GetAttrString(error, "code") : nullptr;
      if (value == Py_None) code = 0;
      if (value != nullptr && PyLong_Check(value)) code = static_cast<int>(PyLong_AsLong(value));
    } else if (returned == nullptr) {
      PyErr_Print();
    }
    Py_XDECREF(call_hook(hooks_.flush));
    _exit(code);
  }

  void send(Results& results, TaskId task, std::uint32_t attempt, std::int64_t run_ns) {
    std::array<NewValue, 1> one;
    std::vector<NewValue> many;
    std::span<NewValue> values = one;
    if (results.entries.size() != 1) {
      many.resize(results.entries.size());
      values = many;
    }
    for (std::size_t i = 0; i < values.size(); ++i) {
      const Results::Entry& entry = results.entries[i];
      values[i] = entry.value;
      if (entry.value.offset == 0) {
        values[i].bytes = {results.bytes.data() + entry.bytes_at, entry.value.size};
      }
      values[i].refs = {results.ids.data() + entry.ids_at, entry.num_ids};
    }
    ring_.finish({task, attempt, results.outcome, run_ns, values});
  }

  bool add_value(Results& results, PyObject* value, bool is_error) {
    ScopedEncoder encoder;
    if (!encoder->encode(value)) return false;
    StoredValue stored;
    // An error is kept by the node itself: the store only passes it on.
    const StoreUse use = is_error ? StoreUse::kMessage : StoreUse::kValue;
    if (!store_encoded(session_, *encoder, stored, use)) return false;
    Results::Entry entry{stored.value, results.bytes.size(), results.ids.size(),
                         stored.value.refs.size()};
    entry.value.is_error = is_error;
    results.bytes.insert(results.bytes.end(), stored.value.bytes.begin(), stored.value.bytes.end());
    results.ids.insert(results.ids.end(), stored.value.refs.begin(), stored.value.refs.end());
    results.entries.push_back(entry);
    encoder->hand_over_kept(results.kept);
    return true;
  }

  bool add_returns(Results& results, PyObject* returned, std::uint32_t num_returns) {
    if (num_returns == 1) return add_value(results, returned, false);
    PyObject* count = PyLong_FromUnsignedLong(num_returns);
    if (count == nullptr) return false;
    PyObject* items = PyObject_CallFunctionObjArgs(hooks_.split, returned, count, nullptr);
    Py_DECREF(count);
    if (items == nullptr) return false;
    PyObject* fast = PySequence_Fast(items, "split_returns() gave no sequence");
    Py_DECREF(items);
    if (fast == nullptr) return false;
    bool ok = true;
    for (Py_ssize_t i = 0; ok && i < PySequence_Fast_GET_SIZE(fast); ++i) {
      ok = add_value(results, PySequence_Fast_GET_ITEM(fast, i), false);
    }
    results.kept.push_back(fast);
    return ok;
  }

  void give_back(Results& results) {
    for (const Results::Entry& entry : results.entries) {
      if (entry.value.offset != 0) {
        session_.client().discard({entry.value.offset, entry.value.size, false});
      }
    }
    results.clear();
  }

  void add_exception(Results& results) {
    PyObject* error = take_exception();
    give_back(results);
    results.outcome = Outcome::kRaised;
    const std::string kind = error != nullptr ? Py_TYPE(error)->tp_name : "nothing";
    PyObject* name = running_name_ != nullptr ? running_name_ : Py_None;
    PyObject* packed = PyObject_CallFunction(hooks_.fail, "OOI", error != nullptr ? error : Py_None,
                                             name, running_function_);
    if (error != nullptr) PyException_SetTraceback(error, Py_None);
    Py_XDECREF(error);
    if (packed != nullptr) results.kept.push_back(packed);
    if (packed != nullptr && PyTuple_Check(packed) && PyTuple_GET_SIZE(packed) == 2 &&
        add_value(results, PyTuple_GET_ITEM(packed, 0), true)) {
      if (PyTuple_GET_ITEM(packed, 1) == Py_True) results.outcome = Outcome::kRetryable;
      return;
    }
    PyErr_Clear();
    add_plain_error(results, "serialization",
                    shown_name() + " raised " + kind + ", and that error could not be packed");
  }

  [[nodiscard]] std::string shown_name() const {
    const char* name = running_name_ != nullptr ? PyUnicode_AsUTF8(running_name_) : nullptr;
    if (name == nullptr) PyErr_Clear();
    return std::string("task ") + (name != nullptr ? name : "without a name");
  }

  static void add_plain_error(Results& results, std::string_view kind, std::string_view message) {
    ValueWriter writer;
    writer.begin_dict(2);
    writer.str("kind");
    writer.str(kind);
    writer.str("message");
    writer.str(message);
    results.clear();
    results.outcome = Outcome::kRaised;
    results.bytes.assign(writer.data().begin(), writer.data().end());
    results.entries.push_back({NewValue{.size = results.bytes.size(), .is_error = true}, 0, 0, 0});
  }

  // ---- the state of the process -----------------------------------------------------------------

  /// What a task has set before another one runs on top of it.
  struct OuterState {
    PyObject* context = nullptr;  ///< That of the other one.
    PyObject* changes = nullptr;  ///< Of what the hooks know; null: none.
    ProcessSettings settings;     ///< If there are changes.
    bool imported = false;
  };

  static PyObject* call_hook(PyObject* hook, PyObject* argument = nullptr) {
    PyObject* done = PyObject_CallFunctionObjArgs(hook, argument, nullptr);
    if (done == nullptr) PyErr_WriteUnraisable(hook);
    return done;
  }

  void clean_up(bool outermost) {
    if (written) {
      written = false;
      Py_XDECREF(call_hook(hooks_.flush));
    }
    const bool imported = watch_.take_imports();
    if (outermost && context_.changed()) context_.renew(imported);
    if (watch_.changed()) put_back(imported);
  }

  void put_back(bool imported) {
    Py_XDECREF(call_hook(hooks_.put_back, imported ? Py_True : Py_False));
    if (imported) own_settings() = ProcessSettings::current();
    // A limit that can't be raised again: the next task gets another process.
    if (!own_settings().put_back()) stop_ = true;
    watch_.accept();
  }

  OuterState set_aside() {
    OuterState outer;
    ring_.end_attempt({});  // no interrupt now
    outer.imported = watch_.take_imports();
    if (watch_.changed()) {
      outer.changes = call_hook(hooks_.set_aside);
      outer.settings = ProcessSettings::current();
      (void)own_settings().put_back();
      ProcessWatch::forget_notes();
    }
    outer.context = context_.enter_nested();
    return outer;
  }

  void bring_back(const OuterState& outer) {
    context_.leave_nested(outer.context);
    if (outer.imported) watch_.note_imports();
    if (outer.changes == nullptr) return;
    Py_XDECREF(call_hook(hooks_.bring_back, outer.changes));
    Py_DECREF(outer.changes);
    (void)outer.settings.put_back();
    ProcessWatch::note_change();
  }

  Session& session_;
  RingClient& ring_;
  WorkerHooks hooks_;
  std::unordered_map<std::uint32_t, LoadedFunction> functions_;
  PyObject* running_name_ = nullptr;  ///< Borrowed from functions_.
  std::uint32_t running_function_ = 0;
  ProcessWatch watch_;
  TaskContext context_;
  bool stop_ = false;
};

WorkerLoop* the_loop = nullptr;

void worker_join(std::uint32_t slot, std::uint32_t process_id, int arena_fd) {
  auto ring = RingClient::join(UniqueFd(arena_fd), slot, ProcessId{process_id});
  if (!ring) {
    set_python_error(ring.error());
    throw nb::python_error();
  }
  set_session(std::make_shared<Session>(std::move(*ring)));
  if (PySys_AddAuditHook(note_changes, nullptr) != 0) throw nb::python_error();
}

void worker_run(nb::handle load, nb::handle fail, nb::handle split, nb::handle flush,
                nb::handle put_back, nb::handle set_aside, nb::handle bring_back) {
  const std::shared_ptr<Session> session = current_session();
  HAZ_CHECK(session && session->ring() != nullptr, "worker_run() without worker_join()");
  WorkerLoop loop(*session, {load.ptr(), fail.ptr(), split.ptr(), flush.ptr(), put_back.ptr(),
                             set_aside.ptr(), bring_back.ptr()});
  the_loop = &loop;
  loop.run();
  the_loop = nullptr;
}

nb::object running_task() {
  const std::shared_ptr<Session> session = current_session();
  if (!session || session->ring() == nullptr || !session->ring()->running_task()) return nb::none();
  PyObject* name = the_loop != nullptr ? the_loop->running_name() : nullptr;
  return nb::make_tuple(session->ring()->running_task().value, session->ring()->running_attempt(),
                        nb::borrow(name != nullptr ? name : Py_None),
                        the_loop != nullptr ? the_loop->running_function() : 0U);
}

nb::object running_name() {
  PyObject* name = the_loop != nullptr ? the_loop->running_name() : nullptr;
  return nb::borrow(name != nullptr ? name : Py_None);
}

bool interrupt_pending() {
  const std::shared_ptr<Session> session = current_session();
  return session && session->ring() != nullptr && session->ring()->interrupt_pending();
}

}  // namespace

/// Adds what a worker process runs to `m`.
void bind_worker(nb::module_& m) {
  m.def("worker_join", worker_join, nb::arg("slot"), nb::arg("process_id"), nb::arg("arena_fd"),
        "Make this process, forked by a zygote, a worker of its node.");
  m.def("worker_run", worker_run, nb::arg("load"), nb::arg("fail"), nb::arg("split"),
        nb::arg("flush"), nb::arg("put_back"), nb::arg("set_aside"), nb::arg("bring_back"),
        "Run tasks until the node ends.",
        nb::sig("def worker_run(load: collections.abc.Callable[[bytes, int], "
                "collections.abc.Callable[..., typing.Any]], fail: collections.abc.Callable[..., "
                "tuple[dict[str, typing.Any], bool]], split: collections.abc.Callable[[typing.Any, "
                "int], collections.abc.Sequence[typing.Any]], flush: "
                "collections.abc.Callable[[], None], put_back: collections.abc.Callable[[bool], "
                "None], set_aside: collections.abc.Callable[[], object], bring_back: "
                "collections.abc.Callable[[typing.Any], None]) -> None"));
  m.def("running_task", running_task,
        "Return (task id, attempt, name, function number) of the running task, or None.",
        nb::sig("def running_task() -> tuple[int, int, str | None, int] | None"));
  m.def("running_name", running_name, "Return the name of the running task or None.",
        nb::sig("def running_name() -> str | None"));
  m.def("interrupt_pending", interrupt_pending,
        "Return whether the running attempt is to be interrupted.");
  m.def(
      "note_output", [] { written = true; },
      "Have the streams flushed when the running task has ended.");
  m.def("note_change", &ProcessWatch::note_change,
        "Have the process' state put back when the running task has ended.");
  m.def(
      "stop_after_task",
      [] {
        if (the_loop != nullptr) the_loop->stop_after_task();
      },
      "End the worker when the running task has ended.");
}

}  // namespace haz::py
