// The small containers that the scheduler is made of.

#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/ids.h"
#include "sched/id_map.h"
#include "sched/list.h"
#include "sched/pool.h"
#include "sched/story.h"
#include "sched/task.h"
#include "sched/value_bytes.h"

namespace haz {
namespace {

// ---- IdMap -------------------------------------------------------------------------------------

TEST(IdMap, FindsWhatWasSet) {
  IdMap<std::uint32_t> map;
  EXPECT_EQ(map.find(7), 0U);
  map.set(7, 1);
  map.set(8, 2);
  map.set(7, 3);
  EXPECT_EQ(map.find(7), 3U);
  EXPECT_EQ(map.find(8), 2U);
  EXPECT_EQ(map.size(), 2U);
  map.erase(7);
  map.erase(7);
  map.set(9, 0);
  EXPECT_EQ(map.find(7), 0U);
  EXPECT_EQ(map.size(), 1U);
}

TEST(IdMap, AgreesWithAnotherMap) {
  // Ids as they are in life: runs of neighbours, of several makers, some of which stay for ever.
  std::mt19937_64 random(1);
  IdMap<std::uint64_t> map;
  std::unordered_map<std::uint64_t, std::uint64_t> expected;
  std::vector<std::uint64_t> next;
  for (std::uint32_t maker = 1; maker <= 8; ++maker)
    next.push_back(first_id_of({maker}));
  std::vector<std::uint64_t> ids;
  for (int i = 0; i < 400'000; ++i) {
    const bool grow = i / 50'000 % 2 == 0;
    if (ids.empty() || random() % 100 < (grow ? 60U : 40U)) {
      std::uint64_t& id = next[random() % next.size()];
      const std::uint64_t value = random() | 1;
      map.set(id, value);
      expected[id] = value;
      ids.push_back(id++);
    } else {
      std::uint64_t& id = random() % 2 == 0 ? ids[random() % ids.size()] : ids.back();
      ASSERT_EQ(map.find(id), expected.at(id));
      map.erase(id);
      expected.erase(id);
      ASSERT_EQ(map.find(id), 0U);
      id = ids.back();
      ids.pop_back();
    }
    ASSERT_EQ(map.size(), expected.size());
  }
  std::size_t visited = 0;
  map.for_each([&](std::uint64_t id, std::uint64_t value) {
    EXPECT_EQ(expected.at(id), value);
    ++visited;
  });
  EXPECT_EQ(visited, expected.size());
  for (const std::uint64_t id : ids)
    map.erase(id);
  EXPECT_EQ(map.size(), 0U);
  map.for_each([](std::uint64_t, std::uint64_t) { FAIL(); });
}

TEST(IdMap, ManyIdsOfOneMakerDoNotSlowAnother) {
  // Quadratic when the runs of two makers meet in the table: then this takes minutes.
  constexpr std::uint64_t kIds = 500'000;
  for (std::uint32_t other = 2; other < 12; ++other) {
    IdMap<std::uint32_t> map;
    const std::uint64_t first = first_id_of({1});
    for (std::uint64_t i = 0; i < kIds; ++i)
      map.set(first + i, 1);
    const std::uint64_t second = first_id_of({other});
    for (std::uint64_t i = 0; i < 20'000; ++i) {
      map.set(second + i, 2);
      map.erase(second + i);
    }
    for (std::uint64_t i = 0; i < kIds; ++i)
      map.erase(first + i);
    EXPECT_EQ(map.size(), 0U);
  }
}

// ---- List --------------------------------------------------------------------------------------

struct Item {
  int value = 0;
  Link<Item> link;
};
using ItemList = List<Item, &Item::link>;

std::vector<int> values_of(const ItemList& list) {
  std::vector<int> forth;
  for (const Item* item = list.front(); item != nullptr; item = ItemList::next(item)) {
    forth.push_back(item->value);
  }
  std::vector<int> back;
  for (const Item* item = list.back(); item != nullptr; item = ItemList::previous(item)) {
    back.insert(back.begin(), item->value);
  }
  EXPECT_EQ(forth, back);
  EXPECT_EQ(forth.size(), list.size());
  EXPECT_EQ(forth.empty(), list.empty());
  return forth;
}

TEST(List, PushAndRemoveAnywhere) {
  std::vector<Item> items(5);
  for (int i = 0; i < 5; ++i)
    items[static_cast<std::size_t>(i)].value = i;
  ItemList list;
  EXPECT_EQ(values_of(list), std::vector<int>{});
  list.push_back(&items[2]);
  list.push_back(&items[3]);
  list.push_front(&items[1]);
  list.push_back(&items[4]);
  list.push_front(&items[0]);
  EXPECT_EQ(values_of(list), (std::vector{0, 1, 2, 3, 4}));
  list.remove(&items[2]);
  list.remove(&items[0]);
  list.remove(&items[4]);
  EXPECT_EQ(values_of(list), (std::vector{1, 3}));
  list.insert_before(&items[3], &items[2]);
  list.insert_before(&items[1], &items[0]);
  list.insert_before(nullptr, &items[4]);
  EXPECT_EQ(values_of(list), (std::vector{0, 1, 2, 3, 4}));
  for (Item& item : items)
    list.remove(&item);
  EXPECT_EQ(values_of(list), std::vector<int>{});
}

// ---- Pool --------------------------------------------------------------------------------------

struct Counted {
  explicit Counted(int* where) : alive(where) { ++*alive; }
  ~Counted() { --*alive; }
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;
  int* alive;
  std::array<char, 100> bytes{};
};

TEST(Pool, MakesAndDestroys) {
  int alive = 0;
  Pool<Counted, 8> pool;
  std::mt19937 random(2);
  std::vector<Counted*> made;
  for (int round = 0; round < 5; ++round) {
    for (int i = 0; i < 1000; ++i) {
      made.push_back(pool.make(&alive));
      made.back()->bytes.fill('x');  // under ASan: no two overlap, none is outside
      if (random() % 3 == 0) {
        std::swap(made[random() % made.size()], made.back());
        pool.destroy(made.back());
        made.pop_back();
      }
    }
    EXPECT_EQ(pool.live(), made.size());
    EXPECT_EQ(static_cast<std::size_t>(alive), made.size());
    for (Counted* counted : made)
      pool.destroy(counted);  // to none: its memory goes back
    made.clear();
    EXPECT_EQ(pool.live(), 0U);
    EXPECT_EQ(alive, 0);
  }
}

// ---- ValueBytes --------------------------------------------------------------------------------

ValueBytes value_of(const std::string& text) { return ValueBytes(std::as_bytes(std::span(text))); }
std::string text_of(const ValueBytes& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

TEST(ValueBytes, OfEverySize) {
  for (const std::size_t size : {0U, 1U, 23U, 24U, 25U, 1000U}) {
    const std::string text(size, 'x');
    ValueBytes bytes = value_of(text);
    EXPECT_EQ(text_of(bytes), text);
    ValueBytes moved = std::move(bytes);
    EXPECT_EQ(text_of(moved), text);
    bytes = std::move(moved);
    EXPECT_EQ(text_of(bytes), text);
    const ValueBytes shared = bytes.share();
    EXPECT_EQ(text_of(shared), text);
    bytes.assign(std::as_bytes(std::span("other")));
    EXPECT_EQ(text_of(shared), text) << "the other owner's value stays";
    bytes.clear();
    EXPECT_EQ(bytes.size(), 0U);
  }
}

TEST(ValueBytes, LargeOnesAreShared) {
  const std::string text(100, 'x');
  ValueBytes bytes = value_of(text);
  std::vector<ValueBytes> owners;
  for (int i = 0; i < 10; ++i)
    owners.push_back(bytes.share());
  EXPECT_EQ(owners.back().data(), bytes.data());
  bytes.clear();
  owners.erase(owners.begin(), owners.begin() + 9);
  EXPECT_EQ(text_of(owners.front()), text);
}

// ---- ReadyQueue --------------------------------------------------------------------------------

TEST(ReadyQueue, TheDeepestFirstAndInOrder) {
  std::vector<std::unique_ptr<Task>> tasks;
  ReadyQueue queue;
  for (const int depth : {0, 70, 1, 0, 62, 65535, 1}) {
    tasks.push_back(std::make_unique<Task>());
    tasks.back()->depth = static_cast<std::uint16_t>(depth);
    tasks.back()->order = tasks.size();
    queue.push_back(tasks.back().get());
  }
  tasks.push_back(std::make_unique<Task>());
  tasks.back()->awaited = true;
  queue.push_back(tasks.back().get());
  EXPECT_EQ(queue.size(), 8U);
  for (const std::size_t expected : {7U, 1U, 4U, 5U, 2U, 6U, 0U, 3U}) {
    ASSERT_EQ(queue.front(), tasks[expected].get());
    queue.remove(queue.front());
  }
  EXPECT_TRUE(queue.empty());
}

TEST(ReadyQueue, WhatWasTakenBackGetsItsPlaceAgain) {
  std::vector<std::unique_ptr<Task>> tasks;
  ReadyQueue queue;
  for (std::size_t i = 0; i < 6; ++i) {
    tasks.push_back(std::make_unique<Task>());
    tasks.back()->order = i + 1;
    queue.push_back(tasks.back().get());
  }
  for (const std::size_t i : {0U, 1U, 2U, 3U})
    queue.remove(tasks[i].get());
  for (const std::size_t i : {2U, 0U, 3U, 1U})
    queue.put_back(tasks[i].get());
  for (const auto& expected : tasks) {
    ASSERT_EQ(queue.front(), expected.get());
    queue.remove(queue.front());
  }
}

TEST(ReadyQueue, HoldersOfObjectsKeepTheirPlacesAndAreFoundFirst) {
  std::vector<std::unique_ptr<Task>> tasks;
  ReadyQueue queue;
  for (std::size_t i = 0; i < 8; ++i) {
    tasks.push_back(std::make_unique<Task>());
    tasks.back()->order = i + 1;
    tasks.back()->holds_objects = i % 3 == 2;  // 2 and 5
    tasks.back()->priority = i == 6 ? 1 : 0;
    queue.push_back(tasks.back().get());
  }
  EXPECT_EQ(queue.size(), 8U);
  EXPECT_EQ(queue.num_holders(), 2U);
  const auto any = [](const Task& /*task*/) { return true; };
  const auto is = [&tasks](std::size_t i) {
    return [wanted = tasks[i].get()](const Task& task) { return &task == wanted; };
  };
  EXPECT_EQ(queue.find(1, any), tasks[2].get());
  EXPECT_EQ(queue.find(1, is(5)), nullptr);
  EXPECT_EQ(queue.find(2, is(5)), tasks[5].get());
  EXPECT_EQ(queue.find(2, is(0)), tasks[0].get()) << "behind the one of greater priority";
  EXPECT_EQ(queue.find(1, is(0)), nullptr);
  for (const std::size_t expected : {6U, 0U, 1U, 2U, 3U, 4U, 5U, 7U}) {
    ASSERT_EQ(queue.front(), tasks[expected].get());
    queue.remove(queue.front());
  }
  EXPECT_TRUE(queue.empty());
}

// ---- Story -------------------------------------------------------------------------------------

TEST(Story, KeepsTheLatestInOrder) {
  Story story(4);
  EXPECT_TRUE(story.of(0).empty());
  for (std::uint64_t i = 1; i <= 10; ++i) {
    story.set_time(static_cast<std::int64_t>(i));
    story.add(StoryEvent::kTaskSubmitted, i % 2 + 1, static_cast<std::uint32_t>(i));
    const std::vector<StoryRecord> all = story.of(0);
    ASSERT_EQ(all.size(), std::min<std::uint64_t>(i, 4));
    for (std::size_t at = 0; at < all.size(); ++at)
      EXPECT_EQ(all[at].detail, i + 1 - all.size() + at);
  }
  const std::vector<StoryRecord> odd = story.of(2);
  ASSERT_EQ(odd.size(), 2U);
  EXPECT_EQ(odd[0].time_ns, 7);
  EXPECT_EQ(odd[1].time_ns, 9);
}

}  // namespace
}  // namespace haz
