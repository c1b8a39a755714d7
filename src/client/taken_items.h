/// @file
/// Items of streams that a process has taken before it asks for them, and their values.
#pragma once

#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "base/ids.h"
#include "store/wait.h"

namespace haz {

/// A question to the host takes long, so it is answered with several items where they are taken
/// quickly. What is not asked for yet is given back before anybody else could miss it. Thread-safe.
class TakenItems {
 public:
  /// The next item of `stream` that is here. None: the host has to be asked.
  std::optional<ObjectId> take(ObjectId stream);
  /// Whether the process takes from any stream.
  [[nodiscard]] bool has_streams();
  /// Whether there is one.
  [[nodiscard]] bool has_item(ObjectId stream);
  /// How many items to ask the host for, at `now_ns`: more each time, where all of those that it
  /// gave before were asked for soon.
  std::uint32_t items_to_ask_for(ObjectId stream, std::int64_t now_ns);
  /// The host has given another item.
  void add(ObjectId stream, ObjectId item);
  /// Forgets a stream; returns the items that were not asked for, the last one first.
  std::vector<ObjectId> give_up(ObjectId stream);

  /// Keeps a small value for get_value(), for as long as there is room and no forget().
  void add_value(ObjectId id, bool is_error, std::span<const std::byte> bytes);
  /// Whether the value of `id` is here.
  [[nodiscard]] bool has_value(ObjectId id);
  /// Adds the value of `id` to `out`, if it is here.
  bool get_value(ObjectId id, FetchedValues& out);
  /// The process has dropped a reference of `id`, or its value was freed.
  void forget_value(ObjectId id);

 private:
  static constexpr std::uint32_t kMostItems = 32;
  static constexpr std::size_t kMostValues = 1024;
  /// An item that is asked for later than this after the one before is not worth taking ahead.
  static constexpr std::int64_t kSoonNs = 100'000;

  struct Ahead {
    std::deque<ObjectId> items;
    std::uint32_t asked_for = 0;  ///< Of the host, the last time.
    std::int64_t asked_at_ns = 0;
  };
  struct Value {
    bool is_error = false;
    std::vector<std::byte> bytes;
  };

  std::mutex mutex_;
  std::unordered_map<std::uint64_t, Ahead> streams_;
  std::unordered_map<std::uint64_t, Value> values_;
  std::deque<std::uint64_t> oldest_values_;  ///< Some of them may be forgotten already.
};

}  // namespace haz
