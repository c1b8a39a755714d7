/// @file
/// The arguments of a call as a task's payload, and back.
///
/// A payload is: u32 positional count, u32 keyword count, one byte for each argument
/// (ArgumentKind), then a stream of values: the keyword names, then the arguments that are values.
/// Arguments that are refs stand in the task's list of dependencies, in order.
#pragma once

#include <Python.h>

#include <cstdint>
#include <vector>

#include "codec.h"
#include "session.h"
#include "wire/task_command.h"

namespace haz::py {

struct CppSignature;

enum class ArgumentKind : std::uint8_t { kValue = 0, kDependency = 1 };

struct ArgumentCounts {
  std::uint32_t positional;
  std::uint32_t keyword;
};

/// Encodes the arguments of one call. Great values become objects of their own, which the task
/// holds. Lend one with ScopedArguments. Needs the GIL.
class ArgumentWriter {
 public:
  /// `args` as of a vectorcall: positional ones first, then one for each of `names` (may be null).
  /// False with a Python error; `descriptor` names the argument in it. `cpp`: what the function of
  /// C++ takes that is called; null: it is one of Python.
  bool encode(Session& session, PyObject* const* args, std::size_t num_positional, PyObject* names,
              PyObject* descriptor, const CppSignature* cpp = nullptr);
  /// Fills payload, dependencies and refs of `submission`. Precondition: encode() returned true;
  /// this object stays as it is until the submission was sent. False with a Python error.
  bool place(Session& session, Submission& submission);
  /// Lets go of the objects made for great values; after the submission.
  void release(Session& session);

 private:
  bool add(Session& session, PyObject* value, Encoder::Pickles pickles);

  std::vector<std::byte> head_;
  std::vector<std::byte> stream_;
  std::vector<ObjectId> dependencies_;
  std::vector<ObjectId> refs_;
  std::vector<ObjectId> owned_;
  std::vector<PyObject*> kept_;  ///< Refs that pickling has made.
};

/// Lends an ArgumentWriter; may be nested, since pickling may submit tasks.
class ScopedArguments {
 public:
  explicit ScopedArguments(Session& session);
  ~ScopedArguments();
  ScopedArguments(const ScopedArguments&) = delete;
  ScopedArguments& operator=(const ScopedArguments&) = delete;
  ArgumentWriter* operator->() { return writer_; }

 private:
  Session& session_;
  ArgumentWriter* writer_;
};

/// Calls `function` with the arguments of `command`. New reference, or nullptr with a Python error.
/// `decoded` is called once when the command's own bytes are not needed any more.
struct DecodedArguments {
  std::vector<PyObject*> values;  ///< Positional, then keyword values; owned.
  PyObject* names = nullptr;      ///< Tuple of keyword names, or nullptr; owned.
  std::size_t num_positional = 0;

  DecodedArguments() = default;
  DecodedArguments(const DecodedArguments&) = delete;
  DecodedArguments& operator=(const DecodedArguments&) = delete;
  ~DecodedArguments();
};

/// Reads the arguments of `command`, which is a call of the task of that name. False with a Python
/// error.
bool decode_arguments(Session& session, const TaskCommand& command, PyObject* task_name,
                      DecodedArguments& out);

}  // namespace haz::py
