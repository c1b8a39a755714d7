// Who sleeps at a shared queue is woken when there is what it waits for, whatever the order of what
// processes do and see. Sleeps have no limit here: a notification that is lost is never made good.
#include <gtest/gtest.h>

#include "memory_model/model.h"

namespace haz::test {

/// Before the begin of all time: SpinPolicy doesn't spin, and every sleep is for some time.
int stopped_clock(clockid_t /*clock*/, timespec* now) {
  *now = {-1, 0};
  return 0;
}

}  // namespace haz::test

#define clock_gettime haz::test::stopped_clock
#include "queue/shared_queue.cpp"  // NOLINT(bugprone-suspicious-include): with the model's atomics
#undef clock_gettime

namespace haz::test {
namespace {

constexpr ::std::int64_t kForever = INT64_MAX / 2;

class QueueModel {
 public:
  explicit QueueModel(std::uint32_t limit) {
    auto made = SharedQueue::create(limit);
    if (!made) throw Wrong{made.error().message};
    queue = std::move(*made);
    // Both ends have mapped it, and begin anew.
    put();
    get();
  }

  void put() {
    const auto outcome = try_put();
    if (outcome != QueueTry::kDone) throw Wrong{"it can't be put"};
  }
  void get() {
    if (!try_get()) throw Wrong{"there is none"};
  }

  QueueTry try_put() {
    auto outcome = queue->try_put(1, [](std::byte* to) { *to = std::byte{7}; }, kForever);
    if (!outcome) throw Wrong{outcome.error().message};
    return *outcome;
  }
  bool try_get() {
    std::byte item{};
    auto outcome = queue->try_get(
        [&item](std::span<const std::byte> bytes) {
          item = bytes.front();
          return true;
        },
        kForever);
    if (!outcome) throw Wrong{outcome.error().message};
    if (*outcome == QueueTry::kDone && item != std::byte{7}) throw Wrong{"it is another"};
    return *outcome == QueueTry::kDone;
  }

  void putter(const char* name, int items) {
    explorer.add_thread(name, [this, items] {
      for (int i = 0; i < items; ++i) {
        while (try_put() != QueueTry::kDone)
          queue->wait_for_room(kForever);
      }
    });
  }
  void getter(const char* name, int items) {
    explorer.add_thread(name, [this, items] {
      for (int i = 0; i < items; ++i) {
        while (!try_get())
          queue->wait_for_item(kForever);
      }
    });
  }

  ::std::unique_ptr<SharedQueue> queue;
  Explorer explorer;
};

TEST(SharedQueueModel, WakesTheOneThatGets) {
  QueueModel model(SharedQueue::kMaxItems);
  model.getter("getter", 2);
  model.putter("putter", 2);
  EXPECT_EQ(model.explorer.find_failure(), "");
}

TEST(SharedQueueModel, WakesTheOneThatPuts) {
  QueueModel model(1);
  model.putter("putter", 2);
  model.getter("getter", 2);
  EXPECT_EQ(model.explorer.find_failure(), "");
}

TEST(SharedQueueModel, WakesAllForWhomThereAreItems) {
  QueueModel model(SharedQueue::kMaxItems);
  model.getter("first", 1);
  model.getter("second", 1);
  model.putter("putter", 2);
  model.explorer.limit_switches(2);  // all are a thousand times as many
  EXPECT_EQ(model.explorer.find_failure(), "");
}

}  // namespace
}  // namespace haz::test
