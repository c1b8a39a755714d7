/// @file
/// Tasks that are functions of C++: they read their arguments and place their results themselves,
/// without the GIL and without any Python object.
#include <cstring>
#include <string_view>

#include "object_ref.h"
#include "values.h"
#include "wire/plain_error.h"
#include "worker_loop.h"

namespace haz::py {

namespace {

/// What the function has come to, as it is told to the node.
struct KeptOutcome {
  Session& session;
  CallResults& results;
  bool is_known = false;  ///< Else the function has ended its actor.
};

/// Without the GIL.
void keep_outcome(void* context, const CallOutcome& outcome) {
  auto& kept = *static_cast<KeptOutcome*>(context);
  CallResults& results = kept.results;
  kept.is_known = true;
  results.outcome = outcome.outcome;
  for (const NewValue& value : outcome.values) {
    results.entries.push_back(
        {NewValue{.offset = value.offset, .size = value.size, .is_error = value.is_error},
         results.bytes.size(), results.ids.size(), value.refs.size()});
    results.bytes.insert(results.bytes.end(), value.bytes.begin(), value.bytes.end());
    results.ids.insert(results.ids.end(), value.refs.begin(), value.refs.end());
  }
  // Until the node has counted those of the result.
  for (const ObjectId id : results.ids)
    kept.session.client().add_reference(id);
}

}  // namespace

/// Runs the function, through what wraps it. None, with the results placed, or nullptr with a
/// Python error.
PyObject* WorkerLoop::call_cpp(const Loaded& loaded, const TaskCommand& command,
                               CallResults& results) {
  if (ring_.interrupt_pending()) {
    PyErr_SetNone(PyExc_KeyboardInterrupt);
    return nullptr;
  }
  const char* name = PyUnicode_AsUTF8(loaded.name);
  if (name == nullptr) return nullptr;
  CppObject* self = nullptr;
  if (loaded.cpp->kind == haz::detail::function_kind::method) {
    self = instance_ != nullptr ? as_cpp_object(instance_) : nullptr;
    if (self == nullptr || self->object == nullptr) {
      PyErr_Format(PyExc_TypeError, "%U is a method of C++, and the actor no object of its class",
                   loaded.cpp->name);
      return nullptr;
    }
  }
  KeptOutcome kept{session_, results};
  PendingCppCall pending{command, *loaded.cpp, name, self, session_, &kept, keep_outcome};
  if (loaded.is_method || as_cpp_function(loaded.callable) != nullptr) {
    run_pending_cpp_call(pending);
  } else {
    PendingCppCall* const outer = set_pending_cpp_call(&pending);
    PyObject* returned = PyObject_CallNoArgs(loaded.callable);
    set_pending_cpp_call(outer);
    if (returned == nullptr) {
      for (const ObjectId id : results.ids)
        session_.client().drop_reference(id);
      return nullptr;
    }
    Py_DECREF(returned);
  }
  if (!kept.is_known) {
    results.is_packed = true;
    end_process(0);
    Py_RETURN_NONE;
  }
  for (const ObjectId id : results.ids) {
    PyObject* ref = adopt_ref(session_, id);
    if (ref == nullptr) return nullptr;
    results.kept.push_back(ref);
  }
  if (results.outcome == Outcome::kReturned && ring_.interrupt_pending()) {
    // It was told to stop: what it has returned since then counts as if it had been interrupted.
    give_back(results);
    PyErr_SetNone(PyExc_KeyboardInterrupt);
    return nullptr;
  }
  if (results.outcome == Outcome::kRetryable &&
      !is_cpp_error_retried(results.bytes, command.function)) {
    if (PyErr_Occurred() != nullptr) return nullptr;
    results.outcome = Outcome::kRaised;
  }
  results.is_packed = true;
  if (!move_large_errors(results)) return nullptr;
  Py_RETURN_NONE;
}

/// Whether the function's options have it run again after this error. False also with a Python
/// error.
bool WorkerLoop::is_cpp_error_retried(const std::vector<std::byte>& error, std::uint32_t function) {
  PyObject* info = decode_error(error.data(), error.size());
  if (info == nullptr) return false;
  PyObject* answer = PyObject_CallFunction(hooks_.fail, "NOI", info, Py_None, function);
  const bool is_retried = answer != nullptr && PyTuple_GET_ITEM(answer, 1) == Py_True;
  Py_XDECREF(answer);
  return is_retried;
}

/// Those of more than a message takes go to the arena. False with a Python error.
bool WorkerLoop::move_large_errors(CallResults& results) {
  for (CallResults::Entry& entry : results.entries) {
    NewValue& value = entry.value;
    if (!value.is_error || value.size <= Client::kMaxNearValue) continue;
    GilHooks hooks;
    Result<StoreBlock> block = session_.client().allocate(value.size, hooks, StoreUse::kMessage);
    if (block) {
      std::memcpy(session_.client().arena().at(block->offset),
                  results.bytes.data() + entry.bytes_at, value.size);
      session_.client().seal(*block);
      value.offset = block->offset;
      continue;
    }
    const std::vector<std::byte> shortened =
        plain_error("object_store_full", "there was no room for the error of this task");
    entry.bytes_at = results.bytes.size();
    value.size = shortened.size();
    results.bytes.insert(results.bytes.end(), shortened.begin(), shortened.end());
  }
  return PyErr_Occurred() == nullptr;
}

}  // namespace haz::py
