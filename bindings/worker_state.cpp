/// @file
/// What a task has changed of its process, put back when it has ended. What the calls of an actor
/// change is the actor's own, and stays.
#include "worker_loop.h"

namespace haz::py {

namespace {

/// The streams hold text.
bool written = false;

/// What a process has before its first task.
ProcessSettings& own_settings() {
  static ProcessSettings settings = ProcessSettings::current();
  return settings;
}

PyObject* call_hook(PyObject* hook, PyObject* argument = nullptr) {
  PyObject* done = PyObject_CallFunctionObjArgs(hook, argument, nullptr);
  if (done == nullptr) PyErr_WriteUnraisable(hook);
  return done;
}

}  // namespace

void note_output() { written = true; }

void WorkerLoop::keep_settings() { own_settings(); }

void WorkerLoop::flush_output(bool ended) {
  if (!written) return;
  written = false;
  Py_XDECREF(call_hook(hooks_.flush, ended ? Py_True : Py_False));
}

void WorkerLoop::clean_up(bool outermost) {
  // An actor's last words are those of all its calls.
  flush_output(outermost && instance_ == nullptr);
  if (instance_ != nullptr) return;
  const bool imported = watch_.take_imports();
  if (outermost && context_.changed()) context_.renew(imported);
  if (watch_.changed()) put_back(imported);
}

void WorkerLoop::put_back(bool imported) {
  Py_XDECREF(call_hook(hooks_.put_back, imported ? Py_True : Py_False));
  if (imported) own_settings().accept_current();
  // A limit that can't be raised again, a user given up: the next task gets another process.
  if (!own_settings().put_back()) stop_.store(true, std::memory_order_relaxed);
  watch_.accept();
}

WorkerLoop::OuterState WorkerLoop::set_aside() {
  OuterState outer;
  ring_.end_attempt({});  // no interrupt now
  outer.imported = watch_.take_imports();
  if (watch_.changed()) {
    outer.changes = call_hook(hooks_.set_aside);
    outer.settings = ProcessSettings::current();
    (void)own_settings().put_back();
    ProcessWatch::forget_notes();
  }
  outer.context = context_.enter_nested();
  return outer;
}

void WorkerLoop::bring_back(const OuterState& outer) {
  context_.leave_nested(outer.context);
  if (outer.imported) watch_.note_imports();
  if (outer.changes == nullptr) return;
  Py_XDECREF(call_hook(hooks_.bring_back, outer.changes));
  Py_DECREF(outer.changes);
  (void)outer.settings.put_back();
  ProcessWatch::note_change();
}

}  // namespace haz::py
