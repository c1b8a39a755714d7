#include "eager_task.h"

#include <cstring>
#include <utility>

#include "python_error.h"
#include "session.h"

namespace haz::py {

namespace {

PyObject* interned(const char* text) {
  PyObject* made = PyUnicode_InternFromString(text);
  if (made == nullptr) Py_FatalError("haz: no memory for a name");
  return made;
}

PyObject* name_of_call_soon() {
  static PyObject* const kName = interned("call_soon");
  return kName;
}

/// Whether `callback` is what a task calls to be run.
bool is_step(PyObject* callback) {
  const char* type = Py_TYPE(callback)->tp_name;
  const char* dot = std::strrchr(type, '.');
  return std::strcmp(dot != nullptr ? dot + 1 : type, "TaskStepMethWrapper") == 0;
}

/// asyncio.ensure_future(awaitable).
PyObject* make_later(PyObject* awaitable) {
  static PyObject* ensure_future = nullptr;
  if (cached_attribute(ensure_future, "asyncio", "ensure_future") == nullptr) return nullptr;
  return PyObject_CallOneArg(ensure_future, awaitable);
}

}  // namespace

// A new task hands its first step to `loop.call_soon`, together with its context. While it is made
// the loop has an attribute of that name, which keeps the two here.

PyMethodDef EagerTasks::catcher_method_{
    "call_soon",
    reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(&EagerTasks::catch_step)),
    METH_FASTCALL | METH_KEYWORDS, nullptr};

EagerTasks::~EagerTasks() {
  Py_XDECREF(catcher_);
  Py_XDECREF(attributes_);
  Py_XDECREF(loop_);
}

bool EagerTasks::bind(PyObject* loop) {
  PyObject* self = PyCapsule_New(this, nullptr, nullptr);
  if (self == nullptr) return false;
  catcher_ = PyCFunction_New(&catcher_method_, self);
  Py_DECREF(self);
  if (catcher_ == nullptr) return false;
  attributes_ = PyObject_GenericGetDict(loop, nullptr);
  if (attributes_ == nullptr) return false;
  loop_ = Py_NewRef(loop);
  return true;
}

PyObject* EagerTasks::catch_step(PyObject* self, PyObject* const* args, Py_ssize_t count,
                                 PyObject* names) {
  auto* tasks = static_cast<EagerTasks*>(PyCapsule_GetPointer(self, nullptr));
  return tasks != nullptr ? tasks->call_soon(args, count, names) : nullptr;
}

/// loop.call_soon(callback, *args, context=None). What is not the step that is waited for, as a
/// signal handler may hand in, goes to the loop.
PyObject* EagerTasks::call_soon(PyObject* const* args, Py_ssize_t count, PyObject* names) {
  if (catching_ && count == 1 && names != nullptr && PyTuple_GET_SIZE(names) == 1 &&
      is_step(args[0])) {
    catching_ = false;
    step_ = Py_NewRef(args[0]);
    context_ = Py_NewRef(args[1]);
    Py_RETURN_NONE;
  }
  PyObject* own =
      PyObject_GetAttr(reinterpret_cast<PyObject*>(Py_TYPE(loop_)), name_of_call_soon());
  if (own == nullptr) return nullptr;
  PyObject* bound = PyMethod_New(own, loop_);
  Py_DECREF(own);
  if (bound == nullptr) return nullptr;
  PyObject* done = PyObject_Vectorcall(bound, args, static_cast<std::size_t>(count), names);
  Py_DECREF(bound);
  return done;
}

/// Whether the user has put something of their own into the loop.
bool EagerTasks::must_be_made_by_loop() {
  static PyObject* const kFactory = interned("_task_factory");
  PyObject* factory = PyDict_GetItemWithError(attributes_, kFactory);
  const int has_call_soon = PyDict_Contains(attributes_, name_of_call_soon());
  if (PyErr_Occurred() != nullptr) PyErr_Clear();
  return has_call_soon != 0 || (factory != nullptr && factory != Py_None);
}

/// asyncio.Task(coroutine, loop=loop, name=name), whose first step is caught.
PyObject* EagerTasks::make(PyObject* coroutine, PyObject* name) {
  static PyObject* task_type = nullptr;
  static PyObject* names = nullptr;
  if (cached_attribute(task_type, "asyncio", "Task") == nullptr) return nullptr;
  if (names == nullptr) names = Py_BuildValue("(ss)", "loop", "name");
  if (names == nullptr) return nullptr;
  if (PyDict_SetItem(attributes_, name_of_call_soon(), catcher_) != 0) return nullptr;
  catching_ = true;
  PyObject* arguments[] = {coroutine, loop_, name};
  PyObject* task = PyObject_Vectorcall(task_type, arguments, 1, names);
  catching_ = false;
  with_error_aside([this] {
    if (PyDict_DelItem(attributes_, name_of_call_soon()) != 0) PyErr_Clear();
  });
  return task;
}

bool EagerTasks::run_step(PyObject* task) {
  PyObject* step = std::exchange(step_, nullptr);
  PyObject* context = std::exchange(context_, nullptr);
  PyObject* done = nullptr;
  if (PyContext_Enter(context) == 0) {
    done = PyObject_CallNoArgs(step);
    with_error_aside([&] {
      if (PyContext_Exit(context) != 0) PyErr_Clear();
      if (done != nullptr) return;
      // The task has the error, too, and would complain that nobody has asked it for that.
      PyObject* exception = PyObject_CallMethod(task, "exception", nullptr);
      if (exception == nullptr) PyErr_Clear();
      Py_XDECREF(exception);
    });
  }
  Py_XDECREF(done);
  Py_DECREF(step);
  Py_DECREF(context);
  return done != nullptr;
}

PyObject* EagerTasks::start(PyObject* awaitable, PyObject* name) {
  if (!PyCoro_CheckExact(awaitable) || must_be_made_by_loop()) return make_later(awaitable);
  PyObject* task = make(awaitable, name);
  if (task == nullptr) {
    Py_CLEAR(step_);
    Py_CLEAR(context_);
    return nullptr;
  }
  // Else asyncio has begun to make tasks in another way: this one comes in its turn.
  if (step_ != nullptr && !run_step(task)) Py_CLEAR(task);
  return task;
}

}  // namespace haz::py
