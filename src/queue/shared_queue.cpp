#include "queue/shared_queue.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "os/clock.h"
#include "os/memory.h"
#include "queue/spin.h"

namespace haz {

namespace {

constexpr std::uint64_t kMagic = 0x68617a2d71756531;  // changes with what lies in the file
/// The header's part of the file: a multiple of any page size.
constexpr std::size_t kHeaderSpan = 64 * kKiB;
constexpr std::size_t kSmallestRegionBytes = 64 * kKiB;
constexpr std::size_t kUnitBytes = SharedQueue::kItemAlignment;
constexpr std::size_t kReserveBytes = 64 * kKiB;
/// From here on pages are mapped at once, not one fault each.
constexpr std::size_t kPopulateFromBytes = 256 * kKiB;
/// How much memory a region keeps that is not in use; and the last one, of a queue that is empty.
constexpr std::uint64_t kKeptBytes = kMiB;
constexpr std::uint64_t kKeptWhenEmptyBytes = 64 * kMiB;
/// An item of this size may leave memory behind that is worth a look.
constexpr std::uint64_t kMuchBytes = kMiB;
constexpr std::int64_t kLongestSleepNs = 500 * kMillisecondNs;
constexpr std::int64_t kSpinNs = 100 * kMicrosecondNs;

enum class RecordKind : std::uint32_t {
  kItem = 1,
  kToBegin = 2,  ///< The next record is at the region's begin.
  kToRegion = 3  ///< It is at the begin of another region.
};

/// Before each item's bytes, which are aligned.
struct Record {
  RecordKind kind;
  std::uint32_t offset_or_region;  ///< Of the bytes, from here.
  std::uint64_t size_bytes;
};
static_assert(sizeof(Record) <= kUnitBytes);

constexpr std::uint64_t region_bytes(unsigned number) { return kSmallestRegionBytes << number; }
constexpr std::uint64_t region_units(unsigned number) { return region_bytes(number) / kUnitBytes; }
constexpr std::uint64_t region_offset(unsigned number) {
  return kHeaderSpan + region_bytes(number) - kSmallestRegionBytes;
}
static_assert(region_units(SharedQueueHeader::kMaxRegions - 1) == std::uint64_t{1}
                                                                      << QueuePosition::kUnitBits);

std::uint32_t offset_of_bytes(std::size_t size_bytes) {
  // Small ones need not be aligned: they are read as bytes.
  const bool is_small = size_bytes <= kUnitBytes - sizeof(Record);
  return static_cast<std::uint32_t>(is_small ? sizeof(Record) : kUnitBytes);
}

std::uint64_t units_of(std::size_t size_bytes) {
  return align_up(offset_of_bytes(size_bytes) + size_bytes, kUnitBytes) / kUnitBytes;
}

/// A region that takes such an item wherever its ring stands.
unsigned smallest_region(std::uint64_t units) {
  unsigned number = 0;
  while (number < SharedQueueHeader::kMaxRegions && region_units(number) < 2 * units + 2)
    ++number;
  return number;
}

void write_record(std::byte* region, std::uint64_t unit, const Record& record) {
  std::memcpy(region + unit * kUnitBytes, &record, sizeof record);
}

Error damaged() {
  return Error{ErrorKind::kLost,
               "the memory of this queue was overwritten with nonsense, and what is in it is lost"};
}

std::uint32_t count_between(QueuePosition head, QueuePosition tail) {
  return (tail.count - head.count) & QueuePosition::kCountMask;
}

/// Has the mutex while it lives.
class HeldMutex {
 public:
  explicit HeldMutex(RobustMutex& mutex) : mutex_(mutex) {}
  HeldMutex(const HeldMutex&) = delete;
  HeldMutex& operator=(const HeldMutex&) = delete;
  ~HeldMutex() { mutex_.unlock(); }

 private:
  RobustMutex& mutex_;
};

}  // namespace

SharedQueue::SharedQueue(UniqueFd fd, SharedQueueHeader* header)
    : fd_(std::move(fd)), header_(header) {}

SharedQueue::~SharedQueue() {
  for (unsigned number = 0; number < regions_.size(); ++number) {
    std::byte* const memory = regions_[number].load(std::memory_order_relaxed);
    if (memory != nullptr) unmap(memory, region_bytes(number));
  }
  unmap(reinterpret_cast<std::byte*>(header_), kHeaderSpan);
}

Result<std::unique_ptr<SharedQueue>> SharedQueue::create(std::uint32_t limit) {
  unsigned regions = SharedQueueHeader::kMaxRegions;
  while (regions > 1 && region_offset(regions) > mapping_limit())
    --regions;
  auto file = create_memory_file("haz-queue", region_offset(regions));
  if (!file) return file.error();
  if (auto status = reserve_range(file->fd.get(), 0, sizeof(SharedQueueHeader)); !status) {
    return status.error();
  }
  auto memory = map_file(file->fd.get(), kHeaderSpan, Access::kReadWrite);
  if (!memory) return memory.error();
  // Zeroed memory is the header of an empty queue, but for the mutexes.
  auto* header = reinterpret_cast<SharedQueueHeader*>(*memory);
  std::unique_ptr<SharedQueue> queue(new SharedQueue(std::move(file->fd), header));
  for (RobustMutex* mutex : {&header->put_mutex, &header->get_mutex}) {
    if (auto status = mutex->initialize(); !status) return status.error();
  }
  header->limit = std::min(limit, kMaxItems);
  header->regions = regions;
  header->magic = kMagic;
  return queue;
}

Result<std::unique_ptr<SharedQueue>> SharedQueue::attach(UniqueFd fd) {
  auto identity = identify_file(fd.get());
  if (!identity) return identity.error();
  const Error no_queue{ErrorKind::kInvalid, "this file is no queue of this version of haz"};
  if (identity->size_bytes < region_offset(1)) return no_queue;
  auto memory = map_file(fd.get(), kHeaderSpan, Access::kReadWrite);
  if (!memory) return memory.error();
  auto* header = reinterpret_cast<SharedQueueHeader*>(*memory);
  std::unique_ptr<SharedQueue> queue(new SharedQueue(std::move(fd), header));
  const bool is_queue = header->magic == kMagic && header->regions >= 1 &&
                        header->regions <= SharedQueueHeader::kMaxRegions &&
                        identity->size_bytes == region_offset(header->regions);
  if (!is_queue) return no_queue;
  return queue;
}

// ---- regions ----------------------------------------------------------------------------------

/// The memory of a region, mapped when it is first used.
Result<std::byte*> SharedQueue::region(unsigned number) {
  std::byte* known = regions_[number].load(std::memory_order_acquire);  // pairs with the exchange
  if (known != nullptr) return known;
  auto mapped =
      map_file(fd_.get(), region_bytes(number), Access::kReadWrite, region_offset(number));
  if (!mapped) return mapped;
  // pairs with the load above
  if (!regions_[number].compare_exchange_strong(known, *mapped, std::memory_order_acq_rel,
                                                std::memory_order_acquire)) {
    unmap(*mapped, region_bytes(number));
    return known;
  }
  return mapped;
}

/// Whether the queue's items, or one of its ends, are in that region.
bool SharedQueue::is_used(unsigned number, QueuePosition head, QueuePosition tail) const {
  unsigned at = head.region;
  for (unsigned steps = 0; steps < SharedQueueHeader::kMaxRegions; ++steps) {
    if (at == number) return true;
    if (at == tail.region || at >= SharedQueueHeader::kMaxRegions) break;
    at = header_->next_region[at];
  }
  return tail.region == number;
}

/// Puts pages behind a part of a region, and maps them here where they are many.
Status SharedQueue::make_pages(unsigned number, std::uint64_t unit, std::uint64_t units) {
  const std::uint64_t end = (unit + units) * kUnitBytes;
  std::uint64_t& reserved = header_->reserved[number];
  if (end > reserved) {
    const std::uint64_t to = align_up(end, kReserveBytes);
    auto status = reserve_range(fd_.get(), region_offset(number) + reserved, to - reserved);
    if (!status) return status;
    reserved = to;
  }
  const std::uint64_t size_bytes = units * kUnitBytes;
  if (size_bytes < kPopulateFromBytes || !can_populate()) return Ok{};
  auto memory = region(number);
  if (!memory) return memory.error();
  return populate_for_writing(*memory + unit * kUnitBytes, size_bytes);
}

/// The begin of another region, to which a record at the tail leads.
Result<SharedQueue::Place> SharedQueue::enter_region(unsigned number, std::uint64_t units,
                                                     QueuePosition tail) {
  auto memory = region(number);
  if (!memory) return memory.error();
  auto before = region(tail.region);
  if (!before) return before.error();
  if (auto status = make_pages(number, 0, units); !status) return status.error();
  if (auto status = make_pages(tail.region, tail.unit, 1); !status) return status.error();
  write_record(*before, tail.unit, {RecordKind::kToRegion, number, 0});
  header_->next_region[tail.region] = number;
  return Place{{number, 0, tail.count}, *memory};
}

/// Where an item of so many units goes. Each place leaves one unit free behind the item, for a
/// record that leads elsewhere.
Result<SharedQueue::Place> SharedQueue::find_place(std::uint64_t units, QueuePosition head,
                                                   QueuePosition tail) {
  const bool is_empty = count_between(head, tail) == 0;
  const unsigned best = smallest_region(units);
  if (is_empty && best < tail.region) return enter_region(best, units, tail);
  const std::uint64_t size = region_units(tail.region);
  const std::uint64_t to_end = size - tail.unit;
  const std::uint64_t used =
      head.region == tail.region ? (tail.unit - head.unit) & (size - 1) : tail.unit;
  const bool wraps = units > to_end;
  if (used + (wraps ? to_end : 0) + units + 1 < size) {
    auto memory = region(tail.region);
    if (!memory) return memory.error();
    const std::uint32_t unit = wraps ? 0 : tail.unit;
    if (auto status = make_pages(tail.region, unit, units); !status) return status.error();
    if (wraps) {
      if (auto status = make_pages(tail.region, tail.unit, 1); !status) return status.error();
      write_record(*memory, tail.unit, {RecordKind::kToBegin, 0, 0});
    }
    return Place{{tail.region, unit, tail.count}, *memory + unit * kUnitBytes};
  }
  for (unsigned number = std::max(best, tail.region + 1); number < header_->regions; ++number) {
    if (!is_used(number, head, tail)) return enter_region(number, units, tail);
  }
  for (unsigned number = header_->regions; number-- > 0;) {
    if (region_units(number) > units + 1 && !is_used(number, head, tail)) {
      return enter_region(number, units, tail);
    }
  }
  return Error{ErrorKind::kOverloaded,
               "no room in the queue for an item of " + std::to_string(units * kUnitBytes) +
                   " bytes: it can grow to " + std::to_string(region_offset(header_->regions)) +
                   " bytes; get what is in it, or give it a maxsize"};
}

/// Gives pages back to the system that lie in regions out of use. Those that put are excluded.
void SharedQueue::give_pages_back() {
  const auto tail = QueuePosition::unpack(header_->tail.load(std::memory_order_relaxed));
  // pairs with get_locked(): nobody reads any more what lies before it
  const auto head = QueuePosition::unpack(header_->head.load(std::memory_order_acquire));
  const bool is_empty = count_between(head, tail) == 0;
  for (unsigned number = 0; number < header_->regions; ++number) {
    const bool used = is_used(number, head, tail);
    if (used && !is_empty) continue;
    const std::uint64_t kept = used ? kKeptWhenEmptyBytes : kKeptBytes;
    if (header_->reserved[number] <= kept) continue;
    auto memory = region(number);
    if (!memory) continue;
    header_->reserved[number] = kept;
    static_cast<void>(punch_mapped_range(*memory + kept, region_bytes(number) - kept));
  }
}

// ---- put and get ------------------------------------------------------------------------------

Result<QueueTry> SharedQueue::put_locked(std::size_t size_bytes,
                                         const std::function<void(std::byte*)>& write) {
  const auto tail = QueuePosition::unpack(header_->tail.load(std::memory_order_relaxed));
  // pairs with get_locked(): what was read may be overwritten
  const auto head = QueuePosition::unpack(header_->head.load(std::memory_order_acquire));
  for (const QueuePosition end : {tail, head}) {
    if (end.region >= header_->regions || end.unit >= region_units(end.region)) return damaged();
  }
  if (count_between(head, tail) >= header_->limit) return QueueTry::kNotNow;
  const std::uint64_t units = units_of(size_bytes);
  auto place = find_place(units, head, tail);
  if (!place) return place.error();
  const std::uint32_t offset = offset_of_bytes(size_bytes);
  write_record(place->memory, 0, {RecordKind::kItem, offset, size_bytes});
  write(place->memory + offset);
  QueuePosition next = place->position;
  next.unit = static_cast<std::uint32_t>((next.unit + units) & (region_units(next.region) - 1));
  next.count = (next.count + 1) & QueuePosition::kCountMask;
  // pairs with get_locked(), and with WaitWord::prepare() of those that wait
  header_->tail.store(next.pack(), std::memory_order_seq_cst);
  return QueueTry::kDone;
}

Result<QueueTry> SharedQueue::try_put(std::size_t size_bytes,
                                      const std::function<void(std::byte*)>& write,
                                      std::int64_t until_ns) {
  const std::uint64_t most = region_bytes(header_->regions - 1) - 4 * kUnitBytes;
  if (size_bytes > most) {
    return Error{ErrorKind::kOverloaded, "an item of a queue has at most " + std::to_string(most) +
                                             " bytes, not " + std::to_string(size_bytes)};
  }
  if (!header_->put_mutex.lock_until(until_ns)) return QueueTry::kBusy;
  auto outcome = [&] {
    const HeldMutex held(header_->put_mutex);
    return put_locked(size_bytes, write);
  }();
  if (!outcome || *outcome != QueueTry::kDone) return outcome;
  header_->items.notify_one();
  if (!full()) header_->room.notify_one();  // see WaitWord::leave()
  return outcome;
}

Result<QueueTry> SharedQueue::get_locked(
    const std::function<bool(std::span<const std::byte>)>& read, bool& has_left_much) {
  auto head = QueuePosition::unpack(header_->head.load(std::memory_order_relaxed));
  // pairs with put_locked()
  const auto tail = QueuePosition::unpack(header_->tail.load(std::memory_order_acquire));
  if (count_between(head, tail) == 0) return QueueTry::kNotNow;
  const unsigned first_region = head.region;
  Record record{};
  std::byte* at = nullptr;
  for (unsigned steps = 0; record.kind != RecordKind::kItem; ++steps) {
    if (head.region >= header_->regions || head.unit >= region_units(head.region)) return damaged();
    if (steps > 2 * SharedQueueHeader::kMaxRegions) return damaged();
    auto memory = region(head.region);
    if (!memory) return memory.error();
    at = *memory + head.unit * kUnitBytes;
    std::memcpy(&record, at, sizeof record);
    if (record.kind == RecordKind::kItem) break;
    if (record.kind == RecordKind::kToRegion) {
      head.region = record.offset_or_region;
    } else if (record.kind != RecordKind::kToBegin) {
      return damaged();
    }
    head.unit = 0;
  }
  if (record.size_bytes > region_bytes(head.region)) return damaged();
  const std::uint64_t units = units_of(record.size_bytes);
  if (record.offset_or_region != offset_of_bytes(record.size_bytes) ||
      head.unit + units > region_units(head.region)) {
    return damaged();
  }
  if (!read({at + record.offset_or_region, static_cast<std::size_t>(record.size_bytes)})) {
    return QueueTry::kNotNow;
  }
  head.unit = static_cast<std::uint32_t>((head.unit + units) & (region_units(head.region) - 1));
  head.count = (head.count + 1) & QueuePosition::kCountMask;
  // pairs with put_locked(), give_pages_back(), and WaitWord::prepare() of those that wait
  header_->head.store(head.pack(), std::memory_order_seq_cst);
  has_left_much = units * kUnitBytes >= kMuchBytes || head.region != first_region;
  return QueueTry::kDone;
}

Result<QueueTry> SharedQueue::try_get(const std::function<bool(std::span<const std::byte>)>& read,
                                      std::int64_t until_ns) {
  if (!header_->get_mutex.lock_until(until_ns)) return QueueTry::kBusy;
  bool has_left_much = false;
  auto outcome = [&] {
    const HeldMutex held(header_->get_mutex);
    return get_locked(read, has_left_much);
  }();
  if (!outcome || *outcome != QueueTry::kDone) return outcome;
  header_->room.notify_one();
  if (size() != 0) header_->items.notify_one();  // see WaitWord::leave()
  // Who puts meanwhile gives the pages back of what it leaves when the next item was got.
  if (has_left_much && header_->put_mutex.try_lock()) {
    const HeldMutex held(header_->put_mutex);
    give_pages_back();
  }
  return outcome;
}

// ---- waiting ----------------------------------------------------------------------------------

template <typename Done>
void SharedQueue::wait_on(WaitWord& word, std::int64_t until_ns, const Done& done) {
  thread_local SpinPolicy spin;
  if (done()) return;
  const std::int64_t now = monotonic_ns();
  const std::int64_t spin_until = std::min(until_ns, now + kSpinNs);
  if (spin.allowed(now) && spin.spin(now, spin_until, done)) return;
  const std::uint32_t prepared = word.prepare();
  if (done()) return;
  const std::int64_t left = std::min(until_ns - monotonic_ns(), kLongestSleepNs);
  if (left > 0) word.sleep(prepared, left);
  word.leave();
}

void SharedQueue::wait_for_item(std::int64_t until_ns) {
  wait_on(header_->items, until_ns, [this] { return size() != 0; });
}

bool SharedQueue::watch_for_item(std::int64_t until_ns) {
  wait_for_item(until_ns);
  if (size() == 0) return false;
  header_->items.notify_one();  // it may have been woken in place of somebody who takes it
  return true;
}

void SharedQueue::wait_for_room(std::int64_t until_ns) {
  wait_on(header_->room, until_ns, [this] { return !full(); });
}

void SharedQueue::wait_for_all_done(std::int64_t until_ns) {
  wait_on(header_->all_done, until_ns, [this] { return all_done(); });
}

std::uint32_t SharedQueue::size() const {
  // The head first: it never passes a tail that is read after it. pairs with WaitWord::notify()
  const auto head = QueuePosition::unpack(header_->head.load(std::memory_order_seq_cst));
  const auto tail = QueuePosition::unpack(header_->tail.load(std::memory_order_seq_cst));
  return std::min(count_between(head, tail), header_->limit);
}

bool SharedQueue::mark_done() {
  std::uint32_t done = header_->done.load(std::memory_order_relaxed);
  for (;;) {
    // pairs with put_locked(): what was got was put
    const auto tail = QueuePosition::unpack(header_->tail.load(std::memory_order_acquire));
    if (done == tail.count) return false;
    // pairs with all_done()
    if (!header_->done.compare_exchange_weak(done, (done + 1) & QueuePosition::kCountMask,
                                             std::memory_order_seq_cst)) {
      continue;
    }
    if (all_done()) header_->all_done.notify_all();
    return true;
  }
}

bool SharedQueue::all_done() const {
  // pairs with put_locked() and mark_done()
  const auto tail = QueuePosition::unpack(header_->tail.load(std::memory_order_seq_cst));
  return header_->done.load(std::memory_order_seq_cst) == tail.count;
}

}  // namespace haz
