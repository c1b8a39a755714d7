/// @file
/// What a worker has done of a batch of calls, in memory that it shares with whoever sent them.
///
/// A batch is one message, but its calls stay calls of their own: those that have not begun can be
/// taken back, and what the others returned is there though the process dies. The worker opens the
/// page with the number of the batch, claims one call after the other, and records what each has
/// returned. Zeroed memory is a page of no batch.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <vector>

#include "base/units.h"

namespace haz {

/// The page as it lies in shared memory.
struct CallPage {
  static constexpr std::size_t kBytes = 16 * kKiB;
  static constexpr std::size_t kDataBytes = kBytes - 2 * kCacheLine;
  /// The most calls of a batch.
  static constexpr std::uint32_t kMaxCalls = 0xffff;

  /// Number of the batch, the next call to be claimed, and the one where the batch ends.
  alignas(kCacheLine) std::atomic<std::uint64_t> window;
  alignas(kCacheLine) std::atomic<std::uint32_t> recorded;  ///< Calls in `data`; worker writes.
  alignas(kCacheLine) std::array<std::byte, kDataBytes> data;
};
static_assert(sizeof(CallPage) == CallPage::kBytes);

namespace call_page_detail {

struct Window {
  std::uint32_t number;
  std::uint16_t next;
  std::uint16_t end;
};

inline Window unpack(std::uint64_t word) {
  return {static_cast<std::uint32_t>(word >> 32), static_cast<std::uint16_t>(word >> 16),
          static_cast<std::uint16_t>(word)};
}

inline std::uint64_t pack(Window window) {
  return std::uint64_t{window.number} << 32 | std::uint64_t{window.next} << 16 | window.end;
}

}  // namespace call_page_detail

/// The worker's end. One thread at a time.
class CallPageWriter {
 public:
  explicit CallPageWriter(CallPage* page) : page_(page) {}

  /// Begins a batch. `number` is not 0, and `count` at most kMaxCalls.
  void open(std::uint32_t number, std::uint32_t count) {
    used_ = recorded_ = 0;
    page_->recorded.store(0, std::memory_order_relaxed);
    page_->window.store(call_page_detail::pack({number, 0, static_cast<std::uint16_t>(count)}),
                        std::memory_order_release);  // pairs with CallPageReader
  }

  /// Whether there is one more call; if so, nobody takes it back any more.
  bool claim() {
    std::uint64_t word = page_->window.load(std::memory_order_relaxed);
    for (;;) {
      call_page_detail::Window window = call_page_detail::unpack(word);
      if (window.next >= window.end) return false;
      ++window.next;
      // pairs with CallPageReader::take_back()
      if (page_->window.compare_exchange_weak(word, call_page_detail::pack(window),
                                              std::memory_order_acq_rel,
                                              std::memory_order_relaxed)) {
        return true;
      }
    }
  }

  /// Notes what the claimed call has returned. False, with nothing noted: there is no room.
  bool record(std::span<const std::byte> value) {
    const auto size = static_cast<std::uint32_t>(value.size());
    const std::size_t room = CallPage::kDataBytes - used_;
    if (used_ > CallPage::kDataBytes || room < sizeof size || room - sizeof size < value.size()) {
      return false;
    }
    std::byte* end = page_->data.data() + used_;
    std::memcpy(end, &size, sizeof size);
    if (!value.empty()) std::memcpy(end + sizeof size, value.data(), value.size());
    used_ += sizeof size + value.size();
    page_->recorded.store(++recorded_, std::memory_order_release);  // pairs with recorded()
    return true;
  }

 private:
  CallPage* page_;
  std::size_t used_ = 0;
  std::uint32_t recorded_ = 0;
};

/// The sender's end. Thread-safe. It does not trust the worker: what it returns is in bounds.
class CallPageReader {
 public:
  explicit CallPageReader(CallPage* page) : page_(page) {}

  /// Ends the batch before the first call that has not begun; returns that call's place, or nothing
  /// where all have begun, or the page is not that of this batch.
  std::optional<std::uint32_t> take_back(std::uint32_t number) {
    std::uint64_t word =
        page_->window.load(std::memory_order_acquire);  // pairs with open(), claim()
    for (;;) {
      call_page_detail::Window window = call_page_detail::unpack(word);
      if (window.number != number || window.next >= window.end) return std::nullopt;
      window.end = window.next;
      // pairs with CallPageWriter::claim()
      if (page_->window.compare_exchange_weak(word, call_page_detail::pack(window),
                                              std::memory_order_acq_rel,
                                              std::memory_order_acquire)) {
        return window.next;
      }
    }
  }

  /// How many calls of the batch have begun; nothing where the worker has not opened it.
  [[nodiscard]] std::optional<std::uint32_t> begun(std::uint32_t number) const {
    const call_page_detail::Window window = call_page_detail::unpack(
        page_->window.load(std::memory_order_acquire));  // pairs with open(), claim()
    if (window.number != number) return std::nullopt;
    return window.next;
  }

  /// What the calls of the open batch have returned, in their order.
  [[nodiscard]] std::vector<std::span<const std::byte>> recorded() const {
    const std::uint32_t count =
        page_->recorded.load(std::memory_order_acquire);  // pairs with record()
    std::vector<std::span<const std::byte>> values;
    std::size_t used = 0;
    for (std::uint32_t i = 0; i < count; ++i) {
      std::uint32_t size = 0;
      if (used + sizeof size > CallPage::kDataBytes) break;
      std::memcpy(&size, page_->data.data() + used, sizeof size);
      used += sizeof size;
      if (size > CallPage::kDataBytes - used) break;
      values.emplace_back(page_->data.data() + used, size);
      used += size;
    }
    return values;
  }

 private:
  CallPage* page_;
};

}  // namespace haz
