/// @file
/// The value format: how arguments, results and errors are written as bytes.
///
/// A *payload* is
///
///     [stream][pad to 64][far buffer 0][pad to 64][far buffer 1] ...
///
/// The stream holds one or more self-delimiting *values*, each a one-byte tag and a body. All
/// numbers are little-endian and unaligned. A payload with far buffers ends its stream with kEnd
/// and is placed at an address that is a multiple of kPayloadAlignment; one without far buffers is
/// just its stream. Offsets of far buffers count from the start of the payload, so a value that has
/// some can't be moved to another payload. Far buffers stand in the order in which the stream names
/// them and don't overlap, so that what a payload decodes to is bounded by its size.
///
/// | tag | body |
/// |---|---|
/// | kNone kFalse kTrue | |
/// | kInt8 kInt32 kInt64 | 1, 4, 8 bytes, two's complement |
/// | kBigInt | u32 length, that many bytes, two's complement |
/// | kFloat64 | 8 bytes, IEEE 754, all bit patterns kept |
/// | kStr8 kStr32 | u8 or u32 length, UTF-8 without surrogates |
/// | kBytes8 kBytes32 | u8 or u32 length, bytes |
/// | kTuple8 kTuple32 kList8 kList32 | u8 or u32 count, that many values |
/// | kDict8 kDict32 | u8 or u32 count, that many pairs of values, in insertion order |
/// | kRef | u64 object id, not zero |
/// | kFarStr kFarBytes | u64 offset, u64 length of a far buffer |
/// | kArray | u8 element, u8 order, u8 dimensions, u64 extents, u64 offset, u64 length, bytes |
/// | kArrayScalar | u8 element, the bytes of one element |
/// | kPickle | u32 length, u32 buffer count, buffer table, pickle, near buffers |
/// | kFarPickle | u64 offset, u64 length of the pickle, u32 buffer count, table, near buffers |
/// | kShared | u32 ordinal |
///
/// A buffer table has u64 offset, u64 length for each buffer of pickle protocol 5. The offset
/// kNearBuffer says that the bytes follow inline, a pickle's after the table and the pickle in
/// table order; otherwise none do. A pickle is a whole value, never an item of a container. An
/// array's order is 0 when its last index varies fastest in memory (C), 1 when its first does
/// (Fortran).
///
/// *Sharing.* The tag of a string, bytes, tuple, list, dict, array or ref may carry kSharedFlag:
/// that object occurs again within the same value, and each later occurrence is kShared with the
/// number of the flagged tag, counted from 0 within the value in stream order. A list or dict may
/// contain itself in this way; a tuple may not.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "base/units.h"

namespace haz {

static_assert(std::endian::native == std::endian::little, "the value format is little-endian");

enum class ValueTag : std::uint8_t {
  kEnd = 0,  ///< End of the stream; what follows is padding and far buffers.
  kNone = 1,
  kFalse = 2,
  kTrue = 3,
  kInt8 = 4,
  kInt32 = 5,
  kInt64 = 6,
  kBigInt = 7,
  kFloat64 = 8,
  kStr8 = 9,
  kStr32 = 10,
  kBytes8 = 11,
  kBytes32 = 12,
  kTuple8 = 13,
  kTuple32 = 14,
  kList8 = 15,
  kList32 = 16,
  kDict8 = 17,
  kDict32 = 18,
  kRef = 19,
  kFarStr = 20,
  kFarBytes = 21,
  kArray = 22,
  kArrayScalar = 23,
  kPickle = 24,
  kFarPickle = 25,
  kShared = 26,
};

/// What an array consists of, in the machine's byte order.
enum class ArrayElement : std::uint8_t {
  kBool,
  kInt8,
  kUint8,
  kInt16,
  kUint16,
  kInt32,
  kUint32,
  kInt64,
  kUint64,
  kFloat16,
  kFloat32,
  kFloat64,
  kComplex64,
  kComplex128,
};
inline constexpr std::size_t kArrayElementCount = 14;

/// Bytes of one element. Precondition: `element` is one of the enumerators.
constexpr std::size_t element_bytes(ArrayElement element) {
  constexpr std::uint8_t kBytes[kArrayElementCount] = {1, 1, 1, 2, 2, 4, 4, 8, 8, 2, 4, 8, 8, 16};
  return kBytes[static_cast<std::size_t>(element)];
}

/// An array inside a payload. Views point into the payload.
struct ArrayView {
  ArrayElement element = ArrayElement::kBool;
  bool is_fortran = false;  ///< The first index varies fastest in memory, not the last one.
  bool is_near = false;     ///< The bytes stand in the stream, unaligned.
  std::uint8_t dimensions = 0;
  const std::byte* extents = nullptr;  ///< One unaligned u64 for each dimension.
  std::span<const std::byte> bytes;

  /// Precondition: dimension < dimensions.
  [[nodiscard]] std::uint64_t extent(unsigned dimension) const {
    std::uint64_t number;
    std::memcpy(&number, extents + dimension * sizeof(number), sizeof(number));
    return number;
  }
};

inline constexpr std::uint8_t kSharedFlag = 0x80;
inline constexpr std::size_t kPayloadAlignment = 64;
/// Strings, bytes and pickles from this size on are far buffers.
inline constexpr std::size_t kFarBytesMin = 32 * kKiB;
/// Pickle buffers from this size on are far buffers.
inline constexpr std::size_t kFarBufferMin = kKiB;
/// Containers nested deeper than this are pickled by writers and refused by readers.
inline constexpr unsigned kMaxValueDepth = 128;
/// Offset that marks a buffer whose bytes follow inline.
inline constexpr std::uint64_t kNearBuffer = ~std::uint64_t{0};
/// Bytes of one entry of a buffer table.
inline constexpr std::size_t kBufferEntryBytes = 16;

/// True when kSharedFlag may stand on `tag`.
constexpr bool can_be_shared(ValueTag tag) {
  return tag >= ValueTag::kStr8 && tag <= ValueTag::kArrayScalar;
}

/// True when `text` is UTF-8 without surrogates and overlong forms.
bool is_utf8(std::string_view text);

/// A bounds-checked position in a payload. Each `take` returns false, and leaves its result alone,
/// when fewer bytes are left than it needs. Not thread-safe.
class ByteCursor {
 public:
  ByteCursor() = default;
  explicit ByteCursor(std::span<const std::byte> payload)
      : begin_(payload.data()), at_(begin_), end_(begin_ + payload.size()) {}

  [[nodiscard]] std::size_t position() const { return static_cast<std::size_t>(at_ - begin_); }
  [[nodiscard]] std::size_t left() const { return static_cast<std::size_t>(end_ - at_); }
  /// Precondition: position <= the payload's size.
  void seek(std::size_t position) { at_ = begin_ + position; }

  /// The next byte without taking it. Precondition: left() > 0.
  [[nodiscard]] std::uint8_t peek() const { return static_cast<std::uint8_t>(*at_); }

  template <typename T>
  [[nodiscard]] bool take(T* number) {
    if (left() < sizeof(T)) [[unlikely]]
      return false;
    std::memcpy(number, at_, sizeof(T));
    at_ += sizeof(T);
    return true;
  }

  [[nodiscard]] bool take_bytes(std::uint64_t length, const std::byte** bytes) {
    if (left() < length) [[unlikely]]
      return false;
    *bytes = at_;
    at_ += length;
    return true;
  }

  /// A number of type Length, then that many bytes.
  template <typename Length>
  [[nodiscard]] bool take_sized(std::span<const std::byte>* bytes) {
    Length length;
    const std::byte* start;
    if (!take(&length) || !take_bytes(length, &start)) [[unlikely]]
      return false;
    *bytes = {start, static_cast<std::size_t>(length)};
    return true;
  }

  /// The count of a container, whose items take `min_item_bytes` each at least.
  template <typename Count>
  [[nodiscard]] bool take_count(std::size_t min_item_bytes, std::uint32_t* count) {
    Count number;
    if (!take(&number) || left() / min_item_bytes < number) [[unlikely]]
      return false;
    *count = number;
    return true;
  }

  /// Offset and length of a far buffer, then the same as take_far_at().
  [[nodiscard]] bool take_far(std::span<const std::byte>* bytes);
  /// Finds the far buffer of `length` bytes at `offset`. False unless it is aligned, inside the
  /// payload, and behind the stream so far and the far buffers taken before.
  [[nodiscard]] bool take_far_at(std::uint64_t offset, std::uint64_t length,
                                 std::span<const std::byte>* bytes);
  /// The body of a kArray. False unless its length is that of its extents and elements.
  [[nodiscard]] bool take_array(ArrayView* array);
  /// The body of a kArrayScalar, as an array without dimensions.
  [[nodiscard]] bool take_array_scalar(ArrayView* array);
  /// Lets far buffers be taken again.
  void rewind_far() { far_end_ = 0; }

 private:
  bool take_element(ArrayElement* element);

  const std::byte* begin_ = nullptr;
  const std::byte* at_ = nullptr;
  const std::byte* end_ = nullptr;
  std::uint64_t far_end_ = 0;
};

/// Appends plain values to a stream without far buffers. Not thread-safe. Containers are begun with
/// the number of their items, which are then written by the calls that follow.
class ValueWriter {
 public:
  void none() { put_tag(ValueTag::kNone); }
  void boolean(bool value) { put_tag(value ? ValueTag::kTrue : ValueTag::kFalse); }
  void integer(std::int64_t value);
  void number(double value);
  /// Bytes that are not UTF-8 are replaced by U+FFFD. Precondition: less than 4 GiB.
  void str(std::string_view text);
  /// Precondition: less than 4 GiB.
  void bytes(std::span<const std::byte> bytes);
  void ref(ObjectId id);
  /// An array of `extents`, last index fastest. Precondition: as many bytes as they say.
  void array(ArrayElement element, std::span<const std::uint64_t> extents,
             std::span<const std::byte> bytes);
  void begin_tuple(std::uint32_t count) { begin(ValueTag::kTuple8, count); }
  void begin_list(std::uint32_t count) { begin(ValueTag::kList8, count); }
  /// `count` pairs: a key and a value each.
  void begin_dict(std::uint32_t count) { begin(ValueTag::kDict8, count); }

  [[nodiscard]] std::span<const std::byte> data() const { return stream_; }
  void clear() { stream_.clear(); }

 private:
  void put_tag(ValueTag tag) { stream_.push_back(static_cast<std::byte>(tag)); }
  void begin(ValueTag short_tag, std::uint32_t count);
  void put_raw(const void* bytes, std::size_t size);

  std::vector<std::byte> stream_;
};

/// One item of a stream, as ValueReader gives it. Views point into the payload.
struct ValueItem {
  enum class Kind : std::uint8_t {
    kNone,
    kBool,
    kInt,
    kBigInt,  ///< `bytes`: two's complement, little-endian.
    kFloat,
    kStr,  ///< `bytes`: valid UTF-8.
    kBytes,
    kTuple,  ///< `count` values follow.
    kList,   ///< `count` values follow.
    kDict,   ///< `count` pairs of values follow.
    kRef,
    kPickle,  ///< `bytes`: the pickle; ValueReader::pickle_buffers() its buffers.
    kShared,  ///< Occurred before: ValueReader::shared(count).
    kArray,   ///< `array`; without dimensions also for a scalar.
  };

  Kind kind = Kind::kNone;
  bool boolean = false;
  std::uint32_t count = 0;
  std::int64_t integer = 0;
  double number = 0;
  ObjectId ref;
  std::span<const std::byte> bytes;
  ArrayView array;

  /// The bytes as text. Meaningful for kStr.
  [[nodiscard]] std::string_view text() const {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
};

/// Reads a payload item by item and trusts nothing in it: malformed input gives an Error of kind
/// kInvalid, never undefined behaviour, and never more memory than some times the payload's size.
/// The payload must outlive the reader and stay unchanged. Not thread-safe.
class ValueReader {
 public:
  explicit ValueReader(std::span<const std::byte> payload) : cursor_(payload) {}

  /// True between values when no further one follows.
  [[nodiscard]] bool at_end() const {
    return open_.empty() && (cursor_.left() == 0 || cursor_.peek() == 0);
  }
  /// The next item. A container's items follow one by one in later calls.
  Result<ValueItem> next();
  /// Passes over one item with everything that it contains.
  Status skip();
  /// Containers that the next item stands in.
  [[nodiscard]] std::size_t depth() const { return open_.size(); }
  /// Buffers of the pickle that next() gave last.
  [[nodiscard]] const std::vector<std::span<const std::byte>>& pickle_buffers() const {
    return buffers_;
  }
  /// A reader that stands on the object that a kShared item of the current value means. Read that
  /// one item with what it contains, no further. A container may contain itself: bound the depth.
  /// The two share what they know of the value: use one of them at a time. Precondition: `ordinal`
  /// is the count of a kShared item that next() gave since the last value.
  [[nodiscard]] ValueReader shared(std::uint32_t ordinal) const;

 private:
  bool read_item(ValueItem* item);
  bool read_int(ValueTag tag, ValueItem* item);
  bool read_text(ValueTag tag, ValueItem* item);
  bool read_container(ValueTag tag, ValueItem* item);
  bool read_pickle(ValueTag tag, ValueItem* item);
  bool read_shared(ValueItem* item);
  void count_item(const ValueItem& item);

  ByteCursor cursor_;
  /// Items still to come in each open container, outermost first.
  std::vector<std::uint64_t> open_;
  /// Positions of the flagged tags of the current value; null: none. Copies of this share them.
  std::shared_ptr<std::vector<std::size_t>> flagged_;
  /// Furthest position read: a reader given by shared() stands before it.
  std::size_t frontier_ = 0;
  std::vector<std::span<const std::byte>> buffers_;
};

}  // namespace haz
