#include "object_ref.h"

#include <structmember.h>

#include <cinttypes>
#include <cstdio>
#include <memory>
#include <new>
#include <span>

#include "codec.h"
#include "os/private_copy.h"
#include "sched/list.h"

namespace haz::py {

PyTypeObject* detail::the_ref_type = nullptr;

namespace {

using detail::the_ref_type;

struct PinObject {
  PyObject_HEAD std::uint64_t id;
  std::uint32_t generation;
  std::shared_ptr<const ArenaMapping> mapping;
  std::span<const std::byte> value;
  Link<PinObject> link;
};

PyTypeObject* the_pin_type = nullptr;
/// All that there are; with the GIL.
List<PinObject, &PinObject::link> all_pins;

RefObject* as_ref(PyObject* object) { return reinterpret_cast<RefObject*>(object); }
PinObject* as_pin(PyObject* object) { return reinterpret_cast<PinObject*>(object); }

void drop(std::uint32_t generation, std::uint64_t id) {
  if (Session* session = session_of(generation); session != nullptr) {
    session->client().drop_reference(ObjectId{id});
  }
}

void dealloc_ref(PyObject* self) {
  if (!as_ref(self)->is_weak) drop(as_ref(self)->generation, as_ref(self)->id);
  PyTypeObject* type = Py_TYPE(self);
  type->tp_free(self);
  Py_DECREF(type);
}

void dealloc_pin(PyObject* self) {
  drop(as_pin(self)->generation, as_pin(self)->id);
  all_pins.remove(as_pin(self));
  as_pin(self)->mapping.~shared_ptr();
  PyTypeObject* type = Py_TYPE(self);
  type->tp_free(self);
  Py_DECREF(type);
}

/// Never called: a type with a traverse function of its own does not inherit the base class' part
/// in garbage collection, which would make each ref 16 bytes larger and every collection slower.
int traverse_ref(PyObject* /*self*/, visitproc /*visit*/, void* /*arg*/) { return 0; }

Py_hash_t hash_ref(PyObject* self) {
  const std::uint64_t mixed = as_ref(self)->id * 0x9E3779B97F4A7C15ULL;
  const auto hash = static_cast<Py_hash_t>(mixed ^ (mixed >> 32));
  return hash == -1 ? -2 : hash;
}

PyObject* compare_refs(PyObject* self, PyObject* other, int op) {
  if ((op != Py_EQ && op != Py_NE) || !is_ref(other)) Py_RETURN_NOTIMPLEMENTED;
  const bool equal = as_ref(self)->id == as_ref(other)->id &&
                     as_ref(self)->generation == as_ref(other)->generation;
  return PyBool_FromLong((op == Py_EQ) == equal ? 1 : 0);
}

PyObject* hex_of_ref(PyObject* self, PyObject* /*unused*/) {
  char text[33];
  std::snprintf(text, sizeof text, "%016" PRIx64 "%016" PRIx64,
                epoch_of_session(as_ref(self)->generation), as_ref(self)->id);
  return PyUnicode_FromString(text);
}

thread_local bool pins_silently = false;

PyObject* reduce_outside(PyObject* self, Session& session) {
  if (!pins_silently &&
      PyErr_WarnEx(
          PyExc_RuntimeWarning,
          "an ObjectRef was pickled outside of haz: its object is kept until haz.shutdown()",
          1) != 0) {
    return nullptr;
  }
  session.client().add_reference(ObjectId{as_ref(self)->id});
  static PyObject* restore = nullptr;
  if (cached_attribute(restore, "haz._native", "restore_foreign_ref") == nullptr) return nullptr;
  return Py_BuildValue("O(KK)", restore, static_cast<unsigned long long>(session.client().epoch()),
                       static_cast<unsigned long long>(as_ref(self)->id));
}

PyObject* reduce_ref(PyObject* self, PyObject* /*unused*/) {
  Session* session = session_of(as_ref(self)->generation);
  if (session == nullptr) {
    set_haz_error("ObjectLostError",
                  "an ObjectRef of a run of haz that has ended can't be passed on");
    return nullptr;
  }
  Encoder* encoder = Encoder::current();
  if (encoder == nullptr) return reduce_outside(self, *session);
  encoder->note_ref(self, as_ref(self)->id);
  static PyObject* restore = nullptr;
  if (cached_attribute(restore, "haz._native", "restore_ref") == nullptr) return nullptr;
  return Py_BuildValue("O(K)", restore, static_cast<unsigned long long>(as_ref(self)->id));
}

PyMethodDef ref_methods[] = {
    {"hex", hex_of_ref, METH_NOARGS, "Return the id as 32 hexadecimal digits."},
    {"__reduce__", reduce_ref, METH_NOARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

PyType_Slot ref_slots[] = {
    {Py_tp_dealloc, reinterpret_cast<void*>(dealloc_ref)},
    {Py_tp_traverse, reinterpret_cast<void*>(traverse_ref)},
    {Py_tp_free, reinterpret_cast<void*>(PyObject_Free)},
    {Py_tp_hash, reinterpret_cast<void*>(hash_ref)},
    {Py_tp_richcompare, reinterpret_cast<void*>(compare_refs)},
    {Py_tp_methods, ref_methods},
    {0, nullptr},
};

PyType_Spec ref_spec{"haz._native.ObjectRef", sizeof(RefObject), 0,
                     Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, ref_slots};

PyType_Slot pin_slots[] = {
    {Py_tp_dealloc, reinterpret_cast<void*>(dealloc_pin)},
    {0, nullptr},
};

PyType_Spec pin_spec{"haz._native.Pin", sizeof(PinObject), 0,
                     Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, pin_slots};

bool hook_id_of(PyObject* object, std::uint64_t* id) {
  if (!is_ref(object)) return false;
  *id = as_ref(object)->id;
  return true;
}

PyObject* hook_make(std::uint64_t id) {
  const std::shared_ptr<Session> session = current_session();
  if (!session) {
    PyObject* type = decode_error_type();
    if (type != nullptr) {
      PyErr_SetString(type, "the data refers to an object of a node, and haz is not initialized");
    }
    return nullptr;
  }
  return new_ref(*session, ObjectId{id});
}

}  // namespace

bool init_ref_type(PyObject* base) {
  if (the_ref_type != nullptr) return true;
  PyObject* bases = PyTuple_Pack(1, base);
  if (bases == nullptr) return false;
  the_ref_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpecWithBases(&ref_spec, bases));
  Py_DECREF(bases);
  the_pin_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&pin_spec));
  if (the_ref_type == nullptr || the_pin_type == nullptr) return false;
  set_ref_hooks(RefHooks{hook_id_of, hook_make});
  return true;
}

PyObject* adopt_ref(const Session& session, ObjectId id) {
  PyObject* self = the_ref_type->tp_alloc(the_ref_type, 0);
  if (self == nullptr) return nullptr;
  as_ref(self)->id = id.value;
  as_ref(self)->generation = session.generation();
  return self;
}

PyObject* new_ref(Session& session, ObjectId id) {
  session.client().add_reference(id);
  return adopt_ref(session, id);
}

PyObject* weak_ref(const Session& session, ObjectId id) {
  PyObject* self = adopt_ref(session, id);
  if (self != nullptr) as_ref(self)->is_weak = true;
  return self;
}

PyObject* make_pin(Session& session, ObjectId id, std::span<const std::byte> value) {
  PyObject* self = the_pin_type->tp_alloc(the_pin_type, 0);
  if (self == nullptr) return nullptr;
  as_pin(self)->id = id.value;
  as_pin(self)->generation = session.generation();
  new (&as_pin(self)->mapping)
      std::shared_ptr<const ArenaMapping>(session.client().arena().mapping());
  as_pin(self)->value = value;
  new (&as_pin(self)->link) Link<PinObject>;
  all_pins.push_back(as_pin(self));
  return self;
}

std::size_t keep_pinned(std::uint32_t generation) {
  std::size_t left = 0;
  for (const PinObject* pin = all_pins.front(); pin != nullptr;
       pin = List<PinObject, &PinObject::link>::next(pin)) {
    if (pin->generation != generation) continue;
    if (!make_private_copy(pin->value.data(), pin->value.size())) ++left;
  }
  return left;
}

void pin_pickled_refs(bool pin) { pins_silently = pin; }

PyObject* restore_ref(PyObject* /*module*/, PyObject* id) {
  const std::uint64_t value = PyLong_AsUnsignedLongLong(id);
  if (PyErr_Occurred() != nullptr) return nullptr;
  return hook_make(value);
}

PyObject* restore_foreign_ref(PyObject* /*module*/, PyObject* const* args, Py_ssize_t count) {
  if (count != 2) {
    PyErr_SetString(PyExc_TypeError, "restore_foreign_ref takes 2 arguments");
    return nullptr;
  }
  const std::uint64_t epoch = PyLong_AsUnsignedLongLong(args[0]);
  const std::uint64_t id = PyLong_AsUnsignedLongLong(args[1]);
  if (PyErr_Occurred() != nullptr) return nullptr;
  const std::shared_ptr<Session> session = current_session();
  if (!session || session->client().epoch() != epoch) {
    set_haz_error("ObjectLostError",
                  "this ObjectRef was pickled on another node, or in a run of haz that has ended; "
                  "pickle the value instead");
    return nullptr;
  }
  return new_ref(*session, ObjectId{id});
}

}  // namespace haz::py
