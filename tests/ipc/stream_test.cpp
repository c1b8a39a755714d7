// Streams through rings: producers and consumers in processes of their own, and in threads.
#include "sched/stream.h"

#include <thread>
#include <vector>

#include "ipc/native_node.h"

namespace haz::test {

namespace {

class StreamTest : public NodeTest {
 protected:
  FunctionId streaming(std::int32_t items_ahead, double num_cpus = 1) {
    return add_function({.name = "stream",
                         .resources = {{"CPU", num_cpus}},
                         .max_retries = 3,
                         .items_ahead = items_ahead});
  }

  TaskId submit_stream(FunctionId function, NativeTask kind, std::size_t count) {
    const std::string payload = native_task(kind, std::to_string(count));
    TaskSpec spec;
    spec.id = TaskId{node_->new_ids(kStreamIds)};
    spec.payload_size = static_cast<std::uint32_t>(payload.size());
    spec.payload = std::as_bytes(std::span(payload));
    EXPECT_TRUE(node_->submit(spec, function).ok());
    return spec.id;
  }

  /// The next item, or "(end)".
  std::string next(TaskId task) {
    const std::int64_t deadline = monotonic_ns() + kPatienceNs;
    const ObjectId stream = stream_of(task);
    const ObjectId item{node_->new_ids(1)};
    NoHooks hooks;
    for (;;) {
      const TakenItem taken = node_->take_item(stream, item);
      if (taken == TakenItem::kTaken) return get_and_drop(item);
      if (taken == TakenItem::kEnded) return "(end)";
      if (taken == TakenItem::kUnknown) return "(unknown)";
      std::vector<bool> ready;
      if (node_->wait(std::span(&stream, 1), 1, deadline, hooks, ready) != WaitOutcome::kDone) {
        return "(too late)";
      }
    }
  }

  std::string all(TaskId task) {
    std::string joined;
    for (std::string item = next(task); item != "(end)"; item = next(task)) {
      joined += item;
      if (item.starts_with("(")) break;
    }
    return joined;
  }

  static std::string numbers(std::size_t count) {
    std::string joined;
    for (std::size_t i = 0; i < count; ++i)
      joined += std::to_string(i) + ",";
    return joined;
  }
};

TEST_F(StreamTest, ItemsComeInOrder) {
  for (const std::int32_t items_ahead : {0, 1, 2, 5, 100}) {
    const TaskId task = submit_stream(streaming(items_ahead), NativeTask::kStream, 3000);
    EXPECT_EQ(all(task), numbers(3000));
    EXPECT_EQ(next(task), "(end)");
    node_->drop_reference(stream_of(task));
  }
  expect_empty();
}

TEST_F(StreamTest, ManyAtOnceInThreads) {
  constexpr int kThreads = 6;
  const FunctionId free = streaming(0, 0.25);
  const FunctionId limited = streaming(3, 0.25);
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([this, function = i % 2 == 0 ? free : limited] {
      const TaskId task = submit_stream(function, NativeTask::kStream, 1000);
      EXPECT_EQ(all(task), numbers(1000));
      node_->drop_reference(stream_of(task));
    });
  }
  for (std::thread& thread : threads)
    thread.join();
  expect_empty();
}

TEST_F(StreamTest, ThreadsShareOne) {
  const TaskId task = submit_stream(streaming(4), NativeTask::kStream, 2000);
  std::vector<std::size_t> counts(4);
  std::vector<std::thread> threads;
  for (std::size_t& count : counts) {
    threads.emplace_back([this, task, &count] {
      while (next(task) != "(end)")
        ++count;
    });
  }
  for (std::thread& thread : threads)
    thread.join();
  EXPECT_EQ(counts[0] + counts[1] + counts[2] + counts[3], 2000U);
  node_->drop_reference(stream_of(task));
  expect_empty();
}

TEST_F(StreamTest, AConsumerInAnotherProcess) {
  for (const std::int32_t items_ahead : {0, 2}) {
    const TaskId task = submit_stream(streaming(items_ahead), NativeTask::kStream, 500);
    const ObjectId stream = stream_of(task);
    const std::string payload = native_task(NativeTask::kConsume, std::to_string(stream.value));
    TaskSpec spec;
    spec.id = TaskId{node_->new_ids(1)};
    spec.payload_size = static_cast<std::uint32_t>(payload.size());
    spec.payload = std::as_bytes(std::span(payload));
    spec.refs = std::span(&stream, 1);
    ASSERT_TRUE(node_->submit(spec, function_).ok());
    node_->drop_reference(stream);
    EXPECT_EQ(get_and_drop(spec.id.return_id(0)), numbers(500));
  }
  expect_empty();
}

TEST_F(StreamTest, AttemptsThatDieRepeatNothing) {
  const TaskId task = submit_stream(streaming(7), NativeTask::kStreamDies, 90);
  EXPECT_EQ(all(task), numbers(90));
  node_->drop_reference(stream_of(task));
  expect_empty();
}

TEST_F(StreamTest, ASmallStoreTakesManyBigItems) {
  start(2, 8 * kMiB);
  const TaskId task = submit_stream(streaming(0), NativeTask::kStreamBig, 400);
  for (std::size_t i = 0; i < 400; ++i)
    EXPECT_EQ(next(task), std::string(100'000, static_cast<char>('a' + i % 26)));
  EXPECT_EQ(next(task), "(end)");
  node_->drop_reference(stream_of(task));
  expect_empty();
}

TEST_F(StreamTest, DroppedOnesEnd) {
  const FunctionId free = streaming(0);
  const FunctionId limited = streaming(1);
  for (int i = 0; i < 10; ++i) {
    const TaskId task =
        submit_stream(i % 2 == 0 ? free : limited, NativeTask::kStream, 100'000'000);
    if (i % 3 != 0) {
      EXPECT_EQ(next(task), "0,");
    }
    node_->drop_reference(stream_of(task));
  }
  expect_empty();
}

TEST_F(StreamTest, ShutdownInMidStream) {
  const TaskId free = submit_stream(streaming(0), NativeTask::kStream, 100'000'000);
  const TaskId limited = submit_stream(streaming(2), NativeTask::kStream, 100'000'000);
  EXPECT_EQ(next(free), "0,");
  EXPECT_EQ(next(limited), "0,");
  node_->shutdown();
  EXPECT_EQ(next(free), "(unknown)");
}

}  // namespace

}  // namespace haz::test
