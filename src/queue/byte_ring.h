/// @file
/// A bounded single-producer single-consumer ring of variable-length records in shared memory.
///
/// The producer writes a record and then publishes the new tail with one release store, so a
/// process that dies at any instruction leaves at most unpublished bytes behind. Neither side
/// trusts the other: positions and sizes are read once and checked before use. What a process has
/// overwritten by accident is told by a checksum of each record.
///
/// After rigtorp's SPSCQueue, from which comes the cached copy of the other side's index.
#pragma once

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/check.h"
#include "base/units.h"
#include "queue/checksum.h"

namespace haz {

/// Shared part of a ring; the data bytes follow elsewhere. Zeroed memory is an empty ring.
struct ByteRingHeader {
  alignas(kCacheLine) std::atomic<std::uint64_t> tail;  ///< Bytes ever published; producer writes.
  alignas(kCacheLine) std::atomic<std::uint64_t> head;  ///< Bytes ever consumed; consumer writes.
};
static_assert(sizeof(ByteRingHeader) == 2 * kCacheLine);

/// What precedes each record's bytes in the ring.
struct RecordHeader {
  static constexpr std::uint32_t kKindShift = 24;

  std::uint32_t kind_and_size;
  std::uint32_t check;  ///< Of what comes before it, and of the record up to where the next begins.

  static constexpr RecordHeader of(std::uint32_t kind, std::uint32_t size_bytes) {
    return {kind << kKindShift | size_bytes, 0};
  }
  [[nodiscard]] constexpr std::uint32_t kind() const { return kind_and_size >> kKindShift; }
  [[nodiscard]] constexpr std::uint32_t size_bytes() const {
    return kind_and_size & ((1U << kKindShift) - 1);
  }
};
static_assert(sizeof(RecordHeader) == 8);

inline constexpr std::uint32_t kPaddingRecord = 0;
inline constexpr std::uint64_t kRecordAlignment = 8;

namespace detail {

inline std::uint32_t check_of(const RecordHeader& header, const std::byte* bytes,
                              std::uint64_t size_bytes) {
  return checksum(bytes, size_bytes, header.kind_and_size);
}

}  // namespace detail

/// Producer's end. One thread at a time.
class ByteRingWriter {
 public:
  ByteRingWriter() = default;
  /// `capacity` is a power of two; `data` has that many bytes and is 8-byte aligned.
  ByteRingWriter(ByteRingHeader* header, std::byte* data, std::uint32_t capacity)
      : header_(header), data_(data), capacity_(capacity) {}

  /// Greatest kind of a record.
  static constexpr std::uint32_t kMaxKind = 255;
  /// Largest record that a ring of this capacity takes, in bytes.
  [[nodiscard]] std::uint32_t max_record_bytes() const {
    return static_cast<std::uint32_t>(capacity_ / 4);
  }

  /// Space for a record of `size_bytes`, or nullptr while there is no room. Write all of it, then
  /// publish(). Precondition: size_bytes <= max_record_bytes(), kind <= kMaxKind and not
  /// kPaddingRecord.
  std::byte* try_append(std::uint32_t kind, std::uint32_t size_bytes) {
    seal();
    const std::uint64_t needed = record_bytes(size_bytes);
    std::uint64_t position = tail_ & (capacity_ - 1);
    const std::uint64_t to_end = capacity_ - position;
    const std::uint64_t total = needed <= to_end ? needed : to_end + needed;
    if (!has_room(total)) return nullptr;
    if (needed > to_end) {
      const RecordHeader padding = RecordHeader::of(
          kPaddingRecord, static_cast<std::uint32_t>(to_end - sizeof(RecordHeader)));
      std::memcpy(data_ + position, &padding, sizeof padding);
      tail_ += to_end;
      position = 0;
    }
    open_ = RecordHeader::of(kind, size_bytes);
    tail_ += needed;
    return data_ + position + sizeof(RecordHeader);
  }

  /// Makes everything appended so far visible to the consumer.
  void publish() {
    seal();
    // pairs with acquire in next(), and with has_news() of a reader that goes to sleep
    header_->tail.store(tail_, std::memory_order_seq_cst);
  }

  /// Whether the consumer's mark is one that it can't have set: it has damaged the ring, which may
  /// never have room again.
  [[nodiscard]] bool is_damaged() const {
    const std::uint64_t head = header_->head.load(std::memory_order_relaxed);
    return head > tail_ || head < cached_head_;
  }

  /// Bytes ever appended.
  [[nodiscard]] std::uint64_t tail() const { return tail_; }

  /// Goes on where the producer before this one, in the same process, has stopped.
  void resume() { tail_ = header_->tail.load(std::memory_order_relaxed); }

 private:
  static std::uint64_t record_bytes(std::uint32_t size_bytes) {
    return align_up(sizeof(RecordHeader) + std::uint64_t{size_bytes}, kRecordAlignment);
  }

  bool has_room(std::uint64_t total) {
    if (tail_ + total - cached_head_ <= capacity_) return true;
    const std::uint64_t head =
        header_->head.load(std::memory_order_acquire);  // pairs with consume()
    if (head > tail_ || head < cached_head_) return false;
    cached_head_ = head;
    return tail_ + total - cached_head_ <= capacity_;
  }

  /// Writes the header of the record that was appended last, now that all of it is there.
  void seal() {
    if (open_.kind() == kPaddingRecord) return;
    const std::uint64_t total = record_bytes(open_.size_bytes());
    std::byte* record = data_ + ((tail_ - total) & (capacity_ - 1));
    open_.check = detail::check_of(open_, record + sizeof open_, total - sizeof open_);
    std::memcpy(record, &open_, sizeof open_);
    open_ = {};
  }

  ByteRingHeader* header_ = nullptr;
  std::byte* data_ = nullptr;
  std::uint64_t capacity_ = 0;
  std::uint64_t tail_ = 0;
  std::uint64_t cached_head_ = 0;
  RecordHeader open_{};  ///< Of the record at the tail, while it is written; else kPaddingRecord.
};

/// One record as the consumer sees it: bytes in the ring, valid until consume(). A producer gone
/// mad may still change them: what is checked must be copied first.
struct RecordView {
  std::uint32_t kind = 0;
  std::uint32_t size_bytes = 0;
  const std::byte* data = nullptr;
};

enum class RingRead : std::uint8_t { kRecord, kEmpty, kCorrupt };

/// Consumer's end. One thread at a time.
class ByteRingReader {
 public:
  ByteRingReader() = default;
  ByteRingReader(ByteRingHeader* header, const std::byte* data, std::uint32_t capacity)
      : header_(header), data_(data), capacity_(capacity) {}

  /// Looks at the oldest record. kCorrupt: the producer wrote nonsense; use the ring no more.
  RingRead next(RecordView& out) {
    for (;;) {
      if (head_ == cached_tail_) {
        const std::uint64_t tail =
            header_->tail.load(std::memory_order_acquire);  // pairs with publish()
        if (tail == head_) return RingRead::kEmpty;
        if (tail < head_ || tail - head_ > capacity_ || tail % kRecordAlignment != 0) {
          return RingRead::kCorrupt;
        }
        cached_tail_ = tail;
      }
      const std::uint64_t position = head_ & (capacity_ - 1);
      const std::uint64_t to_end = capacity_ - position;
      const RecordHeader header = read_header(position);
      const std::uint64_t total =
          align_up(sizeof(RecordHeader) + std::uint64_t{header.size_bytes()}, kRecordAlignment);
      if (total > cached_tail_ - head_ || total > to_end) return RingRead::kCorrupt;
      if (header.kind() == kPaddingRecord) {
        // It fills the end of the ring and no more; so at most one is passed before a record.
        if (position == 0 || total != to_end) return RingRead::kCorrupt;
        head_ += total;
        continue;
      }
      const std::byte* bytes = data_ + position + sizeof header;
      if (detail::check_of(header, bytes, total - sizeof header) != header.check) {
        return RingRead::kCorrupt;
      }
      pending_ = total;
      out = RecordView{header.kind(), header.size_bytes(), bytes};
      return RingRead::kRecord;
    }
  }

  /// Drops the record that next() returned. Its bytes may be overwritten once released.
  void consume() {
    head_ += pending_;
    pending_ = 0;
  }

  /// Gives the consumed bytes back to the producer.
  void release() {
    header_->head.store(head_, std::memory_order_release);  // pairs with acquire in has_room()
  }

  /// Goes on where the consumer before this one, in the same process, has stopped.
  void resume() { head_ = cached_tail_ = header_->head.load(std::memory_order_relaxed); }

  /// Whether records wait that next() has not seen. Cheap enough to poll.
  [[nodiscard]] bool has_news() const {
    // pairs with publish()
    return head_ != cached_tail_ || header_->tail.load(std::memory_order_seq_cst) != head_;
  }

 private:
  /// In one access: read twice, it might be another one the second time.
  RecordHeader read_header(std::uint64_t position) const {
    const std::uint64_t word =
        __atomic_load_n(reinterpret_cast<const std::uint64_t*>(data_ + position), __ATOMIC_RELAXED);
    return std::bit_cast<RecordHeader>(word);
  }

  ByteRingHeader* header_ = nullptr;
  const std::byte* data_ = nullptr;
  std::uint64_t capacity_ = 0;
  std::uint64_t head_ = 0;
  std::uint64_t cached_tail_ = 0;
  std::uint64_t pending_ = 0;
};

}  // namespace haz
