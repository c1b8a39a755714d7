#include "values.h"

#include <cstring>

#include "object_ref.h"
#include "python_error.h"
#include "shm/copy.h"

namespace haz::py {

namespace {

/// Below this a copy is done before another thread would have the GIL.
constexpr std::size_t kReleaseGilBytes = 256 * kKiB;

/// Set around Encoder::write: whether its destination may lack pages, and whether that failed.
thread_local bool copy_to_cold_memory = false;
thread_local bool copy_failed = false;

}  // namespace

void copy_far_buffer(void* to, const void* from, std::size_t size_bytes) {
  if (copy_to_cold_memory) {
    const Status status = copy_to_cold(to, from, size_bytes);
    if (status) return;
    if (status.error().kind != ErrorKind::kUnavailable) {
      copy_failed = true;
      return;
    }
  }
  copy_large(to, from, size_bytes);
}

bool store_encoded(Session& session, Encoder& encoder, StoredValue& out, StoreUse use) {
  const std::size_t size = encoder.size();
  const auto* ids = reinterpret_cast<const ObjectId*>(encoder.refs().data());
  out.value = NewValue{.size = size};
  out.value.refs = {ids, encoder.refs().size()};
  if (encoder.contiguous() && size <= Client::kMaxNearValue) {
    out.value.bytes = {reinterpret_cast<const std::byte*>(encoder.data()), size};
    return true;
  }
  GilHooks hooks;
  auto block = session.client().allocate(size, hooks, use);
  if (!block) {
    set_python_error(block.error());
    return false;
  }
  out.block = *block;
  out.value.offset = block->offset;
  copy_to_cold_memory = block->cold;
  copy_failed = false;
  PyThreadState* state = size >= kReleaseGilBytes ? PyEval_SaveThread() : nullptr;
  encoder.write(session.client().arena().at(block->offset));
  if (state != nullptr) PyEval_RestoreThread(state);
  copy_to_cold_memory = false;
  if (copy_failed) {
    session.client().discard(*block);
    set_haz_error("ObjectStoreFullError", "the machine has no memory left for this value");
    return false;
  }
  session.client().seal(*block);
  return true;
}

ObjectId put_value(Session& session, PyObject* value, bool is_error) {
  ScopedEncoder encoder;
  if (!encoder->encode(value)) return ObjectId{};
  StoredValue stored;
  const StoreUse use = is_error ? StoreUse::kMessage : StoreUse::kValue;
  if (!store_encoded(session, *encoder, stored, use)) return ObjectId{};
  stored.value.is_error = is_error;
  const ObjectId id{session.client().new_ids(1)};
  const Status status = session.client().put(id, stored.value);
  if (!status) {
    set_python_error(status.error());
    return ObjectId{};
  }
  return id;
}

PyObject* decode_value(const std::byte* bytes, std::size_t size, PyObject* owner) {
  Decoder decoder(bytes, size, owner);
  return decoder.next();
}

PyObject* decode_fetched(Session& session, const FetchedValues& fetched,
                         const FetchedValue& value) {
  PyObject* decoded = nullptr;
  if (!value.in_arena) {
    decoded = decode_value(fetched.near_bytes.data() + value.offset, value.size, nullptr);
  } else {
    const std::byte* bytes = session.client().arena().at(value.offset);
    PyObject* pin = make_pin(session, value.id, {bytes, value.size});
    if (pin == nullptr) return nullptr;
    decoded = decode_value(bytes, value.size, pin);
    Py_DECREF(pin);
  }
  if (decoded == nullptr) name_undecodable(session, value.id, nullptr, nullptr);
  return decoded;
}

void name_undecodable(Session& session, ObjectId id, PyObject* argument, PyObject* task_name) {
  if (PyErr_ExceptionMatches(PyExc_Exception) == 0) return;
  PyObject* error = take_exception();
  PyObject* ref = id ? new_ref(session, id) : Py_NewRef(Py_None);
  PyObject* module = ref != nullptr ? PyImport_ImportModule("haz._core.unpickling") : nullptr;
  PyObject* made = module != nullptr
                       ? PyObject_CallMethod(module, "deserialization_error", "OOOO", error, ref,
                                             argument != nullptr ? argument : Py_None,
                                             task_name != nullptr ? task_name : Py_None)
                       : nullptr;
  Py_XDECREF(module);
  Py_XDECREF(ref);
  if (made == nullptr || made == error) {
    PyErr_Clear();
    Py_XDECREF(made);
    restore_exception(error);
    return;
  }
  raise_exception(made);
  Py_DECREF(error);
}

PyObject* decode_error(const std::byte* bytes, std::size_t size) {
  static PyObject* through_task = nullptr;
  Decoder decoder(bytes, size, nullptr);
  PyObject* info = decoder.next();
  while (info != nullptr && !decoder.at_end()) {
    PyObject* name = decoder.next();
    if (name == nullptr ||
        cached_attribute(through_task, "haz._core.errors", "through_task") == nullptr) {
      Py_XDECREF(name);
      Py_CLEAR(info);
      break;
    }
    PyObject* told = PyObject_CallFunctionObjArgs(through_task, info, name, nullptr);
    Py_DECREF(name);
    Py_DECREF(info);
    info = told;
  }
  return info;
}

void raise_error_value(const std::byte* bytes, std::size_t size) {
  PyObject* info = decode_error(bytes, size);
  if (info == nullptr) return;
  static PyObject* unpack = nullptr;
  if (cached_attribute(unpack, "haz._core.errors", "unpack_error") != nullptr) {
    PyObject* exception = PyObject_CallOneArg(unpack, info);
    if (exception != nullptr) raise_exception(exception);
  }
  Py_DECREF(info);
}

}  // namespace haz::py
