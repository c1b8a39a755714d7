/// @file
/// _native.zygote_setup and _native.zygote_run, the two calls that a zygote makes, and
/// _native.ZygoteLink, a zygote alone, for tests.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>
#include <sys/types.h>

#include <cstdint>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "base/result.h"
#include "node/zygote_link.h"
#include "node/zygote_loop.h"
#include "os/process.h"

namespace nb = nanobind;

namespace haz::py {
namespace {

[[noreturn]] void throw_error(const Error& error) {
  PyErr_SetString(PyExc_RuntimeError, error.message.c_str());
  throw nb::python_error();
}

nb::tuple zygote_setup(int socket_fd) {
  const auto setup = receive_zygote_setup(socket_fd);
  if (!setup) throw_error(setup.error());
  return nb::make_tuple(nb::bytes(setup.value().bytes.data(), setup.value().bytes.size()),
                        setup.value().driver_pid);
}

// An exception of a preparation is told, and is no reason to give up the workers.
bool run_preload(nb::handle preload) {
  try {
    return nb::cast<bool>(preload());
  } catch (nb::python_error& error) {
    error.discard_as_unraisable(preload);
  } catch (const nb::cast_error&) {
    PyErr_WarnEx(PyExc_RuntimeWarning, "preload did not return a bool", 1);
    PyErr_Clear();
  }
  return false;
}

nb::tuple zygote_run(int socket_fd, pid_t driver_pid, nb::handle preload,
                     nb::handle preload_when_quiet) {
  ZygoteHooks hooks;
  hooks.before_fork = PyOS_BeforeFork;
  hooks.after_fork_in_parent = PyOS_AfterFork_Parent;
  hooks.after_fork_in_child = PyOS_AfterFork_Child;
  if (!preload.is_none()) hooks.preload = [preload] { return run_preload(preload); };
  if (!preload_when_quiet.is_none()) {
    hooks.preload_when_quiet = [preload_when_quiet] { return run_preload(preload_when_quiet); };
  }
  std::optional<ForkedWorker> worker = run_zygote(UniqueFd(socket_fd), driver_pid, hooks);
  if (!worker) exit_now(0);
  return nb::make_tuple(worker->slot, worker->process_id, worker->arena_fd.release());
}

nb::object to_python(ZygoteEvent& event) {
  return std::visit(
      [](auto& happened) -> nb::object {
        using Event = std::decay_t<decltype(happened)>;
        if constexpr (std::is_same_v<Event, WorkerForked>) {
          return nb::make_tuple("forked", happened.slot, happened.process_id, happened.pid,
                                happened.stdout_fd.release(), happened.stderr_fd.release());
        } else if constexpr (std::is_same_v<Event, WorkerExited>) {
          return nb::make_tuple("exited", happened.slot, happened.process_id, happened.exit.pid,
                                happened.exit.exit_code, happened.exit.signal);
        } else if constexpr (std::is_same_v<Event, ForkFailed>) {
          return nb::make_tuple("failed", happened.slot, happened.process_id,
                                happened.error_number);
        } else {
          return nb::make_tuple("died", happened.status);
        }
      },
      event);
}

void check(const Status& status) {
  if (!status) throw_error(status.error());
}

std::unique_ptr<ZygoteLink> start_link(const std::vector<std::string>& argv, const nb::bytes& setup,
                                       int arena_fd) {
  ZygoteOptions options;
  options.argv = argv;
  options.setup = std::string(setup.c_str(), setup.size());
  auto link = ZygoteLink::start(options);
  if (!link) throw_error(link.error());
  if (arena_fd >= 0) check((*link)->lend_arena(arena_fd));
  return std::move(*link);
}

nb::list read_events(ZygoteLink& link) {
  std::vector<ZygoteEvent> events;
  link.read_events(events);
  nb::list result;
  for (ZygoteEvent& event : events)
    result.append(to_python(event));
  return result;
}

void shut_down(ZygoteLink& link, double timeout_s) {
  constexpr double kNsPerSecond = 1e9;
  const auto timeout_ns = static_cast<std::int64_t>(timeout_s * kNsPerSecond);
  check([&] {
    const nb::gil_scoped_release no_gil;
    return link.shutdown(timeout_ns);
  }());
}

}  // namespace

/// Adds the zygote's side, and the driver's for tests, to `m`.
void bind_zygote(nb::module_& m) {
  m.def("zygote_setup", zygote_setup, nb::arg("socket_fd"),
        nb::sig("def zygote_setup(socket_fd: int) -> tuple[bytes, int]"),
        "Wait for what the driver sends its zygote first; return it and the driver's pid.");
  m.def(
      "zygote_run", zygote_run, nb::arg("socket_fd"), nb::arg("driver_pid"),
      nb::arg("preload").none(), nb::arg("preload_when_quiet").none(),
      nb::sig("def zygote_run(socket_fd: int, driver_pid: int, "
              "preload: collections.abc.Callable[[], bool] | None, preload_when_quiet: "
              "collections.abc.Callable[[], bool] | None) -> tuple[int, int, int]"),
      "Serve the driver as its zygote; never return in this process.\n\n"
      "Return ``(slot, process_id, arena_fd)`` in each worker that is forked. ``preload`` is "
      "called\n"
      "while there is nothing else to do and before the second fork, as long as it returns True;\n"
      "``preload_when_quiet`` likewise, after a moment without requests.");
  m.def(
      "end_process",
      [](int code) {
        std::fflush(nullptr);
        exit_now(code);
      },
      nb::arg("code"), nb::sig("def end_process(code: int) -> typing.NoReturn"),
      "End this process at once, without the interpreter's own end.");

  nb::class_<ZygoteLink>(m, "ZygoteLink", "A zygote without a node around it, for tests.")
      .def(nb::new_(&start_link), nb::arg("argv"), nb::arg("setup"), nb::arg("arena_fd") = -1)
      .def("fileno", &ZygoteLink::fd, "Readable while read_events has something to tell.")
      .def(
          "request_worker",
          [](ZygoteLink& link, std::uint32_t slot, std::uint32_t process_id) {
            check(link.request_worker(slot, process_id));
          },
          nb::arg("slot"), nb::arg("process_id"))
      .def("read_events", read_events,
           nb::sig("def read_events(self) -> list[tuple[typing.Any, ...]]"),
           "What has happened, as tuples: ``('forked', slot, process_id, pid, stdout, stderr)``,\n"
           "``('exited', slot, process_id, pid, exit_code, signal)``,\n"
           "``('failed', slot, process_id, errno)``, ``('died', how)``.")
      .def(
          "signal_worker",
          [](ZygoteLink& link, pid_t pid, int signal) { check(link.signal_worker(pid, signal)); },
          nb::arg("pid"), nb::arg("signal"))
      .def("shutdown", shut_down, nb::arg("timeout_s"),
           "End every process; raise RuntimeError if that takes longer.")
      .def_prop_ro("zygote_pid", &ZygoteLink::zygote_pid);
}

}  // namespace haz::py
