#include <Python.h>

#include <array>
#include <cstring>
#include <new>

#include "codec.h"
#include "codec_array.h"
#include "python_error.h"

namespace haz::py {
namespace {

/// Longest string that comes from the cache of names.
constexpr std::size_t kMaxNameBytes = 32;
constexpr std::size_t kNameCacheSize = 1024;
/// From here on CPython's own decoder, which looks at the bytes once, beats looking for ASCII
/// first.
constexpr std::size_t kMaxAsciiScanBytes = 4 * kKiB;
constexpr std::uint64_t kHighBits = 0x8080808080808080U;

bool is_ascii(std::span<const std::byte> bytes) {
  const std::byte* at = bytes.data();
  std::size_t left = bytes.size();
  std::uint64_t seen = 0;
  for (; left >= sizeof(seen); left -= sizeof(seen), at += sizeof(seen)) {
    std::uint64_t word;
    std::memcpy(&word, at, sizeof(word));
    seen |= word;
  }
  for (; left != 0; --left, ++at)
    seen |= static_cast<std::uint8_t>(*at);
  return (seen & kHighBits) == 0;
}

const char* chars(std::span<const std::byte> bytes) {
  return reinterpret_cast<const char*>(bytes.data());
}

PyObject* copy_as_bytes(std::span<const std::byte> bytes) {
  return PyBytes_FromStringAndSize(chars(bytes), static_cast<Py_ssize_t>(bytes.size()));
}

/// A new string; nullptr with UnicodeDecodeError when the bytes are not UTF-8.
PyObject* make_str(std::span<const std::byte> bytes) {
  const std::size_t size = bytes.size();
  if (size <= 1 || size > kMaxAsciiScanBytes || !is_ascii(bytes)) {
    return PyUnicode_DecodeUTF8(chars(bytes), static_cast<Py_ssize_t>(size), "strict");
  }
  constexpr Py_UCS4 kMaxAscii = 127;
  PyObject* text = PyUnicode_New(static_cast<Py_ssize_t>(size), kMaxAscii);
  if (text != nullptr) std::memcpy(PyUnicode_1BYTE_DATA(text), bytes.data(), size);
  return text;
}

template <typename Word>
std::uint64_t word_at(const std::byte* at) {
  Word word;
  std::memcpy(&word, at, sizeof(word));
  return word;
}

/// A slot for a name of up to kMaxNameBytes bytes.
std::size_t name_slot(std::span<const std::byte> name) {
  const std::byte* first = name.data();
  const std::byte* end = first + name.size();
  std::uint64_t hash = name.size();
  if (name.size() >= 8) {
    hash ^= word_at<std::uint64_t>(first) ^ (word_at<std::uint64_t>(end - 8) * 31);
  } else if (name.size() >= 4) {
    hash ^= word_at<std::uint32_t>(first) << 32U | word_at<std::uint32_t>(end - 4);
  } else {
    for (const std::byte byte : name)
      hash = hash << 8U | static_cast<std::uint8_t>(byte);
  }
  constexpr unsigned kShift = 64 - 10;
  static_assert(kNameCacheSize == std::size_t{1} << 10U);
  return hash * 0x9E3779B97F4A7C15U >> kShift;
}

/// An interned string from the cache of names, which keeps the last one of each slot.
PyObject* cached_name(std::span<const std::byte> name) {
  static std::array<PyObject*, kNameCacheSize> cache{};
  PyObject*& slot = cache[name_slot(name)];
  if (slot != nullptr && static_cast<std::size_t>(PyUnicode_GET_LENGTH(slot)) == name.size() &&
      std::memcmp(PyUnicode_1BYTE_DATA(slot), name.data(), name.size()) == 0) [[likely]] {
    return Py_NewRef(slot);
  }
  PyObject* text = make_str(name);
  if (text == nullptr || !PyUnicode_IS_COMPACT_ASCII(text)) return text;
  PyUnicode_InternInPlace(&text);
  PyObject* old = slot;
  slot = Py_NewRef(text);
  Py_XDECREF(old);
  return text;
}

/// _pickle.loads and the names of its keyword arguments. Borrowed; both live for ever.
struct Unpickler {
  PyObject* loads = nullptr;
  PyObject* keywords = nullptr;
};

const Unpickler* unpickler() {
  static Unpickler functions;
  if (functions.keywords != nullptr) return &functions;
  PyObject* module = PyImport_ImportModule("_pickle");
  if (module == nullptr) return nullptr;
  PyObject* loads = PyObject_GetAttrString(module, "loads");
  Py_DECREF(module);
  if (loads == nullptr) return nullptr;
  PyObject* keywords = Py_BuildValue("(s)", "buffers");
  if (keywords == nullptr) {
    Py_DECREF(loads);
    return nullptr;
  }
  functions = {loads, keywords};
  return &functions;
}

/// Says in the exception that is set when it was raised.
void note_unpickling() {
  if (PyErr_ExceptionMatches(PyExc_Exception) == 0) return;
  PyObject* error = take_exception();
  PyObject* module = PyImport_ImportModule("haz._core.serialize");
  PyObject* noted =
      module != nullptr ? PyObject_CallMethod(module, "note_unpickling", "O", error) : nullptr;
  if (noted == nullptr) PyErr_Clear();
  Py_XDECREF(noted);
  Py_XDECREF(module);
  restore_exception(error);
}

// ---- windows: what a memoryview of a payload's memory exports ------------------------------

struct Window {
  PyObject ob_base;
  PyObject* owner;
  const std::byte* bytes;
  Py_ssize_t size;
  bool is_writable;
};

int window_get_buffer(PyObject* self, Py_buffer* view, int flags) {
  auto* window = reinterpret_cast<Window*>(self);
  return PyBuffer_FillInfo(view, self, const_cast<std::byte*>(window->bytes), window->size,
                           window->is_writable ? 0 : 1, flags);
}

void window_dealloc(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  Py_DECREF(reinterpret_cast<Window*>(self)->owner);
  type->tp_free(self);
  Py_DECREF(type);
}

PyTypeObject* window_type() {
  static PyObject* type = nullptr;
  if (type != nullptr) return reinterpret_cast<PyTypeObject*>(type);
  PyType_Slot slots[] = {
      {Py_tp_doc, const_cast<char*>("Bytes inside a payload that its owner keeps.")},
      {Py_tp_dealloc, reinterpret_cast<void*>(window_dealloc)},
      {Py_bf_getbuffer, reinterpret_cast<void*>(window_get_buffer)},
      {0, nullptr}};
  PyType_Spec spec = {"haz._native.PayloadWindow", static_cast<int>(sizeof(Window)), 0,
                      Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots};
  type = PyType_FromSpec(&spec);
  return reinterpret_cast<PyTypeObject*>(type);
}

/// Bytes that keep `owner` alive; for C only, users get a view of it.
PyObject* make_window(PyObject* owner, std::span<const std::byte> bytes, bool is_writable) {
  PyTypeObject* type = window_type();
  if (type == nullptr) return nullptr;
  PyObject* window = type->tp_alloc(type, 0);
  if (window == nullptr) return nullptr;
  auto* fields = reinterpret_cast<Window*>(window);
  fields->owner = Py_NewRef(owner);
  fields->bytes = bytes.data();
  fields->size = static_cast<Py_ssize_t>(bytes.size());
  fields->is_writable = is_writable;
  return window;
}

}  // namespace

PyObject* make_view(PyObject* owner, std::span<const std::byte> bytes, bool is_writable) {
  PyObject* window = make_window(owner, bytes, is_writable);
  if (window == nullptr) return nullptr;
  PyObject* view = PyMemoryView_FromObject(window);
  Py_DECREF(window);
  return view;
}

PyObject* decode_error_type() {
  static PyObject* type = nullptr;
  if (type == nullptr) {
    type = PyErr_NewExceptionWithDoc("haz._native.DecodeError",
                                     "The bytes are not a well-formed haz payload.",
                                     PyExc_ValueError, nullptr);
  }
  return type;
}

// ---- Decoder --------------------------------------------------------------------------------

Decoder::Decoder(const std::byte* base, std::size_t size, PyObject* owner, Pickles pickles,
                 Memory memory)
    : cursor_({base, size}),
      owner_(owner),
      pickles_(pickles),
      is_writable_(memory == Memory::kPrivate) {}

Decoder::~Decoder() { forget_shared(); }

PyObject* Decoder::next() {
  PyObject* value = nullptr;
  try {
    value = get(0);
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  }
  if (!shared_.empty()) [[unlikely]]
    forget_shared();
  return value;
}

PyObject* Decoder::next_name() {
  std::uint8_t tag;
  if (cursor_.left() == 0 || cursor_.peek() != static_cast<std::uint8_t>(ValueTag::kStr8)) {
    PyObject* value = next();
    if (value == nullptr || PyUnicode_CheckExact(value)) return value;
    Py_DECREF(value);
    return malformed();
  }
  return cursor_.take(&tag) ? get_name() : malformed();
}

PyObject* Decoder::malformed() const {
  if (PyObject* type = decode_error_type(); type != nullptr) {
    PyErr_Format(type, "malformed value near byte %zu of the payload", cursor_.position());
  }
  return nullptr;
}

void Decoder::note_shared(std::size_t slot, PyObject* object) {
  if (slot != kNoSlot) shared_[slot] = Py_NewRef(object);
}

void Decoder::forget_shared() {
  std::vector<PyObject*> objects;
  objects.swap(shared_);
  for (PyObject* object : objects)
    Py_XDECREF(object);
}

PyObject* Decoder::get(unsigned depth) {
  std::uint8_t byte;
  if (!cursor_.take(&byte)) [[unlikely]]
    return malformed();
  if ((byte & kSharedFlag) != 0) [[unlikely]]
    return get_flagged(byte, depth);
  return get_tagged(static_cast<ValueTag>(byte), depth, kNoSlot);
}

/// The same as get(), for the items of lists, which often are ints of this size.
inline PyObject* Decoder::get_item(unsigned depth) {
  std::int32_t number = 0;
  if (cursor_.left() <= sizeof number ||
      cursor_.peek() != static_cast<std::uint8_t>(ValueTag::kInt32)) {
    return get(depth);
  }
  std::uint8_t tag;
  (void)(cursor_.take(&tag) && cursor_.take(&number));  // they are there
  return PyLong_FromLong(number);
}

/// A value that occurs again. Lists and dicts are noted before they are filled, since they may
/// contain themselves.
PyObject* Decoder::get_flagged(std::uint8_t byte, unsigned depth) {
  const auto tag = static_cast<ValueTag>(byte & ~kSharedFlag);
  if (!can_be_shared(tag)) return malformed();
  const std::size_t slot = shared_.size();
  shared_.push_back(nullptr);
  PyObject* object = get_tagged(tag, depth, slot);
  if (object != nullptr && shared_[slot] == nullptr) note_shared(slot, object);
  return object;
}

PyObject* Decoder::get_tagged(ValueTag tag, unsigned depth, std::size_t slot) {
  using enum ValueTag;
  switch (tag) {
    case kNone:
      return Py_NewRef(Py_None);
    case kFalse:
      return Py_NewRef(Py_False);
    case kTrue:
      return Py_NewRef(Py_True);
    case kInt8: {
      std::int8_t number;
      return cursor_.take(&number) ? PyLong_FromLong(number) : malformed();
    }
    case kInt32: {
      std::int32_t number;
      return cursor_.take(&number) ? PyLong_FromLong(number) : malformed();
    }
    case kInt64: {
      std::int64_t number;
      return cursor_.take(&number) ? PyLong_FromLongLong(number) : malformed();
    }
    case kBigInt:
      return get_big_int();
    case kFloat64: {
      double number;
      return cursor_.take(&number) ? PyFloat_FromDouble(number) : malformed();
    }
    case kStr8:
    case kStr32:
    case kFarStr:
    case kBytes8:
    case kBytes32:
    case kFarBytes:
      return get_text(tag);
    case kTuple8:
    case kTuple32:
      return get_tuple(tag, depth);
    case kList8:
    case kList32:
      return get_list(tag, depth, slot);
    case kDict8:
    case kDict32:
      return get_dict(tag, depth, slot);
    case kRef:
      return get_ref();
    case kPickle:
    case kFarPickle:
      return get_pickle(tag, depth);
    case kShared:
      return get_shared();
    case kArray:
    case kArrayScalar:
      return get_array(tag);
    case kEnd:
      return malformed();
  }
  return malformed();
}

PyObject* Decoder::get_big_int() {
  std::span<const std::byte> bytes;
  if (!cursor_.take_sized<std::uint32_t>(&bytes)) return malformed();
#if PY_VERSION_HEX >= 0x030D0000
  return PyLong_FromNativeBytes(bytes.data(), bytes.size(), Py_ASNATIVEBYTES_LITTLE_ENDIAN);
#else
  constexpr int kLittleEndian = 1;
  constexpr int kSigned = 1;
  return _PyLong_FromByteArray(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(),
                               kLittleEndian, kSigned);
#endif
}

PyObject* Decoder::get_text(ValueTag tag) {
  using enum ValueTag;
  std::span<const std::byte> bytes;
  bool taken;
  if (tag == kFarStr || tag == kFarBytes) {
    taken = cursor_.take_far(&bytes);
  } else if (tag == kStr8 || tag == kBytes8) {
    taken = cursor_.take_sized<std::uint8_t>(&bytes);
  } else {
    taken = cursor_.take_sized<std::uint32_t>(&bytes);
  }
  if (!taken) return malformed();
  if (tag == kBytes8 || tag == kBytes32 || tag == kFarBytes) return copy_as_bytes(bytes);
  PyObject* text = make_str(bytes);
  if (text != nullptr || !PyErr_ExceptionMatches(PyExc_UnicodeDecodeError)) return text;
  PyErr_Clear();
  return malformed();
}

/// A string of the kStr8 form, behind its tag.
PyObject* Decoder::get_name() {
#ifdef Py_GIL_DISABLED
  return get_text(ValueTag::kStr8);  // the cache is not thread-safe
#else
  ByteCursor behind = cursor_;
  std::span<const std::byte> bytes;
  if (!behind.take_sized<std::uint8_t>(&bytes)) return malformed();
  if (bytes.size() > kMaxNameBytes || !is_ascii(bytes)) return get_text(ValueTag::kStr8);
  cursor_ = behind;
  return cached_name(bytes);
#endif
}

/// A dict's key: names come from the cache.
PyObject* Decoder::get_key(unsigned depth) {
  std::uint8_t byte;
  if (!cursor_.take(&byte)) return malformed();
  if (byte == static_cast<std::uint8_t>(ValueTag::kStr8)) return get_name();
  if ((byte & kSharedFlag) != 0) return get_flagged(byte, depth);
  return get_tagged(static_cast<ValueTag>(byte), depth, kNoSlot);
}

bool Decoder::take_count(ValueTag tag, ValueTag short_tag, std::size_t min_item_bytes,
                         unsigned depth, std::uint32_t* count) {
  const bool taken = tag == short_tag ? cursor_.take_count<std::uint8_t>(min_item_bytes, count)
                                      : cursor_.take_count<std::uint32_t>(min_item_bytes, count);
  if (taken && depth < kMaxValueDepth) [[likely]]
    return true;
  if (!taken) {
    malformed();
  } else if (PyObject* type = decode_error_type(); type != nullptr) {
    PyErr_Format(type, "the value is nested deeper than %u levels: pass it as a list of its parts",
                 kMaxValueDepth);
  }
  return false;
}

PyObject* Decoder::get_tuple(ValueTag tag, unsigned depth) {
  std::uint32_t count;
  if (!take_count(tag, ValueTag::kTuple8, 1, depth, &count)) return nullptr;
  PyObject* tuple = PyTuple_New(count);
  if (tuple == nullptr) return nullptr;
  for (std::uint32_t i = 0; i < count; ++i) {
    PyObject* item = get(depth + 1);
    if (item == nullptr) [[unlikely]] {
      Py_DECREF(tuple);
      return nullptr;
    }
    PyTuple_SET_ITEM(tuple, i, item);
  }
  return tuple;
}

PyObject* Decoder::get_list(ValueTag tag, unsigned depth, std::size_t slot) {
  std::uint32_t count;
  if (!take_count(tag, ValueTag::kList8, 1, depth, &count)) return nullptr;
  PyObject* list = PyList_New(count);
  if (list == nullptr) return nullptr;
  note_shared(slot, list);
  for (std::uint32_t i = 0; i < count; ++i) {
    PyObject* item = get_item(depth + 1);
    if (item == nullptr) [[unlikely]] {
      Py_DECREF(list);
      return nullptr;
    }
    PyList_SET_ITEM(list, i, item);
  }
  return list;
}

PyObject* Decoder::get_dict(ValueTag tag, unsigned depth, std::size_t slot) {
  std::uint32_t count;
  if (!take_count(tag, ValueTag::kDict8, 2, depth, &count)) return nullptr;
  PyObject* dict = PyDict_New();
  if (dict == nullptr) return nullptr;
  note_shared(slot, dict);
  if (fill_dict(dict, count, depth + 1)) [[likely]]
    return dict;
  Py_DECREF(dict);
  return nullptr;
}

bool Decoder::fill_dict(PyObject* dict, std::uint32_t count, unsigned depth) {
  for (std::uint32_t i = 0; i < count; ++i) {
    PyObject* key = get_key(depth);
    if (key == nullptr) return false;
    PyObject* value = get(depth);
    const bool has_value = value != nullptr;
    const bool is_set = has_value && PyDict_SetItem(dict, key, value) == 0;
    Py_DECREF(key);
    Py_XDECREF(value);
    if (is_set) [[likely]]
      continue;
    if (has_value && PyErr_ExceptionMatches(PyExc_TypeError)) {
      PyErr_Clear();  // a key that can't be hashed
      malformed();
    }
    return false;
  }
  return true;
}

PyObject* Decoder::get_ref() {
  std::uint64_t id;
  const RefHooks& hooks = ref_hooks();
  if (!cursor_.take(&id) || id == 0 || hooks.make == nullptr) return malformed();
  return hooks.make(id);
}

PyObject* Decoder::get_shared() {
  std::uint32_t ordinal;
  if (!cursor_.take(&ordinal) || ordinal >= shared_.size()) return malformed();
  PyObject* object = shared_[ordinal];
  return object != nullptr ? Py_NewRef(object) : malformed();
}

PyObject* Decoder::get_array(ValueTag tag) {
  ArrayView array;
  if (tag == ValueTag::kArrayScalar) {
    return cursor_.take_array_scalar(&array) ? make_scalar(array) : malformed();
  }
  if (!cursor_.take_array(&array) || array.dimensions > ArrayMemory::kMaxDimensions) {
    return malformed();
  }
  const bool is_copy = owner_ == nullptr || array.is_near;
  PyObject* memory =
      is_copy ? copy_buffer(array.bytes) : make_window(owner_, array.bytes, is_writable_);
  if (memory == nullptr) return nullptr;
  PyObject* made =
      is_copy ? make_array(array, memory) : make_array_in_place(array, memory, is_writable_);
  Py_DECREF(memory);
  return made;
}

// ---- Decoder: pickles -----------------------------------------------------------------------

PyObject* Decoder::get_pickle(ValueTag tag, unsigned depth) {
  std::span<const std::byte> data;
  std::uint32_t near_size = 0;
  std::uint32_t count;
  const bool is_far = tag == ValueTag::kFarPickle;
  if (depth != 0 || !(is_far ? cursor_.take_far(&data) : cursor_.take(&near_size)) ||
      !cursor_.take_count<std::uint32_t>(kBufferEntryBytes, &count)) {
    return malformed();
  }
  const ByteCursor table = cursor_;
  const std::byte* bytes;
  if (!cursor_.take_bytes(std::uint64_t{count} * kBufferEntryBytes, &bytes) ||
      !cursor_.take_bytes(near_size, &bytes)) {
    return malformed();
  }
  if (!is_far) data = {bytes, near_size};
  if (pickles_ == Pickles::kRefuse) {
    if (PyObject* type = decode_error_type(); type != nullptr) {
      PyErr_SetString(type, "the payload contains a pickle, and pickles are refused");
    }
    return nullptr;
  }
  PyObject* buffers = get_pickle_buffers(table, count);
  if (buffers == nullptr) return nullptr;
  const Unpickler* functions = unpickler();
  PyObject* view = PyMemoryView_FromMemory(const_cast<char*>(chars(data)),
                                           static_cast<Py_ssize_t>(data.size()), PyBUF_READ);
  PyObject* value = nullptr;
  if (functions != nullptr && view != nullptr) {
    PyObject* arguments[] = {view, buffers};
    value = PyObject_Vectorcall(functions->loads, arguments, 1, functions->keywords);
    if (value == nullptr) note_unpickling();
  }
  Py_XDECREF(view);
  Py_DECREF(buffers);
  return value;
}

/// A tuple of the `count` buffers of `table`. Near ones are taken from behind the pickle.
PyObject* Decoder::get_pickle_buffers(ByteCursor table, std::uint32_t count) {
  PyObject* buffers = PyTuple_New(count);
  if (buffers == nullptr) return nullptr;
  for (std::uint32_t i = 0; i < count; ++i) {
    PyObject* buffer = buffer_object(&table);
    if (buffer == nullptr) {
      Py_DECREF(buffers);
      return nullptr;
    }
    PyTuple_SET_ITEM(buffers, i, buffer);
  }
  return buffers;
}

PyObject* Decoder::buffer_object(ByteCursor* table) {
  std::uint64_t offset;
  std::uint64_t size;
  if (!table->take(&offset) || !table->take(&size)) return malformed();
  if (offset == kNearBuffer) {
    const std::byte* bytes;
    if (!cursor_.take_bytes(size, &bytes)) return malformed();
    return copy_buffer({bytes, static_cast<std::size_t>(size)});
  }
  std::span<const std::byte> bytes;
  if (!cursor_.take_far_at(offset, size, &bytes)) return malformed();
  return owner_ != nullptr ? make_view(owner_, bytes, is_writable_) : copy_buffer(bytes);
}

PyObject* Decoder::copy_buffer(std::span<const std::byte> bytes) const {
  if (!is_writable_) return copy_as_bytes(bytes);
  return PyByteArray_FromStringAndSize(chars(bytes), static_cast<Py_ssize_t>(bytes.size()));
}

}  // namespace haz::py
