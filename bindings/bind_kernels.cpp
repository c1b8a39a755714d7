/// @file
/// Kernels: loads a compiled library and makes its functions callable.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <pthread.h>
#include <structmember.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <string>

#include "kernel.h"
#include "os/clock.h"
#include "os/shared_library.h"
#include "session.h"

namespace nb = nanobind;

namespace haz::py {

namespace {

Kernel* as_kernel(PyObject* object) { return reinterpret_cast<Kernel*>(object); }

// ---- Ctrl-C ------------------------------------------------------------------------------------

/// Between looks whether a signal has come, each of which takes the GIL.
constexpr std::int64_t kLookNs = 50'000'000;

/// A function that runs in the thread in which Python handles signals, without the GIL.
struct RunningKernel {
  PyThreadState* state = nullptr;
  std::int64_t next_look_ns = 0;
  bool is_interrupted = false;  ///< The Python error is set.
};

thread_local RunningKernel* running_kernel = nullptr;

/// See interrupt_check of haz/detail/loop.h.
bool check_interrupt() {
  RunningKernel* const own = running_kernel;
  if (own == nullptr) return false;
  if (own->is_interrupted) return true;
  if (rough_monotonic_ns() < own->next_look_ns) return false;
  PyEval_RestoreThread(own->state);
  own->is_interrupted = PyErr_CheckSignals() != 0;
  own->state = PyEval_SaveThread();
  own->next_look_ns = rough_monotonic_ns() + kLookNs;
  return own->is_interrupted;
}

/// Python runs handlers of signals in its main thread only.
bool is_main_thread() {
  thread_local const bool kIsMain = ::gettid() == ::getpid();
  return kIsMain;
}

void drop_results(const detail::kernel_function& function, const detail::kernel_value* values) {
  for (std::uint32_t i = 0; i < function.num_results; ++i) {
    if (function.results[i].kind == detail::value_kind::array)
      values[i].array.release(values[i].array.data);
  }
}

PyObject* call_kernel(PyObject* callable, PyObject* const* args, std::size_t nargsf,
                      PyObject* names) {
  const Kernel& self = *as_kernel(callable);
  KernelArguments arguments(self);
  if (!arguments.load(args, PyVectorcall_NARGS(nargsf), names)) return nullptr;
  // A kilobyte that the kernel writes, or else nobody reads.
  // NOLINTBEGIN(cppcoreguidelines-pro-type-member-init)
  std::array<detail::kernel_value, detail::max_kernel_results> results;
  detail::kernel_failure failure;
  // NOLINTEND(cppcoreguidelines-pro-type-member-init)
  RunningKernel running{nullptr, rough_monotonic_ns() + kLookNs};
  RunningKernel* const outer = running_kernel;
  running.state = PyEval_SaveThread();
  if (is_main_thread()) running_kernel = &running;
  const bool returned =
      self.function->call(arguments.values(), arguments.count(), results.data(), &failure);
  running_kernel = outer;
  PyEval_RestoreThread(running.state);
  if (running.is_interrupted) {
    if (returned) drop_results(*self.function, results.data());
    return nullptr;
  }
  if (returned) return make_kernel_results(*self.function, results.data());
  set_kernel_error(self, failure);
  return nullptr;
}

void dealloc_kernel(PyObject* object) {
  PyObject_GC_UnTrack(object);
  const Kernel& self = *as_kernel(object);
  Py_XDECREF(self.name);
  Py_XDECREF(self.parameters);
  Py_XDECREF(self.origin);
  PyTypeObject* type = Py_TYPE(object);
  type->tp_free(object);
  Py_DECREF(type);
}

int traverse_kernel(PyObject* object, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(object));
  Py_VISIT(as_kernel(object)->origin);
  return 0;
}

int clear_kernel(PyObject* object) {
  Py_CLEAR(as_kernel(object)->origin);
  return 0;
}

/// From the origin, which pickle finds again by what it was made of.
PyObject* reduce_kernel(PyObject* object, PyObject* /*unused*/) {
  const Kernel& self = *as_kernel(object);
  PyObject* builtins = PyEval_GetBuiltins();
  PyObject* getter = builtins != nullptr ? PyDict_GetItemString(builtins, "getattr") : nullptr;
  if (getter == nullptr) {
    PyErr_SetString(PyExc_RuntimeError, "there is no getattr");
    return nullptr;
  }
  return Py_BuildValue("O(OO)", getter, self.origin, self.name);
}

PyObject* get_of_origin(PyObject* object, void* method) {
  return PyObject_CallMethod(as_kernel(object)->origin, static_cast<const char*>(method), "O",
                             object);
}

PyObject* type_tuple(const detail::value_type* types, std::uint32_t count) {
  PyObject* tuple = PyTuple_New(count);
  for (std::uint32_t i = 0; tuple != nullptr && i < count; ++i) {
    const detail::value_type& type = types[i];
    const bool is_array = type.kind == detail::value_kind::array;
    PyObject* item = Py_BuildValue("(sis)", number_name(type).c_str(),
                                   is_array ? type.dimensions : 0, type_text(type).c_str());
    if (item == nullptr) {
      Py_CLEAR(tuple);
    } else {
      PyTuple_SET_ITEM(tuple, i, item);
    }
  }
  return tuple;
}

PyObject* get_types(PyObject* object, void* /*closure*/) {
  const detail::kernel_function& function = *as_kernel(object)->function;
  return Py_BuildValue("(NNI)", type_tuple(function.arguments, function.num_arguments),
                       type_tuple(function.results, function.num_results), function.num_required);
}

PyObject* repr_kernel(PyObject* object) {
  return PyUnicode_FromFormat("<C++ function %s>", as_kernel(object)->function->name);
}

PyMemberDef kernel_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(Kernel, vectorcall), READONLY, nullptr},
    {"__name__", T_OBJECT, offsetof(Kernel, name), READONLY, nullptr},
    {"__qualname__", T_OBJECT, offsetof(Kernel, name), READONLY, nullptr},
    {"_parameters", T_OBJECT, offsetof(Kernel, parameters), READONLY, nullptr},
    {"_origin", T_OBJECT, offsetof(Kernel, origin), READONLY, nullptr},
    {nullptr, 0, 0, 0, nullptr},
};

PyGetSetDef kernel_getters[] = {
    {"__signature__", get_of_origin, nullptr, "For `inspect.signature`.",
     const_cast<char*>("_signature_of")},
    {"_haz_parameters", get_of_origin, nullptr, "As haz._core.signature has them.",
     const_cast<char*>("_parameters_of")},
    {"__doc__", get_of_origin, nullptr, nullptr, const_cast<char*>("_doc_of")},
    {"_types", get_types, nullptr,
     "Types of arguments and of results, each as (name, dimensions, text); number of required "
     "ones.",
     nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

PyMethodDef kernel_methods[] = {
    {"__reduce__", reduce_kernel, METH_NOARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

PyType_Slot kernel_slots[] = {
    {Py_tp_dealloc, reinterpret_cast<void*>(dealloc_kernel)},
    {Py_tp_traverse, reinterpret_cast<void*>(traverse_kernel)},
    {Py_tp_clear, reinterpret_cast<void*>(clear_kernel)},
    {Py_tp_call, reinterpret_cast<void*>(PyVectorcall_Call)},
    {Py_tp_repr, reinterpret_cast<void*>(repr_kernel)},
    {Py_tp_members, kernel_members},
    {Py_tp_getset, kernel_getters},
    {Py_tp_methods, kernel_methods},
    {0, nullptr},
};

PyType_Spec kernel_spec{"haz._native.Kernel", sizeof(Kernel), 0,
                        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL |
                            Py_TPFLAGS_DISALLOW_INSTANTIATION,
                        kernel_slots};

PyTypeObject* kernel_type() {
  static auto* type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&kernel_spec));
  return type;
}

PyObject* split_names(const detail::kernel_function& function) {
  PyObject* text = PyUnicode_FromString(function.parameters);
  PyObject* comma = PyUnicode_FromString(",");
  PyObject* list = text != nullptr && comma != nullptr ? PyUnicode_Split(text, comma, -1) : nullptr;
  Py_XDECREF(text);
  Py_XDECREF(comma);
  if (list == nullptr) return nullptr;
  // Where the names are not known, or too few: empty ones.
  PyObject* names = PyTuple_New(function.num_arguments);
  const bool is_whole = PyList_GET_SIZE(list) == static_cast<Py_ssize_t>(function.num_arguments);
  for (std::uint32_t i = 0; names != nullptr && i < function.num_arguments; ++i) {
    PyObject* name =
        is_whole ? Py_NewRef(PyList_GET_ITEM(list, i)) : PyUnicode_FromStringAndSize("", 0);
    if (name == nullptr) {
      Py_CLEAR(names);
      break;
    }
    PyTuple_SET_ITEM(names, i, name);
  }
  Py_DECREF(list);
  return names;
}

PyObject* make_kernel(const detail::kernel_function& function, PyObject* origin) {
  PyTypeObject* type = kernel_type();
  PyObject* object = type != nullptr ? type->tp_alloc(type, 0) : nullptr;
  if (object == nullptr) return nullptr;
  Kernel& self = *as_kernel(object);
  self.vectorcall = call_kernel;
  self.function = &function;
  self.origin = Py_NewRef(origin);
  self.name = PyUnicode_FromString(function.name);
  self.parameters = split_names(function);
  if (self.name == nullptr || self.parameters == nullptr) Py_CLEAR(object);
  return object;
}

// ---- fork --------------------------------------------------------------------------------------

using PauseThreads = int (*)(int);
/// What OpenMP calls omp_pause_soft.
constexpr int kPauseSoft = 1;
/// One for each OpenMP library that kernels run on.
std::array<std::atomic<PauseThreads>, 4> pausers;

/// A forked child has no threads, and OpenMP would wait for those that the forking thread had: they
/// are ended before. The next loop starts new ones.
void pause_threads() {
  for (const std::atomic<PauseThreads>& pauser : pausers) {
    if (const PauseThreads pause = pauser.load(); pause != nullptr) pause(kPauseSoft);
  }
}

/// With the GIL.
void pause_before_fork(PauseThreads pause) {
  if (pausers[0].load() == nullptr) pthread_atfork(pause_threads, nullptr, nullptr);
  for (std::atomic<PauseThreads>& pauser : pausers) {
    if (pauser.load() == pause) return;
    if (pauser.load() == nullptr) {
      pauser = pause;
      return;
    }
  }
}

nb::dict load_kernels(const std::string& path, nb::handle origin) {
  const Result<const void*> symbol = load_symbol(path, "haz_kernel_table");
  if (!symbol) throw nb::import_error(symbol.error().message.c_str());
  const auto& table = *static_cast<const detail::kernel_table*>(symbol.value());
  if (table.version != detail::kernel_abi_version)
    throw nb::import_error((path + " was compiled with headers of another version of haz").c_str());
  if (table.pause_threads != nullptr) pause_before_fork(table.pause_threads);
  table.set_interrupt_check(check_interrupt);
  nb::dict kernels;
  for (std::uint32_t i = 0; i < table.num_functions; ++i) {
    PyObject* kernel = make_kernel(table.functions[i], origin.ptr());
    if (kernel == nullptr) throw nb::python_error();
    kernels[table.functions[i].name] = nb::steal(kernel);
  }
  return kernels;
}

}  // namespace

/// Adds what haz.cpp is made of to `m`.
void bind_kernels(nb::module_& m) {
  m.def(
      "load_kernels", load_kernels, nb::arg("path"), nb::arg("origin"),
      "Load a compiled library, for good; return its functions by name. `origin` is what they are\n"
      "pickled by, as attributes of that name.",
      nb::sig("def load_kernels(path: str, origin: object) -> dict[str, typing.Any]"));
  m.def("set_library_threads", set_library_threads, nb::arg("num_threads"),
        nb::arg("with_blas") = true,
        "Set how many threads loops of OpenMP have that start in this thread, and those of BLAS.");
}

}  // namespace haz::py
