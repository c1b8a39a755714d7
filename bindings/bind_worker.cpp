/// @file
/// The main loop of a worker process: takes tasks, calls their functions, hands in what they
/// return.
#include <nanobind/nanobind.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "api/client_engine.h"
#include "base/check.h"
#include "item_sender.h"
#include "object_ref.h"
#include "process_watch.h"
#include "session.h"
#include "worker_loop.h"

namespace nb = nanobind;

namespace haz::py {

namespace {

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

void worker_join(std::uint32_t slot, std::uint32_t process_id, int arena_fd, bool rejoins) {
  auto ring = rejoins ? RingClient::take_over(UniqueFd(arena_fd), slot, ProcessId{process_id})
                      : RingClient::join(UniqueFd(arena_fd), slot, ProcessId{process_id});
  if (rejoins) set_plain_environment(kPythonEnvironment);
  if (!ring) {
    set_python_error(ring.error());
    throw nb::python_error();
  }
  set_session(std::make_shared<Session>(std::move(*ring)));
  if (PySys_AddAuditHook(note_changes, nullptr) != 0) throw nb::python_error();
}

int worker_run(nb::handle load, nb::handle fail, nb::handle split, nb::handle flush,
               nb::handle put_back, nb::handle set_aside, nb::handle bring_back) {
  const std::shared_ptr<Session> session = current_session();
  HAZ_CHECK(session && session->ring() != nullptr, "worker_run() without worker_join()");
  WorkerLoop loop(*session, {load.ptr(), fail.ptr(), split.ptr(), flush.ptr(), put_back.ptr(),
                             set_aside.ptr(), bring_back.ptr()});
  loop.run();
  return loop.exit_code();
}

WorkerLoop& loop_or_throw() {
  if (worker_loop() != nullptr) return *worker_loop();
  PyErr_SetString(PyExc_RuntimeError, "only in a worker process");
  throw nb::python_error();
}

nb::object running_task() {
  if (worker_loop() == nullptr || forked()) return nb::none();
  const Running running = worker_loop()->running();
  if (!running.task) return nb::none();
  return nb::make_tuple(running.task.value, running.attempt,
                        nb::borrow(running.name != nullptr ? running.name : Py_None),
                        running.function);
}

nb::object running_grant() {
  if (worker_loop() == nullptr || forked()) return nb::none();
  PyObject* grant = worker_loop()->running().grant;
  return nb::borrow(grant != nullptr ? grant : Py_None);
}

nb::object running_name() {
  PyObject* name = worker_loop() != nullptr ? worker_loop()->running().name : nullptr;
  return nb::borrow(name != nullptr ? name : Py_None);
}

void become_actor(nb::handle instance, int mode, std::uint32_t concurrency, nb::handle run_calls,
                  nb::handle event_loop) {
  WorkerLoop& loop = loop_or_throw();
  if (!event_loop.is_none() && !loop.use_loop(event_loop.ptr())) throw nb::python_error();
  loop.become_actor(instance.ptr(), static_cast<CallMode>(mode), concurrency, run_calls.ptr());
  if (static_cast<CallMode>(mode) == CallMode::kEventLoop) {
    const Status started = current_session()->ring()->open_calls_fd();
    if (started.ok()) return;
    set_python_error(started.error());
    throw nb::python_error();
  }
}

bool interrupt_pending() {
  const std::shared_ptr<Session> session = current_session();
  return session && session->ring() != nullptr && session->ring()->interrupt_pending();
}

}  // namespace

/// Adds what a worker process runs to `m`.
void bind_worker(nb::module_& m) {
  m.def("worker_join", worker_join, nb::arg("slot"), nb::arg("process_id"), nb::arg("arena_fd"),
        nb::arg("rejoins") = false,
        "Make this process, forked by a zygote, a worker of its node. `rejoins`: it was one of a\n"
        "C++ program's before.");
  m.def("worker_run", worker_run, nb::arg("load"), nb::arg("fail"), nb::arg("split"),
        nb::arg("flush"), nb::arg("put_back"), nb::arg("set_aside"), nb::arg("bring_back"),
        "Run tasks until the process should end; return its exit code.",
        nb::sig("def worker_run(load: collections.abc.Callable[[bytes, int], "
                "collections.abc.Callable[..., typing.Any] | str], fail: "
                "collections.abc.Callable[..., tuple[dict[str, typing.Any], bool]], split: "
                "collections.abc.Callable[[typing.Any, int], "
                "collections.abc.Sequence[typing.Any]], flush: collections.abc.Callable[[bool], "
                "None], "
                "put_back: collections.abc.Callable[[bool], None], set_aside: "
                "collections.abc.Callable[[], object], bring_back: "
                "collections.abc.Callable[[typing.Any], None]) -> int"));
  m.def("running_task", running_task,
        "Return (task id, attempt, name, function number) of the running task, or None.",
        nb::sig("def running_task() -> tuple[int, int, str | None, int] | None"));
  m.def("running_grant", running_grant,
        "Return (numbers of GPUs) that the running task was given, or None: nothing of the kind.",
        nb::sig("def running_grant() -> tuple[tuple[int, ...]] | None"));
  m.def("running_name", running_name, "Return the name of the running task or None.",
        nb::sig("def running_name() -> str | None"));
  m.def("interrupt_pending", interrupt_pending,
        "Return whether the running attempt is to be interrupted.");
  m.def("note_output", note_output, "Have the streams flushed when the running task has ended.");
  m.def("note_change", &ProcessWatch::note_change,
        "Have the process' state put back when the running task has ended.");
  m.def(
      "stop_after_task",
      [] {
        if (worker_loop() != nullptr) worker_loop()->stop_after_task();
      },
      "End the worker when the running task has ended.");
  nb::class_<ItemSender>(m, "ItemSender", "Sends what an async generator yields.")
      .def(
          "send",
          [](ItemSender& sender, nb::handle item) {
            if (!sender.send(item.ptr())) throw nb::python_error();
          },
          nb::arg("item").none(), "Send the next item.")
      .def("subscribe", &ItemSender::subscribe, nb::arg("token"),
           "Report `token` once the consumers have come near enough; False if they have.")
      .def("note_demand", &ItemSender::note_demand, "Go on: the consumers have come near enough.")
      .def_prop_ro("needs_demand", &ItemSender::needs_demand,
                   "Whether to wait until the consumers have come near enough.")
      .def_prop_ro("is_closed", &ItemSender::is_closed, "Whether nobody will take an item.")
      .def_prop_ro("count", &ItemSender::count, "Number of items sent.");
  if (!init_async_call_type()) throw nb::python_error();
  m.def("become_actor", become_actor, nb::arg("instance"), nb::arg("mode"), nb::arg("concurrency"),
        nb::arg("run_calls"), nb::arg("event_loop") = nb::none(),
        "Run calls of methods of `instance` from now on. `mode`: 0 in the main thread, 1 in\n"
        "`concurrency` threads, 2 on `event_loop`; for 1 and 2 `run_calls` is called to do it.",
        nb::sig("def become_actor(instance: object, mode: int, concurrency: int, run_calls: "
                "collections.abc.Callable[[], None], event_loop: "
                "asyncio.AbstractEventLoop | None = None) -> None"));
  m.def(
      "exit_actor", [] { loop_or_throw().exit_actor(); },
      "Tell the node that this process' actor ends; the caller then raises SystemExit.");
  m.def(
      "interrupt_calls",
      [] {
        if (worker_loop() != nullptr) worker_loop()->interrupt_calls();
      },
      "Interrupt the calls, beside the main thread's, that are to be.");
  m.def(
      "run_thread", [] { loop_or_throw().run_thread(); },
      "Run calls until the process should end.");
  m.def(
      "start_calls", [] { return loop_or_throw().start_calls(); },
      "Start the calls that have come on the running event loop. False: the process should end.");
  m.def(
      "await_calls",
      [](bool spin) {
        const std::shared_ptr<Session> session = current_session();
        const nb::gil_scoped_release no_gil;
        return session->ring()->await_calls(spin);
      },
      nb::arg("spin"),
      "Whether there are calls to start, looked for a short time if `spin`. If not, calls_fd() is\n"
      "readable once there are.");
  m.def(
      "drain_calls", [] { current_session()->ring()->drain_calls(); },
      "Make calls_fd() unreadable.");
  m.def(
      "calls_fd", [] { return current_session()->ring()->calls_fd(); },
      "Descriptor of the event loop's process; see await_calls().");
}

}  // namespace haz::py
