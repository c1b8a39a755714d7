/// @file
/// The Python error that is set, as an object. With the GIL.
#pragma once

#include <Python.h>

#include <utility>

namespace haz::py {

/// Clears the error that is set, and returns it as an exception with its traceback: a new
/// reference; nullptr if none is set.
PyObject* take_exception();

/// Sets `error`, taking over the reference, just as it was when it was taken: raised again where it
/// is handled, it gets no other context.
void restore_exception(PyObject* error);

/// Sets `error`, taking over the reference, as one that is raised here.
void raise_exception(PyObject* error);

/// Calls `act` while the error that is set, if any, is put aside. `act` leaves none.
template <typename Act>
void with_error_aside(Act&& act) {
  PyObject* error = take_exception();
  std::forward<Act>(act)();
  if (error != nullptr) restore_exception(error);
}

}  // namespace haz::py
