/// @file
/// Binds `PoolCall`, the data of a call of a pool, and what is done with thousands of them:
/// gathered for a message, and given what they have returned.
#include <nanobind/nanobind.h>
#include <structmember.h>

#include <array>
#include <cstddef>
#include <stdexcept>

namespace nb = nanobind;

namespace haz::py {

namespace {

struct PoolCallObject {
  PyObject ob_base;
  PyObject* code;
  PyObject* args;
  PyObject* kwargs;
  PyObject* value;
  PyObject* error;
  PyObject* event;
  PyObject* callback;
  PyObject* error_callback;
  PyObject* is_done;
  PyObject* alone;
  PyObject* dictionary;
  PyObject* weak_references;
};

PoolCallObject* as_call(PyObject* object) { return reinterpret_cast<PoolCallObject*>(object); }

PyTypeObject* the_call_type = nullptr;

/// What of a call holds other objects, but for the dictionary.
std::array<PyObject**, 10> fields_of(PoolCallObject* self) {
  return {&self->code,  &self->args,     &self->kwargs,         &self->value,   &self->error,
          &self->event, &self->callback, &self->error_callback, &self->is_done, &self->alone};
}

/// New reference, or null with an error. Takes over no reference.
PyObject* make_call_of(PyTypeObject* type, PyObject* code, PyObject* args, PyObject* kwargs) {
  PyObject* self = type->tp_alloc(type, 0);
  if (self == nullptr) return nullptr;
  PoolCallObject* call = as_call(self);
  call->code = Py_NewRef(code);
  call->args = Py_NewRef(args);
  call->kwargs = Py_NewRef(kwargs);
  for (PyObject** field :
       {&call->value, &call->error, &call->event, &call->callback, &call->error_callback}) {
    *field = Py_NewRef(Py_None);
  }
  call->is_done = Py_NewRef(Py_False);
  call->alone = Py_NewRef(Py_False);
  return self;
}

PyObject* new_call(PyTypeObject* type, PyObject* /*args*/, PyObject* /*kwargs*/) {
  return make_call_of(type, Py_None, Py_None, Py_None);
}

int traverse_call(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  for (PyObject** field : fields_of(as_call(self)))
    Py_VISIT(*field);
  Py_VISIT(as_call(self)->dictionary);
  return 0;
}

int clear_call(PyObject* self) {
  for (PyObject** field : fields_of(as_call(self)))
    Py_CLEAR(*field);
  Py_CLEAR(as_call(self)->dictionary);
  return 0;
}

void dealloc_call(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  if (as_call(self)->weak_references != nullptr) PyObject_ClearWeakRefs(self);
  (void)clear_call(self);
  type->tp_free(self);
  Py_DECREF(type);
}

PyMemberDef call_members[] = {
    {"code", T_OBJECT_EX, offsetof(PoolCallObject, code), 0, nullptr},
    {"args", T_OBJECT_EX, offsetof(PoolCallObject, args), 0, nullptr},
    {"kwargs", T_OBJECT_EX, offsetof(PoolCallObject, kwargs), 0, nullptr},
    {"_value", T_OBJECT_EX, offsetof(PoolCallObject, value), 0, nullptr},
    {"_error", T_OBJECT_EX, offsetof(PoolCallObject, error), 0, nullptr},
    {"_event", T_OBJECT_EX, offsetof(PoolCallObject, event), 0, nullptr},
    {"_callback", T_OBJECT_EX, offsetof(PoolCallObject, callback), 0, nullptr},
    {"_error_callback", T_OBJECT_EX, offsetof(PoolCallObject, error_callback), 0, nullptr},
    {"_is_done", T_OBJECT_EX, offsetof(PoolCallObject, is_done), 0, nullptr},
    {"alone", T_OBJECT_EX, offsetof(PoolCallObject, alone), 0, nullptr},
    {"__dictoffset__", T_PYSSIZET, offsetof(PoolCallObject, dictionary), READONLY, nullptr},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(PoolCallObject, weak_references), READONLY,
     nullptr},
    {nullptr, 0, 0, 0, nullptr},
};

PyGetSetDef call_getters[] = {
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, nullptr, nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

PyType_Slot call_slots[] = {
    {Py_tp_new, reinterpret_cast<void*>(new_call)},
    {Py_tp_dealloc, reinterpret_cast<void*>(dealloc_call)},
    {Py_tp_traverse, reinterpret_cast<void*>(traverse_call)},
    {Py_tp_clear, reinterpret_cast<void*>(clear_call)},
    {Py_tp_members, call_members},
    {Py_tp_getset, call_getters},
    {0, nullptr},
};

PyType_Spec call_spec{"haz._native.PoolCall", sizeof(PoolCallObject), 0,
                      Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, call_slots};

bool is_call(PyObject* object) { return PyObject_TypeCheck(object, the_call_type) != 0; }

PyObject* make_call(PyObject* /*module*/, PyObject* const* args, Py_ssize_t count) {
  if (count != 4 || !PyType_Check(args[0]) ||
      PyType_IsSubtype(reinterpret_cast<PyTypeObject*>(args[0]), the_call_type) == 0) {
    PyErr_SetString(PyExc_TypeError, "make_call takes a class of PoolCall and 3 arguments");
    return nullptr;
  }
  return make_call_of(reinterpret_cast<PyTypeObject*>(args[0]), args[1], args[2], args[3]);
}

PyObject* or_none(PyObject* value) { return Py_NewRef(value != nullptr ? value : Py_None); }

/// ([code], [args], [kwargs]) of calls, or None where one is of another type.
nb::object parts_of_calls(const nb::list& calls) {
  const Py_ssize_t count = PyList_GET_SIZE(calls.ptr());
  for (Py_ssize_t i = 0; i < count; ++i) {
    if (!is_call(PyList_GET_ITEM(calls.ptr(), i))) return nb::none();
  }
  const auto parts =
      nb::steal(Py_BuildValue("(NNN)", PyList_New(count), PyList_New(count), PyList_New(count)));
  if (!parts.is_valid()) throw nb::python_error();
  // A destructor may have run when the lists were made.
  if (PyList_GET_SIZE(calls.ptr()) != count) throw std::runtime_error("calls were taken meanwhile");
  for (Py_ssize_t i = 0; i < count; ++i) {
    const PoolCallObject* call = as_call(PyList_GET_ITEM(calls.ptr(), i));
    PyList_SET_ITEM(PyTuple_GET_ITEM(parts.ptr(), 0), i, or_none(call->code));
    PyList_SET_ITEM(PyTuple_GET_ITEM(parts.ptr(), 1), i, or_none(call->args));
    PyList_SET_ITEM(PyTuple_GET_ITEM(parts.ptr(), 2), i, or_none(call->kwargs));
  }
  return parts;
}

void assign(PyObject*& field, PyObject* value) { Py_XSETREF(field, Py_NewRef(value)); }

/// Gives the value to a call of exactly `type`, if it is plain and there is no callback; whether it
/// did.
bool deliver_to(PyObject* object, PyObject* value, PyObject* type, PyObject* plain) {
  if (reinterpret_cast<PyObject*>(Py_TYPE(object)) != type) return false;
  PoolCallObject* call = as_call(object);
  if (call->callback != Py_None) return false;
  const int is_plain = PySet_Contains(plain, reinterpret_cast<PyObject*>(Py_TYPE(value)));
  if (is_plain < 0) throw nb::python_error();
  if (is_plain == 0) return false;
  // In this order: whoever waits makes the event first, and looks at the mark then.
  assign(call->value, value);
  assign(call->is_done, Py_True);
  if (call->event != Py_None) {
    const auto event = nb::borrow(call->event);
    event.attr("set")();
  }
  assign(call->args, Py_None);
  assign(call->kwargs, Py_None);
  return true;
}

Py_ssize_t deliver_plain(const nb::list& calls, nb::handle values, Py_ssize_t first,
                         nb::handle type, nb::handle plain) {
  if (!PyList_Check(values.ptr()) && !PyTuple_Check(values.ptr())) {
    throw nb::type_error("values of calls are a list or a tuple");
  }
  Py_ssize_t i = first;
  while (i < PyList_GET_SIZE(calls.ptr()) && i < PySequence_Fast_GET_SIZE(values.ptr())) {
    // Destructors of arguments may do anything, also to these.
    const auto call = nb::borrow(PyList_GET_ITEM(calls.ptr(), i));
    const auto value = nb::borrow(PySequence_Fast_GET_ITEM(values.ptr(), i));
    if (!deliver_to(call.ptr(), value.ptr(), type.ptr(), plain.ptr())) break;
    ++i;
  }
  return i;
}

PyMethodDef call_functions[] = {
    {"make_call", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(make_call)),
     METH_FASTCALL,
     "make_call(cls, code, args, kwargs, /)\n--\n\nReturn a call of that class, of PoolCall."},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

/// Adds `PoolCall` and its functions to `m`.
void bind_calls(nb::module_& m) {
  the_call_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&call_spec));
  if (the_call_type == nullptr || PyModule_AddFunctions(m.ptr(), call_functions) != 0) {
    throw nb::python_error();
  }
  m.attr("PoolCall") = nb::borrow(reinterpret_cast<PyObject*>(the_call_type));
  m.def("parts_of_calls", parts_of_calls, nb::arg("calls"),
        nb::sig("def parts_of_calls(calls: list[typing.Any]) -> "
                "tuple[list[typing.Any], list[typing.Any], list[typing.Any]] | None"),
        "Return (codes, arguments, keyword arguments) of calls; None: some are no PoolCall.");
  m.def("deliver_plain", deliver_plain, nb::arg("calls"), nb::arg("values"), nb::arg("first"),
        nb::arg("type"), nb::arg("plain"),
        nb::sig("def deliver_plain(calls: list[typing.Any], values: list[typing.Any] | "
                "tuple[typing.Any, ...], first: int, type: type, plain: frozenset[type]) -> int"),
        "Give values to calls from the `first` on, as long as these are of exactly that type,\n"
        "without a callback, and the values of types in `plain`; return where that ended.");
}

}  // namespace haz::py
