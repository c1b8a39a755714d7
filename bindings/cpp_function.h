/// @file
/// Functions and classes that a library of C++ has registered with HAZ_REMOTE and HAZ_ACTOR, as
/// Python sees them. All functions need the GIL.
#pragma once

#include <Python.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/library_host.h"
#include "session.h"
#include "wire/value.h"

namespace haz::py {

/// What can be said of an argument before it is sent.
struct CppParameter {
  enum Accepts : std::uint32_t {
    kNone = 1,
    kBool = 2,
    kInt = 4,
    kFloat = 8,
    kStr = 16,
    kBytes = 32,
    kList = 64,
    kTuple = 128,
    kDict = 256,
    kArray = 512,
    kAll = 1023,
  };

  std::uint32_t accepts = kAll;
  std::int64_t smallest = INT64_MIN;
  std::uint64_t greatest = UINT64_MAX;
  ArrayElement element = ArrayElement::kFloat64;
  int dimensions = 0;
  std::string type;  ///< In C++.
  std::string name;  ///< Empty: it was not registered.
};

/// What a function, constructor or method takes. Messages name it.
struct CppSignature {
  std::string function;
  std::string text;  ///< "(double x, std::string y) -> bool"
  haz::detail::function_kind kind = haz::detail::function_kind::function;
  std::vector<CppParameter> parameters;
};
/// `names`: of all parameters, with commas between them, or empty.
CppSignature parse_cpp_signature(std::string_view function, std::string_view text,
                                 std::string_view names, haz::detail::function_kind kind);

/// A function, constructor or method of a loaded library, which stays loaded.
struct CppFunction {
  PyObject_HEAD vectorcallfunc vectorcall;
  LibraryHost* host;
  const haz::detail::remote_function* function;
  haz::detail::function_kind kind;
  PyObject* name;     ///< str
  PyObject* library;  ///< str: its path
  CppSignature* signature;
};

/// An object of a C++ class; the base of the classes that haz.cpp_class() makes.
struct CppObject {
  PyObject_HEAD LibraryHost* host;
  void* object;  ///< Null before the constructor's call.
};

/// The object as such, or nullptr; no error.
CppFunction* as_cpp_function(PyObject* object);
CppObject* as_cpp_object(PyObject* object);
/// Of a function, or of an object that was made for its signature only.
const CppSignature* as_cpp_signature(PyObject* object);
/// Of both: raises what a call with these arguments would at once.
PyObject* check_cpp_call(PyObject* object, PyObject* const* args, Py_ssize_t count,
                         PyObject* names);
/// Of both: the parameters as haz._core.signature has them. New reference.
PyObject* get_cpp_parameters(PyObject* object, void* closure);
/// The type of objects that are a signature only. Null with a Python error.
PyTypeObject* init_cpp_signature_type();

/// Arguments that replace others; let go of at the end.
class ReplacedArguments {
 public:
  ReplacedArguments() = default;
  ReplacedArguments(const ReplacedArguments&) = delete;
  ReplacedArguments& operator=(const ReplacedArguments&) = delete;
  ~ReplacedArguments() {
    for (PyObject* object : owned_)
      Py_DECREF(object);
  }
  /// Lets argument `index` of `args` be `object`, of which it takes a reference.
  void replace(PyObject* const*& args, Py_ssize_t count, Py_ssize_t index, PyObject* object);
  /// Lets these be the arguments, without a reference.
  void set(std::vector<PyObject*> arguments) { all_ = std::move(arguments); }
  [[nodiscard]] PyObject* const* data() const { return all_.data(); }

 private:
  std::vector<PyObject*> all_;
  std::vector<PyObject*> owned_;
};

/// Whether the function may take these arguments, as far as can be told: refs are taken as they
/// are, arrays with gaps replaced by copies without, those that were given by name (`names` as of a
/// vectorcall) put in their places. False with a Python error that names what the function takes
/// and what was given.
bool check_cpp_arguments(const CppSignature& function, PyObject* const*& args, Py_ssize_t& count,
                         PyObject* names, ReplacedArguments& replaced);

/// Whether C++ can read all that the arguments hold. False with a Python error.
bool check_readable(const CppSignature& function, PyObject* const* args, Py_ssize_t count);
/// Sets the error of a call whose argument number `index`, from 0, C++ can't read. Returns false.
bool refuse_unreadable(const CppSignature& function, PyObject* const* args, Py_ssize_t count,
                       Py_ssize_t index);

/// The host of the function, made ready for a worker's tasks.
haz::detail::engine& engine_for(LibraryHost& host, Session& session);

/// A task's call that a CppFunction is to run when it is called without arguments in this thread.
struct PendingCppCall {
  const TaskCommand& command;
  const CppFunction& function;
  const char* task_name;
  CppObject* self;  ///< Of a method; else null.
  Session& session;
  void* context;
  LibraryHost::OutcomeReceiver receiver;  ///< Without the GIL.
  bool has_run = false;
};
/// Sets the one of this thread; returns the one before.
PendingCppCall* set_pending_cpp_call(PendingCppCall* call);
void run_pending_cpp_call(PendingCppCall& call);

}  // namespace haz::py
