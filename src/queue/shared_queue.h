/// @file
/// A queue of byte strings between processes: any number of them put and get.
///
/// It is a memory file. Its items lie in *regions*, rings each twice as large as the one before, of
/// which a queue that is drained in time uses only the smallest. Where an item has no room, the
/// queue goes on in a larger region; an empty queue goes back to the smallest one that suits.
///
/// One mutex excludes those that put, and another those that get. Each side publishes with one
/// store, of a word that says where it is and how many items it has seen: so a process that is
/// killed at any instruction leaves a whole queue behind, without the item that it was putting, or
/// with the one that it was getting. The mutexes are robust: its death unlocks them.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "base/result.h"
#include "base/units.h"
#include "os/fd.h"
#include "os/robust_mutex.h"
#include "queue/wait_word.h"

namespace haz {

/// Where one side of a queue is: a region, a place in it, and the number of items before it.
struct QueuePosition {
  static constexpr unsigned kUnitBits = 28;
  static constexpr unsigned kCountBits = 31;
  static constexpr std::uint32_t kCountMask = (std::uint32_t{1} << kCountBits) - 1;

  std::uint32_t region;
  std::uint32_t unit;
  std::uint32_t count;  ///< Modulo 2^31.

  static constexpr QueuePosition unpack(std::uint64_t word) {
    return {static_cast<std::uint32_t>(word >> (kUnitBits + kCountBits)),
            static_cast<std::uint32_t>(word >> kCountBits) & ((1U << kUnitBits) - 1),
            static_cast<std::uint32_t>(word) & kCountMask};
  }
  [[nodiscard]] constexpr std::uint64_t pack() const {
    return std::uint64_t{region} << (kUnitBits + kCountBits) | std::uint64_t{unit} << kCountBits |
           count;
  }
};

/// The first page of a queue's file.
struct SharedQueueHeader {
  static constexpr unsigned kMaxRegions = 19;

  std::uint64_t magic;
  std::uint32_t limit;    ///< Most items at a time.
  std::uint32_t regions;  ///< How many the file has.

  alignas(kCacheLine) RobustMutex put_mutex;
  std::array<std::uint32_t, kMaxRegions> next_region;  ///< Where the queue went on from there.
  std::array<std::uint64_t, kMaxRegions> reserved;     ///< Bytes of it that have pages behind them.
  alignas(kCacheLine) std::atomic<std::uint64_t> tail;  ///< A QueuePosition; those that put write.

  alignas(kCacheLine) RobustMutex get_mutex;
  alignas(kCacheLine) std::atomic<std::uint64_t> head;  ///< A QueuePosition; those that get write.

  alignas(kCacheLine) WaitWord items;                   ///< Those that wait for an item sleep here.
  alignas(kCacheLine) WaitWord room;                    ///< Those that wait for room.
  alignas(kCacheLine) std::atomic<std::uint32_t> done;  ///< Items marked as done, modulo 2^31.
  WaitWord all_done;
};
static_assert(sizeof(SharedQueueHeader) <= 4096);

/// How one try of a queue's call went.
enum class QueueTry : std::uint8_t {
  kDone,
  kNotNow,  ///< There is no item, or no room.
  kBusy,    ///< Another process or thread had the queue for the whole time.
};

/// One process' end of a queue. Thread-safe, and whole in a forked child.
class SharedQueue {
 public:
  /// Most items that any queue holds.
  static constexpr std::uint32_t kMaxItems = QueuePosition::kCountMask - 1;

  /// A new queue of at most `limit` items at a time, kMaxItems at most. Errors: as of
  /// create_memory_file(), map_file() and RobustMutex::initialize().
  static Result<std::unique_ptr<SharedQueue>> create(std::uint32_t limit);
  /// That in the open file, whose descriptor it takes. Errors: kInvalid (no queue), as of
  /// map_file().
  static Result<std::unique_ptr<SharedQueue>> attach(UniqueFd fd);

  SharedQueue(const SharedQueue&) = delete;
  SharedQueue& operator=(const SharedQueue&) = delete;
  ~SharedQueue();

  /// Puts an item of `size_bytes`, which `write` is called once to write; at a multiple of
  /// kItemAlignment. Waits for other processes until `until_ns`, not for room. Errors: kOverloaded
  /// (no memory, or no place for so large an item).
  Result<QueueTry> try_put(std::size_t size_bytes, const std::function<void(std::byte*)>& write,
                           std::int64_t until_ns);
  /// Takes the oldest item, which `read` is called once to copy. Where that returns false, the item
  /// stays. Waits for other processes until `until_ns`, not for an item. Errors: kLost (somebody
  /// has written nonsense to the queue's memory), as of map_file().
  Result<QueueTry> try_get(const std::function<bool(std::span<const std::byte>)>& read,
                           std::int64_t until_ns);
  static constexpr std::size_t kItemAlignment = kCacheLine;

  /// Waits until there may be an item, or room, or `until_ns` has come; spins for a moment first.
  /// Also ends with a signal. Sleeps half a second at most.
  void wait_for_item(std::int64_t until_ns);
  void wait_for_room(std::int64_t until_ns);
  /// As wait_for_item(), for who will not take it: whether there is one. Keeps nobody else waiting.
  bool watch_for_item(std::int64_t until_ns);
  /// Ends all waits for an item.
  void wake_watchers() { header_->items.notify_all(); }

  /// Items that are there now.
  [[nodiscard]] std::uint32_t size() const;
  [[nodiscard]] bool full() const { return size() >= header_->limit; }
  [[nodiscard]] std::uint32_t limit() const { return header_->limit; }
  [[nodiscard]] int fd() const { return fd_.get(); }

  /// Marks an item as done; false: all that were put are.
  bool mark_done();
  /// Whether all items that were put are marked as done.
  [[nodiscard]] bool all_done() const;
  /// As wait_for_item().
  void wait_for_all_done(std::int64_t until_ns);

 private:
  /// Where an item goes: the pieces of the way there are written already.
  struct Place {
    QueuePosition position;
    std::byte* memory;
  };

  SharedQueue(UniqueFd fd, SharedQueueHeader* header);

  Result<std::byte*> region(unsigned number);
  [[nodiscard]] bool is_used(unsigned number, QueuePosition head, QueuePosition tail) const;
  Result<Place> find_place(std::uint64_t units, QueuePosition head, QueuePosition tail);
  Result<Place> enter_region(unsigned number, std::uint64_t units, QueuePosition tail);
  Status make_pages(unsigned number, std::uint64_t unit, std::uint64_t units);
  Result<QueueTry> put_locked(std::size_t size_bytes, const std::function<void(std::byte*)>& write);
  Result<QueueTry> get_locked(const std::function<bool(std::span<const std::byte>)>& read,
                              bool& has_left_much);
  void give_pages_back();
  template <typename Done>
  void wait_on(WaitWord& word, std::int64_t until_ns, const Done& done);

  UniqueFd fd_;
  SharedQueueHeader* header_;
  std::array<std::atomic<std::byte*>, SharedQueueHeader::kMaxRegions> regions_{};
};

}  // namespace haz
