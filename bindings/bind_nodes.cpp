/// @file
/// Long-lived nodes, for Python: what their server runs, and how a driver joins one.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/build_id.h"
#include "base/units.h"
#include "client/driver_link.h"
#include "node/node.h"
#include "node_options.h"
#include "object_ref.h"
#include "os/fd.h"
#include "os/machine.h"
#include "private_memory.h"
#include "session.h"
#include "session_checks.h"
#include "shm/copy.h"

namespace nb = nanobind;

namespace haz::py {

namespace {

[[noreturn]] void throw_error(const Error& error) {
  set_python_error(error);
  throw nb::python_error();
}

/// How long a thread that waits for the node spins before it sleeps.
constexpr std::int64_t kReplySpinNs = 200 * kMicrosecondNs;

// ---- in the server -----------------------------------------------------------------------------

void hand_over(const nb::callable& take_lines, const std::vector<LogLine>& lines) {
  hand_over_lines(take_lines, lines, [](const LogLine& line, const nb::object& text) {
    return nb::make_tuple(line.job, line.stream == LogStream::kStderr, text);
  });
}

void tell_over(const nb::callable& on_over, ProcessId driver) {
  const nb::gil_scoped_acquire gil;
  try {
    on_over(driver.value);
  } catch (nb::python_error& error) {
    error.discard_as_unraisable(on_over);
  }
}

void serve_node(double num_cpus, const nb::dict& resources, std::uint64_t object_store_bytes,
                std::vector<std::string> zygote_argv, const nb::bytes& zygote_setup,
                const nb::callable& take_lines, const nb::callable& on_over) {
  check_no_session();
  NodeOptions options = node_options_of(num_cpus, resources, object_store_bytes,
                                        std::move(zygote_argv), zygote_setup);
  // Kept for ever: the node's thread may still use them when nobody else does.
  auto* take = new nb::callable(take_lines);
  auto* over = new nb::callable(on_over);
  options.on_output = [take](const std::vector<LogLine>& lines) { hand_over(*take, lines); };
  options.on_driver_over = [over](ProcessId driver) { tell_over(*over, driver); };
  auto node = Node::create(std::move(options));
  if (!node) throw_error(node.error());
  set_session(std::make_shared<Session>(std::move(*node)));
}

Node& served_node(const std::shared_ptr<Session>& session) {
  if (session->node() != nullptr) return *session->node();
  PyErr_SetString(PyExc_RuntimeError, "only in the process that hosts the node");
  throw nb::python_error();
}

nb::tuple admit_driver(std::int32_t pid, bool fold_output) {
  const std::shared_ptr<Session> session = session_or_throw();
  auto place = served_node(session).admit_driver(pid, fold_output);
  if (!place) throw_error(place.error());
  return nb::make_tuple(place->slot, place->process.value);
}

// ---- in a driver -------------------------------------------------------------------------------

void join_node(int socket_fd, int arena_fd, std::uint32_t slot, std::uint32_t process_id,
               const nb::callable& on_message) {
  UniqueFd socket(socket_fd);
  UniqueFd arena(arena_fd);
  check_no_session();
  auto ring = RingClient::join(std::move(arena), slot, ProcessId{process_id});
  if (!ring) throw_error(ring.error());
  // The server spins, and so does the worker.
  if (usable_cpus() > 2) (*ring)->spin_for_replies(kReplySpinNs);
  auto* tell = new nb::callable(on_message);  // kept for ever, as those of a node are
  auto link =
      DriverLink::start(std::move(socket), **ring, [tell](std::span<const std::byte> message) {
        const nb::gil_scoped_acquire gil;
        try {
          (*tell)(nb::bytes(reinterpret_cast<const char*>(message.data()), message.size()));
        } catch (nb::python_error& error) {
          error.discard_as_unraisable(*tell);
        }
      });
  if (!link) throw_error(link.error());
  set_session(std::make_shared<Session>(std::move(*ring), std::move(*link)));
}

/// Puts copies in the place of what there are views of: the node will use the memory again.
void keep_views(const Session& session) {
  const nb::gil_scoped_acquire gil;
  const std::size_t lost =
      keep_pinned(session.generation()) + keep_private_memory(session.generation());
  if (lost != 0 &&
      PyErr_WarnEx(PyExc_RuntimeWarning,
                   "there is no memory for copies of what haz.get() has returned: large values "
                   "will change",
                   1) != 0) {
    PyErr_Clear();
  }
}

void leave_node(std::uint32_t generation, double timeout_s) {
  const std::shared_ptr<Session> session = current_session();
  if (!session || session->link() == nullptr) return;
  if (generation != 0 && session->generation() != generation) return;
  set_session(nullptr);
  const nb::gil_scoped_release no_gil;
  session->link()->leave(static_cast<std::int64_t>(timeout_s * 1e9),
                         [&session] { keep_views(*session); });
  shutdown_copy_threads();
}

}  // namespace

/// Adds long-lived nodes to `m`.
void bind_nodes(nb::module_& m) {
  m.def("serve_node", serve_node, nb::arg("num_cpus"), nb::arg("resources"),
        nb::arg("object_store_bytes"), nb::arg("zygote_argv"), nb::arg("zygote_setup"),
        nb::arg("take_lines"), nb::arg("on_over"),
        "Start a node that other programs join.\n\n"
        "`take_lines` is called with lists of (driver, is_stderr, line), where driver 0 is none;\n"
        "`on_over` with the number of a driver of which nothing runs any more.",
        nb::sig("def serve_node(num_cpus: float, resources: dict[str, float], object_store_bytes: "
                "int, zygote_argv: list[str], zygote_setup: bytes, take_lines: "
                "collections.abc.Callable[[list[tuple[int, bool, str]]], None], on_over: "
                "collections.abc.Callable[[int], None]) -> None"));
  m.def("admit_driver", admit_driver, nb::arg("pid"), nb::arg("fold_output"),
        "Make room for one more driver, of process `pid`; return its (slot, process number).\n\n"
        "`fold_output`: floods of equal lines of its tasks are told as one.",
        nb::sig("def admit_driver(pid: int, fold_output: bool) -> tuple[int, int]"));
  m.def(
      "build_id", [] { return build_id(); },
      "Which build of the core this is: what shares its memory must be of the same one.");
  m.def(
      "end_driver",
      [](std::uint32_t driver) {
        const std::shared_ptr<Session> session = session_or_throw();
        Node& node = served_node(session);
        const nb::gil_scoped_release no_gil;
        node.end_driver(ProcessId{driver});
      },
      nb::arg("driver"), "End what belongs to a driver, by its process number.");
  m.def(
      "driver_process_ended",
      [](std::int32_t pid) {
        const std::shared_ptr<Session> session = session_or_throw();
        Node& node = served_node(session);
        const nb::gil_scoped_release no_gil;
        node.driver_process_ended(pid);
      },
      nb::arg("pid"), "The process, of which drivers have ended, has ended itself.");
  m.def(
      "arena_fd", [] { return session_or_throw()->client().arena().fd(); },
      "Descriptor of the node's memory; the node's own.");
  m.def("join_node", join_node, nb::arg("socket_fd"), nb::arg("arena_fd"), nb::arg("slot"),
        nb::arg("process_id"), nb::arg("on_message"),
        "Join a node as a driver. Takes over both descriptors. `on_message` is called with what\n"
        "the server sends, in another thread.",
        nb::sig("def join_node(socket_fd: int, arena_fd: int, slot: int, process_id: int, "
                "on_message: collections.abc.Callable[[bytes], None]) -> None"));
  m.def("leave_node", leave_node, nb::arg("session"), nb::arg("timeout_s"),
        "Leave the node that this driver has joined, if it is of that session or that is 0.\n\n"
        "Waits until its server has ended what was the driver's and sent the last of its output,\n"
        "or has sent nothing for `timeout_s`.");
}

}  // namespace haz::py
