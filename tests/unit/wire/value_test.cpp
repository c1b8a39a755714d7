#include "wire/value.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace haz {
namespace {

using Kind = ValueItem::Kind;
using Bytes = std::vector<std::byte>;

Bytes as_bytes(std::string_view text) {
  const auto* first = reinterpret_cast<const std::byte*>(text.data());
  return {first, first + text.size()};
}

/// A payload written by hand, from tags and numbers below 256.
Bytes payload(std::initializer_list<int> numbers) {
  Bytes bytes;
  for (const int number : numbers)
    bytes.push_back(static_cast<std::byte>(number));
  return bytes;
}

constexpr int tag(ValueTag tag) { return static_cast<int>(tag); }
constexpr int flagged(ValueTag tag) { return static_cast<int>(tag) | kSharedFlag; }

void append_u64(Bytes* bytes, std::uint64_t number) {
  const auto* first = reinterpret_cast<const std::byte*>(&number);
  bytes->insert(bytes->end(), first, first + sizeof(number));
}

ValueItem only_item(const Bytes& bytes) {
  ValueReader reader(bytes);
  Result<ValueItem> item = reader.next();
  EXPECT_TRUE(item.ok());
  EXPECT_TRUE(reader.at_end());
  return item.ok() ? *item : ValueItem{};
}

/// True when the reader refuses `bytes` somewhere on the way to their end.
bool is_malformed(const Bytes& bytes) {
  ValueReader reader(bytes);
  do {
    if (!reader.skip()) return true;
  } while (!reader.at_end());
  return false;
}

Bytes written(const ValueWriter& writer) { return {writer.data().begin(), writer.data().end()}; }

TEST(ValueWriterTest, WritesWhatTheReaderReads) {
  ValueWriter writer;
  writer.begin_dict(2);
  writer.str("cause");
  writer.begin_tuple(3);
  writer.none();
  writer.boolean(true);
  writer.number(-0.5);
  writer.str("items");
  writer.begin_list(2);
  writer.bytes(as_bytes("xyz"));
  writer.ref(ObjectId{77});
  const Bytes bytes = written(writer);

  ValueReader reader(bytes);
  const auto next = [&] { return *reader.next(); };
  ValueItem item = next();
  EXPECT_EQ(item.kind, Kind::kDict);
  EXPECT_EQ(item.count, 2U);
  EXPECT_EQ(next().text(), "cause");
  item = next();
  EXPECT_EQ(item.kind, Kind::kTuple);
  EXPECT_EQ(item.count, 3U);
  EXPECT_EQ(next().kind, Kind::kNone);
  EXPECT_TRUE(next().boolean);
  EXPECT_EQ(next().number, -0.5);
  EXPECT_EQ(next().text(), "items");
  EXPECT_EQ(next().kind, Kind::kList);
  EXPECT_EQ(next().text(), "xyz");
  EXPECT_FALSE(reader.at_end());
  EXPECT_EQ(next().ref, ObjectId{77});
  EXPECT_TRUE(reader.at_end());
}

TEST(ValueWriterTest, WritesIntegersOfEverySize) {
  for (int shift = 0; shift < 63; ++shift) {
    for (const std::int64_t offset : {-1, 0, 1}) {
      const std::int64_t number = (std::int64_t{1} << shift) + offset;
      for (const std::int64_t value : {number, -number}) {
        ValueWriter writer;
        writer.integer(value);
        EXPECT_EQ(only_item(written(writer)).integer, value);
      }
    }
  }
  ValueWriter writer;
  writer.integer(std::numeric_limits<std::int64_t>::min());
  EXPECT_EQ(only_item(written(writer)).integer, std::numeric_limits<std::int64_t>::min());
}

TEST(ValueWriterTest, KeepsTheBitsOfFloats) {
  const auto nan = std::bit_cast<double>(std::uint64_t{0x7FF8000000001234});
  for (const double number : {nan, -0.0, std::numeric_limits<double>::denorm_min()}) {
    ValueWriter writer;
    writer.number(number);
    const double read = only_item(written(writer)).number;
    EXPECT_EQ(std::bit_cast<std::uint64_t>(read), std::bit_cast<std::uint64_t>(number));
  }
}

TEST(ValueWriterTest, WritesLongTextsAndContainers) {
  for (const std::size_t size : {0U, 255U, 256U, 100'000U}) {
    ValueWriter writer;
    writer.str(std::string(size, 'x'));
    EXPECT_EQ(only_item(written(writer)).bytes.size(), size);
    writer.clear();
    writer.begin_list(static_cast<std::uint32_t>(size));
    for (std::size_t i = 0; i < size; ++i)
      writer.none();
    EXPECT_FALSE(is_malformed(written(writer)));
  }
}

TEST(ValueWriterTest, ReplacesWhatIsNotUtf8) {
  for (const auto& [text, expected] : {
           std::pair{"a\xFFz", "a\xEF\xBF\xBDz"},
           std::pair{"\xED\xA0\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"},
           std::pair{"cut \xE2\x82", "cut \xEF\xBF\xBD\xEF\xBF\xBD"},
           std::pair{"h\xC3\xA9", "h\xC3\xA9"},
       }) {
    ValueWriter writer;
    writer.str(text);
    EXPECT_EQ(only_item(written(writer)).text(), expected);
  }
}

TEST(Utf8Test, AcceptsWhatPythonAccepts) {
  EXPECT_TRUE(is_utf8(""));
  EXPECT_TRUE(is_utf8("ascii \x7F"));
  EXPECT_TRUE(is_utf8("\xC2\x80 \xDF\xBF \xE0\xA0\x80 \xEF\xBF\xBF \xF0\x90\x80\x80"));
  EXPECT_TRUE(is_utf8("\xF4\x8F\xBF\xBF \xED\x9F\xBF \xEE\x80\x80"));
  EXPECT_FALSE(is_utf8("\x80"));
  EXPECT_FALSE(is_utf8("\xC1\xBF"));          // overlong
  EXPECT_FALSE(is_utf8("\xE0\x9F\xBF"));      // overlong
  EXPECT_FALSE(is_utf8("\xF0\x8F\xBF\xBF"));  // overlong
  EXPECT_FALSE(is_utf8("\xED\xA0\x80"));      // surrogate
  EXPECT_FALSE(is_utf8("\xF4\x90\x80\x80"));  // beyond U+10FFFF
  EXPECT_FALSE(is_utf8("\xE2\x82"));          // cut off
}

TEST(ValueReaderTest, ReadsArrays) {
  const std::vector<double> numbers = {1, 2, 3, 4, 5, 6};
  const std::vector<std::uint64_t> extents = {2, 3};
  ValueWriter writer;
  writer.array(ArrayElement::kFloat64, extents, std::as_bytes(std::span(numbers)));
  const Bytes bytes = written(writer);
  const ValueItem item = only_item(bytes);
  ASSERT_EQ(item.kind, Kind::kArray);
  EXPECT_EQ(item.array.element, ArrayElement::kFloat64);
  EXPECT_FALSE(item.array.is_fortran);
  ASSERT_EQ(item.array.dimensions, 2);
  EXPECT_EQ(item.array.extent(0), 2U);
  EXPECT_EQ(item.array.extent(1), 3U);
  EXPECT_TRUE(std::ranges::equal(item.array.bytes, std::as_bytes(std::span(numbers))));
}

TEST(ValueReaderTest, ChecksTheSizesOfArrays) {
  const auto array = [](std::vector<std::uint64_t> extents, std::uint64_t length) {
    Bytes bytes = payload({tag(ValueTag::kArray), static_cast<int>(ArrayElement::kInt16), 0,
                           static_cast<int>(extents.size())});
    for (const std::uint64_t extent : extents)
      append_u64(&bytes, extent);
    append_u64(&bytes, kNearBuffer);
    append_u64(&bytes, length);
    bytes.resize(bytes.size() + 6);
    return bytes;
  };
  EXPECT_FALSE(is_malformed(array({3}, 6)));
  EXPECT_TRUE(is_malformed(array({2}, 6)));
  EXPECT_TRUE(is_malformed(array({4}, 8)));
  EXPECT_TRUE(is_malformed(array({std::uint64_t{1} << 63}, 0)));
  EXPECT_TRUE(is_malformed(array({std::uint64_t{1} << 32, std::uint64_t{1} << 32}, 0)));
  EXPECT_TRUE(is_malformed(array({std::uint64_t{1} << 62, 0, 4}, 0)));
  EXPECT_TRUE(is_malformed(payload({tag(ValueTag::kArray), kArrayElementCount, 0, 0})));
}

TEST(ValueReaderTest, ReadsArrayScalars) {
  const ValueItem item = only_item(
      payload({tag(ValueTag::kArrayScalar), static_cast<int>(ArrayElement::kUint16), 5, 1}));
  EXPECT_EQ(item.array.dimensions, 0);
  EXPECT_EQ(item.array.bytes.size(), 2U);
}

TEST(ValueReaderTest, SkipsWholeValues) {
  ValueWriter writer;
  writer.begin_list(3);
  writer.begin_dict(1);
  writer.str("k");
  writer.begin_tuple(0);
  writer.integer(5);
  writer.begin_list(0);
  writer.integer(6);
  const Bytes bytes = written(writer);
  ValueReader reader(bytes);
  ASSERT_TRUE(reader.skip());
  EXPECT_FALSE(reader.at_end());
  EXPECT_EQ((*reader.next()).integer, 6);
  EXPECT_TRUE(reader.at_end());

  ValueReader inside(bytes);
  ASSERT_TRUE(inside.next());  // the list
  ASSERT_TRUE(inside.skip());  // the dict
  EXPECT_EQ((*inside.next()).integer, 5);
  ASSERT_TRUE(inside.skip());  // the empty list
  EXPECT_EQ((*inside.next()).integer, 6);
}

TEST(ValueReaderTest, FindsSharedObjects) {
  const Bytes bytes = payload({tag(ValueTag::kList8),
                               4,  //
                               flagged(ValueTag::kStr8),
                               2,
                               'a',
                               'b',  //
                               flagged(ValueTag::kTuple8),
                               1,
                               tag(ValueTag::kShared),
                               0,
                               0,
                               0,
                               0,
                               tag(ValueTag::kShared),
                               1,
                               0,
                               0,
                               0,  //
                               tag(ValueTag::kNone),
                               tag(ValueTag::kNone)});
  ValueReader reader(bytes);
  ASSERT_TRUE(reader.next());
  ASSERT_TRUE(reader.next());
  ASSERT_TRUE(reader.skip());
  const ValueItem link = *reader.next();
  ASSERT_EQ(link.kind, Kind::kShared);
  ValueReader tuple = reader.shared(link.count);
  EXPECT_EQ((*tuple.next()).kind, Kind::kTuple);
  const ValueItem inner = *tuple.next();
  ASSERT_EQ(inner.kind, Kind::kShared);
  ValueReader text = tuple.shared(inner.count);
  EXPECT_EQ((*text.next()).text(), "ab");
  EXPECT_EQ((*reader.next()).kind, Kind::kNone);
}

TEST(ValueReaderTest, SharesWithinOneValueOnly) {
  EXPECT_TRUE(
      is_malformed(payload({flagged(ValueTag::kList8), 0, tag(ValueTag::kShared), 0, 0, 0, 0})));
  EXPECT_TRUE(is_malformed(payload({tag(ValueTag::kShared), 0, 0, 0, 0})));
  EXPECT_TRUE(is_malformed(payload({flagged(ValueTag::kNone)})));
}

TEST(ValueReaderTest, ReadsFarBuffers) {
  Bytes bytes = payload({tag(ValueTag::kTuple8), 2, tag(ValueTag::kFarStr)});
  append_u64(&bytes, 64);
  append_u64(&bytes, 3);
  bytes.push_back(static_cast<std::byte>(ValueTag::kFarBytes));
  append_u64(&bytes, 128);
  append_u64(&bytes, 2);
  bytes.resize(130, std::byte{'z'});
  std::fill(bytes.begin() + 36, bytes.begin() + 64, std::byte{0});
  ValueReader reader(bytes);
  ASSERT_TRUE(reader.next());
  EXPECT_EQ((*reader.next()).text(), "zzz");
  EXPECT_FALSE(reader.at_end());
  EXPECT_EQ((*reader.next()).bytes.size(), 2U);
  EXPECT_TRUE(reader.at_end());
}

TEST(ValueReaderTest, RefusesFarBuffersThatOverlap) {
  const auto two_at = [](std::uint64_t first, std::uint64_t second) {
    Bytes bytes = payload({tag(ValueTag::kTuple8), 2, tag(ValueTag::kFarBytes)});
    append_u64(&bytes, first);
    append_u64(&bytes, 64);
    bytes.push_back(static_cast<std::byte>(ValueTag::kFarBytes));
    append_u64(&bytes, second);
    append_u64(&bytes, 64);
    bytes.resize(192);
    return bytes;
  };
  EXPECT_FALSE(is_malformed(two_at(64, 128)));
  EXPECT_TRUE(is_malformed(two_at(128, 64)));
  EXPECT_TRUE(is_malformed(two_at(64, 64)));
  EXPECT_TRUE(is_malformed(two_at(0, 64)));
  EXPECT_TRUE(is_malformed(two_at(64, 192)));
  EXPECT_TRUE(is_malformed(two_at(65, 130)));
  EXPECT_TRUE(is_malformed(two_at(64, ~std::uint64_t{63})));
}

TEST(ValueReaderTest, ReadsPickles) {
  Bytes bytes = payload({tag(ValueTag::kPickle), 2, 0, 0, 0, 2, 0, 0, 0});
  append_u64(&bytes, kNearBuffer);
  append_u64(&bytes, 3);
  append_u64(&bytes, kNearBuffer);
  append_u64(&bytes, 1);
  for (const char letter : std::string("P.abcd"))
    bytes.push_back(static_cast<std::byte>(letter));
  ValueReader reader(bytes);
  const ValueItem item = *reader.next();
  EXPECT_EQ(item.kind, Kind::kPickle);
  EXPECT_EQ(item.text(), "P.");
  ASSERT_EQ(reader.pickle_buffers().size(), 2U);
  EXPECT_EQ(reader.pickle_buffers()[0].size(), 3U);
  EXPECT_EQ(reader.pickle_buffers()[1][0], std::byte{'d'});
  EXPECT_TRUE(reader.at_end());

  bytes.insert(bytes.begin(), {std::byte{tag(ValueTag::kList8)}, std::byte{1}});
  EXPECT_TRUE(is_malformed(bytes));  // a pickle is never an item
}

TEST(ValueReaderTest, RefusesMalformedInput) {
  EXPECT_TRUE(is_malformed({}));
  EXPECT_TRUE(is_malformed(payload({0})));
  EXPECT_TRUE(is_malformed(payload({tag(ValueTag::kShared) + 1})));
  EXPECT_TRUE(is_malformed(payload({tag(ValueTag::kInt64), 1, 2, 3})));
  EXPECT_TRUE(is_malformed(payload({tag(ValueTag::kStr8), 3, 'a'})));
  EXPECT_TRUE(is_malformed(payload({tag(ValueTag::kStr8), 1, 0xFF})));
  EXPECT_TRUE(is_malformed(payload({tag(ValueTag::kList8), 2, tag(ValueTag::kNone)})));
  EXPECT_TRUE(is_malformed(payload({tag(ValueTag::kList32), 255, 255, 255, 255})));
  EXPECT_TRUE(is_malformed(payload({tag(ValueTag::kDict8), 1, tag(ValueTag::kNone)})));
  EXPECT_TRUE(is_malformed(payload({tag(ValueTag::kRef), 0, 0, 0, 0, 0, 0, 0, 0})));
  EXPECT_TRUE(is_malformed(payload({tag(ValueTag::kPickle), 0, 0, 0, 0, 255, 255, 255, 255})));
}

TEST(ValueReaderTest, BoundsTheDepth) {
  const auto nested = [](unsigned depth) {
    Bytes bytes;
    for (unsigned i = 0; i < depth; ++i) {
      bytes.push_back(static_cast<std::byte>(ValueTag::kList8));
      bytes.push_back(static_cast<std::byte>(i + 1 == depth ? 0 : 1));
    }
    return bytes;
  };
  EXPECT_FALSE(is_malformed(nested(kMaxValueDepth)));
  EXPECT_TRUE(is_malformed(nested(kMaxValueDepth + 1)));
}

// ---- mutations ------------------------------------------------------------------------------

/// Payloads that together use every tag.
std::vector<Bytes> seeds() {
  ValueWriter plain;
  plain.begin_list(7);
  plain.integer(1);
  plain.integer(100'000);
  plain.integer(std::int64_t{1} << 40);
  plain.begin_dict(2);
  plain.str("key");
  plain.ref(ObjectId{9});
  plain.bytes(as_bytes("bytes"));
  plain.number(2.5);
  plain.str(std::string(300, 'x'));
  plain.begin_tuple(2);
  plain.none();
  plain.boolean(false);
  const std::vector<std::uint64_t> extents = {2, 2};
  plain.array(ArrayElement::kInt8, extents, as_bytes("abcd"));

  Bytes shared =
      payload({tag(ValueTag::kList8), 3, flagged(ValueTag::kDict8), 0, tag(ValueTag::kShared), 0, 0,
               0, 0, tag(ValueTag::kBigInt), 2, 0, 0, 0, 1, 2});
  Bytes far = payload({tag(ValueTag::kFarPickle)});
  append_u64(&far, 64);
  append_u64(&far, 5);
  for (const int number : {2, 0, 0, 0})
    far.push_back(static_cast<std::byte>(number));
  append_u64(&far, 128);
  append_u64(&far, 10);
  append_u64(&far, kNearBuffer);
  append_u64(&far, 1);
  far.resize(138);
  return {written(plain), shared, far};
}

/// Reads everything that `bytes` hold, and touches all of it.
std::uint64_t read_all(const Bytes& bytes) {
  ValueReader reader(bytes);
  std::uint64_t sum = 0;
  while (!reader.at_end()) {
    Result<ValueItem> item = reader.next();
    if (!item) break;
    for (const std::byte byte : item->bytes)
      sum += static_cast<std::uint64_t>(byte);
    if (item->kind == Kind::kPickle) {
      for (const auto buffer : reader.pickle_buffers()) {
        for (const std::byte byte : buffer)
          sum += static_cast<std::uint64_t>(byte);
      }
    }
    if (item->kind == Kind::kArray) {
      for (unsigned i = 0; i < item->array.dimensions; ++i)
        sum += item->array.extent(i);
      for (const std::byte byte : item->array.bytes)
        sum += static_cast<std::uint64_t>(byte);
    }
    if (item->kind == Kind::kShared) {
      ValueReader other = reader.shared(item->count);
      sum += other.skip().ok() ? 1 : 0;
    }
  }
  return sum;
}

void mutate(Bytes* bytes, std::mt19937* random) {
  const auto below = [&](std::size_t limit) {
    return std::uniform_int_distribution<std::size_t>(0, limit - 1)(*random);
  };
  constexpr std::uint8_t kTelling[] = {0, 1, 0x7F, 0x80, 0xFF, 26, 0x8D, 64};
  for (std::size_t i = below(6) + 1; i > 0 && !bytes->empty(); --i) {
    std::byte& byte = (*bytes)[below(bytes->size())];
    switch (below(5)) {
      case 0:
        byte = static_cast<std::byte>(below(256));
        break;
      case 1:
        byte = static_cast<std::byte>(kTelling[below(std::size(kTelling))]);
        break;
      case 2:
        byte ^= std::byte{kSharedFlag};
        break;
      case 3:
        bytes->resize(below(bytes->size()) + 1);
        break;
      default:
        bytes->erase(bytes->begin() + static_cast<std::ptrdiff_t>(below(bytes->size())));
    }
  }
}

/// Meant for a build with sanitizers, which see any read outside of the payload.
TEST(ValueReaderFuzz, SurvivesAnyMutation) {
  constexpr int kRounds = 200'000;
  constexpr std::mt19937::result_type kSeed = 20'240'607;
  std::mt19937 random(kSeed);
  const std::vector<Bytes> originals = seeds();
  for (const Bytes& original : originals)
    EXPECT_FALSE(is_malformed(original));
  std::uint64_t sum = 0;
  for (int round = 0; round < kRounds; ++round) {
    Bytes bytes = originals[static_cast<std::size_t>(round) % originals.size()];
    mutate(&bytes, &random);
    bytes.shrink_to_fit();
    sum += read_all(bytes);
  }
  EXPECT_NE(sum, 0U);
}

}  // namespace
}  // namespace haz
