/// @file
/// NumPy arrays and scalars for the codec, without NumPy's headers: NumPy is found when the first
/// array is met, by its documented array interface and the table of its C API. All functions need
/// the GIL.
#pragma once

#include <Python.h>

#include <cstddef>

#include "wire/value.h"

namespace haz::py {

/// Whether an object is of NumPy's own types.
enum class ArrayKind : std::uint8_t {
  kNone,     ///< Neither.
  kUnknown,  ///< Perhaps, but load_numpy() has not been called yet.
  kArray,    ///< Exactly numpy.ndarray.
  kScalar,   ///< Exactly one of the scalar types of ArrayElement.
};

/// Gets NumPy's types ready, importing it if need be. False with a Python error.
bool load_numpy();

/// What `object` is. Never fails and runs no user code; `*element` is set for a scalar.
ArrayKind array_kind(PyObject* object, ArrayElement* element);

/// An array whose memory can be written as it is. Valid while the keeper lives.
struct ArrayMemory {
  static constexpr int kMaxDimensions = 64;

  ArrayElement element = ArrayElement::kBool;
  bool is_fortran = false;
  int dimensions = 0;
  const Py_ssize_t* extents = nullptr;
  const void* bytes = nullptr;
  std::size_t size_bytes = 0;
  PyObject* keeper = nullptr;  ///< A new reference.
};

/// Describes `array`, a numpy.ndarray. False, without a Python error, when its memory has gaps or
/// other elements than those of ArrayElement in the machine's byte order.
bool describe_array(PyObject* array, ArrayMemory* memory);

/// Copies the element of `scalar`, of ArrayKind::kScalar, to `to`. False with a Python error.
bool copy_scalar(PyObject* scalar, ArrayElement element, void* to);

/// A new array over `memory`, an object with a buffer of the array's bytes; nullptr with a Python
/// error. Loads NumPy.
PyObject* make_array(const ArrayView& array, PyObject* memory);

/// The same over the array's bytes where they are; `memory` keeps them.
PyObject* make_array_in_place(const ArrayView& array, PyObject* memory, bool is_writable);

/// A new scalar of the array's only element; nullptr with a Python error. Loads NumPy.
PyObject* make_scalar(const ArrayView& array);

}  // namespace haz::py
