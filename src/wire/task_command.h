/// @file
/// What the scheduler's host tells a worker to run.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "queue/checksum.h"

namespace haz {

/// Where the value of one argument lies. Array elements; see TaskCommand.
struct ArgumentLocation {
  std::uint64_t object;  ///< Object id.
  std::uint64_t offset;  ///< In the arena; for a near value: from the start of the array.
  std::uint32_t size_low;
  std::uint32_t size_high_and_near;  ///< Bit 31: near; the rest: high bits of the size.
};
static_assert(sizeof(ArgumentLocation) == 24);

inline constexpr std::uint32_t kNearArgument = 1U << 31;

enum TaskCommandFlags : std::uint8_t {
  kReportStart = 1,  ///< The worker says when it begins (the attempt has a time limit).
  kNoMemory = 2,     ///< The object store had no room for the arguments: the attempt fails.
  kHasGrant = 4,     ///< There is a TaskGrant.
};

/// What a task, or the actor that its constructor makes, was given of things that are told apart.
struct TaskGrant {
  static constexpr std::size_t kMaxGpus = 24;  ///< As many as the scheduler gives to a task.

  std::uint32_t num_gpus;
  std::array<std::uint16_t, kMaxGpus> gpus;  ///< Only the first num_gpus are there.

  /// Bytes that are there.
  static constexpr std::size_t size(std::size_t num_gpus) {
    return offsetof(TaskGrant, gpus) + num_gpus * sizeof(std::uint16_t);
  }
};

/// One attempt of one task; fits a slot of the task ring.
///
/// The payload (the encoded arguments) and the array of ArgumentLocation with its near values stand
/// one after the other, 8-byte aligned, in `near_bytes` when block_offset is 0, else in the arena.
/// A TaskGrant stands in `near_bytes`, too.
struct TaskCommand {
  static constexpr std::size_t kNearBytes = 64;

  std::uint32_t check;        ///< Of all the rest, by seal().
  std::uint32_t num_returns;  ///< Of a streaming function: items that are there already.
  std::uint64_t task;
  std::uint32_t attempt;
  std::uint32_t function;
  std::uint64_t function_offset;  ///< FunctionBlock in the arena.
  std::uint64_t block_offset;
  std::uint32_t payload_size;
  std::uint32_t num_arguments;  ///< Elements of the array: arguments passed as refs.
  std::uint32_t block_size;     ///< Payload, array and near values.
  std::uint8_t flags;
  std::uint8_t grant_at;  ///< Place of the TaskGrant in `near_bytes`, if there is one.
  std::array<std::uint8_t, 2> reserved;
  std::array<std::byte, kNearBytes> near_bytes;

  /// To be called when all is written.
  void seal() { check = check_of_rest(); }
  /// Whether it is as it was when it was sealed.
  [[nodiscard]] bool is_sound() const { return check == check_of_rest(); }

 private:
  [[nodiscard]] std::uint32_t check_of_rest() const {
    constexpr std::size_t kChecked = offsetof(TaskCommand, task);
    return checksum(reinterpret_cast<const std::byte*>(this) + kChecked,
                    sizeof(TaskCommand) - kChecked, num_returns);
  }
};
static_assert(sizeof(TaskCommand) == 120);
static_assert(std::is_trivially_copyable_v<TaskCommand>);

/// Head of a function in the arena; its name and its code follow.
struct FunctionBlock {
  std::uint32_t name_size;
  std::uint32_t code_size;
  std::int32_t items_ahead;  ///< Of a streaming function: how far it may be ahead, 0: as far as it
                             ///< likes; -1: it returns values.
  std::uint32_t reserved;
};

}  // namespace haz
