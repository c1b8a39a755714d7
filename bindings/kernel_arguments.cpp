#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <string_view>

#include "kernel.h"

namespace haz::py {

namespace {

using detail::value_kind;
using detail::value_type;

/// What kind of number the items of a buffer are, as value_type::number; '?': of no kind known
/// here.
char number_of(const char* format) {
  std::string_view text = format != nullptr ? format : "B";
  if (!text.empty() && std::strchr("@=<|", text.front()) != nullptr) text.remove_prefix(1);
  if (text == "?") return 'b';
  if (text == "Zf" || text == "Zd") return 'c';
  if (text.size() != 1) return '?';
  if (std::strchr("bhilqn", text.front()) != nullptr) return 'i';
  if (std::strchr("BHILQN", text.front()) != nullptr) return 'u';
  return std::strchr("efd", text.front()) != nullptr ? 'f' : '?';
}

std::string dimensions_text(int dimensions) { return std::to_string(dimensions) + "-D array"; }

std::string given_array_text(const Py_buffer& buffer) {
  std::string text = "a " + dimensions_text(buffer.ndim) + " of ";
  const char number = number_of(buffer.format);
  if (number == '?' || buffer.itemsize > 16)
    return text + "items of format '" + (buffer.format != nullptr ? buffer.format : "") + "'";
  return text + number_name({value_kind::array, number, static_cast<std::uint8_t>(buffer.itemsize),
                             0, false, false});
}

/// What was given, in words.
std::string given_text(PyObject* object) {
  Py_buffer buffer;
  if (PyObject_CheckBuffer(object) != 0 && !PyBytes_Check(object)) {
    if (PyObject_GetBuffer(object, &buffer, PyBUF_STRIDES | PyBUF_FORMAT) == 0) {
      std::string text = buffer.ndim > 0 ? given_array_text(buffer) : Py_TYPE(object)->tp_name;
      PyBuffer_Release(&buffer);
      return text;
    }
    PyErr_Clear();
  }
  return Py_TYPE(object)->tp_name;
}

bool is_numpy_array(PyObject* object) {
  return std::strcmp(Py_TYPE(object)->tp_name, "numpy.ndarray") == 0;
}

bool is_numpy_bool(PyObject* object) {
  const std::string_view name = Py_TYPE(object)->tp_name;
  return name == "numpy.bool" || name == "numpy.bool_";
}

/// Whether the items lie one after the other, the last index first.
bool is_contiguous(const detail::array_value& array, int dimensions) {
  std::int64_t expected = 1;
  for (int axis = dimensions - 1; axis >= 0; --axis) {
    if (array.shape[axis] == 0) return true;
    if (array.shape[axis] > 1 && array.strides[axis] != expected) return false;
    expected *= array.shape[axis];
  }
  return true;
}

}  // namespace

std::string number_name(const value_type& type) {
  if (type.number == 'b') return "bool";
  const char* kind = type.number == 'i'   ? "int"
                     : type.number == 'u' ? "uint"
                     : type.number == 'f' ? "float"
                                          : "complex";
  return kind + std::to_string(8 * type.item_size);
}

std::string type_text(const value_type& type) {
  if (type.kind == value_kind::scalar)
    return type.number == 'b' ? "a bool" : "a number (" + number_name(type) + ")";
  const std::string layout = type.is_contiguous ? "contiguous " : "";
  return "a " + layout + dimensions_text(type.dimensions) + " of " + number_name(type);
}

KernelArguments::~KernelArguments() {
  for (int i = 0; i < num_buffers_; ++i)
    PyBuffer_Release(&buffers_[static_cast<std::size_t>(i)]);
}

bool KernelArguments::load(PyObject* const* args, Py_ssize_t count, PyObject* names) {
  if (!place(args, count, names)) return false;
  for (std::uint32_t i = 0; i < count_; ++i) {
    if (!convert(i)) return false;
  }
  return true;
}

bool KernelArguments::place(PyObject* const* args, Py_ssize_t count, PyObject* names) {
  const detail::kernel_function& function = *kernel_.function;
  if (count > static_cast<Py_ssize_t>(function.num_arguments)) {
    PyErr_Format(PyExc_TypeError, "%s() takes at most %u arguments, got %zd", function.name,
                 function.num_arguments, count);
    return false;
  }
  for (std::uint32_t i = 0; i < function.num_arguments; ++i)
    objects_[i] = static_cast<Py_ssize_t>(i) < count ? args[i] : nullptr;
  count_ = static_cast<std::uint32_t>(count);
  const Py_ssize_t num_names = names != nullptr ? PyTuple_GET_SIZE(names) : 0;
  for (Py_ssize_t i = 0; i < num_names; ++i) {
    if (!place_keyword(PyTuple_GET_ITEM(names, i), args[count + i])) return false;
  }
  for (std::uint32_t i = 0; i < function.num_required || i < count_; ++i) {
    if (objects_[i] != nullptr) continue;
    const char* why = i < function.num_required
                          ? "is missing"
                          : "is missing: its default can't be used where a later one is given";
    PyErr_Format(PyExc_TypeError, "%s%s", where(i).c_str(), why);
    return false;
  }
  if (count_ < function.num_required) count_ = function.num_required;
  return true;
}

bool KernelArguments::place_keyword(PyObject* name, PyObject* value) {
  const auto known = static_cast<std::uint32_t>(PyTuple_GET_SIZE(kernel_.parameters));
  for (std::uint32_t i = 0; i < known; ++i) {
    const int is_same =
        PyObject_RichCompareBool(PyTuple_GET_ITEM(kernel_.parameters, i), name, Py_EQ);
    if (is_same < 0) return false;
    if (is_same == 0) continue;
    if (objects_[i] != nullptr) {
      PyErr_Format(PyExc_TypeError, "%sis given twice", where(i).c_str());
      return false;
    }
    objects_[i] = value;
    if (count_ <= i) count_ = i + 1;
    return true;
  }
  PyErr_Format(PyExc_TypeError, "%s() has no argument %R", kernel_.function->name, name);
  return false;
}

std::string KernelArguments::where(std::uint32_t index) const {
  std::string text = kernel_.function->name;
  text += "(): argument " + std::to_string(index + 1) + " ";
  const char* name = PyUnicode_AsUTF8(PyTuple_GET_ITEM(kernel_.parameters, index));
  if (name != nullptr && *name != '\0') text += std::string("'") + name + "' ";
  return text;
}

bool KernelArguments::refuse(std::uint32_t index) {
  const value_type& type = kernel_.function->arguments[index];
  const std::string text =
      where(index) + "must be " + type_text(type) + ", not " + given_text(objects_[index]);
  PyErr_SetString(PyExc_TypeError, text.c_str());
  return false;
}

bool KernelArguments::convert(std::uint32_t index) {
  const value_type& type = kernel_.function->arguments[index];
  if (type.kind == value_kind::array) return convert_array(index);
  PyObject* object = objects_[index];
  switch (type.number) {
    case 'b': {
      if (!PyBool_Check(object) && !is_numpy_bool(object)) return refuse(index);
      const int truth = PyObject_IsTrue(object);
      values_[index].integer = truth;
      return truth >= 0;
    }
    case 'i':
      return convert_integer(index);
    case 'u':
      return convert_unsigned(index);
    default:
      return convert_number(index);
  }
}

bool KernelArguments::convert_integer(std::uint32_t index) {
  PyObject* number = is_numpy_array(objects_[index]) ? nullptr : PyNumber_Index(objects_[index]);
  if (number == nullptr) {
    PyErr_Clear();
    return refuse(index);
  }
  int overflow = 0;
  const long long value = PyLong_AsLongLongAndOverflow(number, &overflow);
  Py_DECREF(number);
  const value_type& type = kernel_.function->arguments[index];
  const int bits = 8 * type.item_size;
  const long long most = std::numeric_limits<long long>::max() >> (64 - bits);
  if (overflow != 0 || value > most || value < -most - 1) {
    PyErr_Format(PyExc_OverflowError, "%smust be %s, and %S does not fit", where(index).c_str(),
                 type_text(type).c_str(), objects_[index]);
    return false;
  }
  values_[index].integer = value;
  return true;
}

bool KernelArguments::convert_unsigned(std::uint32_t index) {
  PyObject* number = is_numpy_array(objects_[index]) ? nullptr : PyNumber_Index(objects_[index]);
  if (number == nullptr) {
    PyErr_Clear();
    return refuse(index);
  }
  const unsigned long long value = PyLong_AsUnsignedLongLong(number);  // negative: an error
  Py_DECREF(number);
  const value_type& type = kernel_.function->arguments[index];
  const bool failed = PyErr_Occurred() != nullptr;
  if (failed ||
      value > std::numeric_limits<unsigned long long>::max() >> (64 - 8 * type.item_size)) {
    PyErr_Clear();
    PyErr_Format(PyExc_OverflowError, "%smust be %s, and %S does not fit", where(index).c_str(),
                 type_text(type).c_str(), objects_[index]);
    return false;
  }
  values_[index].unsigned_integer = value;
  return true;
}

bool KernelArguments::convert_number(std::uint32_t index) {
  PyObject* object = objects_[index];
  // An array of one item is a number to Python, but hardly what was meant.
  if (is_numpy_array(object)) return refuse(index);
  if (kernel_.function->arguments[index].number == 'f') {
    values_[index].real = PyFloat_AsDouble(object);
  } else {
    const Py_complex number = PyComplex_AsCComplex(object);
    values_[index].complex[0] = number.real;
    values_[index].complex[1] = number.imag;
  }
  if (PyErr_Occurred() == nullptr) return true;
  if (PyErr_ExceptionMatches(PyExc_TypeError) != 0) {
    PyErr_Clear();
    return refuse(index);
  }
  if (PyErr_ExceptionMatches(PyExc_OverflowError) != 0) {
    PyErr_Clear();
    PyErr_Format(PyExc_OverflowError, "%sis an int too large for %s", where(index).c_str(),
                 type_text(kernel_.function->arguments[index]).c_str());
  }
  return false;
}

bool KernelArguments::convert_array(std::uint32_t index) {
  PyObject* object = objects_[index];
  // bytes are no array of numbers to those who pass them by mistake.
  if (PyObject_CheckBuffer(object) == 0 || PyBytes_Check(object)) return refuse(index);
  Py_buffer& buffer = buffers_[static_cast<std::size_t>(num_buffers_)];
  if (PyObject_GetBuffer(object, &buffer, PyBUF_STRIDES | PyBUF_FORMAT) != 0) {
    if (PyErr_ExceptionMatches(PyExc_MemoryError) != 0) return false;
    PyErr_Clear();
    return refuse(index);
  }
  ++num_buffers_;
  return fill_array(index, buffer);
}

bool KernelArguments::fill_array(std::uint32_t index, const Py_buffer& buffer) {
  const value_type& type = kernel_.function->arguments[index];
  if (buffer.ndim != type.dimensions || number_of(buffer.format) != type.number ||
      buffer.itemsize != type.item_size) {
    const bool is_other_number = buffer.ndim == type.dimensions;
    const std::string hint =
        is_other_number ? " (convert it: .astype(\"" + number_name(type) + "\"))" : "";
    const std::string text =
        where(index) + "must be " + type_text(type) + ", not " +
        (buffer.ndim > 0 ? given_array_text(buffer) : given_text(objects_[index])) + hint;
    PyErr_SetString(PyExc_TypeError, text.c_str());
    return false;
  }
  const char* problem = nullptr;
  if (type.is_written && buffer.readonly != 0) {
    problem =
        "is written to, and this array is read-only, as those from the object store are: "
        "pass a copy, or return a new array";
  }
  detail::array_value& array = values_[index].array;
  array.data = buffer.buf;
  // A number of bytes: complex numbers are aligned as their parts.
  const std::size_t alignment =
      type.number == 'c' ? type.item_size / 2U : static_cast<std::size_t>(type.item_size);
  if (reinterpret_cast<std::uintptr_t>(buffer.buf) % alignment != 0)
    problem = "is not aligned: pass a copy";
  for (int axis = 0; axis < buffer.ndim; ++axis) {
    array.shape[axis] = buffer.shape[axis];
    array.strides[axis] = buffer.strides[axis] / buffer.itemsize;
    if (buffer.shape[axis] > 1 && buffer.strides[axis] % buffer.itemsize != 0)
      problem = "has items that don't lie a whole number of items apart: pass a copy";
  }
  if (type.is_contiguous && problem == nullptr && !is_contiguous(array, buffer.ndim)) {
    problem =
        "must be contiguous (C order), and this array is not: pass numpy.ascontiguousarray "
        "of it";
  }
  if (problem == nullptr) return true;
  PyErr_Format(PyExc_ValueError, "%s%s", where(index).c_str(), problem);
  return false;
}

}  // namespace haz::py
