/// @file
/// What a call has returned or raised, made into what the node is told.
#include <array>
#include <string>

#include "object_ref.h"
#include "os/clock.h"
#include "python_error.h"
#include "values.h"
#include "wire/plain_error.h"
#include "worker_loop.h"

namespace haz::py {

namespace {

void add_plain_error(CallResults& results, std::string_view kind, std::string_view message) {
  results.clear();
  results.outcome = Outcome::kRaised;
  results.bytes = plain_error(kind, message);
  results.entries.push_back({NewValue{.size = results.bytes.size(), .is_error = true}, 0, 0, 0});
}

}  // namespace

void WorkerLoop::add_no_memory(CallResults& results) {
  add_plain_error(results, "object_store_full",
                  "the object store had no room for the arguments of this task");
}

/// `returned`: a reference that this takes over, or nullptr with a Python error.
void WorkerLoop::pack(CallResults& results, PyObject* returned, const Call& call) {
  if (returned == nullptr || !add_returns(results, returned, call.num_returns)) {
    add_exception(results, call);
  }
  // Before the node is told that the task has ended: destructors may use haz, and wait.
  Py_XDECREF(returned);
}

void WorkerLoop::send(CallResults& results, const Call& call) {
  std::array<NewValue, 1> one;
  std::vector<NewValue> many;
  std::span<NewValue> values = one;
  if (results.entries.size() != 1) {
    many.resize(results.entries.size());
    values = many;
  }
  for (std::size_t i = 0; i < values.size(); ++i) {
    const CallResults::Entry& entry = results.entries[i];
    values[i] = entry.value;
    if (entry.value.offset == 0) {
      values[i].bytes = {results.bytes.data() + entry.bytes_at, entry.value.size};
    }
    values[i].refs = {results.ids.data() + entry.ids_at, entry.num_ids};
  }
  ring_.finish({call.task, call.attempt, results.outcome, call.began_ns, values});
}

bool WorkerLoop::add_value(CallResults& results, PyObject* value, bool is_error) {
  ScopedEncoder encoder;
  encoder->keep_refs();
  if (!encoder->encode(value)) return false;
  StoredValue stored;
  // An error is kept by the node itself: the store only passes it on.
  const StoreUse use = is_error ? StoreUse::kMessage : StoreUse::kValue;
  if (!store_encoded(session_, *encoder, stored, use)) return false;
  CallResults::Entry entry{stored.value, results.bytes.size(), results.ids.size(),
                           stored.value.refs.size()};
  entry.value.is_error = is_error;
  results.bytes.insert(results.bytes.end(), stored.value.bytes.begin(), stored.value.bytes.end());
  results.ids.insert(results.ids.end(), stored.value.refs.begin(), stored.value.refs.end());
  results.entries.push_back(entry);
  encoder->hand_over_kept(results.kept);
  return true;
}

bool WorkerLoop::add_returns(CallResults& results, PyObject* returned, std::uint32_t num_returns) {
  if (num_returns == 1) return add_value(results, returned, false);
  PyObject* count = PyLong_FromUnsignedLong(num_returns);
  if (count == nullptr) return false;
  PyObject* items = PyObject_CallFunctionObjArgs(hooks_.split, returned, count, nullptr);
  Py_DECREF(count);
  if (items == nullptr) return false;
  PyObject* fast = PySequence_Fast(items, "split_returns() gave no sequence");
  Py_DECREF(items);
  if (fast == nullptr) return false;
  bool ok = true;
  for (Py_ssize_t i = 0; ok && i < PySequence_Fast_GET_SIZE(fast); ++i) {
    ok = add_value(results, PySequence_Fast_GET_ITEM(fast, i), false);
  }
  if (ok) {
    Py_DECREF(fast);
  } else {
    results.kept.push_back(fast);  // its destructors would see the error that is set
  }
  return ok;
}

void WorkerLoop::give_back(CallResults& results) {
  for (const CallResults::Entry& entry : results.entries) {
    if (entry.value.offset != 0) {
      session_.client().discard({entry.value.offset, entry.value.size, false});
    }
  }
  results.clear();
}

/// The error `info`, in short where there is no room for it.
bool WorkerLoop::add_error(CallResults& results, PyObject* info) {
  if (add_value(results, info, true)) return true;
  PyErr_Clear();
  static PyObject* shorten = nullptr;
  if (cached_attribute(shorten, "haz._core.errors", "shorten") == nullptr) return false;
  PyObject* shortened = PyObject_CallOneArg(shorten, info);
  if (shortened == nullptr) return false;
  results.kept.push_back(shortened);
  return add_value(results, shortened, true);
}

void WorkerLoop::add_exception(CallResults& results, const Call& call) {
  PyObject* error = take_exception();
  give_back(results);
  results.outcome = Outcome::kRaised;
  const std::string kind = error != nullptr ? Py_TYPE(error)->tp_name : "nothing";
  PyObject* name = running().name != nullptr ? running().name : Py_None;
  PyObject* packed = PyObject_CallFunction(hooks_.fail, "OOI", error != nullptr ? error : Py_None,
                                           name, call.function);
  if (error != nullptr) PyException_SetTraceback(error, Py_None);
  Py_XDECREF(error);
  if (packed != nullptr) results.kept.push_back(packed);
  if (packed != nullptr && PyTuple_Check(packed) && PyTuple_GET_SIZE(packed) == 2 &&
      add_error(results, PyTuple_GET_ITEM(packed, 0))) {
    if (PyTuple_GET_ITEM(packed, 1) == Py_True) results.outcome = Outcome::kRetryable;
    return;
  }
  PyErr_Clear();
  add_plain_error(results, "serialization",
                  shown_name() + " raised " + kind + ", and that error could not be packed");
}

std::string WorkerLoop::shown_name() const {
  PyObject* text = running().name;
  const char* name = text != nullptr ? PyUnicode_AsUTF8(text) : nullptr;
  if (name == nullptr) PyErr_Clear();
  return std::string("task ") + (name != nullptr ? name : "without a name");
}

}  // namespace haz::py
