/// @file
/// Exceptions of the headers, which Python gets as exceptions of its own.
#pragma once

#include <cstdarg>
#include <cstdio>
#include <exception>

namespace haz {

/// Base class. In Python: RuntimeError.
class error : public std::exception {
 public:
  /// `format` and what follows are as for printf; what is longer than 500 bytes is cut.
  [[gnu::format(printf, 2, 3)]] explicit error(const char* format, ...) noexcept {
    std::va_list arguments;
    va_start(arguments, format);
    write(format, arguments);
    va_end(arguments);
  }
  [[nodiscard]] const char* what() const noexcept override { return text_; }

 protected:
  error() noexcept = default;
  void write(const char* format, std::va_list arguments) noexcept {
    std::vsnprintf(text_, sizeof text_, format, arguments);
  }

 private:
  char text_[501] = "";
};

/// A value that makes no sense. In Python: ValueError.
class value_error : public error {
 public:
  /// As of `error`.
  [[gnu::format(printf, 2, 3)]] explicit value_error(const char* format, ...) noexcept {
    std::va_list arguments;
    va_start(arguments, format);
    write(format, arguments);
    va_end(arguments);
  }
};

/// An index outside of an array. In Python: IndexError.
class index_error : public error {
 public:
  /// As of `error`.
  [[gnu::format(printf, 2, 3)]] explicit index_error(const char* format, ...) noexcept {
    std::va_list arguments;
    va_start(arguments, format);
    write(format, arguments);
    va_end(arguments);
  }
};

/// A function that haz.cpp.compile has made is to end, since somebody has pressed Ctrl-C or its
/// task was cancelled. Thrown by loops and check_interrupt(). In Python: KeyboardInterrupt, also
/// where it is caught.
class interrupted_error : public error {
 public:
  /// As of `error`.
  [[gnu::format(printf, 2, 3)]] explicit interrupted_error(const char* format, ...) noexcept {
    std::va_list arguments;
    va_start(arguments, format);
    write(format, arguments);
    va_end(arguments);
  }
};

}  // namespace haz
