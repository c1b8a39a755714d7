/// @file
/// The Python type of refs of the native engine, and what keeps views of the arena alive.
#pragma once

#include <Python.h>

#include <cstddef>
#include <cstdint>
#include <span>

#include "session.h"

namespace haz::py {

/// Makes the type as a subclass of `base` (haz._core.refs.ObjectRef) and tells the codec. Once.
bool init_ref_type(PyObject* base);
/// Layout of a ref.
struct RefObject {
  PyObject_HEAD std::uint64_t id;
  std::uint32_t generation;  ///< Of the session that made it.
  bool is_weak;              ///< It counts no reference.
  bool is_of_call;           ///< This process got it for a call of an actor.
};

namespace detail {
extern PyTypeObject* the_ref_type;
}

/// The type; nullptr before init_ref_type(). Borrowed.
inline PyTypeObject* ref_type() { return detail::the_ref_type; }

/// A ref that takes over one reference which this process holds already.
PyObject* adopt_ref(const Session& session, ObjectId id);
/// A ref that counts a new reference.
PyObject* new_ref(Session& session, ObjectId id);
/// A ref that counts none: for an actor's own process, which ends with its last handle elsewhere.
PyObject* weak_ref(const Session& session, ObjectId id);

/// True when `object` is exactly of the ref type.
inline bool is_ref(PyObject* object) { return Py_TYPE(object) == ref_type(); }
/// Precondition: is_ref(object).
inline ObjectId id_of_ref(PyObject* object) {
  return ObjectId{reinterpret_cast<const RefObject*>(object)->id};
}
/// Precondition: is_ref(object).
inline std::uint32_t generation_of_ref(PyObject* object) {
  return reinterpret_cast<const RefObject*>(object)->generation;
}

/// An object that owns one reference of `id` and the mapping, for as long as views of the value
/// live.
PyObject* make_pin(Session& session, ObjectId id, std::span<const std::byte> value);
/// Gives this process copies of the values that have pins of that session, in their places: the
/// node is going to use the memory again. With the GIL, while no other thread writes to the arena.
/// Those for which there is no memory are left as they are; how many.
std::size_t keep_pinned(std::uint32_t generation);

/// Until the opposite is said, refs that this thread pickles outside of an encoder are kept for the
/// node's life without a warning: the code of functions is kept so, too.
void pin_pickled_refs(bool pin);

/// `restore_ref(id)`: what a pickled ref becomes again inside haz.
PyObject* restore_ref(PyObject* module, PyObject* id);
/// `restore_foreign_ref(epoch, id)`: what a ref that was pickled outside of haz becomes again.
PyObject* restore_foreign_ref(PyObject* module, PyObject* const* args, Py_ssize_t count);

}  // namespace haz::py
