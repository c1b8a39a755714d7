/// @file
/// Sleeping and waking on a word of shared memory. `std::atomic::wait` does not work across
/// processes, since libstdc++ keeps its waiter table in private memory.
#pragma once

#include <atomic>
#include <cstdint>

namespace haz {

/// How a futex_wait ended.
enum class FutexOutcome : std::uint8_t { kWoken, kChanged, kTimedOut, kInterrupted };

/// Sleeps while `word` holds `expected`, at most `timeout_ns` (negative: no limit). Works across
/// processes that map the same memory. Spurious wake-ups are reported as kWoken; a signal handled
/// meanwhile as kInterrupted.
FutexOutcome futex_wait(const std::atomic<std::uint32_t>& word, std::uint32_t expected,
                        std::int64_t timeout_ns);

/// Wakes at most `count` sleepers of `word`. Needs only read access to the memory.
void futex_wake(const std::atomic<std::uint32_t>& word, int count);

/// Gives the processor to another runnable thread, if there is one.
void yield_cpu();

/// Tells the processor that this is a spin loop.
inline void cpu_relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield" ::: "memory");
#endif
}

}  // namespace haz
