// Tasks that fail, each in its way: the caller gets an error that tells, and other tasks go on.
#include <gtest/gtest.h>
#include <haz/haz.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <fstream>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>

namespace {

using namespace std::chrono_literals;

int identity(int x) { return x; }
HAZ_REMOTE(identity);

int throws_range() { throw std::out_of_range("no item 7"); }
HAZ_REMOTE(throws_range);

int notes_and_throws(const std::string& path) {
  std::ofstream(path, std::ios::app) << 'x';
  throw std::runtime_error("noted");
}
HAZ_REMOTE(notes_and_throws);

int throws_number() { throw 42; }  // NOLINT
HAZ_REMOTE(throws_number);

int throws_text() { throw "only a text"; }  // NOLINT
HAZ_REMOTE(throws_text);

class says_nothing : public std::exception {
 public:
  const char* what() const noexcept override { return nullptr; }
};
int throws_nothing() { throw says_nothing(); }
HAZ_REMOTE(throws_nothing);

int throws_nested() {
  try {
    throw std::invalid_argument("a bad line");
  } catch (...) {
    std::throw_with_nested(std::runtime_error("can't read the file"));
  }
}
HAZ_REMOTE(throws_nested);

int runs_out_of_memory() { throw std::bad_alloc(); }
HAZ_REMOTE(runs_out_of_memory);

int segfaults() {
  ::raise(SIGSEGV);
  return 0;
}
HAZ_REMOTE(segfaults);

int exits() { std::exit(7); }
HAZ_REMOTE(exits);

int never_returns() {
  for (;;)
    std::this_thread::sleep_for(1h);
}
HAZ_REMOTE(never_returns);

int returns_when_told() {
  while (!haz::should_stop())
    std::this_thread::sleep_for(1ms);
  return 0;
}
HAZ_REMOTE(returns_when_told);

int waits_for(const std::vector<haz::ref<int>>& refs) { return haz::get(refs.at(0)); }
HAZ_REMOTE(waits_for);

/// The exit code of a child that returns from the function, too.
int forks() {
  const pid_t child = ::fork();
  if (child == 0) return 1;
  int status = -1;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}
HAZ_REMOTE(forks);

[[gnu::noinline]] void innermost(int depth) {
  if (depth == 0) throw std::logic_error("deep down");
  innermost(depth - 1);
  asm volatile("" ::: "memory");  // so that it stays a call
}
[[gnu::noinline]] int throws_deep_down() {
  innermost(2);
  return 0;
}
HAZ_REMOTE(throws_deep_down);

struct catches_another {
  ~catches_another() {
    try {
      throw std::runtime_error("of no interest");
    } catch (const std::exception&) {
      // Thrown while another one is on its way.
    }
  }
};
[[gnu::noinline]] int throws_past_others() {
  const catches_another one;
  const catches_another two;
  innermost(0);
  return 0;
}
HAZ_REMOTE(throws_past_others);

haz::task_options once() { return {.max_retries = 0}; }

void expect_others_go_on() { EXPECT_EQ(haz::get(haz::task(identity).remote(5)), 5); }

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(Failure, ExceptionComesWithTypeAndText) {
  try {
    (void)haz::get(haz::task(throws_range).remote());
    FAIL();
  } catch (const haz::task_error& error) {
    EXPECT_EQ(error.type_name(), "std::out_of_range");
    EXPECT_EQ(error.message(), "no item 7");
    EXPECT_EQ(error.task_name(), "throws_range");
    EXPECT_NE(error.pid(), ::getpid());
    EXPECT_TRUE(has(error.what(), "throws_range")) << error.what();
    EXPECT_TRUE(has(error.what(), "std::out_of_range: no item 7")) << error.what();
  }
  expect_others_go_on();
}

TEST(Failure, ExceptionComesWithItsStack) {
  try {
    (void)haz::get(haz::task(throws_deep_down).remote());
    FAIL();
  } catch (const haz::task_error& error) {
    const std::vector<std::string>& stack = error.stack();
    ASSERT_EQ(stack.size(), 4U) << error.what();
    for (const std::size_t i : {0U, 1U, 2U})
      EXPECT_TRUE(has(stack[i], "innermost(int)")) << stack[i];
    EXPECT_TRUE(has(stack[3], "throws_deep_down()")) << stack[3];
    EXPECT_TRUE(has(stack[3], "haz_api_tests+0x")) << stack[3];
    EXPECT_TRUE(has(error.what(), "\n  at " + stack[0])) << error.what();
    EXPECT_TRUE(has(error.traceback(), "\n  at " + stack[3])) << error.traceback();
  }
}

TEST(Failure, StackIsThatOfWhatHasLeftTheTask) {
  try {
    (void)haz::get(haz::task(throws_past_others).remote());
    FAIL();
  } catch (const haz::task_error& error) {
    ASSERT_FALSE(error.stack().empty());
    EXPECT_TRUE(has(error.stack().front(), "innermost(int)")) << error.what();
  }
}

TEST(Failure, WhatIsNoExceptionIsTold) {
  try {
    (void)haz::get(haz::task(throws_number).remote());
    FAIL();
  } catch (const haz::task_error& error) {
    EXPECT_EQ(error.type_name(), "int");
  }
  expect_others_go_on();
}

TEST(Failure, TextThatWasThrownIsTheMessage) {
  try {
    haz::get(haz::task(throws_text).remote());
    FAIL();
  } catch (const haz::task_error& error) {
    EXPECT_EQ(error.type_name(), "char const*");
    EXPECT_EQ(error.message(), "only a text");
  }
}

TEST(Failure, ExceptionMaySayNothing) {
  try {
    haz::get(haz::task(throws_nothing).remote());
    FAIL();
  } catch (const haz::task_error& error) {
    EXPECT_EQ(error.message(), "");
  }
}

TEST(Failure, NestedExceptionsAreCauses) {
  try {
    (void)haz::get(haz::task(throws_nested).remote());
    FAIL();
  } catch (const haz::task_error& error) {
    EXPECT_EQ(error.message(), "can't read the file");
    ASSERT_EQ(error.causes().size(), 1U);
    EXPECT_EQ(error.causes().front(), "std::invalid_argument: a bad line");
  }
}

TEST(Failure, OutOfMemoryIsAnException) {
  try {
    (void)haz::get(haz::task(runs_out_of_memory).remote());
    FAIL();
  } catch (const haz::task_error& error) {
    EXPECT_EQ(error.type_name(), "std::bad_alloc");
  }
  expect_others_go_on();
}

TEST(Failure, PassesThroughTasksThatDependOnIt) {
  const haz::ref<int> failed = haz::task(throws_range).remote();
  try {
    (void)haz::get(haz::task(identity).options({.name = "second"}).remote(failed));
    FAIL();
  } catch (const haz::task_error& error) {
    EXPECT_EQ(error.message(), "no item 7");
    EXPECT_TRUE(has(error.what(), "second")) << error.what();
  }
}

TEST(Failure, OfAGetInATaskIsWhatWasThrownFirst) {
  const haz::ref<int> failed = haz::task(throws_range).remote();
  try {
    (void)haz::get(haz::task(waits_for).remote(std::vector{failed}));
    FAIL();
  } catch (const haz::task_error& error) {
    EXPECT_EQ(error.type_name(), "std::out_of_range");
    EXPECT_EQ(error.task_name(), "waits_for");
  }
}

TEST(Failure, SegmentationFault) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "the sanitizer ends the process in its own way";
#endif
  try {
    (void)haz::get(haz::task(segfaults).options(once()).remote());
    FAIL();
  } catch (const haz::worker_crashed_error& error) {
    EXPECT_EQ(error.signal(), SIGSEGV);
    EXPECT_TRUE(has(error.what(), "segfaults")) << error.what();
    EXPECT_TRUE(has(error.what(), "SIGSEGV")) << error.what();
  }
  expect_others_go_on();
}

TEST(Failure, ExitInATask) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "the sanitizer ends the process in its own way";
#endif
  try {
    (void)haz::get(haz::task(exits).options(once()).remote());
    FAIL();
  } catch (const haz::worker_crashed_error& error) {
    EXPECT_EQ(error.signal(), 0);
    EXPECT_EQ(error.exit_code(), 7);
  }
  expect_others_go_on();
}

TEST(Failure, TaskThatNeverReturnsHasATimeLimit) {
  const auto task = haz::task(never_returns).options({.max_retries = 0, .timeout_s = 0.05});
  EXPECT_THROW((void)haz::get(task.remote()), haz::task_timeout_error);
  expect_others_go_on();
}

TEST(Failure, CancelTellsATaskThatRuns) {
  const haz::ref<int> running = haz::task(returns_when_told).remote();
  EXPECT_THROW((void)haz::get_for(running, 50ms), haz::get_timeout_error);
  haz::cancel(running);
  EXPECT_THROW((void)haz::get(running), haz::task_cancelled_error);
  expect_others_go_on();
}

TEST(Failure, CancelEndsAWaitInATask) {
  const haz::ref<int> forever = haz::task(never_returns).options(once()).remote();
  const haz::ref<int> waiting = haz::task(waits_for).remote(std::vector{forever});
  EXPECT_THROW((void)haz::get_for(waiting, 50ms), haz::get_timeout_error);
  haz::cancel(waiting);
  EXPECT_THROW((void)haz::get(waiting), haz::task_cancelled_error);
  haz::cancel(forever, {.force = true});
  EXPECT_THROW((void)haz::get(forever), haz::task_cancelled_error);
  expect_others_go_on();
}

TEST(Failure, ChildThatATaskHasForkedReturnsToNobody) {
  EXPECT_EQ(haz::get(haz::task(forks).remote()), 0);
  expect_others_go_on();
}

TEST(Failure, ForkedChildOfTheProgramHasNoHaz) {
  const haz::ref<int> ref = haz::task(identity).remote(3);
  const pid_t child = ::fork();
  if (child == 0) {
    int code = 1;
    try {
      const haz::ref<int> copy = ref;
      (void)haz::get(copy);
    } catch (const haz::error&) {
      code = haz::is_running() ? 2 : 0;
    }
    haz::shutdown();  // nothing to it
    ::_exit(code);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
  EXPECT_EQ(haz::get(ref), 3);
  expect_others_go_on();
}

TEST(Failure, ExceptionIsRetriedWhereThatIsAskedFor) {
  const auto tries = [](const haz::task_options& options) {
    char path[] = "/tmp/haz-tries-XXXXXX";
    ::close(::mkstemp(path));
    EXPECT_THROW((void)haz::get(haz::task(notes_and_throws).options(options).remote(path)),
                 haz::task_error);
    const auto size = std::filesystem::file_size(path);
    ::unlink(path);
    return size;
  };
  EXPECT_EQ(tries({.max_retries = 2, .retry_exceptions = true}), 3U);
  EXPECT_EQ(tries({.max_retries = 2}), 1U);
}

}  // namespace
