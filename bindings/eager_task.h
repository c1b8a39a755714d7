/// @file
/// Asyncio tasks that begin at once, instead of in the next round of their event loop: a coroutine
/// that does not wait for anything then costs no round of the loop.
#pragma once

#include <Python.h>

namespace haz::py {

/// Starts tasks on one event loop. Every member needs the GIL, in the loop's thread.
class EagerTasks {
 public:
  EagerTasks() = default;
  EagerTasks(const EagerTasks&) = delete;
  EagerTasks& operator=(const EagerTasks&) = delete;
  ~EagerTasks();

  /// Takes the loop, once. False: a Python error.
  bool bind(PyObject* loop);

  /// Makes an asyncio task, called `name`, of `awaitable`, and runs its first step here:
  /// `asyncio.current_task()`, time limits and cancellation work in it as in any other. Between the
  /// steps of other tasks only. What is not a plain coroutine, and all that a loop with a task
  /// factory of the user's is given, begins when asyncio says.
  ///
  /// Returns the task, a new reference, which may have ended. nullptr with a Python error: it could
  /// not be made, or its first step has raised what ends a loop (SystemExit, KeyboardInterrupt).
  PyObject* start(PyObject* awaitable, PyObject* name);

 private:
  static PyObject* catch_step(PyObject* self, PyObject* const* args, Py_ssize_t count,
                              PyObject* names);
  PyObject* call_soon(PyObject* const* args, Py_ssize_t count, PyObject* names);
  bool must_be_made_by_loop();
  PyObject* make(PyObject* coroutine, PyObject* name);
  bool run_step(PyObject* task);

  static PyMethodDef catcher_method_;

  PyObject* loop_ = nullptr;
  PyObject* attributes_ = nullptr;  ///< The loop's own: its `__dict__`.
  PyObject* catcher_ = nullptr;     ///< What the loop has as `call_soon` while a task is made.
  bool catching_ = false;
  PyObject* step_ = nullptr;     ///< The first step of the new task,
  PyObject* context_ = nullptr;  ///< and the context to run it in.
};

}  // namespace haz::py
