/// @file
/// What a node keeps as the code of a function of C++, for its workers.
#pragma once

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace haz {

/// How a function is found and run.
struct FunctionCode {
  std::uint32_t threads = 1;      ///< Of its loops.
  std::string name;               ///< By which it is registered.
  std::string library;            ///< Path of the one that registers it; empty: the program does.
  std::uint32_t concurrency = 1;  ///< Of a constructor: how many calls its actor runs at a time.
  bool is_retried = false;        ///< Also where it has thrown.
  /// Of a constructor, for those who find the actor by its name: what actor_parts() gives.
  std::vector<std::string> actor{};
};

inline constexpr std::string_view kFunctionCodeMark = "haz-cpp1";
/// Of a function of Python: its module stands for the name, its name for the library.
inline constexpr std::string_view kPythonCodeMark = "haz-pyt1";

/// Mark, threads, then the others in their order with a zero byte after each; _core/cpp_code.py
/// reads and writes it too.
inline std::vector<std::byte> encode_function_code(const FunctionCode& code,
                                                   std::string_view mark = kFunctionCodeMark) {
  std::string text(mark);
  text.append(reinterpret_cast<const char*>(&code.threads), sizeof code.threads);
  text += code.name;
  text += '\0';
  text += code.library;
  text += '\0';
  text += std::to_string(code.concurrency);
  text += '\0';
  text += code.is_retried ? "retried" : "";
  text += '\0';
  for (const std::string& part : code.actor) {
    text += part;
    text += '\0';
  }
  const auto* const bytes = reinterpret_cast<const std::byte*>(text.data());
  return {bytes, bytes + text.size()};
}

/// nullopt: it is the code of something else.
inline std::optional<FunctionCode> decode_function_code(std::span<const std::byte> bytes) {
  std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  FunctionCode code;
  const std::size_t head = kFunctionCodeMark.size() + sizeof code.threads;
  if (text.size() < head || !text.starts_with(kFunctionCodeMark)) return std::nullopt;
  std::memcpy(&code.threads, text.data() + kFunctionCodeMark.size(), sizeof code.threads);
  text.remove_prefix(head);
  const auto next = [&text] {
    const std::size_t end = std::min(text.find('\0'), text.size());
    const std::string part(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    return part;
  };
  code.name = next();
  code.library = next();
  const std::string concurrency = next();
  std::from_chars(concurrency.data(), concurrency.data() + concurrency.size(), code.concurrency);
  code.is_retried = !next().empty();
  return code;
}

}  // namespace haz
