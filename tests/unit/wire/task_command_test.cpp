#include "wire/task_command.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstring>
#include <random>
#include <string_view>

namespace haz {
namespace {

TaskCommand command_of(std::string_view near) {
  TaskCommand command{};
  command.task = 77;
  command.attempt = 3;
  command.function = 5;
  command.payload_size = command.block_size = static_cast<std::uint32_t>(near.size());
  if (!near.empty()) std::memcpy(command.near_bytes.data(), near.data(), near.size());
  command.seal(near.size());
  return command;
}

/// A place of a ring, which holds what was there before.
TaskCommand used_place() {
  TaskCommand place{};
  std::memset(static_cast<void*>(&place), 0xAB, sizeof place);
  return place;
}

void expect_equal(const TaskCommand& a, const TaskCommand& b) {
  EXPECT_EQ(std::memcmp(&a, &b, sizeof a), 0);
}

TEST(TaskCommand, IsReadAsItWasShared) {
  for (const std::string_view near :
       {std::string_view{}, std::string_view("1"), std::string_view("12345678"),
        std::string_view("123456789"), std::string_view("\0\0\0\0\0\0\0\0\0", 9),
        std::string_view("1\0\0\0\0\0\0\0\0\0\0\0", 12),
        std::string_view("0123456789012345678901234567890123456789012345678901234567890123")}) {
    const TaskCommand command = command_of(near);
    TaskCommand place = used_place();
    command.share(place);
    EXPECT_TRUE(place.is_sound());
    expect_equal(TaskCommand::read(place), command);
  }
}

TEST(TaskCommand, ZeroesAreNone) { EXPECT_FALSE(TaskCommand{}.is_sound()); }

TEST(TaskCommand, WritesNoMoreThanIsUsed) {
  TaskCommand place = used_place();
  command_of({"\0\0\0\0\0\0\0\0", 8}).share(place);
  EXPECT_EQ(place.near_used, 0) << "a call without arguments has nothing but zeros";
  EXPECT_EQ(place.near_bytes.front(), std::byte{0xAB});
  command_of("x").share(place);
  EXPECT_EQ(place.near_bytes[0], std::byte{'x'});
  EXPECT_EQ(place.near_bytes[8], std::byte{0xAB});
}

TEST(TaskCommand, DamageOfAnyBitThatCountsIsSeen) {
  const TaskCommand command = command_of("0123456789");
  for (std::size_t at = 0; at < offsetof(TaskCommand, near_bytes) + command.near_used; ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      TaskCommand place = used_place();
      command.share(place);
      reinterpret_cast<std::byte*>(&place)[at] ^= std::byte{1} << bit;
      EXPECT_FALSE(place.is_sound()) << "byte " << at << " bit " << bit;
    }
  }
}

TEST(TaskCommand, AnythingCanBeReadAndChecked) {
  std::mt19937 random(11);
  for (int round = 0; round < 2000; ++round) {
    TaskCommand place{};
    for (std::size_t at = 0; at < sizeof place; ++at)
      reinterpret_cast<std::byte*>(&place)[at] = static_cast<std::byte>(random());
    EXPECT_FALSE(place.is_sound());
    (void)TaskCommand::read(place);  // no more than there is
  }
}

}  // namespace
}  // namespace haz
