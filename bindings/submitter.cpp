#include "submitter.h"

#include <structmember.h>

#include <algorithm>
#include <cstddef>

#include "arguments.h"
#include "cpp_function.h"
#include "object_ref.h"
#include "sched/stream.h"
#include "worker_loop.h"

namespace haz::py {

namespace {

struct SubmitterObject {
  PyObject_HEAD vectorcallfunc vectorcall;
  PyObject* descriptor;
  PyObject* generator;  ///< Of a streaming function; else nullptr.
  PyObject* actor;      ///< A ref, or nullptr.
  PyObject* cpp;        ///< What has the signature, if it is one of C++; else nullptr.
  PyObject* again;      ///< Serves what this one can't.
  long long min_args;
  long long max_args;  ///< Negative: any number.
  std::uint32_t function;
  std::uint32_t num_returns;
  std::uint32_t generation;
  std::uint64_t group;  ///< This and the next two as in Placement.
  std::int32_t bundle;
  bool captures;
  bool asks;
};

PyTypeObject* submitter_type = nullptr;

SubmitterObject* as_submitter(PyObject* object) {
  return reinterpret_cast<SubmitterObject*>(object);
}

bool check_call(const SubmitterObject& self, PyObject* const* args, Py_ssize_t count,
                PyObject* names) {
  if (self.cpp != nullptr) return true;  // more is known of it
  if (names == nullptr && count >= self.min_args && (self.max_args < 0 || count <= self.max_args)) {
    return true;
  }
  PyObject* positional = PyTuple_New(count);
  PyObject* keywords = PyDict_New();
  bool ok = positional != nullptr && keywords != nullptr;
  for (Py_ssize_t i = 0; ok && i < count; ++i) {
    PyTuple_SET_ITEM(positional, i, Py_NewRef(args[i]));
  }
  const Py_ssize_t num_names = names != nullptr ? PyTuple_GET_SIZE(names) : 0;
  for (Py_ssize_t i = 0; ok && i < num_names; ++i) {
    ok = PyDict_SetItem(keywords, PyTuple_GET_ITEM(names, i), args[count + i]) == 0;
  }
  if (ok) {
    PyObject* result =
        PyObject_CallMethod(self.descriptor, "check_call", "OO", positional, keywords);
    ok = result != nullptr;
    Py_XDECREF(result);
  }
  Py_XDECREF(positional);
  Py_XDECREF(keywords);
  return ok;
}

PyObject* make_ref(Session& session, ObjectId id, bool is_of_call) {
  PyObject* ref = adopt_ref(session, id);
  if (ref != nullptr) reinterpret_cast<RefObject*>(ref)->is_of_call = is_of_call;
  return ref;
}

PyObject* make_refs(Session& session, TaskId task, std::uint32_t num_returns, bool is_call) {
  if (num_returns == 0) Py_RETURN_NONE;
  if (num_returns == 1) return make_ref(session, task.return_id(0), is_call);
  PyObject* refs = PyList_New(num_returns);
  for (std::uint32_t i = 0; refs != nullptr && i < num_returns; ++i) {
    PyObject* ref = make_ref(session, task.return_id(i), is_call);
    if (ref == nullptr) {
      Py_CLEAR(refs);
      break;
    }
    PyList_SET_ITEM(refs, i, ref);
  }
  return refs;
}

PyObject* make_generator(Session& session, TaskId task, PyObject* generator) {
  PyObject* stream = adopt_ref(session, stream_of(task));
  if (stream == nullptr) return nullptr;
  PyObject* made = PyObject_CallOneArg(generator, stream);
  Py_DECREF(stream);
  return made;
}

Status submit_asked(Client& client, const Submission& submission) {
  GilHooks hooks;
  return client.submit_asked(submission, hooks);
}

/// A call of what belongs to a run that has ended.
PyObject* submit_anew(const SubmitterObject& self, PyObject* const* args, std::size_t nargsf,
                      PyObject* names) {
  if (forked()) {
    PyErr_SetString(PyExc_RuntimeError,
                    "haz can't be used in a forked child of a process that uses it");
    return nullptr;
  }
  PyObject* made = PyObject_CallNoArgs(self.again);
  if (made == nullptr) return nullptr;
  PyObject* result = PyObject_Vectorcall(made, args, nargsf, names);
  Py_DECREF(made);
  return result;
}

PyObject* submit(PyObject* callable, PyObject* const* args, std::size_t nargsf, PyObject* names) {
  const SubmitterObject& self = *as_submitter(callable);
  Py_ssize_t count = PyVectorcall_NARGS(nargsf);
  const std::shared_ptr<Session> session = current_session();
  if (!session || session->generation() != self.generation) {
    return submit_anew(self, args, nargsf, names);
  }
  if (!check_call(self, args, count, names)) return nullptr;
  ReplacedArguments replaced;
  const CppSignature* const cpp = self.cpp != nullptr ? as_cpp_signature(self.cpp) : nullptr;
  if (cpp != nullptr) {
    if (!check_cpp_arguments(*cpp, args, count, names, replaced)) return nullptr;
    names = nullptr;
  }
  ScopedArguments arguments(*session);
  if (!arguments->encode(*session, args, static_cast<std::size_t>(count), names, self.descriptor,
                         cpp)) {
    return nullptr;
  }
  Submission submission;
  if (!arguments->place(*session, submission)) return nullptr;
  submission.function = FunctionId{self.function};
  submission.num_returns = self.num_returns;
  if (self.actor != nullptr) submission.actor = id_of_ref(self.actor);
  submission.group = ObjectId{self.group};
  submission.bundle = self.bundle;
  submission.captures = self.captures;
  const std::uint32_t num_ids =
      self.generator != nullptr ? kStreamIds : std::max(self.num_returns, 1U);
  submission.id = TaskId{session->client().new_ids(num_ids)};
  submission.parent = parent_task(*session);
  const Status status = self.asks ? submit_asked(session->client(), submission)
                                  : session->client().submit(submission);
  if (!status) {
    if (status.error().kind == ErrorKind::kOverloaded) {
      set_haz_error("PendingCallsLimitExceededError", status.error().message.c_str());
    } else {
      set_python_error(status.error());
    }
    return nullptr;
  }
  if (self.generator != nullptr) return make_generator(*session, submission.id, self.generator);
  return make_refs(*session, submission.id, self.num_returns, self.actor != nullptr);
}

void dealloc_submitter(PyObject* self) {
  PyObject_GC_UnTrack(self);
  Py_XDECREF(as_submitter(self)->descriptor);
  Py_XDECREF(as_submitter(self)->generator);
  Py_XDECREF(as_submitter(self)->actor);
  Py_XDECREF(as_submitter(self)->cpp);
  Py_XDECREF(as_submitter(self)->again);
  PyTypeObject* type = Py_TYPE(self);
  type->tp_free(self);
  Py_DECREF(type);
}

int traverse_submitter(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(as_submitter(self)->descriptor);
  Py_VISIT(as_submitter(self)->generator);
  Py_VISIT(as_submitter(self)->again);
  return 0;
}

int clear_submitter(PyObject* self) {
  Py_CLEAR(as_submitter(self)->descriptor);
  Py_CLEAR(as_submitter(self)->generator);
  return 0;
}

PyObject* reduce_submitter(PyObject* self, PyObject* /*unused*/) {
  return PyObject_CallMethod(as_submitter(self)->again, "reduced", nullptr);
}

PyMethodDef submitter_methods[] = {
    {"__reduce__", reduce_submitter, METH_NOARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

PyMemberDef submitter_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(SubmitterObject, vectorcall), READONLY, nullptr},
    {nullptr, 0, 0, 0, nullptr},
};

PyType_Slot submitter_slots[] = {
    {Py_tp_dealloc, reinterpret_cast<void*>(dealloc_submitter)},
    {Py_tp_traverse, reinterpret_cast<void*>(traverse_submitter)},
    {Py_tp_clear, reinterpret_cast<void*>(clear_submitter)},
    {Py_tp_call, reinterpret_cast<void*>(PyVectorcall_Call)},
    {Py_tp_members, submitter_members},
    {Py_tp_methods, submitter_methods},
    {0, nullptr},
};

PyType_Spec submitter_spec{"haz._native.Submitter", sizeof(SubmitterObject), 0,
                           Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL |
                               Py_TPFLAGS_DISALLOW_INSTANTIATION,
                           submitter_slots};

}  // namespace

namespace {

/// What has the signature of the function or method that a descriptor is of, if it is one of C++.
/// New reference.
PyObject* cpp_signature_of(PyObject* descriptor) {
  PyObject* function = PyObject_GetAttrString(descriptor, "_function");
  if (function == nullptr) {
    PyErr_Clear();
    return nullptr;
  }
  if (as_cpp_signature(function) == nullptr) Py_CLEAR(function);
  return function;
}

}  // namespace

bool init_submitter_type() {
  if (submitter_type != nullptr) return true;
  submitter_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&submitter_spec));
  return submitter_type != nullptr;
}

PyObject* make_submitter(const Session& session, FunctionId function, std::uint32_t num_returns,
                         long long min_args, long long max_args, PyObject* descriptor,
                         PyObject* generator, PyObject* actor, const Placement& placement,
                         bool asks, PyObject* again) {
  PyObject* object = submitter_type->tp_alloc(submitter_type, 0);
  if (object == nullptr) return nullptr;
  SubmitterObject& self = *as_submitter(object);
  self.vectorcall = submit;
  self.descriptor = Py_NewRef(descriptor);
  self.generator = Py_XNewRef(generator);
  self.actor = Py_XNewRef(actor);
  self.cpp = cpp_signature_of(descriptor);
  self.again = Py_NewRef(again);
  self.min_args = min_args;
  self.max_args = max_args;
  self.function = function.value;
  self.num_returns = num_returns;
  self.generation = session.generation();
  self.group = placement.group.value;
  self.bundle = placement.bundle;
  self.captures = placement.captures;
  self.asks = asks;
  return object;
}

}  // namespace haz::py
