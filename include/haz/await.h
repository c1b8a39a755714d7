/// @file
/// Refs in coroutines: `co_await` of a ref is get() without a thread that waits.
///
///     haz::coroutine<double> area(haz::ref<double> width, haz::ref<double> height) {
///       co_return co_await width * co_await height;
///     }
///
///     double result = haz::sync_wait(area(width, height));
///
/// Refs can be awaited in coroutines of any type, haz::coroutine or the program's own. Who goes on
/// where: a coroutine that sync_wait() runs goes on in the thread that called sync_wait(). Any
/// other goes on in one thread that haz has for all of them, or in the thread that awaits, if the
/// value is there already; one that computes for long, or waits, should pass on to an executor of
/// its own first.
///
/// `co_await` throws what get() throws: task_error, task_cancelled_error and so on; and
/// not_running_error in a coroutine that still waits when haz is shut down.
///
/// In tasks, run coroutines by sync_wait(): it tells the scheduler that the task waits, so that
/// others run meanwhile.
#pragma once

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include "haz/detail/await_loop.h"
#include "haz/detail/engine.h"
#include "haz/ref.h"

namespace haz {

namespace detail {

/// What `co_await` of a ref makes.
template <class T>
class ref_awaiter {
 public:
  explicit ref_awaiter(ref<T> object) : object_(std::move(object)) {}

  [[nodiscard]] bool await_ready() const {
    codec<ref<T>>::check_ref(object_.id(), object_.generation());
    return false;
  }
  /// False: go on at once.
  bool await_suspend(std::coroutine_handle<> waiting) {
    if (await_loop* const loop = await_loop::current()) {
      loop->add(object_.id(), waiting);
      return true;
    }
    waiting_ = waiting;
    bool is_ready = false;
    failure why;
    // It may go on in another thread before this returns: nothing of this is used after it.
    if (!current_engine().notify(object_.id(), &resume, this, &is_ready, why)) throw_failure(why);
    return !is_ready;
  }
  T await_resume() { return get(object_); }

 private:
  static void resume(void* awaiter) noexcept {
    static_cast<ref_awaiter*>(awaiter)->waiting_.resume();
  }

  ref<T> object_;
  std::coroutine_handle<> waiting_;
};

/// What a coroutine has come to.
template <class T>
class coroutine_result {
 public:
  template <class V>
  void return_value(V&& value) {
    value_.emplace(std::forward<V>(value));
  }
  void unhandled_exception() noexcept { failure_ = std::current_exception(); }
  T take() {
    if (failure_) std::rethrow_exception(failure_);
    return std::move(*value_);
  }

 private:
  std::optional<T> value_;
  std::exception_ptr failure_;
};
template <>
class coroutine_result<void> {
 public:
  void return_void() noexcept {}
  void unhandled_exception() noexcept { failure_ = std::current_exception(); }
  void take() const {
    if (failure_) std::rethrow_exception(failure_);
  }

 private:
  std::exception_ptr failure_;
};

}  // namespace detail

/// Waits for the value in a coroutine, and gives a copy of it, or throws what get() throws.
template <class T>
detail::ref_awaiter<T> operator co_await(ref<T> object) {
  return detail::ref_awaiter<T>(std::move(object));
}

/// A coroutine that begins when it is awaited, by another one or by sync_wait(), and then goes on
/// by itself. Once. Belongs to one thread at a time; its frame goes with this object, so keep that
/// until it has ended.
template <class T = void>
class [[nodiscard]] coroutine {
 public:
  /// For the compiler: what a coroutine keeps of its result and of who awaits it.
  class promise_type : public detail::coroutine_result<T> {
   public:
    /// For the compiler: the owner of the frame.
    coroutine get_return_object() noexcept {
      return coroutine(std::coroutine_handle<promise_type>::from_promise(*this));
    }
    /// For the compiler: it begins when it is awaited.
    [[nodiscard]] std::suspend_always initial_suspend() const noexcept { return {}; }
    /// For the compiler: who awaits it goes on.
    auto final_suspend() noexcept {
      struct to_caller {
        [[nodiscard]] bool await_ready() const noexcept { return false; }
        std::coroutine_handle<> await_suspend(
            std::coroutine_handle<promise_type> ended) const noexcept {
          return ended.promise().caller_;
        }
        void await_resume() const noexcept {}
      };
      return to_caller{};
    }

   private:
    friend class coroutine;
    std::coroutine_handle<> caller_ = std::noop_coroutine();
  };

  coroutine(coroutine&& other) noexcept : frame_(std::exchange(other.frame_, nullptr)) {}
  coroutine& operator=(coroutine&& other) noexcept {
    std::swap(frame_, other.frame_);
    return *this;
  }
  coroutine(const coroutine&) = delete;
  coroutine& operator=(const coroutine&) = delete;
  ~coroutine() {
    if (frame_) frame_.destroy();
  }

  /// Runs it, and gives what it returns or throws.
  auto operator co_await() && noexcept {
    struct awaiter {
      std::coroutine_handle<promise_type> frame;
      [[nodiscard]] bool await_ready() const noexcept { return false; }
      std::coroutine_handle<> await_suspend(std::coroutine_handle<> caller) const noexcept {
        frame.promise().caller_ = caller;
        return frame;
      }
      T await_resume() const { return frame.promise().take(); }
    };
    return awaiter{frame_};
  }

 private:
  explicit coroutine(std::coroutine_handle<promise_type> frame) noexcept : frame_(frame) {}

  std::coroutine_handle<promise_type> frame_;
};

namespace detail {

/// Runs one coroutine to its end.
template <class T>
coroutine<void> run_one(coroutine<T> one, coroutine_result<T>& result) {
  try {
    if constexpr (std::is_void_v<T>) {
      co_await std::move(one);
    } else {
      result.return_value(co_await std::move(one));
    }
  } catch (...) {
    result.unhandled_exception();
  }
}

/// Begins a coroutine that nobody awaits, and tells the loop when it has ended and may be
/// destroyed.
struct starter {
  struct promise_type {
    promise_type(await_loop& of, const coroutine<void>& /*one*/) noexcept : loop(of) {}
    starter get_return_object() noexcept {
      return {std::coroutine_handle<promise_type>::from_promise(*this)};
    }
    [[nodiscard]] std::suspend_always initial_suspend() const noexcept { return {}; }
    auto final_suspend() noexcept {
      struct teller {
        [[nodiscard]] bool await_ready() const noexcept { return false; }
        void await_suspend(std::coroutine_handle<promise_type> ended) const noexcept {
          ended.promise().loop.end_one();
        }
        void await_resume() const noexcept {}
      };
      return teller{};
    }
    void return_void() const noexcept {}
    void unhandled_exception() const noexcept { std::terminate(); }

    await_loop& loop;
  };
  std::coroutine_handle<promise_type> frame;
};
inline starter start(await_loop& /*loop*/, coroutine<void> one) { co_await std::move(one); }

/// A frame that is destroyed, with what it awaits, at the end.
class owned_start {
 public:
  explicit owned_start(starter made) : frame_(made.frame) {}
  owned_start(owned_start&& other) noexcept : frame_(std::exchange(other.frame_, nullptr)) {}
  owned_start(const owned_start&) = delete;
  owned_start& operator=(const owned_start&) = delete;
  owned_start& operator=(owned_start&&) = delete;
  ~owned_start() {
    if (frame_) frame_.destroy();
  }
  void begin() const { frame_.resume(); }

 private:
  std::coroutine_handle<starter::promise_type> frame_;
};

/// Runs coroutines in this thread, each while others wait, to their ends.
template <class T>
std::vector<coroutine_result<T>> run_all(std::vector<coroutine<T>> all) {
  await_loop loop(all.size());
  std::vector<coroutine_result<T>> results(all.size());
  std::vector<owned_start> started;
  started.reserve(all.size());
  for (std::size_t i = 0; i < all.size(); ++i)
    started.emplace_back(start(loop, run_one(std::move(all[i]), results[i])));
  loop.run([&] {
    for (const owned_start& one : started)
      one.begin();
  });
  return results;
}

}  // namespace detail

/// Runs the coroutine in this thread until it has ended, and gives what it returns or throws. Other
/// tasks run meanwhile, as during get().
/// @throws what the coroutine throws; task_cancelled_error in a task that was cancelled.
template <class T>
T sync_wait(coroutine<T> one) {
  detail::await_loop loop(1);
  detail::coroutine_result<T> result;
  const detail::owned_start started(detail::start(loop, detail::run_one(std::move(one), result)));
  loop.run([&] { started.begin(); });
  return result.take();
}

/// Runs all of them in this thread, each while others wait, and gives what they return, in their
/// order; or throws what the first of them in that order has thrown.
template <class T>
  requires(!std::is_void_v<T>)
std::vector<T> sync_wait(std::vector<coroutine<T>> all) {
  std::vector<detail::coroutine_result<T>> results = detail::run_all(std::move(all));
  std::vector<T> values;
  values.reserve(results.size());
  for (detail::coroutine_result<T>& result : results)
    values.push_back(result.take());
  return values;
}
/// As above.
inline void sync_wait(std::vector<coroutine<void>> all) {
  for (const detail::coroutine_result<void>& result : detail::run_all(std::move(all)))
    result.take();
}

/// As get() of the ref.
template <class T>
T sync_wait(const ref<T>& object) {
  return get(object);
}

}  // namespace haz
