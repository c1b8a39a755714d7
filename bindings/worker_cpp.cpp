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

/// What the function has come to, copied as long as it stays.
struct KeptOutcome {
  Session& session;
  CallOutcome outcome{};
  bool is_known = false;  ///< Else the function has ended its actor.
  std::vector<std::byte> bytes{};
  std::vector<ObjectId> refs{};
};

/// Without the GIL.
void keep_outcome(void* context, const CallOutcome& outcome) {
  auto& kept = *static_cast<KeptOutcome*>(context);
  kept.is_known = true;
  kept.outcome = outcome;
  kept.bytes.assign(outcome.bytes.begin(), outcome.bytes.end());
  kept.refs.assign(outcome.refs.begin(), outcome.refs.end());
  kept.outcome.bytes = kept.bytes;
  kept.outcome.refs = kept.refs;
  // Until the node has counted those of the result.
  for (const ObjectId id : kept.refs)
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
  KeptOutcome kept{session_};
  PendingCppCall pending{command, *loaded.cpp, name, self, session_, &kept, keep_outcome};
  if (loaded.is_method || as_cpp_function(loaded.callable) != nullptr) {
    run_pending_cpp_call(pending);
  } else {
    PendingCppCall* const outer = set_pending_cpp_call(&pending);
    PyObject* returned = PyObject_CallNoArgs(loaded.callable);
    set_pending_cpp_call(outer);
    if (returned == nullptr) return nullptr;
    Py_DECREF(returned);
  }
  if (!kept.is_known) {
    results.is_packed = true;
    end_process(0);
    Py_RETURN_NONE;
  }
  for (const ObjectId id : kept.refs) {
    PyObject* ref = adopt_ref(session_, id);
    if (ref == nullptr) return nullptr;
    results.kept.push_back(ref);
  }
  if (kept.outcome.outcome == Outcome::kReturned && ring_.interrupt_pending()) {
    // It was told to stop: what it has returned since then counts as if it had been interrupted.
    if (kept.outcome.offset != 0)
      session_.client().discard({kept.outcome.offset, kept.outcome.size, false});
    PyErr_SetNone(PyExc_KeyboardInterrupt);
    return nullptr;
  }
  if (kept.outcome.outcome == Outcome::kRetryable &&
      !is_cpp_error_retried(kept.bytes, command.function)) {
    if (PyErr_Occurred() != nullptr) return nullptr;
    kept.outcome.outcome = Outcome::kRaised;
  }
  // What the outcome points to moves with its bytes.
  results.bytes.swap(kept.bytes);
  if (!place_cpp_result(results, kept.outcome)) return nullptr;
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

/// The bytes of the outcome are those of the results.
bool WorkerLoop::place_cpp_result(CallResults& results, const CallOutcome& outcome) {
  results.is_packed = true;
  results.outcome = outcome.outcome;
  const bool is_error = outcome.outcome != Outcome::kReturned;
  NewValue value{.offset = outcome.offset, .size = outcome.size, .is_error = is_error};
  results.ids.assign(outcome.refs.begin(), outcome.refs.end());
  if (is_error && value.size > Client::kMaxNearValue) {
    GilHooks hooks;
    Result<StoreBlock> block = session_.client().allocate(value.size, hooks, StoreUse::kMessage);
    if (block) {
      std::memcpy(session_.client().arena().at(block->offset), results.bytes.data(), value.size);
      session_.client().seal(*block);
      value.offset = block->offset;
    } else {
      results.bytes =
          plain_error("object_store_full", "there was no room for the error of this task");
      value.size = results.bytes.size();
    }
  }
  results.entries.push_back({value, 0, 0, results.ids.size()});
  return PyErr_Occurred() == nullptr;
}

}  // namespace haz::py
