#include <Python.h>
#if PY_VERSION_HEX < 0x030B0000
#include <longintrepr.h>
#endif

#include <algorithm>
#include <cstring>
#include <limits>
#include <new>
#include <utility>

#include "base/check.h"
#include "codec.h"
#include "codec_array.h"

namespace haz::py {
namespace {

/// Memory that an encoder keeps for its next payload, at most, in each of its parts.
constexpr std::size_t kKeptBytes = kMiB;
constexpr std::size_t kMaxCount = std::numeric_limits<std::uint32_t>::max();

RefHooks g_ref_hooks;
CopyFunction g_pooled_copy = nullptr;
thread_local Encoder* t_current = nullptr;

void copy_plainly(void* to, const void* from, std::size_t size_bytes) {
  std::memcpy(to, from, size_bytes);
}

template <typename T>
void trim(std::vector<T>* items) {
  items->clear();
  if (items->capacity() * sizeof(T) > kKeptBytes) items->shrink_to_fit();
}

/// True when `value` may be reached a second time. On builds without a GIL counts say too little.
bool may_occur_again(PyObject* value) {
#ifdef Py_GIL_DISABLED
  (void)value;
  return true;
#else
  return Py_REFCNT(value) > 1;
#endif
}

/// The value of a one-digit int.
bool small_int(PyObject* value, std::int64_t* number) {
#if PY_VERSION_HEX >= 0x030C0000
  auto* integer = reinterpret_cast<PyLongObject*>(value);
  if (!PyUnstable_Long_IsCompact(integer)) return false;
  *number = PyUnstable_Long_CompactValue(integer);
  return true;
#else
  const Py_ssize_t size = Py_SIZE(value);
  if (size > 1 || size < -1) return false;
  *number = size * static_cast<std::int64_t>(reinterpret_cast<PyLongObject*>(value)->ob_digit[0]);
  return true;
#endif
}

/// Bytes that `value` takes in two's complement; negative with a Python error.
Py_ssize_t big_int_size(PyObject* value) {
#if PY_VERSION_HEX >= 0x030D0000
  return PyLong_AsNativeBytes(value, nullptr, 0, Py_ASNATIVEBYTES_LITTLE_ENDIAN);
#else
  const std::size_t bits = _PyLong_NumBits(value);
  return bits == static_cast<std::size_t>(-1) ? -1 : static_cast<Py_ssize_t>(bits / 8 + 1);
#endif
}

bool write_big_int(PyObject* value, std::uint8_t* to, Py_ssize_t size) {
#if PY_VERSION_HEX >= 0x030D0000
  return PyLong_AsNativeBytes(value, to, size, Py_ASNATIVEBYTES_LITTLE_ENDIAN) >= 0;
#else
  constexpr int kLittleEndian = 1;
  constexpr int kSigned = 1;
  return _PyLong_AsByteArray(reinterpret_cast<PyLongObject*>(value), to,
                             static_cast<std::size_t>(size), kLittleEndian, kSigned) == 0;
#endif
}

PyObject* restart_current_pickle(PyObject* /*module*/, PyObject* /*unused*/) {
  if (t_current != nullptr) t_current->restart_pickle();
  Py_RETURN_NONE;
}

PyMethodDef g_restart_method = {"restart_pickle", restart_current_pickle, METH_NOARGS, nullptr};

/// haz._core.serialize.dumps and the function that it calls when it starts again. Borrowed; both
/// live for ever.
struct Pickler {
  PyObject* dumps = nullptr;
  PyObject* restart = nullptr;
};

const Pickler* pickler() {
  static Pickler functions;
  if (functions.restart != nullptr) return &functions;
  PyObject* module = PyImport_ImportModule("haz._core.serialize");
  if (module == nullptr) return nullptr;
  PyObject* dumps = PyObject_GetAttrString(module, "dumps");
  Py_DECREF(module);
  if (dumps == nullptr) return nullptr;
  PyObject* restart = PyCFunction_New(&g_restart_method, nullptr);
  if (restart == nullptr) {
    Py_DECREF(dumps);
    return nullptr;
  }
  functions = {dumps, restart};
  return &functions;
}

}  // namespace

void set_ref_hooks(const RefHooks& hooks) { g_ref_hooks = hooks; }
const RefHooks& ref_hooks() { return g_ref_hooks; }

// ---- SeenObjects ----------------------------------------------------------------------------

void SeenObjects::begin_value() {
  count_ = 0;
  if (++generation_ != 0 && slots_.size() * sizeof(Slot) <= kKeptBytes) [[likely]]
    return;
  slots_ = {};
  generation_ = 1;
}

SeenObjects::Slot& SeenObjects::slot_of(const PyObject* object) {
  const std::size_t mask = slots_.size() - 1;
  const auto address = static_cast<std::uint64_t>(reinterpret_cast<std::uintptr_t>(object));
  std::size_t i = (address * 0x9E3779B97F4A7C15U >> 32U) & mask;
  while (slots_[i].generation == generation_ && slots_[i].object != object)
    i = (i + 1) & mask;
  return slots_[i];
}

SeenObjects::Found SeenObjects::find_or_add(const PyObject* object) {
  if (2 * std::size_t{count_} >= slots_.size()) [[unlikely]]
    grow();
  Slot& slot = slot_of(object);
  if (slot.generation == generation_) return {slot.index, false};
  slot = {object, generation_, count_};
  return {count_++, true};
}

void SeenObjects::grow() {
  constexpr std::size_t kFirstSlots = 64;
  HAZ_CHECK(count_ < kMaxCount / 2, "fewer shared objects than a table can number");
  std::vector<Slot> old = std::exchange(slots_, {});
  slots_.resize(std::max(kFirstSlots, 2 * old.size()));
  for (const Slot& slot : old) {
    if (slot.generation == generation_) slot_of(slot.object) = slot;
  }
}

// ---- Encoder: memory ------------------------------------------------------------------------

/// A state of the payload to go back to.
struct Encoder::Mark {
  std::size_t position;
  std::size_t far;
  std::size_t refs;
};

Encoder::Encoder(CopyFunction copy)
    : begin_(inline_),
      at_(inline_),
      end_(inline_ + kInlineBytes),
      copy_(copy != nullptr ? copy : copy_plainly) {}

Encoder::~Encoder() { release(); }

void Encoder::reset() {
  release();
  if (static_cast<std::size_t>(end_ - begin_) > kKeptBytes) {
    heap_.reset();
    begin_ = inline_;
    end_ = inline_ + kInlineBytes;
  }
  at_ = begin_;
  trim(&refs_);
  keeps_refs_ = false;
  dumps_ = nullptr;
}

void Encoder::release() {
  roll_back({0, 0, refs_.size()});
  trim(&far_);
  while (!kept_.empty()) {
    PyObject* ref = kept_.back();
    kept_.pop_back();
    Py_DECREF(ref);
  }
}

void Encoder::roll_back(const Mark& mark) {
  at_ = begin_ + mark.position;
  refs_.resize(mark.refs);
  while (far_.size() > mark.far) {
    Py_DECREF(far_.back().owner);
    far_.pop_back();
  }
}

inline std::uint8_t* Encoder::reserve(std::size_t size) {
  if (static_cast<std::size_t>(end_ - at_) < size) [[unlikely]]
    grow(size);
  return at_;
}

void Encoder::grow(std::size_t size) {
  const std::size_t used = position();
  const std::size_t capacity = std::max(2 * static_cast<std::size_t>(end_ - begin_), used + size);
  std::unique_ptr<std::uint8_t[]> larger(new std::uint8_t[capacity]);
  std::memcpy(larger.get(), begin_, used);
  heap_ = std::move(larger);
  begin_ = heap_.get();
  at_ = begin_ + used;
  end_ = begin_ + capacity;
}

template <typename T>
void Encoder::put_number(T number) {
  std::memcpy(reserve(sizeof(T)), &number, sizeof(T));
  at_ += sizeof(T);
}

void Encoder::put_raw(const void* bytes, std::size_t size) {
  if (size == 0) return;
  std::memcpy(reserve(size), bytes, size);
  at_ += size;
}

/// The offset and length of a far buffer, which `owner`, of which a reference is taken, keeps
/// alive.
void Encoder::put_far_field(PyObject* owner, const void* bytes, std::size_t size) {
  far_.push_back({bytes, size, position(), Py_NewRef(owner)});
  put_number(std::uint64_t{0});
  put_number(static_cast<std::uint64_t>(size));
}

// ---- Encoder: payload -----------------------------------------------------------------------

bool Encoder::encode(PyObject* value, Pickles pickles) {
  const Mark mark{position(), far_.size(), refs_.size()};
  try {
    Native outcome = put_natively(value);
    if (outcome == Native::kLoadNumPy) {
      roll_back(mark);
      const bool loaded = load_numpy();
      PyErr_Clear();
      outcome = loaded ? put_natively(value) : Native::kPickle;
    }
    if (outcome == Native::kWritten) return true;
    roll_back(mark);
    if (outcome == Native::kPickle && pickles == Pickles::kWrite && put_pickled(value)) return true;
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  }
  roll_back(mark);
  return false;
}

std::size_t Encoder::size() const {
  std::size_t size = position();
  if (far_.empty()) return size;
  size += sizeof(ValueTag);
  for (const FarBuffer& buffer : far_)
    size = align_up(size, kPayloadAlignment) + buffer.size;
  return size;
}

void Encoder::write(std::byte* to, CopyFunction copy) const {
  std::size_t size = position();
  std::memcpy(to, begin_, size);
  if (far_.empty()) return;
  static_assert(static_cast<int>(ValueTag::kEnd) == 0, "the end tag is the first byte of padding");
  bool is_first = true;
  for (const FarBuffer& buffer : far_) {
    const std::uint64_t offset = align_up(size + (is_first ? 1 : 0), kPayloadAlignment);
    std::memset(to + size, 0, offset - size);
    std::memcpy(to + buffer.field, &offset, sizeof(offset));
    if (buffer.size != 0) copy(to + offset, buffer.bytes, buffer.size);
    size = offset + buffer.size;
    is_first = false;
  }
}

Encoder* Encoder::current() { return t_current; }

// ---- Encoder: scalars -----------------------------------------------------------------------

/// Runs no Python code while it looks at the value, so that nothing in it can change meanwhile.
Encoder::Native Encoder::put_natively(PyObject* value) {
  seen_objects_.begin_value();
  trim(&seen_);
  trim(&links_);
  const Native outcome = put(value, 0);
  if (outcome == Native::kWritten && !links_.empty()) link_shared();
  return outcome;
}

Encoder::Native Encoder::put(PyObject* value, unsigned depth) {
  PyTypeObject* const type = Py_TYPE(value);
  if (type == &PyLong_Type) return put_int(value);
  if (type == &PyUnicode_Type) return put_str(value, depth);
  if (type == &PyFloat_Type) {
    std::uint8_t* to = reserve(1 + sizeof(double));
    const double number = PyFloat_AS_DOUBLE(value);
    to[0] = static_cast<std::uint8_t>(ValueTag::kFloat64);
    std::memcpy(to + 1, &number, sizeof(number));
    at_ = to + 1 + sizeof(number);
    return Native::kWritten;
  }
  if (value == Py_None || type == &PyBool_Type) {
    const ValueTag tag = value == Py_None   ? ValueTag::kNone
                         : value == Py_True ? ValueTag::kTrue
                                            : ValueTag::kFalse;
    put_number(static_cast<std::uint8_t>(tag));
    return Native::kWritten;
  }
  if (type == &PyTuple_Type || type == &PyList_Type || type == &PyDict_Type) {
    return put_container(value, depth);
  }
  if (type == &PyBytes_Type) return put_bytes(value, depth);
  return put_other(value, depth);
}

/// Writes `number` to `to`, where there is room for a tag and 8 bytes; returns where it ends.
inline std::uint8_t* write_small_int(std::uint8_t* to, std::int64_t number) {
  ValueTag tag = ValueTag::kInt64;
  std::size_t size = sizeof(std::int64_t);
  if (number == static_cast<std::int8_t>(number)) {
    tag = ValueTag::kInt8;
    size = sizeof(std::int8_t);
  } else if (number == static_cast<std::int32_t>(number)) {
    tag = ValueTag::kInt32;
    size = sizeof(std::int32_t);
  }
  to[0] = static_cast<std::uint8_t>(tag);
  std::memcpy(to + 1, &number, sizeof(number));  // what is too much is overwritten by what follows
  return to + 1 + size;
}

inline void Encoder::put_small_int(std::int64_t number) {
  at_ = write_small_int(reserve(1 + sizeof(number)), number);
}

/// Writes the small ints at the front of `items`, of which there are `count`; returns how many.
std::size_t Encoder::put_small_ints(PyObject* const* items, std::size_t count) {
  constexpr std::size_t kAtATime = 32;
  std::size_t done = 0;
  while (done < count) {
    const std::size_t end = std::min(count, done + kAtATime);
    std::uint8_t* to = reserve((end - done) * (1 + sizeof(std::int64_t)));
    std::int64_t number = 0;
    while (done < end && Py_TYPE(items[done]) == &PyLong_Type && small_int(items[done], &number)) {
      to = write_small_int(to, number);
      ++done;
    }
    at_ = to;
    if (done < end) return done;
  }
  return done;
}

inline Encoder::Native Encoder::put_int(PyObject* value) {
  std::int64_t number;
  if (!small_int(value, &number)) [[unlikely]] {
    int overflow = 0;
    number = PyLong_AsLongLongAndOverflow(value, &overflow);
    if (overflow != 0) return put_big_int(value);
  }
  put_small_int(number);
  return Native::kWritten;
}

Encoder::Native Encoder::put_big_int(PyObject* value) {
  const Py_ssize_t size = big_int_size(value);
  if (size < 0) return Native::kError;
  if (static_cast<std::size_t>(size) > kMaxCount) return Native::kPickle;
  put_number(static_cast<std::uint8_t>(ValueTag::kBigInt));
  put_number(static_cast<std::uint32_t>(size));
  if (!write_big_int(value, reserve(static_cast<std::size_t>(size)), size)) return Native::kError;
  at_ += size;
  return Native::kWritten;
}

Encoder::Native Encoder::put_str(PyObject* value, unsigned depth) {
#if PY_VERSION_HEX < 0x030C0000
  if (PyUnicode_READY(value) < 0) return Native::kError;
#endif
  const auto length = static_cast<std::size_t>(PyUnicode_GET_LENGTH(value));
  std::uint32_t index;
  Native outcome;
  if (depth != 0 && length > 1 && put_if_seen(value, &index, &outcome)) return outcome;
  if (!PyUnicode_IS_COMPACT_ASCII(value)) return put_wide_str(value);
  put_text(ValueTag::kStr8, ValueTag::kFarStr, value, PyUnicode_1BYTE_DATA(value), length);
  return Native::kWritten;
}

/// A string that is not ASCII. Surrogates, which UTF-8 can't hold, are left to pickle.
Encoder::Native Encoder::put_wide_str(PyObject* value) {
  PyObject* utf8 = PyUnicode_AsUTF8String(value);
  if (utf8 == nullptr) {
    if (!PyErr_ExceptionMatches(PyExc_UnicodeEncodeError)) return Native::kError;
    PyErr_Clear();
    return Native::kPickle;
  }
  put_text(ValueTag::kStr8, ValueTag::kFarStr, utf8, PyBytes_AS_STRING(utf8),
           static_cast<std::size_t>(PyBytes_GET_SIZE(utf8)));
  Py_DECREF(utf8);
  return Native::kWritten;
}

Encoder::Native Encoder::put_bytes(PyObject* value, unsigned depth) {
  const auto size = static_cast<std::size_t>(PyBytes_GET_SIZE(value));
  std::uint32_t index;
  Native outcome;
  if (depth != 0 && size > 1 && put_if_seen(value, &index, &outcome)) return outcome;
  put_text(ValueTag::kBytes8, ValueTag::kFarBytes, value, PyBytes_AS_STRING(value), size);
  return Native::kWritten;
}

inline void Encoder::put_text(ValueTag short_tag, ValueTag far_tag, PyObject* owner,
                              const void* bytes, std::size_t size) {
  if (size >= kFarBytesMin) [[unlikely]] {
    put_number(static_cast<std::uint8_t>(far_tag));
    put_far_field(owner, bytes, size);
    return;
  }
  put_count(short_tag, size);
  put_raw(bytes, size);
}

/// A tag with a count that follows; the long form of a tag is the one after the short form.
inline void Encoder::put_count(ValueTag short_tag, std::size_t count) {
  const auto tag = static_cast<std::uint8_t>(short_tag);
  const bool is_short = count <= std::numeric_limits<std::uint8_t>::max();
  std::uint8_t* to = reserve(1 + sizeof(std::uint32_t));
  const auto number = static_cast<std::uint32_t>(count);
  to[0] = is_short ? tag : static_cast<std::uint8_t>(tag + 1);
  std::memcpy(to + 1, &number, sizeof(number));
  at_ = to + 1 + (is_short ? 1 : sizeof(number));
}

// ---- Encoder: refs and arrays ---------------------------------------------------------------

Encoder::Native Encoder::put_other(PyObject* value, unsigned depth) {
  std::uint32_t index;
  Native outcome;
  std::uint64_t id;
  if (g_ref_hooks.id_of != nullptr && g_ref_hooks.id_of(value, &id)) {
    if (depth != 0 && put_if_seen(value, &index, &outcome)) return outcome;
    put_number(static_cast<std::uint8_t>(ValueTag::kRef));
    put_number(id);
    refs_.push_back(id);
    if (keeps_refs_) kept_.push_back(Py_NewRef(value));
    return Native::kWritten;
  }
  ArrayElement element;
  const ArrayKind kind = array_kind(value, &element);
  if (kind == ArrayKind::kNone) return Native::kPickle;
  if (kind == ArrayKind::kUnknown) return Native::kLoadNumPy;
  if (depth != 0 && put_if_seen(value, &index, &outcome)) return outcome;
  return kind == ArrayKind::kArray ? put_array(value) : put_array_scalar(value, element);
}

Encoder::Native Encoder::put_array(PyObject* value) {
  ArrayMemory array;
  if (!describe_array(value, &array)) return Native::kPickle;
  put_number(static_cast<std::uint8_t>(ValueTag::kArray));
  put_number(static_cast<std::uint8_t>(array.element));
  put_number(static_cast<std::uint8_t>(array.is_fortran ? 1 : 0));
  put_number(static_cast<std::uint8_t>(array.dimensions));
  for (int i = 0; i < array.dimensions; ++i) {
    put_number(static_cast<std::uint64_t>(array.extents[i]));
  }
  if (array.size_bytes >= kFarBufferMin) {
    put_far_field(array.keeper, array.bytes, array.size_bytes);
  } else {
    put_number(kNearBuffer);
    put_number(static_cast<std::uint64_t>(array.size_bytes));
    put_raw(array.bytes, array.size_bytes);
  }
  Py_DECREF(array.keeper);
  return Native::kWritten;
}

Encoder::Native Encoder::put_array_scalar(PyObject* value, ArrayElement element) {
  put_number(static_cast<std::uint8_t>(ValueTag::kArrayScalar));
  put_number(static_cast<std::uint8_t>(element));
  const std::size_t size = element_bytes(element);
  if (!copy_scalar(value, element, reserve(size))) return Native::kError;
  at_ += size;
  return Native::kWritten;
}

// ---- Encoder: containers --------------------------------------------------------------------

/// Notes `value` under `*index` if it may occur again. When it has occurred before, writes a link
/// to that or finds that it needs pickle: then returns true with the outcome.
inline bool Encoder::put_if_seen(PyObject* value, std::uint32_t* index, Native* outcome) {
  *index = kUnseen;
  if (!may_occur_again(value)) return false;
  const SeenObjects::Found found = seen_objects_.find_or_add(value);
  *index = found.index;
  if (found.is_new) [[likely]] {
    seen_.push_back({position(), 0, false, false});
    return false;
  }
  Seen& seen = seen_[found.index];
  if (seen.is_open_tuple) {
    *outcome = Native::kPickle;
    return true;
  }
  seen.is_shared = true;
  put_number(static_cast<std::uint8_t>(ValueTag::kShared));
  links_.push_back(position());
  put_number(found.index);
  *outcome = Native::kWritten;
  return true;
}

/// Flags what is shared, and turns the links' indices into ordinals of what is flagged.
void Encoder::link_shared() {
  std::uint32_t flagged = 0;
  for (Seen& seen : seen_) {
    if (!seen.is_shared) continue;
    seen.ordinal = flagged++;
    begin_[seen.position] |= kSharedFlag;
  }
  for (const std::size_t link : links_) {
    std::uint32_t index;
    std::memcpy(&index, begin_ + link, sizeof(index));
    std::memcpy(begin_ + link, &seen_[index].ordinal, sizeof(index));
  }
}

Encoder::Native Encoder::put_container(PyObject* value, unsigned depth) {
#ifdef Py_GIL_DISABLED
  return Native::kPickle;  // another thread may change it while it is read
#else
  if (depth >= kMaxValueDepth) return Native::kPickle;
  if (Py_TYPE(value) == &PyTuple_Type) return put_tuple(value, depth);
  if (Py_TYPE(value) == &PyList_Type) return put_list(value, depth);
  return put_dict(value, depth);
#endif
}

Encoder::Native Encoder::put_tuple(PyObject* value, unsigned depth) {
  const auto count = static_cast<std::size_t>(PyTuple_GET_SIZE(value));
  if (count > kMaxCount) return Native::kPickle;
  std::uint32_t index = kUnseen;
  Native outcome;
  if (count != 0 && put_if_seen(value, &index, &outcome)) return outcome;
  if (index != kUnseen) seen_[index].is_open_tuple = true;
  put_count(ValueTag::kTuple8, count);
  outcome = put_items(reinterpret_cast<PyTupleObject*>(value)->ob_item, count, depth + 1);
  if (index != kUnseen) seen_[index].is_open_tuple = false;
  return outcome;
}

Encoder::Native Encoder::put_list(PyObject* value, unsigned depth) {
  const auto count = static_cast<std::size_t>(PyList_GET_SIZE(value));
  if (count > kMaxCount) return Native::kPickle;
  std::uint32_t index;
  Native outcome;
  if (put_if_seen(value, &index, &outcome)) return outcome;
  put_count(ValueTag::kList8, count);
  return put_items(reinterpret_cast<PyListObject*>(value)->ob_item, count, depth + 1);
}

Encoder::Native Encoder::put_items(PyObject* const* items, std::size_t count, unsigned depth) {
  constexpr std::size_t kMany = 8;
  for (std::size_t i = 0; i < count; ++i) {
    if (count - i >= kMany && Py_TYPE(items[i]) == &PyLong_Type) {
      i += put_small_ints(items + i, count - i);
      if (i == count) break;
    }
    const Native outcome = put(items[i], depth);
    if (outcome != Native::kWritten) [[unlikely]]
      return outcome;
  }
  return Native::kWritten;
}

Encoder::Native Encoder::put_dict(PyObject* value, unsigned depth) {
  const auto count = static_cast<std::size_t>(PyDict_GET_SIZE(value));
  if (count > kMaxCount) return Native::kPickle;
  std::uint32_t index;
  Native outcome;
  if (put_if_seen(value, &index, &outcome)) return outcome;
  put_count(ValueTag::kDict8, count);
  PyObject* key;
  PyObject* item;
  Py_ssize_t next = 0;
  while (PyDict_Next(value, &next, &key, &item) != 0) {
    outcome = put(key, depth + 1);
    if (outcome == Native::kWritten) [[likely]]
      outcome = put(item, depth + 1);
    if (outcome != Native::kWritten) [[unlikely]]
      return outcome;
  }
  return Native::kWritten;
}

// ---- Encoder: pickles -----------------------------------------------------------------------

/// Makes an encoder the current one of its thread while it pickles.
class Encoder::PickleScope {
 public:
  explicit PickleScope(Encoder* encoder) : outer_(std::exchange(t_current, encoder)) {
    encoder->pickle_refs_begin_ = encoder->refs_.size();
  }
  PickleScope(const PickleScope&) = delete;
  PickleScope& operator=(const PickleScope&) = delete;
  ~PickleScope() { t_current = outer_; }

 private:
  Encoder* outer_;
};

bool Encoder::put_pickled(PyObject* value) {
  const Pickler* functions = pickler();
  if (functions == nullptr) return false;
  PyObject* pickled;
  {
    PickleScope scope(this);
    PyObject* arguments[] = {value, functions->restart};
    PyObject* dumps = dumps_ != nullptr ? dumps_ : functions->dumps;
    pickled = PyObject_Vectorcall(dumps, arguments, std::size(arguments), nullptr);
  }
  if (pickled == nullptr) return false;
  PyObject* data;
  PyObject* buffers;
  const bool done = PyArg_ParseTuple(pickled, "SO!", &data, &PyList_Type, &buffers) != 0 &&
                    put_pickle(data, buffers);
  Py_DECREF(pickled);
  return done;
}

bool Encoder::put_pickle(PyObject* data, PyObject* buffers) {
  const auto size = static_cast<std::size_t>(PyBytes_GET_SIZE(data));
  const bool is_far = size >= kFarBytesMin;
  if (is_far) {
    put_number(static_cast<std::uint8_t>(ValueTag::kFarPickle));
    put_far_field(data, PyBytes_AS_STRING(data), size);
  } else {
    put_number(static_cast<std::uint8_t>(ValueTag::kPickle));
    put_number(static_cast<std::uint32_t>(size));
  }
  put_number(static_cast<std::uint32_t>(PyList_GET_SIZE(buffers)));
  const std::size_t table = position();
  if (!put_pickle_buffers(buffers)) return false;
  if (!is_far) put_raw(PyBytes_AS_STRING(data), size);
  for (Py_ssize_t i = 0; i < PyList_GET_SIZE(buffers); ++i) {
    std::uint64_t offset;
    std::memcpy(&offset, begin_ + table + static_cast<std::size_t>(i) * kBufferEntryBytes,
                sizeof(offset));
    if (offset != kNearBuffer) continue;
    const Py_buffer* view = PyPickleBuffer_GetBuffer(PyList_GET_ITEM(buffers, i));
    if (view == nullptr) return false;
    put_raw(view->buf, static_cast<std::size_t>(view->len));
  }
  return true;
}

/// The buffer table. Large buffers are kept by a view of our own, which the user can't release.
bool Encoder::put_pickle_buffers(PyObject* buffers) {
  for (Py_ssize_t i = 0; i < PyList_GET_SIZE(buffers); ++i) {
    PyObject* buffer = PyList_GET_ITEM(buffers, i);
    const Py_buffer* view = PyPickleBuffer_GetBuffer(buffer);
    if (view == nullptr) return false;
    if (static_cast<std::size_t>(view->len) < kFarBufferMin) {
      put_number(kNearBuffer);
      put_number(static_cast<std::uint64_t>(view->len));
      continue;
    }
    PyObject* owner = PyMemoryView_FromObject(buffer);
    if (owner == nullptr) return false;
    view = PyMemoryView_GET_BUFFER(owner);
    put_far_field(owner, view->buf, static_cast<std::size_t>(view->len));
    Py_DECREF(owner);
  }
  return true;
}

// ---- ScopedEncoder --------------------------------------------------------------------------

namespace {

/// Encoders of this thread that nobody uses. They hold no Python objects.
std::vector<std::unique_ptr<Encoder>>& free_encoders() {
  thread_local std::vector<std::unique_ptr<Encoder>> encoders;
  return encoders;
}

}  // namespace

ScopedEncoder::ScopedEncoder() {
  std::vector<std::unique_ptr<Encoder>>& encoders = free_encoders();
  if (encoders.empty()) {
    encoder_ = std::make_unique<Encoder>(g_pooled_copy);
    return;
  }
  encoder_ = std::move(encoders.back());
  encoders.pop_back();
}

ScopedEncoder::~ScopedEncoder() {
  encoder_->reset();
  free_encoders().push_back(std::move(encoder_));
}

void ScopedEncoder::set_copy_function(CopyFunction copy) { g_pooled_copy = copy; }

}  // namespace haz::py
