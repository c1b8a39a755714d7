/// @file
/// Streams of items, for those who take them.
#include <nanobind/nanobind.h>

#include <algorithm>
#include <array>
#include <vector>

#include "object_ref.h"
#include "os/clock.h"
#include "sched/stream.h"
#include "session.h"
#include "values.h"

namespace nb = nanobind;

namespace haz::py {

namespace {

[[noreturn]] void throw_error(const char* type, const char* message) {
  set_haz_error(type, message);
  throw nb::python_error();
}

std::shared_ptr<Session> session_of_stream(nb::handle stream) {
  std::shared_ptr<Session> session = current_session();
  if (!is_ref(stream.ptr())) {
    PyErr_SetString(PyExc_TypeError, "a stream is named by an ObjectRef");
    throw nb::python_error();
  }
  if (!session || session->generation() != generation_of_ref(stream.ptr())) {
    throw_error("ObjectLostError", "the ObjectRefGenerator is of a run of haz that has ended");
  }
  return session;
}

[[noreturn]] void throw_unknown(Session& session) {
  if (session.ring() != nullptr && session.ring()->is_lost()) {
    throw_error("NodeDiedError", "the node that this program had joined has ended");
  }
  throw_error("ObjectLostError", "the stream of this ObjectRefGenerator is gone");
}

nb::object next_item(nb::handle stream, nb::handle timeout_s) {
  const std::shared_ptr<Session> session = session_of_stream(stream);
  Client& client = session->client();
  const std::array<ObjectId, 1> ids{id_of_ref(stream.ptr())};
  ObjectId item{};
  const std::int64_t deadline_ns =
      timeout_s.is_none() ? -1 : deadline_in(nb::cast<double>(timeout_s));
  GilHooks hooks;
  std::vector<bool> ready;
  for (;;) {
    const TakenItem taken = client.take_item(ids[0], &item, hooks);
    if (taken == TakenItem::kTaken) {
      PyObject* ref = adopt_ref(*session, item);
      if (ref == nullptr) throw nb::python_error();
      return nb::steal(ref);
    }
    if (taken == TakenItem::kEnded) {
      PyErr_SetNone(PyExc_StopIteration);
      throw nb::python_error();
    }
    if (taken == TakenItem::kUnknown) throw_unknown(*session);
    switch (client.wait(ids, 1, deadline_ns, hooks, ready)) {
      case WaitOutcome::kDone:
        break;
      case WaitOutcome::kTimeout:
        return nb::none();
      case WaitOutcome::kUnknownObject:
        throw_unknown(*session);
      case WaitOutcome::kClosed:
        throw_error("NodeDiedError",
                    "haz was shut down while this call waited, or the node that this program had "
                    "joined has ended");
      case WaitOutcome::kInterrupted:
        if (PyErr_Occurred() == nullptr) PyErr_SetNone(PyExc_KeyboardInterrupt);
        throw nb::python_error();
    }
  }
}

int stream_state(nb::handle stream) {
  const std::shared_ptr<Session> session = session_of_stream(stream);
  GilHooks hooks;
  const TakenItem next = session->client().take_item(id_of_ref(stream.ptr()), nullptr, hooks);
  if (next == TakenItem::kUnknown) throw_unknown(*session);
  return static_cast<int>(next);
}

nb::object end_of_stream(nb::handle stream) {
  const std::shared_ptr<Session> session = session_of_stream(stream);
  PyObject* ref = new_ref(*session, end_of(task_of_stream(id_of_ref(stream.ptr()))));
  if (ref == nullptr) throw nb::python_error();
  return nb::steal(ref);
}

void share_stream(nb::handle stream) {
  session_of_stream(stream)->client().share_stream(id_of_ref(stream.ptr()));
}

nb::object put_error(nb::handle info) {
  const std::shared_ptr<Session> session = current_session();
  if (!session) {
    PyErr_SetString(PyExc_RuntimeError, "haz is not initialized: call haz.init()");
    throw nb::python_error();
  }
  const ObjectId id = put_value(*session, info.ptr(), true);
  if (!id) throw nb::python_error();
  PyObject* ref = adopt_ref(*session, id);
  if (ref == nullptr) throw nb::python_error();
  return nb::steal(ref);
}

}  // namespace

/// Adds the consumer's side of streams to `m`.
void bind_streams(nb::module_& m) {
  m.def("next_item", next_item, nb::arg("stream"), nb::arg("timeout_s").none(),
        "Take the next item of a stream as a ref; None when the time is over. Raise StopIteration\n"
        "at the end.",
        nb::sig("def next_item(stream: object, timeout_s: float | None) -> typing.Any"));
  m.def("stream_state", stream_state, nb::arg("stream"),
        "Return 0 where a stream has an item to take, 1 where it has none now, 2 at its end.",
        nb::sig("def stream_state(stream: object) -> int"));
  m.def("end_of_stream", end_of_stream, nb::arg("stream"),
        "Return the ref of the number of items, ready when the task has ended.",
        nb::sig("def end_of_stream(stream: object) -> typing.Any"));
  m.def("share_stream", share_stream, nb::arg("stream"),
        "Before a stream's ref is passed on: let others take what this process took ahead.",
        nb::sig("def share_stream(stream: object) -> None"));
  m.def("put_error", put_error, nb::arg("info"), "Store an error; return its ref.",
        nb::sig("def put_error(info: dict[str, typing.Any]) -> typing.Any"));
}

}  // namespace haz::py
