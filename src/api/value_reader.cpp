/// @file
/// Reading values for the public headers, on top of wire/value.h.
#include <algorithm>
#include <array>
#include <memory>
#include <new>
#include <utility>
#include <vector>

#include "haz/detail/engine.h"
#include "haz/detail/reader.h"
#include "haz/detail/writer.h"
#include "haz/task_error.h"
#include "wire/value.h"

namespace haz::detail {

// One format: the public headers write what wire/value.h says.
static_assert(static_cast<int>(tag::end) == static_cast<int>(ValueTag::kEnd));
static_assert(static_cast<int>(tag::none) == static_cast<int>(ValueTag::kNone));
static_assert(static_cast<int>(tag::false_) == static_cast<int>(ValueTag::kFalse));
static_assert(static_cast<int>(tag::true_) == static_cast<int>(ValueTag::kTrue));
static_assert(static_cast<int>(tag::int8) == static_cast<int>(ValueTag::kInt8));
static_assert(static_cast<int>(tag::int32) == static_cast<int>(ValueTag::kInt32));
static_assert(static_cast<int>(tag::int64) == static_cast<int>(ValueTag::kInt64));
static_assert(static_cast<int>(tag::big_int) == static_cast<int>(ValueTag::kBigInt));
static_assert(static_cast<int>(tag::float64) == static_cast<int>(ValueTag::kFloat64));
static_assert(static_cast<int>(tag::str8) == static_cast<int>(ValueTag::kStr8));
static_assert(static_cast<int>(tag::str32) == static_cast<int>(ValueTag::kStr32));
static_assert(static_cast<int>(tag::bytes8) == static_cast<int>(ValueTag::kBytes8));
static_assert(static_cast<int>(tag::bytes32) == static_cast<int>(ValueTag::kBytes32));
static_assert(static_cast<int>(tag::tuple8) == static_cast<int>(ValueTag::kTuple8));
static_assert(static_cast<int>(tag::tuple32) == static_cast<int>(ValueTag::kTuple32));
static_assert(static_cast<int>(tag::list8) == static_cast<int>(ValueTag::kList8));
static_assert(static_cast<int>(tag::list32) == static_cast<int>(ValueTag::kList32));
static_assert(static_cast<int>(tag::dict8) == static_cast<int>(ValueTag::kDict8));
static_assert(static_cast<int>(tag::dict32) == static_cast<int>(ValueTag::kDict32));
static_assert(static_cast<int>(tag::ref) == static_cast<int>(ValueTag::kRef));
static_assert(static_cast<int>(tag::far_str) == static_cast<int>(ValueTag::kFarStr));
static_assert(static_cast<int>(tag::far_bytes) == static_cast<int>(ValueTag::kFarBytes));
static_assert(static_cast<int>(tag::array) == static_cast<int>(ValueTag::kArray));
static_assert(static_cast<int>(element::complex128) == static_cast<int>(ArrayElement::kComplex128));
static_assert(static_cast<int>(element_of<double>()) == static_cast<int>(ArrayElement::kFloat64));
static_assert(static_cast<int>(element_of<std::uint16_t>()) ==
              static_cast<int>(ArrayElement::kUint16));
static_assert(static_cast<int>(element_of<long long>()) == static_cast<int>(ArrayElement::kInt64));
static_assert(far_text_min == kFarBytesMin && far_array_min == kFarBufferMin);
static_assert(near_buffer == kNearBuffer);

bool is_utf8(std::string_view text) noexcept { return haz::is_utf8(text); }

/// Objects that occur again are read by readers of their own, which stand on the first occurrence.
struct reader::state {
  struct Again {
    ValueReader reader;
    std::uint64_t items_left;
  };

  ValueReader whole;
  std::vector<Again> again;
};

namespace {

value_item told(const ValueItem& item) {
  using Kind = ValueItem::Kind;
  value_item out;
  out.count = item.count;
  out.data = item.bytes.data();
  out.size = item.bytes.size();
  switch (item.kind) {
    case Kind::kNone:
      out.kind = item_kind::none;
      break;
    case Kind::kBool:
      out.kind = item_kind::boolean;
      out.boolean = item.boolean;
      break;
    case Kind::kInt:
      out.kind = item_kind::integer;
      out.integer = item.integer;
      break;
    case Kind::kBigInt:
      out.kind = item_kind::big_integer;
      break;
    case Kind::kFloat:
      out.kind = item_kind::number;
      out.number = item.number;
      break;
    case Kind::kStr:
      out.kind = item_kind::text;
      break;
    case Kind::kBytes:
      out.kind = item_kind::bytes;
      break;
    case Kind::kTuple:
      out.kind = item_kind::tuple;
      break;
    case Kind::kList:
      out.kind = item_kind::list;
      break;
    case Kind::kDict:
      out.kind = item_kind::dict;
      break;
    case Kind::kRef:
      out.kind = item_kind::ref;
      out.ref = item.ref.value;
      break;
    case Kind::kPickle:
    case Kind::kShared:
      out.kind = item_kind::pickle;
      break;
    case Kind::kArray:
      out.kind = item_kind::array;
      out.items = static_cast<element>(item.array.element);
      out.is_fortran = item.array.is_fortran;
      out.is_near = item.array.is_near;
      out.dimensions = item.array.dimensions;
      out.extents = item.array.extents;
      out.data = item.array.bytes.data();
      out.size = item.array.bytes.size();
      break;
  }
  return out;
}

std::uint64_t items_in(const ValueItem& item) {
  switch (item.kind) {
    case ValueItem::Kind::kTuple:
    case ValueItem::Kind::kList:
      return item.count;
    case ValueItem::Kind::kDict:
      return std::uint64_t{2} * item.count;
    default:
      return 0;
  }
}

[[noreturn]] void throw_unreadable(const ValueReader& reader) {
  if (reader.depth() >= kMaxValueDepth) {
    throw type_error("a value is nested deeper than " + std::to_string(kMaxValueDepth) +
                     " levels: pass it as a list of its parts");
  }
  throw type_error("a value came damaged or incomplete");
}

}  // namespace

reader::reader(const std::byte* data, std::size_t size, std::uint64_t object) noexcept
    : object_(object) {
  static_assert(sizeof(state) <= state_size && alignof(state) <= 8);
  new (state_) state{ValueReader({data, size}), {}};
}

reader::reader(const std::byte* data, std::size_t size, std::shared_ptr<const void> owner) noexcept
    : reader(data, size, std::uint64_t{0}) {
  kept_ = std::move(owner);
}

reader::~reader() { std::launder(reinterpret_cast<state*>(state_))->~state(); }

value_item reader::next() {
  state& now = *std::launder(reinterpret_cast<state*>(state_));
  for (;;) {
    ValueReader& from = now.again.empty() ? now.whole : now.again.back().reader;
    auto item = from.next();
    if (!item) throw_unreadable(from);
    if (!now.again.empty()) {
      state::Again& again = now.again.back();
      again.items_left += items_in(*item) - 1;
    }
    if (item->kind == ValueItem::Kind::kShared) {
      // What it is the last item of is not over before it is: else a cycle would have no depth.
      if (now.again.size() >= kMaxValueDepth) {
        throw type_error("a value contains itself, or is nested deeper than " +
                         std::to_string(kMaxValueDepth) + " levels: C++ can't read that");
      }
      ValueReader first = from.shared(item->count);
      now.again.push_back({std::move(first), 1});
      continue;
    }
    while (!now.again.empty() && now.again.back().items_left == 0)
      now.again.pop_back();
    return told(*item);
  }
}

value_item reader::next_whole() {
  state& now = *std::launder(reinterpret_cast<state*>(state_));
  ValueReader ahead = now.whole;
  auto item = ahead.next();
  if (!item || !now.whole.skip()) throw_unreadable(ahead);
  return told(*item);
}

std::shared_ptr<const void> reader::keep() {
  if (kept_) return kept_;
  engine& engine = current_engine();
  const std::uint32_t generation = current_generation();
  const std::uint64_t object = object_;
  void* const memory = engine.hold_memory();
  engine.add_reference(object);
  // The engine that holds the memory stays loaded; the node may have ended by then.
  kept_ = std::shared_ptr<const void>(memory, [generation, object, owner = &engine](void* held) {
    if (detail::engine* const still = engine_of(generation)) still->drop_reference(object);
    owner->release_memory(held);
  });
  return kept_;
}

bool reader::take_none() {
  state& now = *std::launder(reinterpret_cast<state*>(state_));
  // None is never shared: it stands where the next item is read.
  ValueReader ahead = now.again.empty() ? now.whole : now.again.back().reader;
  auto item = ahead.next();
  if (!item || item->kind != ValueItem::Kind::kNone) return false;
  (void)next();
  return true;
}

std::string value_item::described() const {
  switch (kind) {
    case item_kind::none:
      return "None";
    case item_kind::boolean:
      return "a bool";
    case item_kind::integer:
    case item_kind::big_integer:
      return "an integer";
    case item_kind::number:
      return "a floating-point number";
    case item_kind::text:
      return "a str";
    case item_kind::bytes:
      return std::to_string(size) + " bytes";
    case item_kind::tuple:
      return "a tuple of " + std::to_string(count);
    case item_kind::list:
      return "a list of " + std::to_string(count);
    case item_kind::dict:
      return "a dict";
    case item_kind::ref:
      return "an ObjectRef";
    case item_kind::pickle:
      return "a pickled Python object (an array with gaps, or of a type that C++ has no word for)";
    case item_kind::array:
      break;
  }
  constexpr std::array<const char*, kArrayElementCount> kNames = {
      "bool",  "int8",   "uint8",   "int16",   "uint16",  "int32",     "uint32",
      "int64", "uint64", "float16", "float32", "float64", "complex64", "complex128"};
  return "a " + std::to_string(dimensions) + "-D array of " +
         kNames[static_cast<std::size_t>(items)];
}

void throw_mismatch(const std::string& expected, const value_item& found) {
  throw type_error("expected " + expected + ", not " + found.described());
}

void copy_transposed(const value_item& item, std::size_t item_size, void* to) {
  // Counts up the indices in C order, the last one fastest; each has its stride in the source.
  const int dimensions = item.dimensions;
  std::vector<std::int64_t> index(static_cast<std::size_t>(dimensions), 0);
  auto* out = static_cast<std::byte*>(to);
  const std::size_t count = item.size / item_size;
  for (std::size_t done = 0; done < count; ++done) {
    std::size_t place = 0;
    std::size_t stride = 1;
    for (int axis = 0; axis < dimensions; ++axis) {
      place += static_cast<std::size_t>(index[static_cast<std::size_t>(axis)]) * stride;
      stride *= static_cast<std::size_t>(item.extent(axis));
    }
    std::memcpy(out + done * item_size, item.data + place * item_size, item_size);
    for (int axis = dimensions - 1; axis >= 0; --axis) {
      if (++index[static_cast<std::size_t>(axis)] < item.extent(axis)) break;
      index[static_cast<std::size_t>(axis)] = 0;
    }
  }
}

}  // namespace haz::detail
