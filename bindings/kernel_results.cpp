#include <cxxabi.h>

#include <array>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "kernel.h"

namespace haz::py {

namespace {

using detail::array_value;
using detail::kernel_value;
using detail::value_kind;
using detail::value_type;

/// The memory of an array that a kernel has returned.
struct KernelMemory {
  PyObject_HEAD array_value array;
  value_type type;
  std::array<Py_ssize_t, detail::max_dimensions> shape;
  std::array<Py_ssize_t, detail::max_dimensions> strides;
  Py_ssize_t size;
};

KernelMemory* as_memory(PyObject* object) { return reinterpret_cast<KernelMemory*>(object); }

/// As in Python's struct module.
const char* format_of(const value_type& type) {
  switch (type.number) {
    case 'b':
      return "?";
    case 'f':
      return type.item_size == 4 ? "f" : "d";
    case 'c':
      return type.item_size == 8 ? "Zf" : "Zd";
    default:
      break;
  }
  const bool is_signed = type.number == 'i';
  switch (type.item_size) {
    case 1:
      return is_signed ? "b" : "B";
    case 2:
      return is_signed ? "h" : "H";
    case 4:
      return is_signed ? "i" : "I";
    default:
      return is_signed ? "q" : "Q";
  }
}

int get_buffer(PyObject* object, Py_buffer* view, int /*flags*/) {
  KernelMemory& self = *as_memory(object);
  view->obj = Py_NewRef(object);
  view->buf = self.array.data;
  view->len = self.size * self.type.item_size;
  view->itemsize = self.type.item_size;
  view->readonly = 0;
  view->ndim = self.type.dimensions;
  view->format = const_cast<char*>(format_of(self.type));
  view->shape = self.shape.data();
  view->strides = self.strides.data();
  view->suboffsets = nullptr;
  view->internal = nullptr;
  return 0;
}

void dealloc_memory(PyObject* self) {
  as_memory(self)->array.release(as_memory(self)->array.data);
  PyTypeObject* type = Py_TYPE(self);
  type->tp_free(self);
  Py_DECREF(type);
}

PyType_Slot memory_slots[] = {
    {Py_tp_dealloc, reinterpret_cast<void*>(dealloc_memory)},
    {Py_bf_getbuffer, reinterpret_cast<void*>(get_buffer)},
    {0, nullptr},
};

PyType_Spec memory_spec{"haz._native.KernelMemory", sizeof(KernelMemory), 0,
                        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, memory_slots};

PyObject* numpy_function(const char* name) {
  PyObject* numpy = PyImport_ImportModule("numpy");
  if (numpy == nullptr) return nullptr;
  PyObject* function = PyObject_GetAttrString(numpy, name);
  Py_DECREF(numpy);
  return function;
}

/// Takes over `array`, also where it fails.
PyObject* make_array(const value_type& type, const array_value& array) {
  // One interpreter only, as all of this module.
  static PyTypeObject* memory_type = nullptr;
  static PyObject* as_array = nullptr;
  if (memory_type == nullptr)
    memory_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&memory_spec));
  if (as_array == nullptr) as_array = numpy_function("asarray");
  PyObject* object = memory_type != nullptr && as_array != nullptr
                         ? memory_type->tp_alloc(memory_type, 0)
                         : nullptr;
  if (object == nullptr) {
    array.release(array.data);
    return nullptr;
  }
  KernelMemory& self = *as_memory(object);
  self.array = array;
  self.type = type;
  self.size = 1;
  for (std::size_t axis = 0; axis < type.dimensions; ++axis) {
    self.shape[axis] = array.shape[axis];
    self.strides[axis] = array.strides[axis] * type.item_size;
    self.size *= array.shape[axis];
  }
  PyObject* made = PyObject_CallOneArg(as_array, object);
  Py_DECREF(object);
  return made;
}

PyObject* make_result(const value_type& type, const kernel_value& value) {
  if (type.kind == value_kind::array) return make_array(type, value.array);
  switch (type.number) {
    case 'b':
      return PyBool_FromLong(static_cast<long>(value.integer));
    case 'i':
      return PyLong_FromLongLong(value.integer);
    case 'u':
      return PyLong_FromUnsignedLongLong(value.unsigned_integer);
    case 'f':
      return PyFloat_FromDouble(value.real);
    default:
      return PyComplex_FromDoubles(value.complex[0], value.complex[1]);
  }
}

/// Names of exceptions as compilers for Linux write them, and what they are in Python.
constexpr std::pair<std::string_view, PyObject**> kExceptions[] = {
    {"N3haz11value_errorE", &PyExc_ValueError},
    {"N3haz11index_errorE", &PyExc_IndexError},
    {"N3haz5errorE", &PyExc_RuntimeError},
    {"St16invalid_argument", &PyExc_ValueError},
    {"St12domain_error", &PyExc_ValueError},
    {"St12length_error", &PyExc_ValueError},
    {"St12out_of_range", &PyExc_IndexError},
    {"St14overflow_error", &PyExc_OverflowError},
    {"St13runtime_error", &PyExc_RuntimeError},
    {"St9bad_alloc", &PyExc_MemoryError},
    {"St20bad_array_new_length", &PyExc_MemoryError},
};

}  // namespace

PyObject* make_kernel_results(const detail::kernel_function& function, kernel_value* values) {
  if (function.num_results == 0) Py_RETURN_NONE;
  if (!function.is_tuple) return make_result(function.results[0], values[0]);
  PyObject* tuple = PyTuple_New(function.num_results);
  for (std::uint32_t i = 0; i < function.num_results; ++i) {
    const value_type& type = function.results[i];
    if (tuple == nullptr) {  // what is left has no owner
      if (type.kind == value_kind::array) values[i].array.release(values[i].array.data);
      continue;
    }
    PyObject* result = make_result(type, values[i]);
    if (result == nullptr) {
      Py_CLEAR(tuple);
    } else {
      PyTuple_SET_ITEM(tuple, i, result);
    }
  }
  return tuple;
}

void set_kernel_error(const Kernel& kernel, const detail::kernel_failure& failure) {
  const char* name = kernel.function->name;
  if (failure.type == nullptr) {
    PyErr_Format(PyExc_RuntimeError, "%s() threw something that is no std::exception", name);
    return;
  }
  // What the user wrote need not be UTF-8.
  PyObject* text = PyUnicode_DecodeUTF8(
      failure.text, static_cast<Py_ssize_t>(std::char_traits<char>::length(failure.text)),
      "replace");
  if (text == nullptr) return;
  for (const auto& [type, exception] : kExceptions) {
    if (type == failure.type) {
      PyErr_SetObject(*exception, text);
      Py_DECREF(text);
      return;
    }
  }
  int status = 0;
  const std::unique_ptr<char, void (*)(void*)> readable(
      abi::__cxa_demangle(failure.type, nullptr, nullptr, &status), std::free);
  PyErr_Format(PyExc_RuntimeError, "%s() threw %s: %U", name,
               readable ? readable.get() : failure.type, text);
  Py_DECREF(text);
}

}  // namespace haz::py
