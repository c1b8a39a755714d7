#include "client/taken_items.h"

#include <algorithm>

namespace haz {

std::optional<ObjectId> TakenItems::take(ObjectId stream) {
  const std::lock_guard lock(mutex_);
  const auto found = streams_.find(stream.value);
  if (found == streams_.end() || found->second.items.empty()) return std::nullopt;
  const ObjectId item = found->second.items.front();
  found->second.items.pop_front();
  return item;
}

bool TakenItems::has_streams() {
  const std::lock_guard lock(mutex_);
  return !streams_.empty();
}

bool TakenItems::has_item(ObjectId stream) {
  const std::lock_guard lock(mutex_);
  const auto found = streams_.find(stream.value);
  return found != streams_.end() && !found->second.items.empty();
}

std::uint32_t TakenItems::items_to_ask_for(ObjectId stream, std::int64_t now_ns) {
  const std::lock_guard lock(mutex_);
  Ahead& ahead = streams_[stream.value];
  const bool soon = ahead.asked_for != 0 && now_ns - ahead.asked_at_ns < ahead.asked_for * kSoonNs;
  ahead.asked_for = soon ? std::min(ahead.asked_for * 2, kMostItems) : 1;
  ahead.asked_at_ns = now_ns;
  return ahead.asked_for;
}

void TakenItems::add(ObjectId stream, ObjectId item) {
  const std::lock_guard lock(mutex_);
  streams_[stream.value].items.push_back(item);
}

std::vector<ObjectId> TakenItems::give_up(ObjectId stream) {
  const std::lock_guard lock(mutex_);
  const auto node = streams_.extract(stream.value);
  if (node.empty()) return {};
  for (const ObjectId item : node.mapped().items)
    values_.erase(item.value);
  return {node.mapped().items.rbegin(), node.mapped().items.rend()};
}

void TakenItems::add_value(ObjectId id, bool is_error, std::span<const std::byte> bytes) {
  const std::lock_guard lock(mutex_);
  values_[id.value] = Value{is_error, {bytes.begin(), bytes.end()}};
  oldest_values_.push_back(id.value);
  while (oldest_values_.size() > kMostValues) {
    values_.erase(oldest_values_.front());
    oldest_values_.pop_front();
  }
}

bool TakenItems::has_value(ObjectId id) {
  const std::lock_guard lock(mutex_);
  return values_.contains(id.value);
}

bool TakenItems::get_value(ObjectId id, FetchedValues& out) {
  const std::lock_guard lock(mutex_);
  const auto found = values_.find(id.value);
  if (found == values_.end()) return false;
  const Value& value = found->second;
  out.values.push_back({.id = id,
                        .offset = out.near_bytes.size(),
                        .size = value.bytes.size(),
                        .ready = true,
                        .is_error = value.is_error});
  out.near_bytes.insert(out.near_bytes.end(), value.bytes.begin(), value.bytes.end());
  return true;
}

void TakenItems::forget_value(ObjectId id) {
  const std::lock_guard lock(mutex_);
  if (!values_.empty()) values_.erase(id.value);
}

}  // namespace haz
