#include "codec_array.h"

#include <Python.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace haz::py {
namespace {

/// Type strings of the elements, in the order of ArrayElement.
constexpr std::array<const char*, kArrayElementCount> kTypeStrings = {
    "b1", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", "c8", "c16"};

/// The struct of NumPy's array interface, which its documentation fixes.
struct ArrayInterface {
  int two;
  int dimensions;
  char kind;
  int item_bytes;
  int flags;
  Py_ssize_t* extents;
  Py_ssize_t* strides;
  void* data;
  PyObject* description;
};
constexpr int kContiguousFlag = 0x1;
constexpr int kFortranFlag = 0x2;
constexpr int kNativeOrderFlag = 0x200;

/// Functions of NumPy's C API, by their places in its table, which its binary interface fixes (what
/// is compiled against any version of NumPy 1 or 2 has these numbers in it).
using GetVersion = unsigned int (*)();
using NewFromDescription = PyObject* (*)(PyTypeObject*, PyObject*, int, const Py_ssize_t*,
                                         const Py_ssize_t*, void*, int, PyObject*);
using SetBase = int (*)(PyObject*, PyObject*);
constexpr std::size_t kGetVersion = 0;
constexpr std::size_t kNewFromDescription = 94;
constexpr std::size_t kSetBase = 282;
constexpr std::array<unsigned int, 2> kKnownVersions = {0x0100'0009, 0x0200'0000};
constexpr int kAlignedFlag = 0x100;
constexpr int kWritableFlag = 0x400;

/// What we use of NumPy. All borrowed from references that are kept for ever.
struct NumPy {
  PyTypeObject* array = nullptr;
  std::array<PyObject*, kArrayElementCount> dtypes{};
  std::array<PyTypeObject*, kArrayElementCount> scalars{};
  PyObject* interface_name = nullptr;
  PyObject* dtype_name = nullptr;
  PyObject* metadata_name = nullptr;
  PyObject* c_order = nullptr;
  PyObject* fortran_order = nullptr;
  PyObject* zero = nullptr;
  PyObject* no_index = nullptr;
  NewFromDescription new_from_description = nullptr;  ///< These two are there together, or not.
  SetBase set_base = nullptr;
};

bool load_types(PyObject* module, NumPy* numpy) {
  PyObject* array = PyObject_GetAttrString(module, "ndarray");
  if (array == nullptr) return false;
  numpy->array = reinterpret_cast<PyTypeObject*>(array);
  for (std::size_t i = 0; i < kArrayElementCount; ++i) {
    numpy->dtypes[i] = PyObject_CallMethod(module, "dtype", "s", kTypeStrings[i]);
    if (numpy->dtypes[i] == nullptr) return false;
    PyObject* scalar = PyObject_GetAttrString(numpy->dtypes[i], "type");
    if (scalar == nullptr) return false;
    numpy->scalars[i] = reinterpret_cast<PyTypeObject*>(scalar);
  }
  return true;
}

bool load_constants(NumPy* numpy) {
  numpy->interface_name = PyUnicode_InternFromString("__array_struct__");
  numpy->dtype_name = PyUnicode_InternFromString("dtype");
  numpy->metadata_name = PyUnicode_InternFromString("metadata");
  numpy->c_order = PyUnicode_InternFromString("C");
  numpy->fortran_order = PyUnicode_InternFromString("F");
  numpy->zero = PyLong_FromLong(0);
  numpy->no_index = PyTuple_New(0);
  return numpy->no_index != nullptr;
}

/// The table of the C API; nullptr where a NumPy to come has none of that name.
void* const* find_api() {
  PyObject* module = PyImport_ImportModule("numpy._core._multiarray_umath");
  if (module == nullptr) {  // before NumPy 2
    PyErr_Clear();
    module = PyImport_ImportModule("numpy.core._multiarray_umath");
  }
  PyObject* capsule = module != nullptr ? PyObject_GetAttrString(module, "_ARRAY_API") : nullptr;
  void* table = capsule != nullptr ? PyCapsule_GetPointer(capsule, nullptr) : nullptr;
  Py_XDECREF(capsule);  // the module keeps the table for ever
  Py_XDECREF(module);
  PyErr_Clear();
  return static_cast<void* const*>(table);
}

void load_api(NumPy* numpy) {
  void* const* api = find_api();
  if (api == nullptr) return;
  const unsigned int version = reinterpret_cast<GetVersion>(api[kGetVersion])();
  if (std::ranges::find(kKnownVersions, version) == kKnownVersions.end()) return;
  numpy->new_from_description = reinterpret_cast<NewFromDescription>(api[kNewFromDescription]);
  numpy->set_base = reinterpret_cast<SetBase>(api[kSetBase]);
}

/// NumPy as far as it has been loaded; array is nullptr until then.
NumPy g_numpy;

bool find_element(char kind, int item_bytes, ArrayElement* element) {
  for (std::size_t i = 0; i < kArrayElementCount; ++i) {
    const auto candidate = static_cast<ArrayElement>(i);
    if (kTypeStrings[i][0] != kind ||
        element_bytes(candidate) != static_cast<std::size_t>(item_bytes)) {
      continue;
    }
    *element = candidate;
    return true;
  }
  return false;
}

/// Whether `array` has exactly NumPy's own type of that element, with nothing attached to it.
bool has_plain_dtype(PyObject* array, ArrayElement element) {
  PyObject* plain = g_numpy.dtypes[static_cast<std::size_t>(element)];
  PyObject* dtype = PyObject_GetAttr(array, g_numpy.dtype_name);
  if (dtype == nullptr) return false;
  bool is_plain = dtype == plain;
  if (!is_plain && PyObject_RichCompareBool(dtype, plain, Py_EQ) == 1) {
    PyObject* metadata = PyObject_GetAttr(dtype, g_numpy.metadata_name);
    is_plain = metadata == Py_None;
    Py_XDECREF(metadata);
  }
  Py_DECREF(dtype);
  return is_plain;
}

bool read_interface(PyObject* array, const ArrayInterface& interface, ArrayMemory* memory) {
  const bool is_c = (interface.flags & kContiguousFlag) != 0;
  const bool is_fortran = (interface.flags & kFortranFlag) != 0;
  if (!is_c && !is_fortran) return false;
  if ((interface.flags & kNativeOrderFlag) == 0) return false;
  if (interface.dimensions > ArrayMemory::kMaxDimensions) return false;
  if (!find_element(interface.kind, interface.item_bytes, &memory->element)) return false;
  if (!has_plain_dtype(array, memory->element)) return false;
  memory->is_fortran = !is_c;
  memory->dimensions = interface.dimensions;
  memory->extents = interface.extents;
  memory->bytes = interface.data;
  memory->size_bytes = static_cast<std::size_t>(interface.item_bytes);
  for (int i = 0; i < interface.dimensions; ++i) {
    memory->size_bytes *= static_cast<std::size_t>(interface.extents[i]);
  }
  return true;
}

PyObject* make_shape(const ArrayView& array) {
  PyObject* shape = PyTuple_New(array.dimensions);
  if (shape == nullptr) return nullptr;
  for (unsigned i = 0; i < array.dimensions; ++i) {
    PyObject* extent = PyLong_FromUnsignedLongLong(array.extent(i));
    if (extent == nullptr) {
      Py_DECREF(shape);
      return nullptr;
    }
    PyTuple_SET_ITEM(shape, i, extent);
  }
  return shape;
}

}  // namespace

bool load_numpy() {
  if (g_numpy.array != nullptr) return true;
  PyObject* module = PyImport_ImportModule("numpy");
  if (module == nullptr) return false;
  NumPy numpy;
  const bool loaded = load_types(module, &numpy) && load_constants(&numpy);
  if (loaded) load_api(&numpy);
  Py_DECREF(module);
  if (loaded && g_numpy.array == nullptr) g_numpy = numpy;  // the import may have let others run
  return loaded;
}

ArrayKind array_kind(PyObject* object, ArrayElement* element) {
  PyTypeObject* type = Py_TYPE(object);
  if (g_numpy.array == nullptr) [[unlikely]] {
    const bool looks_like_it = std::strncmp(type->tp_name, "numpy.", 6) == 0;
    return looks_like_it ? ArrayKind::kUnknown : ArrayKind::kNone;
  }
  if (type == g_numpy.array) return ArrayKind::kArray;
  for (std::size_t i = 0; i < kArrayElementCount; ++i) {
    if (g_numpy.scalars[i] != type) continue;
    *element = static_cast<ArrayElement>(i);
    return ArrayKind::kScalar;
  }
  return ArrayKind::kNone;
}

bool describe_array(PyObject* array, ArrayMemory* memory) {
  PyObject* capsule = PyObject_GetAttr(array, g_numpy.interface_name);
  if (capsule != nullptr) {
    const auto* interface =
        static_cast<const ArrayInterface*>(PyCapsule_GetPointer(capsule, nullptr));
    if (interface != nullptr && read_interface(array, *interface, memory)) {
      memory->keeper = capsule;  // holds the array and the struct
      return true;
    }
    Py_DECREF(capsule);
  }
  PyErr_Clear();
  return false;
}

bool copy_scalar(PyObject* scalar, ArrayElement element, void* to) {
  Py_buffer view;
  if (PyObject_GetBuffer(scalar, &view, PyBUF_SIMPLE) < 0) return false;
  const bool fits = static_cast<std::size_t>(view.len) == element_bytes(element);
  if (fits) std::memcpy(to, view.buf, element_bytes(element));
  PyBuffer_Release(&view);
  if (!fits) PyErr_SetString(PyExc_SystemError, "haz: a numpy scalar of an unexpected size");
  return fits;
}

PyObject* make_array(const ArrayView& array, PyObject* memory) {
  if (!load_numpy()) return nullptr;
  PyObject* shape = make_shape(array);
  if (shape == nullptr) return nullptr;
  PyObject* dtype = g_numpy.dtypes[static_cast<std::size_t>(array.element)];
  PyObject* order = array.is_fortran ? g_numpy.fortran_order : g_numpy.c_order;
  PyObject* arguments[] = {shape, dtype, memory, g_numpy.zero, Py_None, order};
  PyObject* made = PyObject_Vectorcall(reinterpret_cast<PyObject*>(g_numpy.array), arguments,
                                       std::size(arguments), nullptr);
  Py_DECREF(shape);
  return made;
}

PyObject* make_array_in_place(const ArrayView& array, PyObject* memory, bool is_writable) {
  if (!load_numpy()) return nullptr;
  if (g_numpy.new_from_description == nullptr || array.bytes.empty()) {
    return make_array(array, memory);
  }
  std::array<Py_ssize_t, ArrayMemory::kMaxDimensions> extents{};
  std::array<Py_ssize_t, ArrayMemory::kMaxDimensions> strides{};
  auto stride = static_cast<Py_ssize_t>(element_bytes(array.element));
  for (unsigned i = 0; i < array.dimensions; ++i) {
    const unsigned place = array.is_fortran ? i : array.dimensions - 1 - i;
    extents[place] = static_cast<Py_ssize_t>(array.extent(place));
    strides[place] = stride;
    stride *= extents[place];
  }
  const int flags = kAlignedFlag | (is_writable ? kWritableFlag : 0);  // NumPy looks at the first
  PyObject* made = g_numpy.new_from_description(
      g_numpy.array, Py_NewRef(g_numpy.dtypes[static_cast<std::size_t>(array.element)]),
      array.dimensions, extents.data(), strides.data(), const_cast<std::byte*>(array.bytes.data()),
      flags, nullptr);
  if (made != nullptr && g_numpy.set_base(made, Py_NewRef(memory)) < 0) Py_CLEAR(made);
  return made;
}

PyObject* make_scalar(const ArrayView& array) {
  PyObject* memory = PyBytes_FromStringAndSize(reinterpret_cast<const char*>(array.bytes.data()),
                                               static_cast<Py_ssize_t>(array.bytes.size()));
  if (memory == nullptr) return nullptr;
  PyObject* made = make_array(array, memory);
  Py_DECREF(memory);
  if (made == nullptr) return nullptr;
  PyObject* scalar = PyObject_GetItem(made, g_numpy.no_index);
  Py_DECREF(made);
  return scalar;
}

}  // namespace haz::py
