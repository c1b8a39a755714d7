#include "api/current_engine.h"

#include <atomic>

#include "api/fork_guard.h"
#include "haz/detail/abi.h"
#include "haz/task_error.h"

namespace haz {

namespace {

std::atomic<detail::engine*> the_engine{nullptr};
std::atomic<std::uint32_t> the_generation{0};  ///< 0: there is no engine.
std::uint32_t generations = 0;

}  // namespace

std::uint32_t set_current_engine(detail::engine& engine) noexcept {
  the_engine.store(&engine, std::memory_order_release);  // pairs with engine_of, current_engine
  the_generation.store(++generations, std::memory_order_release);  // pairs with engine_of
  return generations;
}

void clear_current_engine() noexcept {
  the_generation.store(0, std::memory_order_release);    // pairs with engine_of
  the_engine.store(nullptr, std::memory_order_release);  // pairs with engine_of, current_engine
}

namespace detail {

engine& current_engine(std::uint32_t abi, const char* version) {
  if (abi != abi_version) throw_other_headers(abi, version);
  engine* const found =
      the_engine.load(std::memory_order_acquire);  // pairs with set_current_engine
  if (found == nullptr && is_forked_child()) {
    throw not_running_error(
        "haz can't be used in a forked child of a process that uses it; start a program of its own "
        "there, or fork before haz::init()");
  }
  if (found == nullptr) {
    throw not_running_error(
        "haz is not running in this process: call haz::init(argc, argv) first in main, and keep "
        "what it returns");
  }
  return *found;
}

engine* engine_of(std::uint32_t generation, std::uint32_t abi) noexcept {
  // pairs with set_current_engine
  if (generation == 0 || generation != the_generation.load(std::memory_order_acquire)) {
    return nullptr;
  }
  if (abi != abi_version) return nullptr;
  return the_engine.load(std::memory_order_acquire);  // pairs with set_current_engine
}

std::uint32_t current_generation() noexcept {
  return the_generation.load(std::memory_order_relaxed);
}

}  // namespace detail
}  // namespace haz
