// Refs in coroutines: by haz::coroutine and sync_wait, and in a coroutine type of the program's
// own.
#include <gtest/gtest.h>
#include <haz/haz.h>

#include <atomic>
#include <chrono>
#include <coroutine>
#include <exception>
#include <future>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace std::chrono_literals;

int plus_one(int x) { return x + 1; }
HAZ_REMOTE(plus_one);

int slow_plus_one(int x) {
  std::this_thread::sleep_for(50ms);
  return x + 1;
}
HAZ_REMOTE(slow_plus_one);

int fails() { throw std::range_error("no"); }
HAZ_REMOTE(fails);

void sleeps() {
  while (!haz::should_stop())
    std::this_thread::sleep_for(1ms);
}
HAZ_REMOTE(sleeps);

haz::coroutine<int> twice_more(int x) {
  const int y = co_await haz::task(plus_one).remote(x);
  co_return co_await haz::task(plus_one).remote(y);
}

haz::coroutine<int> sum_of(int count) {
  int sum = 0;
  for (int i = 0; i < count; ++i)
    sum += co_await twice_more(i);
  co_return sum;
}

/// Each of them waits for tasks of its own, for which the slot of this one must be free.
int awaits_in_a_task(int count) {
  std::vector<haz::coroutine<int>> all;
  for (int i = 0; i < count; ++i)
    all.push_back(twice_more(i));
  int sum = 0;
  for (const int one : haz::sync_wait(std::move(all)))
    sum += one;
  return sum;
}
HAZ_REMOTE(awaits_in_a_task);

int awaits_for_ever() {
  return haz::sync_wait([]() -> haz::coroutine<int> {
    co_await haz::task(sleeps).remote();
    co_return 0;
  }());
}
HAZ_REMOTE(awaits_for_ever);

TEST(Await, GivesTheValueOfARef) {
  EXPECT_EQ(haz::sync_wait(twice_more(40)), 42);
  EXPECT_EQ(haz::sync_wait(sum_of(5)), 0 + 1 + 2 + 3 + 4 + 5 * 2);
}

TEST(Await, OfAResultThatIsNone) {
  haz::sync_wait([]() -> haz::coroutine<> {
    const haz::ref<void> done = haz::task(sleeps).remote();
    haz::cancel(done);
    EXPECT_THROW(co_await done, haz::task_cancelled_error);
  }());
}

TEST(Await, ThrowsWhatTheTaskHasThrown) {
  const auto run = []() -> haz::coroutine<int> { co_return co_await haz::task(fails).remote(); };
  try {
    (void)haz::sync_wait(run());
    FAIL();
  } catch (const haz::task_error& error) {
    EXPECT_EQ(error.type_name(), "std::range_error");
  }
}

TEST(Await, ManyWaitSideBySideInOneThread) {
  const std::thread::id here = std::this_thread::get_id();
  std::vector<haz::coroutine<int>> all;
  for (int i = 0; i < 300; ++i) {
    all.push_back([](int x, std::thread::id caller) -> haz::coroutine<int> {
      const int y = co_await haz::task(plus_one).remote(x);
      EXPECT_EQ(std::this_thread::get_id(), caller);
      co_return y;
    }(i, here));
  }
  const std::vector<int> values = haz::sync_wait(std::move(all));
  for (int i = 0; i < 300; ++i)
    EXPECT_EQ(values[static_cast<std::size_t>(i)], i + 1);
}

TEST(Await, InATaskLendsItsSlot) {
  std::vector<haz::ref<int>> outer;
  for (int i = 0; i < 6; ++i)
    outer.push_back(haz::task(awaits_in_a_task).remote(4));
  for (const int sum : haz::get(outer))
    EXPECT_EQ(sum, 0 + 1 + 2 + 3 + 4 * 2);
}

TEST(Await, EndsWhenTheTaskIsCancelled) {
  const haz::ref<int> never = haz::task(awaits_for_ever).remote();
  std::this_thread::sleep_for(50ms);
  haz::cancel(never);
  EXPECT_THROW((void)haz::get(never), haz::task_cancelled_error);
}

/// As programs have them: begins at once, and owns itself.
struct detached {
  struct promise_type {
    detached get_return_object() const noexcept { return {}; }
    [[nodiscard]] std::suspend_never initial_suspend() const noexcept { return {}; }
    [[nodiscard]] std::suspend_never final_suspend() const noexcept { return {}; }
    void return_void() const noexcept {}
    void unhandled_exception() const noexcept { std::terminate(); }
  };
};

detached add_later(haz::ref<int> one, std::promise<int>& to) {
  try {
    to.set_value(co_await one);
  } catch (...) {
    to.set_exception(std::current_exception());
  }
}

TEST(Await, WorksInACoroutineOfAnotherType) {
  std::promise<int> slow;
  add_later(haz::task(slow_plus_one).remote(1), slow);
  EXPECT_EQ(slow.get_future().get(), 2);

  const haz::ref<int> there = haz::put(7);
  std::promise<int> at_once;
  add_later(there, at_once);
  EXPECT_EQ(at_once.get_future().get(), 7);

  std::promise<int> failed;
  add_later(haz::task(fails).remote(), failed);
  EXPECT_THROW((void)failed.get_future().get(), haz::task_error);
}

TEST(Await, ManyInCoroutinesOfAnotherType) {
  constexpr int kCount = 500;
  std::atomic<int> sum{0};
  std::atomic<int> ended{0};
  const auto add = [](haz::ref<int> one, std::atomic<int>& to,
                      std::atomic<int>& count) -> detached {
    to += co_await one;
    ++count;
  };
  for (int i = 0; i < kCount; ++i)
    add(haz::task(plus_one).remote(i), sum, ended);
  const auto until = std::chrono::steady_clock::now() + 60s;
  while (ended != kCount && std::chrono::steady_clock::now() < until)
    std::this_thread::sleep_for(1ms);
  EXPECT_EQ(sum, kCount * (kCount + 1) / 2);
}

TEST(Await, OfNothingIsAnError) {
  EXPECT_THROW(
      (void)haz::sync_wait([]() -> haz::coroutine<int> { co_return co_await haz::ref<int>(); }()),
      haz::object_lost_error);
}

}  // namespace
