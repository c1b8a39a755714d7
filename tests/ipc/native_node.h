// A node whose workers run native tasks, for tests of all of it together.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <memory>
#include <span>
#include <string>

#include "base/units.h"
#include "ipc/native_tasks.h"
#include "node/node.h"
#include "os/clock.h"

namespace haz::test {

// Only against hangs.
inline constexpr std::int64_t kPatienceNs = 60 * kSecondNs;

class NoHooks final : public WaitHooks {};

inline std::string child_program() {
  char path[4096] = {};
  const ssize_t size = ::readlink("/proc/self/exe", path, sizeof path);
  const std::string self(path, static_cast<std::size_t>(size));
  return self.substr(0, self.rfind('/') + 1) + "native_zygote_child";
}

class NodeTest : public ::testing::Test {
 protected:
  void SetUp() override { start(2, 64 * kMiB); }

  void start(double num_cpus, std::uint64_t store_bytes, const std::string& setup = "") {
    node_.reset();
    NodeOptions options;
    options.num_cpus = num_cpus;
    options.object_store_bytes = store_bytes;
    options.zygote_argv = {child_program()};
    options.zygote_setup = setup;
    options.store_full_wait_s = store_full_wait_s_;
    auto node = Node::create(std::move(options));
    ASSERT_TRUE(node.ok()) << node.error().message;
    node_ = std::move(*node);
    function_ = add_function({.name = "task", .resources = {{"CPU", 1.0}}});
  }

  FunctionId add_function(const FunctionOptions& options) {
    auto function = node_->register_function(options, {});
    EXPECT_TRUE(function.ok());
    return (*function)->id;
  }

  ObjectId submit(NativeTask kind, const std::string& rest,
                  std::span<const ObjectId> waits_for = {}) {
    return submit(function_, kind, rest, waits_for);
  }

  ObjectId submit(FunctionId function, NativeTask kind, const std::string& rest,
                  std::span<const ObjectId> waits_for = {}) {
    const std::string payload = native_task(kind, rest);
    TaskSpec spec;
    spec.id = TaskId{node_->new_ids(1)};
    spec.payload_size = static_cast<std::uint32_t>(payload.size());
    spec.payload = std::as_bytes(std::span(payload));
    spec.dependencies = waits_for;
    EXPECT_TRUE(node_->submit(spec, function).ok());
    return spec.id.return_id(0);
  }

  /// The value of `id`, or "error: " and the error's bytes.
  std::string get(ObjectId id) {
    NoHooks hooks;
    FetchedValues fetched;
    const WaitOutcome outcome =
        node_->get(std::span(&id, 1), monotonic_ns() + kPatienceNs, hooks, fetched);
    EXPECT_EQ(outcome, WaitOutcome::kDone);
    if (outcome != WaitOutcome::kDone) return "no value";
    const FetchedValue& value = fetched.values.front();
    const std::byte* bytes =
        value.in_arena ? node_->at(value.offset) : fetched.near_bytes.data() + value.offset;
    std::string text(reinterpret_cast<const char*>(bytes), value.size);
    if (value.in_arena) node_->drop_reference(id);
    return value.is_error ? "error: " + text : text;
  }

  std::string get_and_drop(ObjectId id) {
    std::string value = get(id);
    node_->drop_reference(id);
    return value;
  }

  /// Waits until nothing is left in the node.
  void expect_empty() {
    const std::int64_t until = monotonic_ns() + kPatienceNs;
    Node::Snapshot now = node_->snapshot();
    while ((now.counts.objects != 0 || now.counts.tasks != 0) && monotonic_ns() < until) {
      ::usleep(1000);
      now = node_->snapshot();
    }
    EXPECT_EQ(now.counts.objects, 0U);
    EXPECT_EQ(now.counts.tasks, 0U);
  }

  double store_full_wait_s_ = 1;
  std::unique_ptr<Node> node_;
  FunctionId function_;
};

}  // namespace haz::test
