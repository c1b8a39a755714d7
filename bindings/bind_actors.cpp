/// @file
/// Creating, finding and ending actors, for Python.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include <string>
#include <vector>

#include "arguments.h"
#include "object_ref.h"
#include "placement.h"
#include "session.h"
#include "session_checks.h"
#include "values.h"
#include "worker_loop.h"

namespace nb = nanobind;

namespace haz::py {

namespace {

[[noreturn]] void throw_error(const Error& error) {
  if (error.kind == ErrorKind::kExists) {
    set_haz_error("ActorAlreadyExistsError", error.message.c_str());
  } else {
    set_python_error(error);
  }
  throw nb::python_error();
}

Session& session_of_ref(const std::shared_ptr<Session>& session, nb::handle ref) {
  if (is_ref(ref.ptr()) && generation_of_ref(ref.ptr()) == session->generation()) return *session;
  set_haz_error("ActorHandleNotFoundError", "the actor is of a run of haz that has ended");
  throw nb::python_error();
}

nb::object create_actor(std::uint32_t session_number, std::uint32_t function,
                        const std::string& name, const std::string& name_space, bool get_if_exists,
                        const nb::tuple& args, const nb::dict& kwargs, nb::handle descriptor,
                        nb::handle placement) {
  const std::shared_ptr<Session> session = session_or_throw(session_number);
  std::vector<PyObject*> values;
  for (nb::handle value : args)
    values.push_back(value.ptr());
  const nb::object names = nb::steal(PyTuple_New(static_cast<Py_ssize_t>(kwargs.size())));
  Py_ssize_t count = 0;
  for (const auto& [key, value] : kwargs) {
    PyTuple_SET_ITEM(names.ptr(), count++, Py_NewRef(key.ptr()));
    values.push_back(value.ptr());
  }
  ScopedArguments arguments(*session);
  Submission submission;
  placement_of(*session, placement).apply(submission);
  if (!arguments->encode(*session, values.data(), args.size(), count != 0 ? names.ptr() : nullptr,
                         descriptor.ptr()) ||
      !arguments->place(*session, submission)) {
    throw nb::python_error();
  }
  submission.function = FunctionId{function};
  submission.id = TaskId{session->client().new_ids(1)};
  submission.parent = parent_task(*session);
  GilHooks hooks;
  const Result<ObjectId> made =
      session->client().create_actor(submission, ActorSpec{name, name_space, get_if_exists}, hooks);
  if (!made) throw_error(made.error());
  PyObject* ref = adopt_ref(*session, made.value());
  if (ref == nullptr) throw nb::python_error();
  return nb::steal(ref);
}

nb::object find_actor(const std::string& name, const std::string& name_space) {
  const std::shared_ptr<Session> session = session_or_throw();
  GilHooks hooks;
  const Result<FoundActor> found =
      session->client().find_actor(ActorSpec{name, name_space, false}, hooks);
  if (!found) {
    if (found.error().kind == ErrorKind::kLost && PyErr_Occurred() == nullptr) return nb::none();
    throw_error(found.error());
  }
  const std::vector<std::byte>& meta = found.value().meta;
  PyObject* ref = adopt_ref(*session, found.value().id);
  if (ref == nullptr) throw nb::python_error();
  return nb::make_tuple(nb::steal(ref),
                        nb::bytes(reinterpret_cast<const char*>(meta.data()), meta.size()));
}

nb::object weak_actor(std::uint64_t id) {
  const std::shared_ptr<Session> session = session_or_throw();
  PyObject* ref = weak_ref(*session, ObjectId{id});
  if (ref == nullptr) throw nb::python_error();
  return nb::steal(ref);
}

void kill_actor(nb::handle ref, bool no_restart) {
  const std::shared_ptr<Session> session = session_or_throw();
  session_of_ref(session, ref).client().kill_actor(id_of_ref(ref.ptr()), no_restart);
}

bool is_of_call(nb::handle ref) {
  return is_ref(ref.ptr()) && reinterpret_cast<const RefObject*>(ref.ptr())->is_of_call;
}

}  // namespace

/// Adds what concerns actors to `m`.
void bind_actors(nb::module_& m) {
  m.def("create_actor", create_actor, nb::arg("session"), nb::arg("function"), nb::arg("name"),
        nb::arg("namespace"), nb::arg("get_if_exists"), nb::arg("args"), nb::arg("kwargs"),
        nb::arg("descriptor"), nb::arg("placement") = nb::none(),
        "Start an actor of a registered class; return its ref. An empty name is none.\n\n"
        "`descriptor`, `placement`: as for bind_submitter.",
        nb::sig("def create_actor(session: int, function: int, name: str, namespace: str, "
                "get_if_exists: bool, args: tuple[typing.Any, ...], kwargs: dict[str, typing.Any], "
                "descriptor: object, placement: tuple[typing.Any, int, bool] | None = None) -> "
                "typing.Any"));
  m.def("find_actor", find_actor, nb::arg("name"), nb::arg("namespace"),
        "Return (ref, meta) of the actor of that name, or None.",
        nb::sig("def find_actor(name: str, namespace: str) -> tuple[typing.Any, bytes] | None"));
  m.def("weak_actor", weak_actor, nb::arg("id"), "A ref of an actor that does not keep it alive.",
        nb::sig("def weak_actor(id: int) -> typing.Any"));
  m.def("kill_actor", kill_actor, nb::arg("ref"), nb::arg("no_restart"),
        "End the process of an actor, and unless it may be restarted the actor.",
        nb::sig("def kill_actor(ref: object, no_restart: bool) -> None"));
  m.def(
      "decode_error",
      [](const nb::bytes& data) {
        PyObject* info =
            decode_error(reinterpret_cast<const std::byte*>(data.c_str()), data.size());
        if (info == nullptr) throw nb::python_error();
        return nb::steal(info);
      },
      nb::arg("data"), "The dictionary for unpack_error() of the bytes of an error value.",
      nb::sig("def decode_error(data: bytes) -> dict[str, typing.Any]"));
  m.def("is_of_call", is_of_call, nb::arg("ref"),
        "Whether the ref is one that this process got for a call of an actor.",
        nb::sig("def is_of_call(ref: object) -> bool"));
}

}  // namespace haz::py
