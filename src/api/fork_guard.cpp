#include "api/fork_guard.h"

#include <pthread.h>

#include <atomic>

#include "api/current_engine.h"

namespace haz {

namespace {

std::atomic<bool> in_forked_child{false};
/// For the handler of forks, which may take no lock.
std::atomic<Arena*> arena_to_protect{nullptr};

void after_fork_in_child() {
  Arena* const arena = arena_to_protect.load(std::memory_order_relaxed);
  if (arena == nullptr) return;
  in_forked_child.store(true, std::memory_order_relaxed);
  clear_current_engine();
  (void)arena->protect_after_fork();
}

}  // namespace

void guard_in_forked_children(Arena* arena) {
  static const int kRegistered = ::pthread_atfork(nullptr, nullptr, after_fork_in_child);
  (void)kRegistered;
  arena_to_protect.store(arena, std::memory_order_relaxed);
}

bool is_forked_child() noexcept { return in_forked_child.load(std::memory_order_relaxed); }

}  // namespace haz
