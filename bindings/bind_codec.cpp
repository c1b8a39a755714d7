/// @file
/// _native.encode, _native.decode and _native.DecodeError: the codec, for Python.
#include <nanobind/nanobind.h>

#include <cstddef>
#include <utility>

#include "codec.h"

namespace nb = nanobind;

namespace haz::py {
namespace {

nb::bytes encode_value(nb::handle value) {
  ScopedEncoder encoder;
  if (!encoder->encode(value.ptr())) throw nb::python_error();
  if (!encoder->refs().empty()) {
    throw nb::type_error("haz can't encode an ObjectRef to bytes: nothing would keep its object");
  }
  PyObject* payload = PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(encoder->size()));
  if (payload == nullptr) throw nb::python_error();
  encoder->write(reinterpret_cast<std::byte*>(PyBytes_AS_STRING(payload)));
  return nb::steal<nb::bytes>(payload);
}

nb::object decode_payload(nb::handle data, bool allow_pickle) {
  const nb::object owner = nb::steal(PyMemoryView_FromObject(data.ptr()));
  if (!owner.is_valid()) throw nb::python_error();
  const Py_buffer* view = PyMemoryView_GET_BUFFER(owner.ptr());
  if (PyBuffer_IsContiguous(view, 'C') == 0) {
    throw nb::buffer_error("haz can't decode bytes that are not contiguous");
  }
  Decoder decoder(static_cast<const std::byte*>(view->buf), static_cast<std::size_t>(view->len),
                  owner.ptr(), allow_pickle ? Decoder::Pickles::kLoad : Decoder::Pickles::kRefuse);
  nb::object value = nb::steal(decoder.next());
  if (!value.is_valid()) throw nb::python_error();
  if (decoder.at_end()) return value;
  PyErr_SetString(decode_error_type(), "the payload holds more than one value");
  throw nb::python_error();
}

/// True when `value` is of exactly a built-in type that holds no other objects.
bool is_scalar(PyObject* value) {
  const PyTypeObject* type = Py_TYPE(value);
  return type == &PyLong_Type || type == &PyFloat_Type || type == &PyUnicode_Type ||
         type == &PyBytes_Type || type == &PyBool_Type || value == Py_None ||
         type == &PyComplex_Type || type == &PyByteArray_Type || type == &PyRange_Type;
}

bool all_scalars(nb::handle items) {
  PyObject* fast = items.ptr();
  if (!PyList_CheckExact(fast) && !PyTuple_CheckExact(fast)) {
    throw nb::type_error("all_scalars takes a list or a tuple");
  }
  PyObject* const* const all = PySequence_Fast_ITEMS(fast);
  const PyTypeObject* last = nullptr;  // most have items of one type
  for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(fast); ++i) {
    if (Py_TYPE(all[i]) == last) continue;
    if (!is_scalar(all[i])) return false;
    last = Py_TYPE(all[i]);
  }
  return true;
}

}  // namespace

/// Adds the codec to `m`.
void bind_codec(nb::module_& m) {
  PyObject* error = decode_error_type();
  if (error == nullptr) throw nb::python_error();
  nb::borrow(error).attr("__module__") = m.attr("__name__");
  m.attr("DecodeError") = nb::borrow(error);
  m.def("encode", encode_value, nb::arg("value").none(),
        nb::sig("def encode(value: typing.Any) -> bytes"),
        "Return ``value`` as the bytes of one payload, in the format that haz uses itself.\n\n"
        "Plain built-in values are written natively, anything else is pickled. Raises\n"
        "``SerializationError`` when that fails, and ``TypeError`` for an ``ObjectRef`` inside.");
  m.def(
      "all_scalars", all_scalars, nb::arg("items").none(),
      nb::sig("def all_scalars(items: list[typing.Any] | tuple[typing.Any, ...]) -> bool"),
      "Return whether all items are None, or of exactly the types int, float, complex, bool, str,\n"
      "bytes, bytearray or range. Raises ``TypeError`` for anything but a list or a tuple.");
  m.def(
      "decode", decode_payload, nb::arg("data"), nb::arg("allow_pickle") = true,
      nb::sig("def decode(data: bytes | bytearray | memoryview, allow_pickle: bool = True)"
              " -> typing.Any"),
      "Return the value in ``data``, a contiguous bytes-like object from ``encode``.\n\n"
      "Large arrays are read-only views of ``data``, which must not change afterwards. Unpickling\n"
      "runs code: for data from elsewhere, say ``allow_pickle=False``, which refuses pickles.\n"
      "Raises ``DecodeError`` when ``data`` is malformed.");
}

}  // namespace haz::py
