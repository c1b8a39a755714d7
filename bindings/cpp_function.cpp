#include "cpp_function.h"

#include <nanobind/nanobind.h>
#include <structmember.h>

#include <cstddef>
#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include "api/client_engine.h"
#include "codec.h"
#include "os/shared_library.h"
#include "values.h"

namespace nb = nanobind;

namespace haz::py {

namespace {

PyTypeObject* function_type = nullptr;
PyTypeObject* object_type = nullptr;
thread_local PendingCppCall* pending_call = nullptr;

/// Python's streams, which name tasks too, are to do it again.
void forget_named_output() {
  for (const char* name : {"stdout", "stderr"}) {
    PyObject* stream = PySys_GetObject(name);
    if (stream != nullptr && PyObject_HasAttrString(stream, "_task_name") != 0 &&
        PyObject_SetAttrString(stream, "_task_name", Py_None) != 0) {
      PyErr_Clear();
    }
  }
}

CppFunction& self_of(PyObject* object) { return *reinterpret_cast<CppFunction*>(object); }

const char* shown_name(const CppFunction& function) {
  const char* name = PyUnicode_AsUTF8(function.name);
  return name != nullptr ? name : "";
}

// ---- calls in this process ---------------------------------------------------------------------

/// What a call here has come to, as bytes.
struct LocalResult {
  std::vector<std::byte> value;
  bool is_error = false;
};

void take_local(void* context, const LocalOutcome& outcome) {
  auto& result = *static_cast<LocalResult*>(context);
  if (outcome.error != nullptr) {
    result.is_error = true;
    result.value.assign(outcome.error, outcome.error + outcome.error_size);
    return;
  }
  const std::size_t size = lay_out(*outcome.value);
  result.value.resize(size + kPayloadAlignment);
  write_laid_out(*outcome.value, result.value.data());
  result.value.resize(size);
}

/// The arguments, encoded in memory of the function's host; null with a Python error.
std::byte* encode_for(const CppFunction& function, PyObject* const* args, Py_ssize_t count,
                      std::size_t* size) {
  ScopedEncoder encoder;
  for (Py_ssize_t i = 0; i < count; ++i) {
    if (encoder->encode(args[i], Encoder::Pickles::kRefuse)) continue;
    if (PyErr_Occurred() == nullptr) refuse_unreadable(*function.signature, args, count, i);
    return nullptr;
  }
  *size = encoder->size();
  std::byte* const memory = function.host->new_arguments(*size + 1);
  if (memory == nullptr) {
    PyErr_NoMemory();
  } else {
    encoder->write(memory);
  }
  return memory;
}

/// The actor's object that a method or constructor is called with, as its first argument.
bool take_object(const CppFunction& self, PyObject* const*& args, Py_ssize_t& count,
                 void** object) {
  CppObject* const owner = count > 0 ? as_cpp_object(args[0]) : nullptr;
  const bool constructs = self.kind == haz::detail::function_kind::constructor;
  if (owner == nullptr || (owner->object == nullptr) != constructs) {
    PyErr_Format(PyExc_TypeError, "%U is for an object of its class", self.name);
    return false;
  }
  if (constructs) {
    owner->host = self.host;
    owner->object = self.host->new_object();
    if (owner->object == nullptr) {
      PyErr_NoMemory();
      return false;
    }
  }
  *object = owner->object;
  ++args;
  --count;
  return true;
}

PyObject* call_locally(const CppFunction& self, PyObject* const* args, Py_ssize_t count,
                       PyObject* names) {
  void* object = nullptr;
  CppObject* const owner = self.kind == haz::detail::function_kind::function || count == 0
                               ? nullptr
                               : as_cpp_object(args[0]);
  if (self.kind != haz::detail::function_kind::function &&
      !take_object(self, args, count, &object)) {
    return nullptr;
  }
  ReplacedArguments replaced;
  std::size_t size = 0;
  std::byte* arguments = nullptr;
  LocalResult result;
  if (check_cpp_arguments(*self.signature, args, count, names, replaced)) {
    arguments = encode_for(self, args, count, &size);
  }
  if (arguments != nullptr) {
    const char* const name = shown_name(self);
    Py_BEGIN_ALLOW_THREADS;
    self.host->call(*self.function, name, arguments, size, static_cast<std::size_t>(count), object,
                    &result, take_local);
    Py_END_ALLOW_THREADS;
    if (!result.is_error) return decode_value(result.value.data(), result.value.size(), nullptr);
    raise_error_value(result.value.data(), result.value.size());
  }
  if (self.kind == haz::detail::function_kind::constructor) {  // there is no such object
    self.host->drop_object(std::exchange(owner->object, nullptr));
  }
  return nullptr;
}

PyObject* call_function(PyObject* callable, PyObject* const* args, std::size_t nargsf,
                        PyObject* names) {
  const CppFunction& self = self_of(callable);
  const Py_ssize_t count = PyVectorcall_NARGS(nargsf);
  PendingCppCall* const pending = pending_call;
  if (pending != nullptr && !pending->has_run && &pending->function == &self && count == 0 &&
      names == nullptr) {
    run_pending_cpp_call(*pending);
    Py_RETURN_NONE;
  }
  return call_locally(self, args, count, names);
}

// ---- the types ---------------------------------------------------------------------------------

void dealloc_function(PyObject* object) {
  const CppFunction& self = self_of(object);
  Py_XDECREF(self.name);
  Py_XDECREF(self.library);
  delete self.signature;
  PyTypeObject* type = Py_TYPE(object);
  type->tp_free(object);
  Py_DECREF(type);
}

PyObject* reduce_function(PyObject* object, PyObject* /*unused*/) {
  PyObject* load = nullptr;
  if (cached_attribute(load, "haz._core.cpp_library", "load_function") == nullptr) return nullptr;
  const CppFunction& self = self_of(object);
  return Py_BuildValue("N(OO)", load, self.library, self.name);
}

PyObject* repr_function(PyObject* object) {
  const CppFunction& self = self_of(object);
  return PyUnicode_FromFormat("<C++ function %U%s of %U>", self.name, self.signature->text.c_str(),
                              self.library);
}

PyObject* get_signature(PyObject* object, void* /*closure*/) {
  PyObject* make = nullptr;
  if (cached_attribute(make, "haz._core.cpp_library", "signature_of") == nullptr) return nullptr;
  PyObject* made = PyObject_CallOneArg(make, object);
  Py_DECREF(make);
  return made;
}

PyObject* get_doc(PyObject* object, void* /*closure*/) {
  const CppFunction& self = self_of(object);
  return PyUnicode_FromFormat("%U%s, a function of C++ in %U.", self.name,
                              self.signature->text.c_str(), self.library);
}

PyObject* get_names(PyObject* object, void* /*closure*/) {
  std::string names;
  for (const CppParameter& parameter : self_of(object).signature->parameters)
    names += (names.empty() ? "" : ", ") + parameter.name;
  return PyUnicode_FromString(names.starts_with(',') ? "" : names.c_str());
}

PyObject* get_text(PyObject* object, void* /*closure*/) {
  return PyUnicode_FromString(self_of(object).signature->text.c_str());
}

PyObject* get_kind(PyObject* object, void* /*closure*/) {
  return PyLong_FromLong(static_cast<long>(self_of(object).kind));
}

PyMemberDef function_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(CppFunction, vectorcall), READONLY, nullptr},
    {"__name__", T_OBJECT, offsetof(CppFunction, name), READONLY, nullptr},
    {"__qualname__", T_OBJECT, offsetof(CppFunction, name), READONLY, nullptr},
    {"_library", T_OBJECT, offsetof(CppFunction, library), READONLY, nullptr},
    {nullptr, 0, 0, 0, nullptr},
};

PyGetSetDef function_getters[] = {
    {"_haz_parameters", get_cpp_parameters, nullptr, "As haz._core.signature has them.", nullptr},
    {"__signature__", get_signature, nullptr, "For `inspect.signature`.", nullptr},
    {"__doc__", get_doc, nullptr, nullptr, nullptr},
    {"_signature", get_text, nullptr, "As C++ writes it.", nullptr},
    {"_parameters", get_names, nullptr, "Their names with commas, or empty.", nullptr},
    {"_kind", get_kind, nullptr, "0: a function, 1: a constructor, 2: a method.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

PyMethodDef function_methods[] = {
    {"__reduce__", reduce_function, METH_NOARGS, nullptr},
    {"_check", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(check_cpp_call)),
     METH_FASTCALL | METH_KEYWORDS, "Raise what a call with these arguments would at once."},
    {nullptr, nullptr, 0, nullptr},
};

PyType_Slot function_slots[] = {
    {Py_tp_dealloc, reinterpret_cast<void*>(dealloc_function)},
    {Py_tp_call, reinterpret_cast<void*>(PyVectorcall_Call)},
    {Py_tp_repr, reinterpret_cast<void*>(repr_function)},
    {Py_tp_members, function_members},
    {Py_tp_getset, function_getters},
    {Py_tp_methods, function_methods},
    {0, nullptr},
};

PyType_Spec function_spec{
    "haz._native.CppFunction", sizeof(CppFunction), 0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    function_slots};

void dealloc_object(PyObject* object) {
  auto* const self = reinterpret_cast<CppObject*>(object);
  PyTypeObject* type = Py_TYPE(object);
  if (PyType_IS_GC(type) != 0) PyObject_GC_UnTrack(object);
  if (self->object != nullptr) {
    // The class' destructor may do anything.
    Py_BEGIN_ALLOW_THREADS;
    self->host->drop_object(self->object);
    Py_END_ALLOW_THREADS;
  }
  type->tp_free(object);
  Py_DECREF(type);
}

PyObject* reduce_object(PyObject* object, PyObject* /*unused*/) {
  PyErr_Format(PyExc_TypeError,
               "an object of the C++ class %s can't be pickled: make an actor of it, and pass that",
               Py_TYPE(object)->tp_name);
  return nullptr;
}

PyMethodDef object_methods[] = {
    {"__reduce__", reduce_object, METH_NOARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

PyType_Slot object_slots[] = {
    {Py_tp_dealloc, reinterpret_cast<void*>(dealloc_object)},
    {Py_tp_methods, object_methods},
    {Py_tp_doc, const_cast<char*>("An object of a C++ class.")},
    {0, nullptr},
};

PyType_Spec object_spec{"haz._native.CppObject", sizeof(CppObject), 0,
                        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, object_slots};

// ---- libraries ---------------------------------------------------------------------------------

struct Listed {
  LibraryHost* host = nullptr;
  PyObject* library = nullptr;
  PyObject* list = nullptr;
  bool failed = false;
};

void add_function(void* context, const LibraryFunction& told) {
  auto& listed = *static_cast<Listed*>(context);
  if (listed.failed) return;
  PyObject* object = function_type->tp_alloc(function_type, 0);
  listed.failed = object == nullptr;
  if (listed.failed) return;
  CppFunction& self = self_of(object);
  self.vectorcall = call_function;
  self.host = listed.host;
  self.function = told.function;
  self.kind = told.kind;
  self.name = PyUnicode_FromString(told.name);
  self.library = Py_NewRef(listed.library);
  self.signature =
      new CppSignature(parse_cpp_signature(told.name, told.signature, told.parameters, told.kind));
  listed.failed = self.name == nullptr || PyList_Append(listed.list, object) != 0;
  Py_DECREF(object);
}

nb::object load_cpp_library(const char* path) {
  // A library that is not linked with libhaz uses the one that Python has loaded for all.
  Result<const void*> symbol = load_symbol(path, kLibraryHostSymbol);
  if (!symbol && load_library(path) != nullptr) symbol = load_symbol("", kLibraryHostSymbol);
  if (!symbol) throw nb::import_error(symbol.error().message.c_str());
  using GetHost = LibraryHost* (*)(std::uint32_t version);
  const auto get_host = reinterpret_cast<GetHost>(const_cast<void*>(symbol.value()));
  LibraryHost* const host = get_host(kLibraryHostVersion);
  if (host == nullptr) {
    throw nb::import_error(
        "it uses the libhaz of another haz than this one: compile it with the headers that "
        "haz.get_include() names, and link it with the library that haz.get_cmake_dir() names");
  }
  const nb::object list = nb::steal(PyList_New(0));
  const nb::object library = nb::steal(PyUnicode_DecodeFSDefault(path));
  if (!list.is_valid() || !library.is_valid()) throw nb::python_error();
  Listed listed{host, library.ptr(), list.ptr()};
  host->list(path, &listed, add_function);
  if (listed.failed) throw nb::python_error();
  std::string refusal;
  host->explain(path, &refusal,
                [](void* text, const char* told) { *static_cast<std::string*>(text) = told; });
  if (!refusal.empty()) throw nb::import_error(refusal.c_str());
  return list;
}

}  // namespace

CppFunction* as_cpp_function(PyObject* object) {
  return function_type != nullptr && Py_TYPE(object) == function_type ? &self_of(object) : nullptr;
}

CppObject* as_cpp_object(PyObject* object) {
  return object_type != nullptr && PyObject_TypeCheck(object, object_type) != 0
             ? reinterpret_cast<CppObject*>(object)
             : nullptr;
}

namespace {

/// Finds actors in the namespace of the program whose worker this is.
ClientEngine* new_engine(Session& session) {
  auto* engine = new ClientEngine(session.client(), session.ring(), plain_environment());
  PyObject* get = nullptr;
  PyObject* name_space = cached_attribute(get, "haz._core.cpp_library", "own_namespace") != nullptr
                             ? PyObject_CallNoArgs(get)
                             : nullptr;
  const char* text = name_space != nullptr ? PyUnicode_AsUTF8(name_space) : nullptr;
  if (text != nullptr) engine->set_name_space(text);
  Py_XDECREF(name_space);
  PyErr_Clear();
  return engine;
}

}  // namespace

haz::detail::engine& engine_for(LibraryHost& host, Session& session) {
  static auto* engine = new_engine(session);
  static auto* hosts = new std::vector<LibraryHost*>;
  for (LibraryHost* known : *hosts) {
    if (known == &host) return *engine;
  }
  host.use_engine(engine, &session.client().arena());
  hosts->push_back(&host);
  return *engine;
}

PendingCppCall* set_pending_cpp_call(PendingCppCall* call) {
  return std::exchange(pending_call, call);
}

void run_pending_cpp_call(PendingCppCall& call) {
  call.has_run = true;
  haz::detail::engine& engine = engine_for(*call.function.host, call.session);
  void* const object = call.self != nullptr ? call.self->object : nullptr;
  // What the function itself calls is no task.
  PendingCppCall* const pending = set_pending_cpp_call(nullptr);
  bool has_written = false;
  Py_BEGIN_ALLOW_THREADS;
  has_written =
      call.function.host->run(*call.function.function, call.task_name, call.command, object,
                              call.session.client().arena(), engine, call.context, call.receiver);
  Py_END_ALLOW_THREADS;
  set_pending_cpp_call(pending);
  if (has_written) forget_named_output();
}

/// Adds what haz.cpp_function() is made of to `m`.
void bind_cpp_functions(nb::module_& m) {
  function_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&function_spec));
  object_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&object_spec));
  PyTypeObject* const signature_type = init_cpp_signature_type();
  if (function_type == nullptr || object_type == nullptr || signature_type == nullptr)
    throw nb::python_error();
  m.def(
      "cpp_types",
      [signature_type] {
        return nb::make_tuple(nb::handle(reinterpret_cast<PyObject*>(function_type)),
                              nb::handle(reinterpret_cast<PyObject*>(object_type)),
                              nb::handle(reinterpret_cast<PyObject*>(signature_type)));
      },
      "Return the type of functions of C++, the base of their classes, the type of signatures.",
      nb::sig("def cpp_types() -> tuple[type[typing.Any], type[typing.Any], type[typing.Any]]"));
  m.attr("library_host_version") = kLibraryHostVersion;
  m.def("load_cpp_library", load_cpp_library, nb::arg("path"),
        "Load a library, for good; return the functions, constructors and methods that it has\n"
        "registered, in its order.",
        nb::sig("def load_cpp_library(path: str) -> list[typing.Any]"));
}

}  // namespace haz::py
