#include <gtest/gtest.h>
#include <haz/haz.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstdlib>
#include <map>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;

class counter {
 public:
  explicit counter(int start) : value_(start) {
    if (start < 0) throw std::invalid_argument("start below 0");
  }
  int add(int amount) { return value_ += amount; }
  [[nodiscard]] int value() const noexcept { return value_; }
  [[nodiscard]] int process() const { return static_cast<int>(::getpid()); }
  void die() { std::abort(); }
  int fail() { throw std::out_of_range("no such item"); }
  void sleep_ms(int ms) { std::this_thread::sleep_for(std::chrono::milliseconds(ms)); }
  int add_all(const std::vector<int>& amounts, const std::string& unit) {
    for (const int amount : amounts)
      value_ += unit == "tens" ? 10 * amount : amount;
    return value_;
  }

 private:
  int value_;
};
HAZ_ACTOR(counter(int), &counter::add, &counter::value, &counter::process, &counter::die,
          &counter::fail, &counter::sleep_ms, &counter::add_all);

class registry {
 public:
  void set(std::string key, int value) { values_[std::move(key)] = value; }
  [[nodiscard]] int get(const std::string& key) const { return values_.at(key); }
  virtual int kind() { return 1; }
  virtual ~registry() = default;

 private:
  std::map<std::string, int> values_;
};
HAZ_ACTOR(registry(), &registry::set, &registry::get, &registry::kind);

/// Whose methods may run at a time.
class meeting {
 public:
  /// How many are here together, once `count` are or some time has passed.
  int meet(int count) {
    std::unique_lock lock(mutex_);
    ++here_;
    arrived_.notify_all();
    arrived_.wait_for(lock, 30s, [&] { return here_ >= count; });
    return here_;
  }
  int fail() { throw std::out_of_range("no such item"); }
  int nested(int x) { return haz::get(haz::task(tripled).remote(x)); }
  std::string stop() { haz::exit_actor(); }
  void stop_in_vain() {
    try {
      haz::exit_actor();
    } catch (const std::exception&) {
      // It is none.
    }
  }

  static int tripled(int x) { return 3 * x; }

 private:
  std::mutex mutex_;
  std::condition_variable arrived_;
  int here_ = 0;
};
HAZ_ACTOR(meeting(), &meeting::meet, &meeting::fail, &meeting::nested, &meeting::stop,
          &meeting::stop_in_vain);
HAZ_REMOTE(meeting::tripled);

/// Fails until it was tried so often.
class stubborn {
 public:
  int try_until(int count) {
    if (++tries_ < count) throw std::runtime_error("not yet");
    return tries_;
  }

 private:
  int tries_ = 0;
};
HAZ_ACTOR(stubborn(), &stubborn::try_until);

int exits_no_actor() { haz::exit_actor(); }
HAZ_REMOTE(exits_no_actor);

/// Called from a task with a handle.
int add_from_a_task(const haz::actor<counter>& handle, int amount) {
  return haz::get(handle.call(&counter::add, amount));
}
HAZ_REMOTE(add_from_a_task);

TEST(Actor, KeepsItsState) {
  const haz::actor<counter> c = haz::make_actor<counter>(10);
  EXPECT_EQ(haz::get(c.call(&counter::add, 5)), 15);
  EXPECT_EQ(haz::get(c.call(&counter::add, 1)), 16);
  EXPECT_EQ(haz::get(c.call(&counter::value)), 16);
  EXPECT_EQ(haz::get(c.call(&counter::add_all, std::vector{1, 2}, "tens")), 46);
}

TEST(Actor, LivesInOneProcessOfItsOwn) {
  const auto a = haz::make_actor<counter>(0);
  const auto b = haz::make_actor<counter>(0);
  const int process = haz::get(a.call(&counter::process));
  EXPECT_NE(process, ::getpid());
  EXPECT_EQ(haz::get(a.call(&counter::process)), process);
  EXPECT_NE(haz::get(b.call(&counter::process)), process);
}

TEST(Actor, CallsBeginInTheirOrder) {
  const auto r = haz::make_actor<registry>();
  for (int i = 0; i < 200; ++i)
    (void)r.call(&registry::set, "last", i);
  EXPECT_EQ(haz::get(r.call(&registry::get, "last")), 199);
  EXPECT_EQ(haz::get(r.call(&registry::kind)), 1);
}

TEST(Actor, TakesRefsAsArguments) {
  const auto c = haz::make_actor<counter>(haz::put(7));
  const haz::ref<int> first = c.call(&counter::add, haz::put(3));
  EXPECT_EQ(haz::get(c.call(&counter::add, first)), 20);
}

TEST(Actor, HandlesArePassedToTasks) {
  const auto c = haz::make_actor<counter>(0);
  std::vector<haz::ref<int>> sums;
  for (int i = 0; i < 10; ++i)
    sums.push_back(haz::task(add_from_a_task).remote(c, 1));
  (void)haz::get(sums);
  EXPECT_EQ(haz::get(c.call(&counter::value)), 10);
}

TEST(Actor, IsFoundByItsName) {
  const auto c = haz::actor_of<counter>().options({.name = "named"}).remote(1);
  EXPECT_EQ(haz::get_actor<counter>("named"), c);
  EXPECT_EQ(haz::get(haz::get_actor<counter>("named").call(&counter::add, 1)), 2);
  EXPECT_THROW((void)haz::get_actor<registry>("named"), haz::type_error);
  EXPECT_THROW((void)haz::get_actor<counter>("nobody"), haz::object_lost_error);
  EXPECT_THROW((void)haz::actor_of<counter>().options({.name = "named"}).remote(1),
               haz::usage_error);
  const auto same =
      haz::actor_of<counter>().options({.name = "named", .get_if_exists = true}).remote(99);
  EXPECT_EQ(same, c);
}

TEST(Actor, ExceptionOfAMethodIsThatOfTheCall) {
  const auto c = haz::make_actor<counter>(4);
  try {
    (void)haz::get(c.call(&counter::fail));
    FAIL();
  } catch (const haz::task_error& error) {
    EXPECT_EQ(error.type_name(), "std::out_of_range");
    EXPECT_EQ(error.task_name(), "counter::fail");
  }
  EXPECT_EQ(haz::get(c.call(&counter::value)), 4);
}

TEST(Actor, ConstructorThatThrowsFailsItsCalls) {
  const auto c = haz::make_actor<counter>(-1);
  try {
    (void)haz::get(c.call(&counter::value));
    FAIL();
  } catch (const haz::actor_died_error& error) {
    EXPECT_NE(std::string(error.what()).find("start below 0"), std::string::npos) << error.what();
  }
}

TEST(Actor, ThatDiesFailsItsCalls) {
  const auto c = haz::make_actor<counter>(0);
  try {
    haz::get(c.call(&counter::die));
    FAIL();
  } catch (const haz::actor_died_error& error) {
    EXPECT_NE(std::string(error.what()).find("SIGABRT"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("the call counter::die has no result"),
              std::string::npos)
        << error.what();
  }
  EXPECT_THROW((void)haz::get(c.call(&counter::value)), haz::actor_died_error);
}

TEST(Actor, IsStartedAgainWhereThatIsAskedFor) {
  const auto c = haz::actor_of<counter>().options({.max_restarts = 1}).remote(3);
  EXPECT_EQ(haz::get(c.call(&counter::add, 1)), 4);
  EXPECT_THROW(haz::get(c.call(&counter::die)), haz::actor_unavailable_error);
  EXPECT_EQ(haz::get(c.call(&counter::value)), 3);
  EXPECT_THROW(haz::get(c.call(&counter::die)), haz::actor_died_error);
}

TEST(Actor, CanBeKilled) {
  const auto c = haz::make_actor<counter>(0);
  const haz::ref<void> running = c.call(&counter::sleep_ms, 60'000);
  haz::kill(c);
  EXPECT_THROW(haz::get(running), haz::actor_died_error);
}

TEST(Actor, CallHasATimeLimit) {
  const auto c = haz::actor_of<counter>().options({.max_restarts = 1}).remote(0);
  const haz::ref<void> slow = c.call({.timeout_s = 0.05}, &counter::sleep_ms, 60'000);
  EXPECT_THROW(haz::get(slow), haz::task_timeout_error);
  EXPECT_EQ(haz::get(c.call(&counter::value)), 0);
}

TEST(Actor, RunsSeveralCallsAtATimeWhereThatIsAskedFor) {
  const haz::actor<meeting> room =
      haz::actor_of<meeting>().options({.max_concurrency = 4}).remote();
  std::vector<haz::ref<int>> calls;
  for (int i = 0; i < 4; ++i)
    calls.push_back(room.call(&meeting::meet, 4));
  EXPECT_EQ(haz::get(calls), std::vector<int>(4, 4));
  // More than there are threads; each submits a task and waits for it.
  std::vector<haz::ref<int>> nested;
  for (int i = 0; i < 20; ++i)
    nested.push_back(room.call(&meeting::nested, i));
  for (int i = 0; i < 20; ++i)
    EXPECT_EQ(haz::get(nested[static_cast<std::size_t>(i)]), 3 * i);
  EXPECT_THROW(haz::get(room.call(&meeting::fail)), haz::task_error);
}

TEST(Actor, EndsItself) {
  for (const int concurrency : {1, 3}) {
    const haz::actor<meeting> room =
        haz::actor_of<meeting>()
            .options({.max_restarts = 5, .max_concurrency = concurrency})
            .remote();
    EXPECT_EQ(haz::get(room.call(&meeting::meet, 1)), 1);
    try {
      (void)haz::get(room.call(&meeting::stop));
      FAIL();
    } catch (const haz::actor_died_error& error) {
      EXPECT_NE(std::string(error.what()).find("it has ended itself"), std::string::npos)
          << error.what();
    }
    EXPECT_THROW((void)haz::get(room.call(&meeting::meet, 1)), haz::actor_died_error);
  }
  const haz::actor<meeting> other = haz::make_actor<meeting>();
  EXPECT_THROW(haz::get(other.call(&meeting::stop_in_vain)), haz::actor_died_error);
}

TEST(Actor, OnlyAnActorEndsItself) {
  EXPECT_THROW(haz::exit_actor(), haz::usage_error);
  EXPECT_THROW((void)haz::get(haz::task(exits_no_actor).remote()), haz::task_error);
}

TEST(Actor, CallIsTriedAgainWhereItHasThrown) {
  const haz::actor<stubborn> one = haz::make_actor<stubborn>();
  EXPECT_EQ(
      haz::get(one.call({.max_retries = 3, .retry_exceptions = true}, &stubborn::try_until, 3)), 3);
  const haz::actor<stubborn> other = haz::make_actor<stubborn>();
  EXPECT_THROW((void)haz::get(other.call({.max_retries = 3}, &stubborn::try_until, 3)),
               haz::task_error);
}

TEST(Actor, DetachedNeedsANodeThatOutlivesTheProgram) {
  EXPECT_THROW((void)haz::actor_of<stubborn>().options({.name = "d", .detached = true}).remote(),
               haz::error);
}

TEST(Actor, OptionsAreChecked) {
  EXPECT_THROW((void)haz::actor_of<counter>().options({.max_restarts = -2}), haz::usage_error);
  EXPECT_THROW((void)haz::actor_of<counter>().options({.max_pending_calls = -1}), haz::usage_error);
  EXPECT_THROW((void)haz::actor_of<counter>().options({.num_cpus = 1000}).remote(1),
               haz::infeasible_resources_error);
}

TEST(Actor, HandleOfNothingIsAnError) {
  EXPECT_THROW((void)haz::actor<counter>().call(&counter::value), haz::object_lost_error);
}

}  // namespace
