// What the tests of the node and their workers share.
#pragma once

#include <string>

namespace haz::test {

/// First byte of a payload.
enum class NativeTask : char {
  kEcho = 'e',     ///< Returns the rest of the payload.
  kRaise = 'r',    ///< Fails with the rest of the payload as the error.
  kDie = 'd',      ///< Kills its process.
  kLarge = 'l',    ///< Returns as many bytes as the rest says.
  kSleepMs = 's',  ///< Sleeps as many milliseconds as the rest says.
  kParent = 'p',   ///< Submits as many echoes as the rest says, and returns theirs joined.
  /// Submits an echo of the rest and waits for it, but no longer than until it is told to run it on
  /// top of itself; then a thread waits for it, which it joins.
  kInterrupted = 'i',
  /// Waits until as many tasks lie behind it as the digit says that the rest begins with, writes
  /// over its process' shared memory, where the rest says, and returns.
  kScribble = 'w',
  // Of a streaming function; the rest says how many items.
  kStream = 'y',      ///< Yields their numbers.
  kStreamBig = 'b',   ///< Yields 100 kB each.
  kStreamDies = 'k',  ///< Yields their numbers; two attempts die half-way.
  kConsume = 'c',     ///< Takes all items of the stream whose id the rest is; returns them joined.
};

inline std::string native_task(NativeTask kind, const std::string& rest) {
  return std::string(1, static_cast<char>(kind)) + rest;
}

}  // namespace haz::test
