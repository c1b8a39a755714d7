/// @file
/// Identifiers of processes, tasks and objects. All are 64 bits or less, never used again within a
/// node's life, and never zero: zero means "none".
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

namespace haz {

/// Names one process of a node for ever: numbers are handed out by the scheduler in rising order
/// and never used again, so a late message of a dead process can't be taken for one of its
/// successor.
struct ProcessId {
  std::uint32_t value = 0;
  friend bool operator==(ProcessId, ProcessId) = default;
  friend auto operator<=>(ProcessId, ProcessId) = default;
  explicit operator bool() const { return value != 0; }
};

/// Names one object. The high 24 bits are the ProcessId that made the id, the low 40 bits a counter
/// of that process.
struct ObjectId {
  std::uint64_t value = 0;
  friend bool operator==(ObjectId, ObjectId) = default;
  friend auto operator<=>(ObjectId, ObjectId) = default;
  explicit operator bool() const { return value != 0; }
};

/// Names one task: the id of its first return object. A task with `n` returns owns the ids
/// `value … value + max(n, 1) - 1`.
struct TaskId {
  std::uint64_t value = 0;
  friend bool operator==(TaskId, TaskId) = default;
  friend auto operator<=>(TaskId, TaskId) = default;
  explicit operator bool() const { return value != 0; }
  /// Id of return number `index`, counted from 0.
  [[nodiscard]] constexpr ObjectId return_id(std::uint32_t index) const {
    return ObjectId{value + index};
  }
};

/// Names one function or class registered with a node. Small and dense; never used again.
struct FunctionId {
  std::uint32_t value = 0;
  friend bool operator==(FunctionId, FunctionId) = default;
  explicit operator bool() const { return value != 0; }
};

inline constexpr unsigned kIdCounterBits = 40;
inline constexpr std::uint64_t kIdCounterMask = (std::uint64_t{1} << kIdCounterBits) - 1;
inline constexpr std::uint32_t kMaxProcessId = (1U << (64 - kIdCounterBits)) - 1;

/// First id of `process`' own id space.
constexpr std::uint64_t first_id_of(ProcessId process) {
  return (std::uint64_t{process.value} << kIdCounterBits) | 1;
}

/// The process that made `id`.
constexpr ProcessId maker_of(ObjectId id) {
  return ProcessId{static_cast<std::uint32_t>(id.value >> kIdCounterBits)};
}

}  // namespace haz

template <>
struct std::hash<haz::ObjectId> {
  std::size_t operator()(haz::ObjectId id) const noexcept { return id.value; }
};
template <>
struct std::hash<haz::TaskId> {
  std::size_t operator()(haz::TaskId id) const noexcept { return id.value; }
};
