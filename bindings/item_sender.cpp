#include "item_sender.h"

#include <array>
#include <string>
#include <vector>

#include "python_error.h"
#include "sched/stream.h"
#include "values.h"

namespace haz::py {

ItemSender::ItemSender(Session& session, TaskId task, std::uint32_t attempt, std::uint32_t given,
                       std::int32_t items_ahead)
    : session_(session),
      ring_(*session.ring()),
      task_(task),
      attempt_(attempt),
      given_(given),
      items_ahead_(items_ahead),
      credit_(given == 0 ? static_cast<std::uint64_t>(items_ahead) : 0) {}

bool ItemSender::send(PyObject* item) {
  if (count_ < given_) {
    ++count_;
    return true;
  }
  ScopedEncoder encoder;
  StoredValue stored;
  if (!encoder->encode(item) || !store_encoded(session_, *encoder, stored)) return false;
  ring_.yield_item(task_, attempt_, count_, stored.value);
  ++count_;
  if (credit_ > 0) --credit_;
  return true;
}

bool ItemSender::wait_for_demand() {
  if (!needs_demand()) return true;
  const std::array<ObjectId, 1> demand{demand_of(task_)};
  GilHooks hooks;
  std::vector<bool> ready;
  const WaitOutcome outcome = ring_.wait(demand, 1, -1, hooks, ready);
  if (outcome == WaitOutcome::kInterrupted) {
    if (PyErr_Occurred() == nullptr) PyErr_SetNone(PyExc_KeyboardInterrupt);
    return false;
  }
  note_demand();
  return true;
}

bool ItemSender::subscribe(std::uint64_t token) {
  return ring_.subscribe(demand_of(task_), token, false);
}

void ItemSender::note_demand() {
  credit_ = static_cast<std::uint64_t>(items_ahead_) - items_at_demand(items_ahead_);
}

namespace {

/// Calls `close()` of a generator; an iterator of another kind has none. Leaves a Python error that
/// is set as it is.
void close_iterator(PyObject* iterator) {
  with_error_aside([iterator] {
    PyObject* close = PyObject_GetAttrString(iterator, "close");
    if (close == nullptr) return PyErr_Clear();
    PyObject* closed = PyObject_CallNoArgs(close);
    if (closed == nullptr) PyErr_WriteUnraisable(iterator);
    Py_XDECREF(closed);
    Py_DECREF(close);
  });
}

/// False with a Python error.
bool run_iterator(ItemSender& sender, PyObject* iterator) {
  for (;;) {
    if (!sender.wait_for_demand()) break;
    if (sender.is_closed()) {
      close_iterator(iterator);
      return true;
    }
    PyObject* item = PyIter_Next(iterator);
    if (forked()) {
      Py_XDECREF(item);
      return item != nullptr || PyErr_Occurred() == nullptr;
    }
    if (item == nullptr) return PyErr_Occurred() == nullptr;
    const bool sent = sender.send(item);
    Py_DECREF(item);
    if (!sent) break;
  }
  close_iterator(iterator);
  return false;
}

}  // namespace

PyObject* send_items(ItemSender& sender, PyObject* iterator) {
  if (!PyIter_Check(iterator)) {
    PyErr_Format(
        PyExc_TypeError,
        "the task has num_returns=\"streaming\" and returned one value of type %.100s instead of a "
        "generator or another iterator",
        Py_TYPE(iterator)->tp_name);
    Py_DECREF(iterator);
    return nullptr;
  }
  const bool done = run_iterator(sender, iterator);
  Py_DECREF(iterator);
  if (!done) return nullptr;
  if (forked()) Py_RETURN_NONE;
  return PyLong_FromUnsignedLongLong(sender.count());
}

}  // namespace haz::py
