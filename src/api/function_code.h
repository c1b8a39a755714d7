/// @file
/// What a node keeps as the code of a function of C++, for its workers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace haz {

/// Name by which the function is registered, and how many threads its loops have.
struct FunctionCode {
  std::uint32_t threads = 1;
  std::string name;
};

inline constexpr std::string_view kFunctionCodeMark = "haz-cpp1";

inline std::vector<std::byte> encode_function_code(std::uint32_t threads, std::string_view name) {
  std::vector<std::byte> bytes(kFunctionCodeMark.size() + sizeof threads + name.size());
  std::memcpy(bytes.data(), kFunctionCodeMark.data(), kFunctionCodeMark.size());
  std::memcpy(bytes.data() + kFunctionCodeMark.size(), &threads, sizeof threads);
  std::memcpy(bytes.data() + kFunctionCodeMark.size() + sizeof threads, name.data(), name.size());
  return bytes;
}

/// nullopt: it is the code of something else.
inline std::optional<FunctionCode> decode_function_code(std::span<const std::byte> bytes) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  FunctionCode code;
  const std::size_t head = kFunctionCodeMark.size() + sizeof code.threads;
  if (text.size() < head || !text.starts_with(kFunctionCodeMark)) return std::nullopt;
  std::memcpy(&code.threads, text.data() + kFunctionCodeMark.size(), sizeof code.threads);
  code.name = text.substr(head);
  return code;
}

}  // namespace haz
