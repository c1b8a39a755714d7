/// @file
/// A bounded single-producer single-consumer ring of fixed-size entries whose unread entries the
/// producer can take back.
///
/// Each slot has a claim word: the entry's position and a state. The producer publishes an entry as
/// ready; then exactly one of two compare-and-swaps wins: the consumer's (claimed) or the
/// producer's (taken back). So an entry is run at most once, and no lock is held across processes.
///
/// The consumer's process may damage the ring by writing where it should not. An entry of a type
/// with is_sound() that is not sound is never claimed: the producer takes it back.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "base/units.h"

namespace haz {

/// Shared part: zeroed memory is an empty ring. `Capacity` is a power of two.
template <typename Entry, std::uint32_t Capacity>
struct ClaimRing {
  static_assert(std::is_trivially_copyable_v<Entry>);
  static_assert((Capacity & (Capacity - 1)) == 0);
  static constexpr std::uint32_t kCapacity = Capacity;
  using EntryType = Entry;

  struct alignas(kCacheLine) Slot {
    std::atomic<std::uint64_t> claim;
    Entry entry;
  };

  alignas(kCacheLine) std::atomic<std::uint64_t> head;  ///< Entries passed; the consumer writes.
  std::array<Slot, Capacity> slots;
};

namespace detail {

enum ClaimState : std::uint64_t { kClaimReady = 1, kClaimClaimed = 2, kClaimTaken = 3 };

constexpr std::uint64_t claim_word(std::uint64_t position, ClaimState state) {
  return ((position + 1) << 2) | state;
}

}  // namespace detail

/// Producer's end. One thread at a time.
template <typename Ring>
class ClaimRingWriter {
 public:
  ClaimRingWriter() = default;
  explicit ClaimRingWriter(Ring* ring) : ring_(ring) {}

  /// Whether push() may be called. Reads the shared head only when the cached one says no.
  bool has_room() {
    if (tail_ - cached_head_ < Ring::kCapacity) return true;
    const std::uint64_t head = ring_->head.load(std::memory_order_acquire);  // pairs with release()
    if (head >= cached_head_ && head <= tail_) cached_head_ = head;
    return tail_ - cached_head_ < Ring::kCapacity;
  }

  /// Entry to fill in place before push(). Precondition: has_room().
  typename Ring::EntryType& next_entry() {
    return ring_->slots[tail_ & (Ring::kCapacity - 1)].entry;
  }

  /// Publishes the entry filled in; returns its position. A reader that goes to sleep may not see
  /// it: ask Doorbell::wanted_after_any() when all is published.
  std::uint64_t push() {
    auto& slot = ring_->slots[tail_ & (Ring::kCapacity - 1)];
    // pairs with the acquire in claim_next()
    slot.claim.store(detail::claim_word(tail_, detail::kClaimReady), std::memory_order_release);
    // The reader's core holds the lines of what it has passed: one of the next pushes needs these.
    constexpr std::uint64_t kAhead = 4;
    const auto& later = ring_->slots[(tail_ + kAhead) & (Ring::kCapacity - 1)];
    __builtin_prefetch(&later, 1);
    return tail_++;
  }

  /// Takes the entry at `position` back. False: the consumer has claimed it (or memory was
  /// damaged).
  bool take_back(std::uint64_t position) {
    auto& slot = ring_->slots[position & (Ring::kCapacity - 1)];
    std::uint64_t expected = detail::claim_word(position, detail::kClaimReady);
    return slot.claim.compare_exchange_strong(
        expected, detail::claim_word(position, detail::kClaimTaken),
        std::memory_order_acq_rel,  // pairs with the swap in claim_next()
        std::memory_order_relaxed);
  }

  /// Whether the entry at `position`, which was not taken back, still can be or has been claimed.
  /// False: the consumer's process has damaged the ring, and may never claim it.
  [[nodiscard]] bool is_intact(std::uint64_t position) const {
    if (tail_ - position > Ring::kCapacity) return true;  // its slot holds a later one
    const std::uint64_t word =
        ring_->slots[position & (Ring::kCapacity - 1)].claim.load(std::memory_order_relaxed);
    return word == detail::claim_word(position, detail::kClaimReady) ||
           word == detail::claim_word(position, detail::kClaimClaimed);
  }

 private:
  Ring* ring_ = nullptr;
  std::uint64_t tail_ = 0;
  std::uint64_t cached_head_ = 0;
};

/// Consumer's end. One thread at a time.
template <typename Ring>
class ClaimRingReader {
 public:
  ClaimRingReader() = default;
  explicit ClaimRingReader(Ring* ring) : ring_(ring) {}

  /// Claims the next entry that was not taken back; nullptr if there is none, or is_damaged(). The
  /// entry stays valid until release().
  const typename Ring::EntryType* claim_next() {
    for (;;) {
      const std::uint64_t head = head_.load(std::memory_order_relaxed);
      auto& slot = ring_->slots[head & (Ring::kCapacity - 1)];
      std::uint64_t word = slot.claim.load(std::memory_order_acquire);  // pairs with push()
      if (word == detail::claim_word(head, detail::kClaimReady)) {
        if (!is_sound(slot.entry)) {
          damaged_ = true;
          return nullptr;
        }
        if (slot.claim.compare_exchange_strong(word,
                                               detail::claim_word(head, detail::kClaimClaimed),
                                               std::memory_order_acq_rel,  // pairs with take_back()
                                               std::memory_order_acquire)) {
          return &slot.entry;
        }
      }
      if (word != detail::claim_word(head, detail::kClaimTaken)) {
        damaged_ = !is_old(word, head);
        return nullptr;
      }
      release();
    }
  }

  /// The entry that claim_next() would claim next, as far as can be told; nullptr: there is none.
  /// It stays as it is until release(), but the producer may take it back meanwhile.
  const typename Ring::EntryType* peek_next() {
    for (;;) {
      const std::uint64_t head = head_.load(std::memory_order_relaxed);
      auto& slot = ring_->slots[head & (Ring::kCapacity - 1)];
      const std::uint64_t word = slot.claim.load(std::memory_order_acquire);  // pairs with push()
      if (word == detail::claim_word(head, detail::kClaimReady)) {
        return is_sound(slot.entry) ? &slot.entry : nullptr;
      }
      if (word != detail::claim_word(head, detail::kClaimTaken)) return nullptr;
      release();
    }
  }

  /// Goes on where the consumer before this one, in the same process, has stopped. An entry that
  /// that one had claimed and not released is there again.
  void resume() {
    const std::uint64_t head = ring_->head.load(std::memory_order_relaxed);
    head_.store(head, std::memory_order_relaxed);
    std::uint64_t word = detail::claim_word(head, detail::kClaimClaimed);
    ring_->slots[head & (Ring::kCapacity - 1)].claim.compare_exchange_strong(
        word, detail::claim_word(head, detail::kClaimReady),
        std::memory_order_acq_rel,  // pairs with take_back()
        std::memory_order_relaxed);
  }

  /// Whether claim_next() has found what the producer can't have written, nor this end.
  [[nodiscard]] bool is_damaged() const { return damaged_; }

  /// Passes the entry at the head, so that the producer may reuse its slot.
  void release() {
    const std::uint64_t head = head_.load(std::memory_order_relaxed) + 1;
    head_.store(head, std::memory_order_relaxed);
    ring_->head.store(head, std::memory_order_release);  // pairs with has_room()
  }

  /// Whether claim_next() would find something. Cheap enough to poll. Another thread than the one
  /// that claims may ask, too: its answer may then be out of date.
  [[nodiscard]] bool has_news() const {
    const std::uint64_t head = head_.load(std::memory_order_relaxed);
    const auto& slot = ring_->slots[head & (Ring::kCapacity - 1)];
    // pairs with push() and the ringer's Doorbell::wanted_after_any()
    const std::uint64_t word = slot.claim.load(std::memory_order_seq_cst);
    return word == detail::claim_word(head, detail::kClaimReady) ||
           word == detail::claim_word(head, detail::kClaimTaken);
  }

 private:
  static bool is_sound(const typename Ring::EntryType& entry) {
    if constexpr (requires { entry.is_sound(); }) return entry.is_sound();
    return true;
  }
  /// Whether a slot that waits for the entry at `position` may hold `word`.
  static bool is_old(std::uint64_t word, std::uint64_t position) {
    if (position < Ring::kCapacity) return word == 0;
    const std::uint64_t before = position - Ring::kCapacity;
    return word == detail::claim_word(before, detail::kClaimClaimed) ||
           word == detail::claim_word(before, detail::kClaimTaken);
  }

  Ring* ring_ = nullptr;
  std::atomic<std::uint64_t> head_{0};  ///< Written by the thread that claims.
  bool damaged_ = false;
};

}  // namespace haz
