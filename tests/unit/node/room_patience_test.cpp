#include "node/room_patience.h"

#include <gtest/gtest.h>

#include <initializer_list>

namespace haz {
namespace {

using First = RoomPatience::First;

DriversState state_of(std::initializer_list<DriverSeen> drivers) {
  DriversSeen seen;
  for (const DriverSeen& driver : drivers)
    seen.add(driver);
  return seen.state();
}

/// When the one who waits gets its error, if all stays as it is, looked at ten times a second.
std::int64_t time_to_error(RoomPatience& patience, std::int64_t now_ns, DriversState drivers,
                           First first) {
  const std::int64_t begin_ns = now_ns;
  while (!patience.is_over(now_ns, drivers, first))
    now_ns += 100 * kMillisecondNs;
  return now_ns - begin_ns;
}

constexpr DriverSeen kComputes{.holds_references = true};
constexpr DriverSeen kWaits{.waits = true, .holds_references = true};
constexpr DriverSeen kWaitsBesideThreads{
    .waits = true, .others_go_on = true, .holds_references = true};
constexpr DriverSeen kAwaits{.awaits = true, .holds_references = true};
constexpr DriverSeen kHasWaitedBesideThreads{.others_go_on = true};

TEST(DriversSeen, OneThatComputesWithReferencesGoesOn) {
  EXPECT_EQ(state_of({kComputes}), DriversState::kGoOn);
  EXPECT_EQ(state_of({kWaits, kComputes}), DriversState::kGoOn);
  EXPECT_EQ(state_of({kAwaits, kComputes, kWaits}), DriversState::kGoOn);
  EXPECT_EQ(state_of({kWaits, {}}), DriversState::kWait);
}

TEST(DriversSeen, OneThatWaitsForSomeTimeGoesOn) {
  EXPECT_EQ(state_of({{.waits_timed = true}}), DriversState::kGoOn);
  EXPECT_EQ(state_of({kWaits, {.waits_timed = true, .waits = true}}), DriversState::kGoOn);
}

TEST(DriversSeen, NobodyThere) {
  EXPECT_EQ(state_of({}), DriversState::kGoOn);
  EXPECT_EQ(state_of({{}}), DriversState::kGoOn);
}

TEST(DriversSeen, ThreadsBesideTheOneThatWaitsMayGoOn) {
  EXPECT_EQ(state_of({kWaits}), DriversState::kWait);
  EXPECT_EQ(state_of({kWaitsBesideThreads}), DriversState::kMayGoOn);
  EXPECT_EQ(state_of({kWaits, kWaitsBesideThreads}), DriversState::kMayGoOn);
}

TEST(DriversSeen, WhatAnEarlierWaitHasSaidDoesNotCount) {
  EXPECT_EQ(state_of({kWaits, kHasWaitedBesideThreads}), DriversState::kWait);
}

TEST(DriversSeen, WhoAwaitsMayGoOnWhereNoThreadWaits) {
  EXPECT_EQ(state_of({kAwaits}), DriversState::kMayGoOn);
  EXPECT_EQ(state_of({kWaits, kAwaits}), DriversState::kMayGoOn);
  EXPECT_EQ(state_of({{.waits = true, .awaits = true}}), DriversState::kWait);
}

TEST(RoomPatience, IsLongerForTasksAndWhereSomebodyMayGoOn) {
  const auto after = [](DriversState drivers, First first) {
    RoomPatience patience(10);
    return time_to_error(patience, 77 * kSecondNs, drivers, first) / kSecondNs;
  };
  EXPECT_EQ(after(DriversState::kWait, First::kTask), 10);
  EXPECT_EQ(after(DriversState::kMayGoOn, First::kTask), 60);
  EXPECT_EQ(after(DriversState::kWait, First::kDriver), 1);
  EXPECT_EQ(after(DriversState::kMayGoOn, First::kDriver), 5);
}

TEST(RoomPatience, StartsAgainWithEachSignOfHope) {
  RoomPatience patience(10);
  EXPECT_FALSE(patience.is_over(kSecondNs, DriversState::kWait, First::kTask));
  EXPECT_TRUE(patience.is_running());
  patience.reset();
  EXPECT_FALSE(patience.is_running());
  EXPECT_FALSE(patience.is_over(20 * kSecondNs, DriversState::kWait, First::kTask));
  EXPECT_FALSE(patience.is_over(29 * kSecondNs, DriversState::kGoOn, First::kTask));
  EXPECT_FALSE(patience.is_running());
  EXPECT_EQ(time_to_error(patience, 50 * kSecondNs, DriversState::kWait, First::kTask),
            10 * kSecondNs);
}

TEST(RoomPatience, TheNextGetsItsErrorSoonAfterTheFirst) {
  RoomPatience patience(10);
  std::int64_t now_ns = kSecondNs;
  now_ns += time_to_error(patience, now_ns, DriversState::kWait, First::kTask);
  EXPECT_FALSE(patience.is_over(now_ns, DriversState::kWait, First::kTask));
  now_ns += RoomPatience::kNextNs;
  EXPECT_TRUE(patience.is_over(now_ns, DriversState::kWait, First::kTask));
}

TEST(RoomPatience, AThreadThatAppearsIsWaitedForFromTheBeginning) {
  RoomPatience patience(10);
  EXPECT_FALSE(patience.is_over(1 * kSecondNs, DriversState::kWait, First::kTask));
  EXPECT_FALSE(patience.is_over(60 * kSecondNs, DriversState::kMayGoOn, First::kTask));
  EXPECT_TRUE(patience.is_over(61 * kSecondNs, DriversState::kMayGoOn, First::kTask));
}

TEST(RoomPatience, WhatThreadsHaveDroppedBeforeTheyEndedHasTimeToCome) {
  RoomPatience patience(10);
  EXPECT_FALSE(patience.is_over(1 * kSecondNs, DriversState::kMayGoOn, First::kDriver));
  EXPECT_FALSE(patience.is_over(4 * kSecondNs, DriversState::kMayGoOn, First::kDriver));
  EXPECT_FALSE(patience.is_over(4 * kSecondNs + 1, DriversState::kWait, First::kDriver));
  EXPECT_TRUE(patience.is_over(5 * kSecondNs, DriversState::kWait, First::kDriver));
}

TEST(RoomPatience, ThreadsThatComeAndGoAreNotWaitedForWithoutEnd) {
  RoomPatience patience(10);
  std::int64_t now_ns = kSecondNs;
  const auto state = [&now_ns] {
    return now_ns / kSecondNs % 5 == 0 ? DriversState::kMayGoOn : DriversState::kWait;
  };
  while (!patience.is_over(now_ns, state(), First::kTask))
    now_ns += kSecondNs;
  EXPECT_EQ(now_ns, 61 * kSecondNs);
}

}  // namespace
}  // namespace haz
