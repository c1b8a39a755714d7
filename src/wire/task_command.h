/// @file
/// What the scheduler's host tells a worker to run.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "base/units.h"
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
///
/// Where it is shared only the first near_used of `near_bytes` are there: what follows is 0. So a
/// call without arguments takes one cache line of a ring, and not two.
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
  std::uint8_t grant_at;   ///< Place of the TaskGrant in `near_bytes`, if there is one.
  std::uint8_t near_used;  ///< A multiple of 8.
  std::uint8_t reserved;
  std::array<std::byte, kNearBytes> near_bytes;

  /// To be called when all is written, of near_bytes the first `near_size` at most; the others are
  /// 0.
  void seal(std::size_t near_size) {
    std::size_t words = align_up(near_size, sizeof(std::uint64_t)) / sizeof(std::uint64_t);
    while (words != 0 && near_word(words - 1) == 0)
      --words;
    near_used = static_cast<std::uint8_t>(words * sizeof(std::uint64_t));
    check = check_of_rest();
  }
  /// Writes what is used to where it is shared.
  void share(TaskCommand& shared) const {
    std::memcpy(static_cast<void*>(&shared), this, kHeadBytes);
    if (near_used != 0) std::memcpy(shared.near_bytes.data(), near_bytes.data(), near_used);
  }
  /// What share() has written: whether it still is as it was when it was sealed.
  [[nodiscard]] bool is_sound() const {
    return near_used <= kNearBytes && near_used % sizeof(std::uint64_t) == 0 &&
           check == check_of_rest();
  }
  /// All of what share() has written to `shared`.
  static TaskCommand read(const TaskCommand& shared) {
    TaskCommand command{};
    std::memcpy(static_cast<void*>(&command), &shared, kHeadBytes);
    const std::size_t used = command.near_used <= kNearBytes ? command.near_used : kNearBytes;
    if (used != 0) std::memcpy(command.near_bytes.data(), shared.near_bytes.data(), used);
    return command;
  }

 private:
  static constexpr std::size_t kHeadBytes = 56;

  [[nodiscard]] std::uint64_t near_word(std::size_t index) const {
    std::uint64_t word = 0;
    std::memcpy(&word, near_bytes.data() + index * sizeof word, sizeof word);
    return word;
  }
  [[nodiscard]] std::uint32_t check_of_rest() const {
    constexpr std::size_t kFirst = offsetof(TaskCommand, task);
    static_assert(offsetof(TaskCommand, near_bytes) == kHeadBytes);
    return checksum(reinterpret_cast<const std::byte*>(this) + kFirst,
                    kHeadBytes - kFirst + near_used, num_returns);
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
