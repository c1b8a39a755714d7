/// @file
/// Functions of Python, called by name: haz::py_function.
#pragma once

#include <string>

#include "haz/detail/call.h"
#include "haz/task.h"

namespace haz {

namespace detail {

template <class Signature>
struct python_task {
  static_assert(is_never<Signature>,
                "haz: py_function takes what the function is as if it were one of C++: "
                "haz::py_function<double(int, std::string)>(\"module\", \"name\")");
};
template <class Result, class... Parameters>
struct python_task<Result(Parameters...)> {
  using type = remote_task<Result, Parameters...>;
};

}  // namespace detail

/// The function `name` of the Python module `module`, as a task with these types:
///
///     const auto power = haz::py_function<double(double, double)>("math", "pow");
///     haz::get(power.remote(2.0, 10.0));  // 1024
///
/// `name` may have dots, as "Class.method". It runs in a worker that is a Python interpreter: that
/// of runtime_options::python, which is started by the first such call, and imports the module as
/// it would with `python -c`: also from the folder in which the program was started. Values are
/// converted as haz/codec.h says; arrays arrive as NumPy's, where they lie. A result of another
/// type than the one that is named makes get() throw type_error, an exception of the function
/// task_error, with Python's traceback.
///
/// In a program of Python, where functions of C++ run in workers of Python, it is one of these.
/// @throws usage_error for empty names; then remote() runtime_error, where there is no interpreter
/// with haz.
template <class Signature>
typename detail::python_task<Signature>::type py_function(const std::string& module,
                                                          const std::string& name) {
  return typename detail::python_task<Signature>::type(detail::find_python(module, name));
}

}  // namespace haz
