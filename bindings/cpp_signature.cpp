/// @file
/// What a function of C++ takes, as an object of its own: handles of actors have it of methods
/// whose library this process may not have.
#include <cstddef>

#include "cpp_function.h"

namespace haz::py {

namespace {

PyTypeObject* signature_type = nullptr;

struct SignatureObject {
  PyObject_HEAD CppSignature* signature;
};

PyObject* new_signature(PyTypeObject* type, PyObject* args, PyObject* keywords) {
  const char* function = nullptr;
  const char* text = nullptr;
  const char* names = nullptr;
  int kind = 0;
  if (keywords != nullptr && PyDict_GET_SIZE(keywords) != 0) {
    PyErr_SetString(PyExc_TypeError, "CppSignature() takes no arguments by name");
    return nullptr;
  }
  if (PyArg_ParseTuple(args, "sssi", &function, &text, &names, &kind) == 0) return nullptr;
  PyObject* const object = type->tp_alloc(type, 0);
  if (object == nullptr) return nullptr;
  reinterpret_cast<SignatureObject*>(object)->signature = new CppSignature(
      parse_cpp_signature(function, text, names, static_cast<haz::detail::function_kind>(kind)));
  return object;
}

void dealloc_signature(PyObject* object) {
  delete reinterpret_cast<SignatureObject*>(object)->signature;
  PyTypeObject* type = Py_TYPE(object);
  type->tp_free(object);
  Py_DECREF(type);
}

PyObject* get_name(PyObject* object, void* /*closure*/) {
  return PyUnicode_FromString(as_cpp_signature(object)->function.c_str());
}

PyGetSetDef signature_getters[] = {
    {"__name__", get_name, nullptr, nullptr, nullptr},
    {"_haz_parameters", get_cpp_parameters, nullptr, "As haz._core.signature has them.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

PyMethodDef signature_methods[] = {
    {"_check", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(check_cpp_call)),
     METH_FASTCALL | METH_KEYWORDS, "Raise what a call with these arguments would at once."},
    {nullptr, nullptr, 0, nullptr},
};

PyType_Slot signature_slots[] = {
    {Py_tp_new, reinterpret_cast<void*>(new_signature)},
    {Py_tp_dealloc, reinterpret_cast<void*>(dealloc_signature)},
    {Py_tp_getset, signature_getters},
    {Py_tp_methods, signature_methods},
    {Py_tp_doc, const_cast<char*>("CppSignature(function, text, names, kind): what it takes.")},
    {0, nullptr},
};

PyType_Spec signature_spec{"haz._native.CppSignature", sizeof(SignatureObject), 0,
                           Py_TPFLAGS_DEFAULT, signature_slots};

}  // namespace

PyTypeObject* init_cpp_signature_type() {
  if (signature_type == nullptr)
    signature_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&signature_spec));
  return signature_type;
}

const CppSignature* as_cpp_signature(PyObject* object) {
  if (const CppFunction* function = as_cpp_function(object)) return function->signature;
  return signature_type != nullptr && Py_TYPE(object) == signature_type
             ? reinterpret_cast<SignatureObject*>(object)->signature
             : nullptr;
}

PyObject* check_cpp_call(PyObject* object, PyObject* const* args, Py_ssize_t count,
                         PyObject* names) {
  ReplacedArguments replaced;
  const CppSignature& function = *as_cpp_signature(object);
  if (!check_cpp_arguments(function, args, count, names, replaced)) return nullptr;
  if (!check_readable(function, args, count)) return nullptr;
  Py_RETURN_NONE;
}

PyObject* get_cpp_parameters(PyObject* object, void* /*closure*/) {
  const CppSignature& signature = *as_cpp_signature(object);
  const auto count = static_cast<Py_ssize_t>(signature.parameters.size());
  PyObject* names = PyTuple_New(count);
  Py_ssize_t positional_only = 0;
  for (Py_ssize_t i = 0; names != nullptr && i < count; ++i) {
    const std::string& name = signature.parameters[static_cast<std::size_t>(i)].name;
    positional_only += name.empty() ? 1 : 0;
    PyTuple_SET_ITEM(names, i,
                     name.empty() ? PyUnicode_FromFormat("argument_%zd", i + 1)
                                  : PyUnicode_FromString(name.c_str()));
  }
  return Py_BuildValue("(nNi()()OO)", positional_only, names, 0, Py_False, Py_False);
}

}  // namespace haz::py
