/// @file
/// Python values to payloads and back, in the format of wire/value.h.
///
/// Scalars and containers of exactly the built-in types are written natively, with the sharing and
/// the cycles between them, so that the result can't be told from a pickled one. A value with
/// anything else inside is pickled as a whole by haz._core.serialize, large buffers out of band.
#pragma once

#include <Python.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "wire/value.h"

namespace haz::py {

/// How the codec meets object refs, which it does not know. Both functions are called with the GIL.
struct RefHooks {
  /// True, with the id, when the object is of exactly the ref type. Runs no Python code.
  bool (*id_of)(PyObject* object, std::uint64_t* id) = nullptr;
  /// A new reference to a ref of that id, or nullptr with a Python error.
  PyObject* (*make)(std::uint64_t id) = nullptr;
};

/// Sets the hooks of this process. Until then no object is a ref. Needs the GIL.
void set_ref_hooks(const RefHooks& hooks);
/// The hooks that are set. Needs the GIL.
const RefHooks& ref_hooks();

/// haz._native.DecodeError, a ValueError: what a malformed payload raises. Borrowed, or nullptr
/// with a Python error. Needs the GIL.
PyObject* decode_error_type();

/// A memoryview of `bytes` that keeps `owner` alive; nullptr with a Python error.
PyObject* make_view(PyObject* owner, std::span<const std::byte> bytes, bool is_writable);

/// Copies `size_bytes`; called from any thread and without the GIL.
using CopyFunction = void (*)(void* to, const void* from, std::size_t size_bytes);

/// Numbers the objects that are met in one value. Keeps its table for the next value.
class SeenObjects {
 public:
  struct Found {
    std::uint32_t index;
    bool is_new;
  };

  /// Forgets all objects; frees the table when it has become large.
  void begin_value();
  /// The number of `object`; the next free one, counted from 0, when it is new.
  Found find_or_add(const PyObject* object);

 private:
  struct Slot {
    const PyObject* object = nullptr;
    std::uint32_t generation = 0;  ///< The slot is empty unless this is the current one.
    std::uint32_t index = 0;
  };

  Slot& slot_of(const PyObject* object);
  void grow();

  std::vector<Slot> slots_;
  std::uint32_t generation_ = 0;
  std::uint32_t count_ = 0;
};

/// Writes values, one after the other, into one payload. Keeps its memory for the next payload.
///
/// Pickling runs user code, which may use haz again and may let other threads run. So an encoder
/// belongs to one caller at a time, and is not used again from inside its own encode():
/// ScopedEncoder lends such a one. Members need the GIL unless they say otherwise.
class Encoder {
 public:
  /// `copy` copies far buffers; memcpy when it is nullptr.
  explicit Encoder(CopyFunction copy = nullptr);
  Encoder(const Encoder&) = delete;
  Encoder& operator=(const Encoder&) = delete;
  ~Encoder();

  /// Begins an empty payload, after release().
  void reset();

  enum class Pickles : std::uint8_t { kWrite, kRefuse };
  /// Appends one value. On failure returns false with a Python error set, and the payload is as
  /// before. Large buffers are kept, not copied: what they hold counts at write(). With
  /// Pickles::kRefuse it fails also where the value would be pickled: then no error is set, and no
  /// user code has run.
  bool encode(PyObject* value, Pickles pickles = Pickles::kWrite);

  /// Bytes of the whole payload. No GIL needed.
  [[nodiscard]] std::size_t size() const;
  /// True when the payload has no far buffers, so that data() is all of it. No GIL needed.
  [[nodiscard]] bool contiguous() const { return far_.empty(); }
  /// The payload's bytes, until the next change. Precondition: contiguous(). No GIL needed.
  [[nodiscard]] const std::uint8_t* data() const { return begin_; }
  /// Writes the payload, size() bytes, to `to`: a multiple of kPayloadAlignment, unless
  /// contiguous(). No GIL needed.
  void write(std::byte* to) const { write(to, copy_); }
  /// The same; copies far buffers by `copy`.
  void write(std::byte* to, CopyFunction copy) const;

  /// Ids of the refs inside the values in order of appearance, one for each ref that decoding the
  /// payload once makes. No GIL needed.
  [[nodiscard]] const std::vector<std::uint64_t>& refs() const { return refs_; }

  /// Lets go of the values' buffers. Afterwards only reset() and the destructor may be called, and
  /// the destructor needs no GIL.
  void release();

  /// The encoder that pickles on this thread right now, or nullptr.
  static Encoder* current();
  /// Pickles what it can't write by `dumps`, which is called as haz._core.serialize.dumps is, until
  /// reset(). Borrowed.
  void pickle_with(PyObject* dumps) { dumps_ = dumps; }
  /// For a ref's __reduce__, on current(): loading the pickle makes a ref of this id. The ref may
  /// be one that only this pickling has made, so it is kept.
  void note_ref(PyObject* ref, std::uint64_t id) {
    refs_.push_back(id);
    kept_.push_back(Py_NewRef(ref));
  }
  /// Keeps all refs of what is encoded until reset(): the values may go before the payload has been
  /// given to the node, and what refs() names must not.
  void keep_refs() { keeps_refs_ = true; }
  /// Hands over the refs that are kept, as new references. Otherwise they are let go of by reset().
  void hand_over_kept(std::vector<PyObject*>& to) {
    to.insert(to.end(), kept_.begin(), kept_.end());
    kept_.clear();
  }
  /// The pickle under way is thrown away and begun again: forgets the refs that it noted.
  void restart_pickle() { refs_.resize(pickle_refs_begin_); }

 private:
  /// What became of the attempt to write a value natively.
  enum class Native : std::uint8_t {
    kWritten,
    kPickle,     ///< The whole value has to be pickled.
    kLoadNumPy,  ///< NumPy has to be loaded to know.
    kError,      ///< A Python error is set.
  };
  /// A buffer behind the stream, and what keeps it alive.
  struct FarBuffer {
    const void* bytes;
    std::size_t size;
    std::size_t field;  ///< Position in the stream of its offset, which write() fills in.
    PyObject* owner;
  };
  /// An object that may occur again in the value under way.
  struct Seen {
    std::size_t position;  ///< Of its tag in the stream.
    std::uint32_t ordinal;
    bool is_shared;
    bool is_open_tuple;
  };
  struct Mark;
  class PickleScope;

  Native put(PyObject* value, unsigned depth);
  Native put_int(PyObject* value);
  Native put_big_int(PyObject* value);
  Native put_str(PyObject* value, unsigned depth);
  Native put_wide_str(PyObject* value);
  Native put_bytes(PyObject* value, unsigned depth);
  Native put_container(PyObject* value, unsigned depth);
  Native put_tuple(PyObject* value, unsigned depth);
  Native put_list(PyObject* value, unsigned depth);
  Native put_dict(PyObject* value, unsigned depth);
  Native put_items(PyObject* const* items, std::size_t count, unsigned depth);
  Native put_other(PyObject* value, unsigned depth);
  Native put_array(PyObject* value);
  Native put_array_scalar(PyObject* value, ArrayElement element);
  void put_small_int(std::int64_t number);
  std::size_t put_small_ints(PyObject* const* items, std::size_t count);
  void put_text(ValueTag short_tag, ValueTag far_tag, PyObject* owner, const void* bytes,
                std::size_t size);
  void put_count(ValueTag short_tag, std::size_t count);

  /// Index that stands for an object which is reached only once.
  static constexpr std::uint32_t kUnseen = ~std::uint32_t{0};
  bool put_if_seen(PyObject* value, std::uint32_t* index, Native* outcome);
  void link_shared();

  Native put_natively(PyObject* value);
  bool put_pickled(PyObject* value);
  bool put_pickle(PyObject* data, PyObject* buffers);
  bool put_pickle_buffers(PyObject* buffers);

  template <typename T>
  void put_number(T number);
  void put_raw(const void* bytes, std::size_t size);
  void put_far_field(PyObject* owner, const void* bytes, std::size_t size);
  std::uint8_t* reserve(std::size_t size);
  void grow(std::size_t size);
  void roll_back(const Mark& mark);
  [[nodiscard]] std::size_t position() const { return static_cast<std::size_t>(at_ - begin_); }

  static constexpr std::size_t kInlineBytes = 512;

  std::uint8_t* begin_;
  std::uint8_t* at_;
  std::uint8_t* end_;
  CopyFunction copy_;
  std::vector<FarBuffer> far_;
  std::vector<std::uint64_t> refs_;
  std::vector<PyObject*> kept_;
  bool keeps_refs_ = false;
  PyObject* dumps_ = nullptr;  ///< Instead of haz's own.
  std::size_t pickle_refs_begin_ = 0;
  SeenObjects seen_objects_;
  std::vector<Seen> seen_;
  std::vector<std::size_t> links_;  ///< Positions of the numbers of kShared: indices of seen_.
  std::unique_ptr<std::uint8_t[]> heap_;
  std::uint8_t inline_[kInlineBytes];
};

/// Lends an empty Encoder from this thread's pool for as long as the object lives. May be nested.
/// Needs the GIL.
class ScopedEncoder {
 public:
  ScopedEncoder();
  ScopedEncoder(const ScopedEncoder&) = delete;
  ScopedEncoder& operator=(const ScopedEncoder&) = delete;
  ~ScopedEncoder();

  Encoder& operator*() { return *encoder_; }
  Encoder* operator->() { return encoder_.get(); }

  /// Copies the far buffers of pooled encoders from now on. Call before the first one is lent.
  static void set_copy_function(CopyFunction copy);

 private:
  std::unique_ptr<Encoder> encoder_;
};

/// Reads the values of a payload one after the other. Trusts nothing in it but its pickles. Needs
/// the GIL, and belongs to one caller at a time.
class Decoder {
 public:
  enum class Pickles : std::uint8_t { kLoad, kRefuse };
  /// Whether arrays, and the buffers of pickles, can be written to. kPrivate: the payload's memory
  /// is nobody else's.
  enum class Memory : std::uint8_t { kReadOnly, kPrivate };

  /// Reads `size` bytes at `base`, which stay valid and unchanged while `owner` lives, or, when
  /// that is nullptr, while the decoder does. The decoder borrows `owner`. With an owner, a far
  /// pickle buffer becomes a read-only memoryview of the payload's own memory that keeps the owner
  /// alive; without one, and when it is near, a copy as bytes. Of private memory it is a writable
  /// one, and a copy a bytearray.
  Decoder(const std::byte* base, std::size_t size, PyObject* owner,
          Pickles pickles = Pickles::kLoad, Memory memory = Memory::kReadOnly);
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;
  ~Decoder();

  /// The next value as a new reference; nullptr with DecodeError, or the error of a pickle, on
  /// failure, after which the decoder must not be used again.
  PyObject* next();
  /// The same for a value that has to be a string. Short ASCII ones are interned, and come from a
  /// cache: meant for the names of keyword arguments.
  PyObject* next_name();
  /// True when no value follows.
  [[nodiscard]] bool at_end() const { return cursor_.left() == 0 || cursor_.peek() == 0; }

 private:
  /// Where a container is noted that may occur again within the value.
  static constexpr std::size_t kNoSlot = ~std::size_t{0};

  PyObject* get(unsigned depth);
  PyObject* get_flagged(std::uint8_t byte, unsigned depth);
  PyObject* get_tagged(ValueTag tag, unsigned depth, std::size_t slot);
  PyObject* get_item(unsigned depth);
  PyObject* get_key(unsigned depth);
  PyObject* get_big_int();
  PyObject* get_text(ValueTag tag);
  PyObject* get_name();
  PyObject* get_tuple(ValueTag tag, unsigned depth);
  PyObject* get_list(ValueTag tag, unsigned depth, std::size_t slot);
  PyObject* get_dict(ValueTag tag, unsigned depth, std::size_t slot);
  bool fill_dict(PyObject* dict, std::uint32_t count, unsigned depth);
  PyObject* get_ref();
  PyObject* get_shared();
  PyObject* get_array(ValueTag tag);
  PyObject* get_pickle(ValueTag tag, unsigned depth);
  PyObject* get_pickle_buffers(ByteCursor table, std::uint32_t count);
  PyObject* buffer_object(ByteCursor* table);
  [[nodiscard]] PyObject* copy_buffer(std::span<const std::byte> bytes) const;
  bool take_count(ValueTag tag, ValueTag short_tag, std::size_t min_item_bytes, unsigned depth,
                  std::uint32_t* count);
  void note_shared(std::size_t slot, PyObject* object);
  void forget_shared();
  PyObject* malformed() const;

  ByteCursor cursor_;
  PyObject* owner_;
  Pickles pickles_;
  bool is_writable_;
  /// Flagged objects of the current value by ordinal; nullptr while one is not complete.
  std::vector<PyObject*> shared_;
};

}  // namespace haz::py
