/// @file
/// Waiting for values, as seen by the one who waits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/ids.h"

namespace haz {

/// What a waiting thread does for its language. Called without any lock of ours held.
class WaitHooks {
 public:
  WaitHooks() = default;
  WaitHooks(const WaitHooks&) = delete;
  WaitHooks& operator=(const WaitHooks&) = delete;
  virtual ~WaitHooks() = default;
  /// Before the thread may sleep or spin for long; not called when nothing has to be waited for.
  virtual void before_block() {}
  /// After before_block(), when the wait is over.
  virtual void after_block() {}
  /// Whether the thread may run a task while it waits. Constant.
  [[nodiscard]] virtual bool may_run_tasks() const { return false; }
  /// Asked where the store is full, before before_block() or while blocked: whether the program
  /// has other threads, which may drop references meanwhile.
  [[nodiscard]] virtual bool others_go_on() { return false; }
  /// Asked while blocked, after signals and now and then: whether to give up.
  virtual bool interrupted() { return false; }
};

/// How a wait ended.
enum class WaitOutcome : std::uint8_t {
  kDone,
  kTimeout,
  kInterrupted,    ///< WaitHooks::interrupted() said so.
  kUnknownObject,  ///< One of the objects was freed or never was.
  kClosed,         ///< The node has been shut down, or is lost.
};

/// A value that get() returns.
struct FetchedValue {
  ObjectId id;
  std::uint64_t offset = 0;  ///< In the arena, or in FetchedValues::near_bytes.
  std::uint64_t size = 0;
  bool ready = false;     ///< False: the wait ended (with an error elsewhere) before it was.
  bool in_arena = false;  ///< Then it is pinned: the receiver drops one reference of `id`.
  bool is_error = false;
};

/// Result of a get(): one entry per id, in order.
struct FetchedValues {
  std::vector<FetchedValue> values;
  std::vector<std::byte> near_bytes;
};

}  // namespace haz
