/// @file
/// The module haz._native: a table of contents.
#include <nanobind/nanobind.h>

namespace nb = nanobind;

namespace haz::py {
void bind_actors(nb::module_& m);
void bind_call_pages(nb::module_& m);
void bind_calls(nb::module_& m);
void bind_codec(nb::module_& m);
void bind_cpp_functions(nb::module_& m);
void bind_groups(nb::module_& m);
void bind_kernels(nb::module_& m);
void bind_memory(nb::module_& m);
void bind_nodes(nb::module_& m);
void bind_queues(nb::module_& m);
void bind_runtime(nb::module_& m);
void bind_streams(nb::module_& m);
void bind_worker(nb::module_& m);
void bind_zygote(nb::module_& m);
}  // namespace haz::py

NB_MODULE(_native, m) {
  // Types and the session exist once in a process, and belong to the first interpreter.
  if (PyInterpreterState_Get() != PyInterpreterState_Main())
    throw nb::import_error("haz's native engine does not work in a subinterpreter");
  m.doc() = "The native core of haz. Not for users: its names may change at any time.";
  haz::py::bind_actors(m);
  haz::py::bind_call_pages(m);
  haz::py::bind_calls(m);
  haz::py::bind_codec(m);
  haz::py::bind_cpp_functions(m);
  haz::py::bind_groups(m);
  haz::py::bind_kernels(m);
  haz::py::bind_memory(m);
  haz::py::bind_nodes(m);
  haz::py::bind_queues(m);
  haz::py::bind_runtime(m);
  haz::py::bind_streams(m);
  haz::py::bind_worker(m);
  haz::py::bind_zygote(m);
}
