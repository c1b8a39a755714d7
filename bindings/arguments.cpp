#include "arguments.h"

#include <nanobind/nanobind.h>

#include <cstring>

#include "base/check.h"
#include "cpp_function.h"
#include "object_ref.h"
#include "python_error.h"
#include "values.h"

namespace haz::py {

namespace {

/// Encoded arguments above this size become objects of their own.
constexpr std::size_t kMaxArgumentBytes = 8 * kKiB;

void append(std::vector<std::byte>& to, const void* bytes, std::size_t size) {
  if (size == 0) return;
  const std::size_t at = to.size();
  to.resize(at + size);
  std::memcpy(to.data() + at, bytes, size);
}

/// Lets the error that is set say which argument it is about, if it is about pickling. `keyword`
/// may be nullptr.
void name_argument(PyObject* descriptor, std::size_t index, PyObject* keyword) {
  PyObject* error = take_exception();
  PyObject* named =
      PyObject_CallMethod(descriptor, "error_in_argument", "OnO", error,
                          static_cast<Py_ssize_t>(index), keyword != nullptr ? keyword : Py_None);
  Py_DECREF(error);
  if (named != nullptr) raise_exception(named);
}

std::vector<ArgumentWriter*>& idle_writers() {
  static auto* idle = new std::vector<ArgumentWriter*>;
  return *idle;
}

}  // namespace

bool ArgumentWriter::add(Session& session, PyObject* value, Encoder::Pickles pickles) {
  if (is_ref(value)) {
    if (generation_of_ref(value) != session.generation()) {
      set_haz_error("ObjectLostError",
                    "an argument is an ObjectRef of a run of haz that has ended");
      return false;
    }
    head_.push_back(static_cast<std::byte>(ArgumentKind::kDependency));
    dependencies_.push_back(id_of_ref(value));
    return true;
  }
  ScopedEncoder encoder;
  if (!encoder->encode(value, pickles)) return false;
  if (encoder->contiguous() && encoder->size() <= kMaxArgumentBytes) {
    head_.push_back(static_cast<std::byte>(ArgumentKind::kValue));
    append(stream_, encoder->data(), encoder->size());
    for (const std::uint64_t id : encoder->refs())
      refs_.push_back(ObjectId{id});
    encoder->hand_over_kept(kept_);
    return true;
  }
  StoredValue stored;
  if (!store_encoded(session, *encoder, stored)) return false;
  const ObjectId id{session.client().new_ids(1)};
  const Status status = session.client().put(id, stored.value);
  if (!status) {
    set_python_error(status.error());
    return false;
  }
  head_.push_back(static_cast<std::byte>(ArgumentKind::kDependency));
  dependencies_.push_back(id);
  owned_.push_back(id);
  return true;
}

bool ArgumentWriter::encode(Session& session, PyObject* const* args, std::size_t num_positional,
                            PyObject* names, PyObject* descriptor, const CppSignature* cpp) {
  const auto pickles = cpp != nullptr ? Encoder::Pickles::kRefuse : Encoder::Pickles::kWrite;
  head_.clear();
  stream_.clear();
  dependencies_.clear();
  refs_.clear();
  const std::size_t num_keyword =
      names != nullptr ? static_cast<std::size_t>(PyTuple_GET_SIZE(names)) : 0;
  const ArgumentCounts counts{static_cast<std::uint32_t>(num_positional),
                              static_cast<std::uint32_t>(num_keyword)};
  append(head_, &counts, sizeof counts);
  for (std::size_t i = 0; i < num_keyword; ++i) {
    ScopedEncoder encoder;
    // A name may be of a subclass (an enum's member, a numpy string): as text it is the same.
    const auto name = nanobind::steal<nanobind::object>(
        PyUnicode_FromObject(PyTuple_GET_ITEM(names, static_cast<Py_ssize_t>(i))));
    if (!name.is_valid() || !encoder->encode(name.ptr())) return false;
    append(stream_, encoder->data(), encoder->size());
  }
  for (std::size_t i = 0; i < num_positional + num_keyword; ++i) {
    if (add(session, args[i], pickles)) continue;
    if (cpp != nullptr && PyErr_Occurred() == nullptr)
      return refuse_unreadable(*cpp, args, static_cast<Py_ssize_t>(num_positional),
                               static_cast<Py_ssize_t>(i));
    PyObject* keyword = i < num_positional
                            ? nullptr
                            : PyTuple_GET_ITEM(names, static_cast<Py_ssize_t>(i - num_positional));
    name_argument(descriptor, i, keyword);
    return false;
  }
  append(head_, stream_.data(), stream_.size());
  return true;
}

bool ArgumentWriter::place(Session& session, Submission& submission) {
  submission.payload_size = static_cast<std::uint32_t>(head_.size());
  submission.dependencies = dependencies_;
  submission.refs = refs_;
  if (head_.size() <= Client::kMaxNearPayload) {
    submission.payload = head_;
    return true;
  }
  GilHooks hooks;
  auto block = session.client().allocate(head_.size(), hooks, StoreUse::kMessage);
  if (!block) {
    set_python_error(block.error());
    return false;
  }
  std::memcpy(session.client().arena().at(block->offset), head_.data(), head_.size());
  session.client().seal(*block);
  submission.payload_offset = block->offset;
  return true;
}

void ArgumentWriter::release(Session& session) {
  for (const ObjectId id : owned_)
    session.client().drop_reference(id);
  owned_.clear();
  for (PyObject* ref : kept_)
    Py_DECREF(ref);
  kept_.clear();
}

ScopedArguments::ScopedArguments(Session& session) : session_(session) {
  auto& idle = idle_writers();
  if (idle.empty()) {
    writer_ = new ArgumentWriter;
  } else {
    writer_ = idle.back();
    idle.pop_back();
  }
}

ScopedArguments::~ScopedArguments() {
  writer_->release(session_);
  idle_writers().push_back(writer_);
}

// ---- in the worker -----------------------------------------------------------------------------

namespace {

PyObject* decode_dependency(Session& session, const ArgumentLocation& location,
                            const std::byte* array) {
  const bool near = (location.size_high_and_near & kNearArgument) != 0;
  const std::uint64_t size =
      location.size_low | (std::uint64_t{location.size_high_and_near & ~kNearArgument} << 32);
  if (near) return decode_value(array + location.offset, size, nullptr);
  const ObjectId id{location.object};
  // The task holds the object until its end; the pin's own reference is counted before that, and
  // given up at once where no view of the value is left.
  session.client().add_reference(id);
  const std::byte* bytes = session.client().arena().at(location.offset);
  PyObject* pin = make_pin(session, id, {bytes, size});
  if (pin == nullptr) return nullptr;
  PyObject* value = decode_value(bytes, size, pin);
  Py_DECREF(pin);
  return value;
}

}  // namespace

namespace {

/// A ref that was given twice is one object in the task, too: the value decoded for an earlier
/// dependency on the same object, or nullptr. Looks at the last few, which keeps long lists linear.
PyObject* already_decoded(const DecodedArguments& out, const std::byte* array,
                          std::size_t dependency, const std::vector<std::size_t>& decoded_at) {
  constexpr std::size_t kLooks = 16;
  const auto object_at = [array](std::size_t index) {
    std::uint64_t object = 0;
    std::memcpy(&object, array + index * sizeof(ArgumentLocation), sizeof object);
    return object;
  };
  const std::uint64_t wanted = object_at(dependency);
  for (std::size_t back = 1; back <= kLooks && back <= dependency; ++back) {
    if (object_at(dependency - back) == wanted) {
      return Py_NewRef(out.values[decoded_at[dependency - back]]);
    }
  }
  return nullptr;
}

/// Says in the exception that is set which argument could not be decoded.
void name_argument(Session& session, ObjectId object, const DecodedArguments& arguments,
                   std::size_t place, PyObject* task_name) {
  PyObject* argument = nullptr;
  if (place >= arguments.num_positional) {
    const auto index = static_cast<Py_ssize_t>(place - arguments.num_positional);
    argument = Py_NewRef(PyTuple_GET_ITEM(arguments.names, index));
  } else {
    with_error_aside([&] { argument = PyLong_FromSize_t(place); });
  }
  name_undecodable(session, object, argument, task_name);
  Py_XDECREF(argument);
}

}  // namespace

DecodedArguments::~DecodedArguments() {
  for (PyObject* value : values)
    Py_XDECREF(value);
  Py_XDECREF(names);
}

bool decode_arguments(Session& session, const TaskCommand& command, PyObject* task_name,
                      DecodedArguments& out) {
  const std::byte* block = command.block_offset != 0
                               ? session.client().arena().at(command.block_offset)
                               : command.near_bytes.data();
  ArgumentCounts counts{};
  std::memcpy(&counts, block, sizeof counts);
  const std::size_t total = std::size_t{counts.positional} + counts.keyword;
  const std::byte* kinds = block + sizeof counts;
  const std::byte* array = block + align_up(command.payload_size, 8);
  Decoder decoder(kinds + total, command.payload_size - sizeof counts - total, nullptr);
  out.num_positional = counts.positional;
  if (counts.keyword != 0) {
    out.names = PyTuple_New(counts.keyword);
    if (out.names == nullptr) return false;
    for (std::uint32_t i = 0; i < counts.keyword; ++i) {
      PyObject* name = decoder.next_name();
      if (name == nullptr) return false;
      PyTuple_SET_ITEM(out.names, i, name);
    }
  }
  out.values.reserve(total);
  std::size_t dependency = 0;
  std::vector<std::size_t> dependency_at;
  for (std::size_t i = 0; i < total; ++i) {
    PyObject* value = nullptr;
    ObjectId object;
    if (static_cast<ArgumentKind>(kinds[i]) == ArgumentKind::kDependency) {
      ArgumentLocation location{};
      std::memcpy(&location, array + dependency * sizeof location, sizeof location);
      object = ObjectId{location.object};
      value = already_decoded(out, array, dependency, dependency_at);
      if (value == nullptr) value = decode_dependency(session, location, array);
      dependency_at.push_back(i);
      ++dependency;
    } else {
      value = decoder.next();
    }
    if (value == nullptr) {
      name_argument(session, object, out, i, task_name);
      return false;
    }
    out.values.push_back(value);
  }
  return true;
}

}  // namespace haz::py
