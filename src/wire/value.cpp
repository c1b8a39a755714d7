#include "wire/value.h"

#include <algorithm>
#include <limits>
#include <string>

#include "base/check.h"

namespace haz {
namespace {

/// Length of the UTF-8 sequence at `text`, or 0 where there is none.
std::size_t utf8_sequence(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const auto continues = [&](std::size_t i) { return i < text.size() && (byte(i) & 0xC0) == 0x80; };
  const unsigned char first = byte(0);
  if (first < 0x80) return 1;
  if (first < 0xC2 || !continues(1)) return 0;
  if (first < 0xE0) return 2;
  if (!continues(2)) return 0;
  if (first == 0xE0 && byte(1) < 0xA0) return 0;  // overlong
  if (first == 0xED && byte(1) > 0x9F) return 0;  // surrogate
  if (first < 0xF0) return 3;
  if (!continues(3)) return 0;
  if (first == 0xF0 && byte(1) < 0x90) return 0;  // overlong
  if (first > 0xF4 || (first == 0xF4 && byte(1) > 0x8F)) return 0;
  return 4;
}

constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";

std::string replace_invalid_utf8(std::string_view text) {
  std::string clean;
  while (!text.empty()) {
    const std::size_t length = utf8_sequence(text);
    clean += length == 0 ? kReplacementCharacter : text.substr(0, length);
    text.remove_prefix(length == 0 ? 1 : length);
  }
  return clean;
}

template <typename Integer>
bool fits(std::int64_t value) {
  return value >= std::numeric_limits<Integer>::min() &&
         value <= std::numeric_limits<Integer>::max();
}

}  // namespace

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const std::size_t length = utf8_sequence(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

bool ByteCursor::take_far_at(std::uint64_t offset, std::uint64_t length,
                             std::span<const std::byte>* bytes) {
  const auto size = static_cast<std::uint64_t>(end_ - begin_);
  const std::uint64_t first = std::max<std::uint64_t>(far_end_, position());
  if (offset % kPayloadAlignment != 0 || offset < first) return false;
  if (offset > size || length > size - offset) return false;
  far_end_ = offset + length;
  *bytes = {begin_ + offset, static_cast<std::size_t>(length)};
  return true;
}

bool ByteCursor::take_far(std::span<const std::byte>* bytes) {
  std::uint64_t offset;
  std::uint64_t length;
  return take(&offset) && take(&length) && take_far_at(offset, length, bytes);
}

bool ByteCursor::take_element(ArrayElement* element) {
  std::uint8_t number;
  if (!take(&number) || number >= kArrayElementCount) return false;
  *element = static_cast<ArrayElement>(number);
  return true;
}

bool ByteCursor::take_array(ArrayView* array) {
  std::uint8_t order;
  std::uint64_t offset;
  std::uint64_t length;
  if (!take_element(&array->element) || !take(&order) || order > 1 || !take(&array->dimensions) ||
      !take_bytes(array->dimensions * sizeof(std::uint64_t), &array->extents) || !take(&offset) ||
      !take(&length)) {
    return false;
  }
  array->is_fortran = order == 1;
  array->is_near = offset == kNearBuffer;
  // Zeros count as ones here: numpy, too, refuses arrays that would be too large without them.
  std::uint64_t room = std::numeric_limits<std::int64_t>::max() / element_bytes(array->element);
  std::uint64_t size = element_bytes(array->element);
  for (unsigned i = 0; i < array->dimensions; ++i) {
    const std::uint64_t extent = array->extent(i);
    if (extent > room) return false;
    if (extent != 0) room /= extent;
    size *= extent;
  }
  if (length != size) return false;
  if (!array->is_near) return take_far_at(offset, length, &array->bytes);
  const std::byte* bytes;
  if (!take_bytes(length, &bytes)) return false;
  array->bytes = {bytes, static_cast<std::size_t>(length)};
  return true;
}

bool ByteCursor::take_array_scalar(ArrayView* array) {
  const std::byte* bytes;
  if (!take_element(&array->element)) return false;
  const std::size_t length = element_bytes(array->element);
  if (!take_bytes(length, &bytes)) return false;
  array->is_near = true;
  array->bytes = {bytes, length};
  return true;
}

// ---- ValueWriter ----------------------------------------------------------------------------

void ValueWriter::put_raw(const void* bytes, std::size_t size) {
  const auto* first = static_cast<const std::byte*>(bytes);
  stream_.insert(stream_.end(), first, first + size);
}

void ValueWriter::integer(std::int64_t value) {
  std::size_t size = sizeof(value);
  ValueTag tag = ValueTag::kInt64;
  if (fits<std::int8_t>(value)) {
    tag = ValueTag::kInt8;
    size = sizeof(std::int8_t);
  } else if (fits<std::int32_t>(value)) {
    tag = ValueTag::kInt32;
    size = sizeof(std::int32_t);
  }
  put_tag(tag);
  put_raw(&value, size);
}

void ValueWriter::number(double value) {
  put_tag(ValueTag::kFloat64);
  put_raw(&value, sizeof(value));
}

void ValueWriter::str(std::string_view text) {
  std::string clean;
  if (!is_utf8(text)) {
    clean = replace_invalid_utf8(text);
    text = clean;
  }
  begin(ValueTag::kStr8, static_cast<std::uint32_t>(text.size()));
  put_raw(text.data(), text.size());
}

void ValueWriter::bytes(std::span<const std::byte> bytes) {
  begin(ValueTag::kBytes8, static_cast<std::uint32_t>(bytes.size()));
  put_raw(bytes.data(), bytes.size());
}

void ValueWriter::ref(ObjectId id) {
  HAZ_CHECK(id, "a ref names an object");
  put_tag(ValueTag::kRef);
  put_raw(&id.value, sizeof(id.value));
}

void ValueWriter::array(ArrayElement element, std::span<const std::uint64_t> extents,
                        std::span<const std::byte> bytes) {
  constexpr std::byte kCOrder{0};
  put_tag(ValueTag::kArray);
  stream_.push_back(static_cast<std::byte>(element));
  stream_.push_back(kCOrder);
  HAZ_CHECK(extents.size() <= std::numeric_limits<std::uint8_t>::max(), "few dimensions");
  stream_.push_back(static_cast<std::byte>(extents.size()));
  put_raw(extents.data(), extents.size_bytes());
  const std::uint64_t place[] = {kNearBuffer, bytes.size()};
  put_raw(place, sizeof(place));
  put_raw(bytes.data(), bytes.size());
}

void ValueWriter::begin(ValueTag short_tag, std::uint32_t count) {
  if (count <= std::numeric_limits<std::uint8_t>::max()) {
    put_tag(short_tag);
    put_raw(&count, 1);
  } else {
    put_tag(static_cast<ValueTag>(static_cast<std::uint8_t>(short_tag) + 1));
    put_raw(&count, sizeof(count));
  }
}

// ---- ValueReader ----------------------------------------------------------------------------

Result<ValueItem> ValueReader::next() {
  if (open_.empty() && cursor_.position() >= frontier_) flagged_.reset();
  const std::size_t start = cursor_.position();
  ValueItem item;
  if (!read_item(&item)) {
    cursor_.seek(start);
    return Error{ErrorKind::kInvalid, "malformed value at byte " + std::to_string(start)};
  }
  frontier_ = std::max(frontier_, cursor_.position());
  count_item(item);
  return item;
}

Status ValueReader::skip() {
  const std::size_t depth = open_.size();
  do {
    Result<ValueItem> item = next();
    if (!item) return item.error();
  } while (open_.size() > depth);
  return Ok{};
}

ValueReader ValueReader::shared(std::uint32_t ordinal) const {
  HAZ_CHECK(flagged_ && ordinal < flagged_->size(), "the ordinal of a kShared item");
  ValueReader reader = *this;
  reader.cursor_.seek((*flagged_)[ordinal]);
  reader.cursor_.rewind_far();
  reader.open_.clear();
  return reader;
}

/// Counts `item` in the container that it stands in, and opens it if it is one.
void ValueReader::count_item(const ValueItem& item) {
  using enum ValueItem::Kind;
  if (!open_.empty()) --open_.back();
  if (item.kind == kTuple || item.kind == kList) open_.push_back(item.count);
  if (item.kind == kDict) open_.push_back(std::uint64_t{2} * item.count);
  while (!open_.empty() && open_.back() == 0)
    open_.pop_back();
}

bool ValueReader::read_item(ValueItem* item) {
  using enum ValueTag;
  const std::size_t start = cursor_.position();
  std::uint8_t byte;
  if (!cursor_.take(&byte)) return false;
  const auto tag = static_cast<ValueTag>(byte & ~kSharedFlag);
  if ((byte & kSharedFlag) != 0) {
    if (!can_be_shared(tag)) return false;
    if (!flagged_) flagged_ = std::make_shared<std::vector<std::size_t>>();
    if (flagged_->empty() || flagged_->back() < start) flagged_->push_back(start);
  }
  switch (tag) {
    case kNone:
      return true;
    case kFalse:
    case kTrue:
      item->kind = ValueItem::Kind::kBool;
      item->boolean = tag == kTrue;
      return true;
    case kInt8:
    case kInt32:
    case kInt64:
      return read_int(tag, item);
    case kBigInt:
      item->kind = ValueItem::Kind::kBigInt;
      return cursor_.take_sized<std::uint32_t>(&item->bytes);
    case kFloat64:
      item->kind = ValueItem::Kind::kFloat;
      return cursor_.take(&item->number);
    case kStr8:
    case kStr32:
    case kFarStr:
    case kBytes8:
    case kBytes32:
    case kFarBytes:
      return read_text(tag, item);
    case kTuple8:
    case kTuple32:
    case kList8:
    case kList32:
    case kDict8:
    case kDict32:
      return read_container(tag, item);
    case kRef:
      item->kind = ValueItem::Kind::kRef;
      return cursor_.take(&item->ref.value) && item->ref;
    case kPickle:
    case kFarPickle:
      return read_pickle(tag, item);
    case kShared:
      return read_shared(item);
    case kArray:
      item->kind = ValueItem::Kind::kArray;
      return cursor_.take_array(&item->array);
    case kArrayScalar:
      item->kind = ValueItem::Kind::kArray;
      return cursor_.take_array_scalar(&item->array);
    case kEnd:
      return false;
  }
  return false;
}

bool ValueReader::read_int(ValueTag tag, ValueItem* item) {
  item->kind = ValueItem::Kind::kInt;
  if (tag == ValueTag::kInt64) return cursor_.take(&item->integer);
  if (tag == ValueTag::kInt32) {
    std::int32_t number;
    if (!cursor_.take(&number)) return false;
    item->integer = number;
    return true;
  }
  std::int8_t number;
  if (!cursor_.take(&number)) return false;
  item->integer = number;
  return true;
}

bool ValueReader::read_text(ValueTag tag, ValueItem* item) {
  using enum ValueTag;
  const bool is_str = tag == kStr8 || tag == kStr32 || tag == kFarStr;
  item->kind = is_str ? ValueItem::Kind::kStr : ValueItem::Kind::kBytes;
  bool taken;
  if (tag == kFarStr || tag == kFarBytes) {
    taken = cursor_.take_far(&item->bytes);
  } else if (tag == kStr8 || tag == kBytes8) {
    taken = cursor_.take_sized<std::uint8_t>(&item->bytes);
  } else {
    taken = cursor_.take_sized<std::uint32_t>(&item->bytes);
  }
  return taken && (!is_str || is_utf8(item->text()));
}

bool ValueReader::read_container(ValueTag tag, ValueItem* item) {
  using enum ValueTag;
  if (open_.size() >= kMaxValueDepth) return false;
  const bool is_dict = tag == kDict8 || tag == kDict32;
  const bool is_tuple = tag == kTuple8 || tag == kTuple32;
  item->kind = is_dict    ? ValueItem::Kind::kDict
               : is_tuple ? ValueItem::Kind::kTuple
                          : ValueItem::Kind::kList;
  const std::size_t min_item_bytes = is_dict ? 2 : 1;
  if (tag == kTuple8 || tag == kList8 || tag == kDict8) {
    return cursor_.take_count<std::uint8_t>(min_item_bytes, &item->count);
  }
  return cursor_.take_count<std::uint32_t>(min_item_bytes, &item->count);
}

bool ValueReader::read_pickle(ValueTag tag, ValueItem* item) {
  if (!open_.empty()) return false;
  item->kind = ValueItem::Kind::kPickle;
  const bool is_far = tag == ValueTag::kFarPickle;
  std::uint32_t near_length = 0;
  if (is_far ? !cursor_.take_far(&item->bytes) : !cursor_.take(&near_length)) return false;
  if (!cursor_.take_count<std::uint32_t>(kBufferEntryBytes, &item->count)) return false;
  ByteCursor table = cursor_;
  const std::byte* bytes;
  if (!cursor_.take_bytes(item->count * std::uint64_t{kBufferEntryBytes}, &bytes)) return false;
  if (!is_far) {
    if (!cursor_.take_bytes(near_length, &bytes)) return false;
    item->bytes = {bytes, near_length};
  }
  buffers_.resize(item->count);
  for (std::span<const std::byte>& buffer : buffers_) {
    std::uint64_t offset;
    std::uint64_t length;
    if (!table.take(&offset) || !table.take(&length)) return false;
    if (offset == kNearBuffer) {
      if (!cursor_.take_bytes(length, &bytes)) return false;
      buffer = {bytes, static_cast<std::size_t>(length)};
    } else if (!cursor_.take_far_at(offset, length, &buffer)) {
      return false;
    }
  }
  return true;
}

bool ValueReader::read_shared(ValueItem* item) {
  item->kind = ValueItem::Kind::kShared;
  return cursor_.take(&item->count) && flagged_ && item->count < flagged_->size();
}

}  // namespace haz
