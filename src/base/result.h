/// @file
/// Expected outcomes as values: a small set of kinds, chosen by what the caller can do about them.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <variant>

namespace haz {

enum class ErrorKind : std::uint8_t {
  kInvalid,      ///< The caller's input is wrong; calling again will not help.
  kOverloaded,   ///< A limit is reached; may succeed later.
  kTimeout,      ///< The time given has passed.
  kCancelled,    ///< Somebody asked for it to stop.
  kLost,         ///< What was asked for is gone (process, object, node).
  kUnavailable,  ///< The platform lacks what is needed.
  kExists,       ///< The name is taken.
  kNodeDied,     ///< The node has ended, by whatever way.
};

/// What happened, in words for a person: what, to which thing, and what to do next.
struct Error {
  ErrorKind kind = ErrorKind::kInvalid;
  std::string message;
};

/// A value or an Error. Not thread-safe.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::move(value)) {}      // NOLINT(google-explicit-constructor)
  Result(Error error) : state_(std::move(error)) {}  // NOLINT(google-explicit-constructor)

  [[nodiscard]] bool ok() const { return std::holds_alternative<T>(state_); }
  explicit operator bool() const { return ok(); }
  /// Precondition: ok().
  T& value() { return std::get<T>(state_); }
  const T& value() const { return std::get<T>(state_); }
  T& operator*() { return value(); }
  T* operator->() { return &value(); }
  /// Precondition: !ok().
  [[nodiscard]] const Error& error() const { return std::get<Error>(state_); }

 private:
  std::variant<T, Error> state_;
};

/// Success without a value.
struct Ok {};
using Status = Result<Ok>;

}  // namespace haz
