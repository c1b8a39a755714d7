/// @file
/// Parts of which options in messages are made.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "wire/message_reader.h"

namespace haz {

inline void add_text(MessageBuilder& message, const std::string& text) {
  message.add(std::uint64_t{text.size()});
  message.add_bytes(std::as_bytes(std::span(text)));
}

inline std::string take_text(MessageReader& reader) {
  const std::span<const std::byte> bytes = reader.take_bytes(reader.take<std::uint64_t>());
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// Names of resources with amounts.
using Amounts = std::vector<std::pair<std::string, double>>;

inline void add_amounts(MessageBuilder& message, const Amounts& amounts) {
  message.add(std::uint64_t{amounts.size()});
  for (const auto& [name, amount] : amounts) {
    message.add(amount);
    add_text(message, name);
  }
}

inline Amounts take_amounts(MessageReader& reader) {
  Amounts amounts;
  const auto count = reader.take<std::uint64_t>();
  for (std::uint64_t i = 0; i < count && reader.ok(); ++i) {
    const auto amount = reader.take<double>();
    amounts.emplace_back(take_text(reader), amount);
  }
  return amounts;
}

}  // namespace haz
