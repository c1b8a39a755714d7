// Items taken ahead of their use, and small values that are kept.

#include "client/taken_items.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

namespace haz {
namespace {

constexpr ObjectId kStream{7};
constexpr std::int64_t kMicrosecondNs = 1000;

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

std::string value_of(TakenItems& items, ObjectId id) {
  FetchedValues fetched;
  if (!items.get_value(id, fetched)) return "(not here)";
  const FetchedValue& value = fetched.values.front();
  EXPECT_TRUE(value.ready);
  EXPECT_EQ(value.id, id);
  const auto* first = reinterpret_cast<const char*>(fetched.near_bytes.data() + value.offset);
  return std::string(first, value.size) + (value.is_error ? " (error)" : "");
}

TEST(TakenItems, ComeInTheirOrder) {
  TakenItems items;
  EXPECT_FALSE(items.has_streams());
  EXPECT_FALSE(items.take(kStream).has_value());
  items.add(kStream, ObjectId{1});
  items.add(kStream, ObjectId{2});
  items.add(ObjectId{8}, ObjectId{3});
  EXPECT_TRUE(items.has_item(kStream));
  EXPECT_EQ(items.take(kStream), ObjectId{1});
  EXPECT_EQ(items.take(kStream), ObjectId{2});
  EXPECT_FALSE(items.take(kStream).has_value());
  EXPECT_FALSE(items.has_item(kStream));
  EXPECT_EQ(items.take(ObjectId{8}), ObjectId{3});
}

TEST(TakenItems, AreGivenUpTheLastFirst) {
  TakenItems items;
  for (std::uint64_t i = 1; i <= 3; ++i) {
    items.add(kStream, ObjectId{i});
    items.add_value(ObjectId{i}, false, bytes_of("value"));
  }
  EXPECT_EQ(items.take(kStream), ObjectId{1});
  EXPECT_EQ(items.give_up(kStream), (std::vector{ObjectId{3}, ObjectId{2}}));
  EXPECT_TRUE(items.give_up(kStream).empty());
  EXPECT_FALSE(items.has_streams());
  EXPECT_EQ(value_of(items, ObjectId{1}), "value") << "that one is in use";
  EXPECT_EQ(value_of(items, ObjectId{2}), "(not here)");
}

TEST(TakenItems, MoreAreAskedForWhereTheyAreTakenSoon) {
  TakenItems items;
  std::int64_t now = 1;
  EXPECT_EQ(items.items_to_ask_for(kStream, now), 1U);
  EXPECT_EQ(items.items_to_ask_for(kStream, now += 10 * kMicrosecondNs), 2U);
  EXPECT_EQ(items.items_to_ask_for(kStream, now += 20 * kMicrosecondNs), 4U);
  EXPECT_EQ(items.items_to_ask_for(kStream, now += 300 * kMicrosecondNs), 8U) << "75 us each";
  EXPECT_EQ(items.items_to_ask_for(kStream, now += 10 * kMicrosecondNs), 16U);
  EXPECT_EQ(items.items_to_ask_for(kStream, now += 10 * kMicrosecondNs), 32U);
  EXPECT_EQ(items.items_to_ask_for(kStream, now += 10 * kMicrosecondNs), 32U) << "but no more";
  EXPECT_EQ(items.items_to_ask_for(kStream, now += 5000 * kMicrosecondNs), 1U);
  EXPECT_EQ(items.items_to_ask_for(kStream, now += 150 * kMicrosecondNs), 1U);
}

TEST(TakenItems, ValuesStayUntilTheyAreForgotten) {
  TakenItems items;
  items.add_value(ObjectId{1}, false, bytes_of("one"));
  items.add_value(ObjectId{2}, true, bytes_of("two"));
  EXPECT_EQ(value_of(items, ObjectId{1}), "one");
  EXPECT_EQ(value_of(items, ObjectId{1}), "one");
  EXPECT_EQ(value_of(items, ObjectId{2}), "two (error)");
  items.forget_value(ObjectId{1});
  EXPECT_EQ(value_of(items, ObjectId{1}), "(not here)");
  EXPECT_EQ(value_of(items, ObjectId{3}), "(not here)");
}

TEST(TakenItems, OldValuesMakeRoom) {
  TakenItems items;
  for (std::uint64_t i = 1; i <= 2000; ++i)
    items.add_value(ObjectId{i}, false, bytes_of(std::to_string(i)));
  EXPECT_EQ(value_of(items, ObjectId{1}), "(not here)");
  EXPECT_EQ(value_of(items, ObjectId{1500}), "1500");
  EXPECT_EQ(value_of(items, ObjectId{2000}), "2000");
}

}  // namespace
}  // namespace haz
