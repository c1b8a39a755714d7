/// @file
/// The Python type of refs of the native engine, and what keeps views of the arena alive.
#pragma once

#include <Python.h>

#include <cstdint>

#include "session.h"

namespace haz::py {

/// Makes the type as a subclass of `base` (haz._core.refs.ObjectRef) and tells the codec. Once.
bool init_ref_type(PyObject* base);
/// The type; nullptr before init_ref_type(). Borrowed.
PyTypeObject* ref_type();

/// A ref that takes over one reference which this process holds already.
PyObject* adopt_ref(const Session& session, ObjectId id);
/// A ref that counts a new reference.
PyObject* new_ref(Session& session, ObjectId id);

/// True when `object` is exactly of the ref type.
inline bool is_ref(PyObject* object) { return Py_TYPE(object) == ref_type(); }
/// Precondition: is_ref(object).
ObjectId id_of_ref(PyObject* object);
std::uint32_t generation_of_ref(PyObject* object);

/// An object that owns one reference of `id` and the mapping, for as long as views of the value live.
PyObject* make_pin(Session& session, ObjectId id);

/// `restore_ref(id)`: what a pickled ref becomes again inside haz.
PyObject* restore_ref(PyObject* module, PyObject* id);
/// `restore_foreign_ref(epoch, id)`: what a ref that was pickled outside of haz becomes again.
PyObject* restore_foreign_ref(PyObject* module, PyObject* const* args, Py_ssize_t count);

}  // namespace haz::py
