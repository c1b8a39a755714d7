/// @file
/// The shared memory of one process: its control words and rings. Only that process and the host
/// can write there.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "base/units.h"
#include "queue/byte_ring.h"
#include "queue/claim_ring.h"
#include "queue/doorbell.h"
#include "wire/task_command.h"

namespace haz {

inline constexpr std::uint32_t kLayoutVersion = 6;
inline constexpr std::uint32_t kTaskRingSlots = 1024;
inline constexpr std::uint32_t kReplyRingBytes = 64 * kKiB;
inline constexpr std::uint32_t kSubmissionRingBytes = 128 * kKiB;

using TaskRing = ClaimRing<TaskCommand, kTaskRingSlots>;

/// The latest attempts of which the host wants something. More than one at a time: a nested task
/// and those below it may be cancelled together.
class AttemptList {
 public:
  /// Host, one thread at a time.
  void add(std::uint64_t task, std::uint32_t attempt) {
    const std::uint32_t count = count_.load(std::memory_order_relaxed);
    Entry& entry = entries_[count % entries_.size()];
    entry.task.store(0, std::memory_order_relaxed);
    entry.attempt.store(attempt, std::memory_order_release);  // pairs with contains()
    entry.task.store(task, std::memory_order_release);        // pairs with contains()
    count_.store(count + 1, std::memory_order_release);       // pairs with contains()
  }

  /// Whether the attempt was added. Async-signal-safe.
  [[nodiscard]] bool contains(std::uint64_t task, std::uint32_t attempt) const {
    if (count_.load(std::memory_order_acquire) == 0) return false;  // pairs with add()
    for (const Entry& entry : entries_) {
      // pairs with add()
      if (entry.task.load(std::memory_order_acquire) == task &&
          entry.attempt.load(std::memory_order_relaxed) == attempt) {
        return true;
      }
    }
    return false;
  }

  /// How many were added, modulo 2^32. All of them are seen afterwards.
  [[nodiscard]] std::uint32_t count() const {
    return count_.load(std::memory_order_acquire);  // pairs with add()
  }
  [[nodiscard]] bool empty() const { return count_.load(std::memory_order_relaxed) == 0; }

 private:
  struct Entry {
    std::atomic<std::uint64_t> task;
    std::atomic<std::uint32_t> attempt;
  };
  std::atomic<std::uint32_t> count_;  ///< Ever added, modulo 2^32.
  std::array<Entry, 64> entries_;
};

/// What stands in ProcessControl::mark as long as the process has not written over it.
inline constexpr std::uint64_t kControlMark = 0x6B72'616D'2D7A'6168;

/// Control words, but for two written by the host; both sides ring the doorbell.
struct ProcessControl {
  /// Rung by the host after publishing tasks or replies.
  alignas(kCacheLine) Doorbell doorbell;

  /// The process rings the host once it has finished this many tasks. ~0: it need not.
  alignas(kCacheLine) std::atomic<std::uint64_t> wake_after;
  /// 1: the process rings the host for each item that it yields.
  std::atomic<std::uint32_t> wake_on_item;
  /// 1: the process rings the host when it has nothing left to run.
  std::atomic<std::uint32_t> wake_on_idle;
  /// How long the process spins before it sleeps, in microseconds.
  std::atomic<std::uint32_t> spin_us;
  /// 1: replies wait outside the full ring; the process rings after reading.
  std::atomic<std::uint32_t> replies_waiting;
  /// 1: end yourself.
  std::atomic<std::uint32_t> stop;
  /// 1, by a driver that leaves: its threads may still write to what it was lent of the store.
  std::atomic<std::uint32_t> left_writing;
  /// By a driver that waits: 1, if it has other threads, which may drop references.
  std::atomic<std::uint32_t> others_go_on;
  /// kControlMark: so that a process sees whether it has written over its area as a whole.
  std::atomic<std::uint64_t> mark;
  /// To be interrupted. The host sends SIGINT after adding one; since that may arrive at any later
  /// time, the process looks here whom it is for.
  AttemptList interrupts;
  /// By the process: how many there were of those when it last looked. A signal that comes between
  /// that look and a system call ends no sleep: the host sends it again until this is told.
  std::atomic<std::uint32_t> interrupts_seen;
  /// Of streaming tasks, to end at their next item.
  AttemptList closed_streams;
};

/// All of it. Zeroed memory with the mark is a valid start.
struct ProcessArea {
  ProcessControl control;
  ByteRingHeader submissions;
  ByteRingHeader replies;
  TaskRing tasks;
  alignas(kCacheLine) std::array<std::byte, kReplyRingBytes> reply_bytes;
  alignas(kCacheLine) std::array<std::byte, kSubmissionRingBytes> submission_bytes;
};

inline constexpr std::size_t kProcessAreaStride = align_up(sizeof(ProcessArea), 64 * kKiB);

/// First page of the arena: written by the host, except the doorbells, which all may ring. A
/// process that scribbles there can only make the host look too early or, at most one timed sleep,
/// too late.
struct ArenaHeader {
  std::uint64_t magic;
  std::uint32_t layout_version;
  std::uint32_t max_processes;
  std::uint64_t epoch;         ///< Random number of the node.
  std::uint64_t areas_offset;  ///< ProcessArea of slot 0; slot i is i * kProcessAreaStride further.
  std::uint64_t objects_offset;  ///< Where values lie, up to the end of the arena.
};

/// Whose submissions the host should look at, so that it need not look at those of all. A process
/// that scribbles here can make the host look in vain, or too late: it looks at all now and then.
class NewsMarks {
 public:
  static constexpr std::uint32_t kMaxSlots = 64 * 64;

  /// Process in `slot`, after a sequentially consistent publication and before it rings.
  void mark(std::uint32_t slot) {
    set(slots_[slot / 64], slot % 64);
    set(groups_, slot / 64);
  }

  /// Host: whether there is a mark. After preparing its doorbell.
  [[nodiscard]] bool any() const {
    return groups_.load(std::memory_order_seq_cst) != 0;  // pairs with set()
  }

  /// Host, one thread at a time: takes the marks back, calls `visit(slot)` for each, which then
  /// looks at what the process has published. Slots may be any below kMaxSlots.
  template <typename Visit>
  void take(const Visit& visit) {
    std::uint64_t groups = groups_.exchange(0, std::memory_order_seq_cst);  // pairs with set()
    for (; groups != 0; groups &= groups - 1) {
      const auto group = static_cast<std::uint32_t>(std::countr_zero(groups));
      // pairs with set()
      std::uint64_t slots = slots_[group].exchange(0, std::memory_order_seq_cst);
      for (; slots != 0; slots &= slots - 1)
        visit(group * 64 + static_cast<std::uint32_t>(std::countr_zero(slots)));
    }
  }

 private:
  /// A mark that is still there is seen later than what was published before this.
  static void set(std::atomic<std::uint64_t>& word, std::uint32_t bit) {
    const std::uint64_t mask = std::uint64_t{1} << bit;
    if ((word.load(std::memory_order_seq_cst) & mask) != 0) return;  // pairs with take()
    word.fetch_or(mask, std::memory_order_seq_cst);                  // pairs with take(), any()
  }

  std::atomic<std::uint64_t> groups_;  ///< Bit i: slots_[i] is not zero.
  std::array<std::atomic<std::uint64_t>, kMaxSlots / 64> slots_;
};

/// Second page of the arena.
struct HostDoorbells {
  alignas(kCacheLine) Doorbell foreground;  ///< A driver's thread that waits.
  alignas(kCacheLine) Doorbell background;  ///< The host's own thread.
  alignas(kCacheLine) NewsMarks news;

  /// Rings whoever sleeps; nobody when somebody is awake.
  void ring() {
    if (!foreground.ring()) background.ring();
  }
  [[nodiscard]] bool wanted() const { return foreground.wanted() || background.wanted(); }
};

inline constexpr std::uint64_t kArenaMagic = 0x315f'7a61'685f'6e6f;
inline constexpr std::size_t kDoorbellsOffset = 4 * kKiB;
inline constexpr std::size_t kAreasOffset = 64 * kKiB;
static_assert(kDoorbellsOffset + sizeof(HostDoorbells) <= kAreasOffset);

}  // namespace haz
