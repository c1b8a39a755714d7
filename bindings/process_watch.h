/// @file
/// Notices what a task has changed of its process and interpreter. A task that has changed nothing
/// pays some loads and compares.
#pragma once

#include <Python.h>

#include <array>
#include <cstdint>
#include <string>

namespace haz::py {

/// Watches the streams of sys, sys.path, sys.argv, the recursion limit, the garbage collector's
/// switch, the filters of warnings and the locale; and by audit events the working directory, the
/// environment, tracing and resource limits. One in a process. With the GIL.
class ProcessWatch {
 public:
  /// Takes what is set now as the process' own. False with a Python error.
  bool start();

  /// Whether something is not the process' own any more, or note_change() was called. May call
  /// what is not there a change, never the reverse.
  [[nodiscard]] bool changed();
  /// What is set now is the process' own from now on.
  void accept();
  /// Whether modules were imported since this was last called.
  [[nodiscard]] bool take_imports();
  /// Has take_imports() say so the next time.
  void note_imports() { num_modules_ = -1; }

  /// Something has changed that changed() can't see.
  static void note_change() { noted_ = true; }
  /// Forgets such notes, after all was put back.
  static void forget_notes() { noted_ = false; }

 private:
  static constexpr std::size_t kNumWatched = 5;

  [[nodiscard]] bool values_differ();
  [[nodiscard]] bool lists_differ() const;
  [[nodiscard]] bool filters_differ();

  static bool noted_;

  PyObject* sys_ = nullptr;       ///< Dictionary of sys.
  PyObject* modules_ = nullptr;   ///< sys.modules.
  PyObject* warnings_ = nullptr;  ///< Dictionary of the module warnings once that is imported.
  std::array<PyObject*, kNumWatched> names_{};   ///< Of what is watched in sys.
  std::array<PyObject*, kNumWatched> values_{};  ///< Null: it is not there.
  std::array<PyObject*, 2> items_{};             ///< Tuples of what the lists hold, or null.
  PyObject* filters_name_ = nullptr;
  PyObject* filters_ = nullptr;
  PyObject* filter_items_ = nullptr;
  std::uint64_t sys_version_ = 0;
  int recursion_limit_ = 0;
  int collects_garbage_ = 0;
  std::string locale_;
  Py_ssize_t num_modules_ = 0;
};

/// Gives each task the context variables that the process has, whatever those before it have set.
/// For the main thread, with the GIL.
class TaskContext {
 public:
  /// False with a Python error.
  bool start();
  /// Whether the task has set variables, or may have.
  [[nodiscard]] bool changed() const;
  /// The next task begins afresh; if `keep`, with what this one has set.
  void renew(bool keep);

  /// Gives a task that runs in the middle of another one a context of its own, for leave_nested();
  /// null: it shares the outer one's.
  [[nodiscard]] PyObject* enter_nested();
  void leave_nested(PyObject* entered);

 private:
  PyObject* own_ = nullptr;      ///< What every task begins with.
  PyObject* current_ = nullptr;  ///< The copy that is entered; null: none could be.
  bool has_variables_ = false;   ///< Of `own_`.
};

}  // namespace haz::py
