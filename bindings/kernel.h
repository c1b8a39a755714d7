/// @file
/// Functions that a user's compiler has made, as Python calls them.
#pragma once

#include <Python.h>

#include <array>
#include <cstdint>
#include <string>

#include "haz/detail/kernel_abi.h"

namespace haz::py {

/// A function of a loaded library, which stays loaded.
struct Kernel {
  PyObject_HEAD vectorcallfunc vectorcall;
  const detail::kernel_function* function;
  PyObject* name;        ///< str
  PyObject* parameters;  ///< Tuple of str; an unknown name is empty.
  PyObject* origin;      ///< What it came from, for pickle and signatures.
};

/// Arguments of one call: values for the kernel, and the buffers that they lie in. With the GIL.
class KernelArguments {
 public:
  explicit KernelArguments(const Kernel& kernel) : kernel_(kernel) {}
  KernelArguments(const KernelArguments&) = delete;
  KernelArguments& operator=(const KernelArguments&) = delete;
  ~KernelArguments();

  /// As of a vectorcall. False with a Python error, which names function, argument, what is wanted
  /// and what was given.
  bool load(PyObject* const* args, Py_ssize_t count, PyObject* names);
  [[nodiscard]] const detail::kernel_value* values() const { return values_.data(); }
  /// Those given; what follows has defaults.
  [[nodiscard]] std::uint32_t count() const { return count_; }

 private:
  bool place(PyObject* const* args, Py_ssize_t count, PyObject* names);
  bool place_keyword(PyObject* name, PyObject* value);
  bool convert(std::uint32_t index);
  bool convert_integer(std::uint32_t index);
  bool convert_unsigned(std::uint32_t index);
  bool convert_number(std::uint32_t index);
  bool convert_array(std::uint32_t index);
  bool fill_array(std::uint32_t index, const Py_buffer& buffer);
  /// "f(): argument 2 'x' "
  [[nodiscard]] std::string where(std::uint32_t index) const;
  bool refuse(std::uint32_t index);

  const Kernel& kernel_;
  std::uint32_t count_ = 0;
  int num_buffers_ = 0;
  // Without initial values: kilobytes, of which a call uses a part.
  std::array<PyObject*, detail::max_kernel_arguments> objects_;
  std::array<detail::kernel_value, detail::max_kernel_arguments> values_;
  std::array<Py_buffer, detail::max_kernel_arguments> buffers_;
};

/// The name of NumPy's type: "float64".
std::string number_name(const detail::value_type& type);
/// A type in words: "a 1-D array of float64".
std::string type_text(const detail::value_type& type);

/// Results of a call as a Python value; takes over the arrays. New reference, or nullptr with a
/// Python error.
PyObject* make_kernel_results(const detail::kernel_function& function,
                              detail::kernel_value* values);
/// Sets the Python error for what the function threw.
void set_kernel_error(const Kernel& kernel, const detail::kernel_failure& failure);

}  // namespace haz::py
