/// @file
/// The value of an error of which there is no more to say than its kind and a message.
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

#include "wire/value.h"

namespace haz {

/// A dictionary of `kind`, which the languages turn into their exception, and `message`.
inline std::vector<std::byte> plain_error(std::string_view kind, std::string_view message) {
  ValueWriter writer;
  writer.begin_dict(2);
  writer.str("kind");
  writer.str(kind);
  writer.str("message");
  writer.str(message);
  return {writer.data().begin(), writer.data().end()};
}

}  // namespace haz
