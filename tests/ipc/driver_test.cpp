// A driver that joins a node and leaves it, in the node's own process.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <thread>

#include "client/driver_link.h"
#include "ipc/native_node.h"

namespace haz::test {

namespace {

class DriverTest : public NodeTest {
 protected:
  void SetUp() override {
    NodeTest::SetUp();
    used_before_ = used();
    auto place = node_->admit_driver(::getpid(), false);
    ASSERT_TRUE(place.ok());
    driver_ = place->process;
    std::array<int, 2> sockets{};
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets.data()), 0);
    ASSERT_EQ(::fcntl(sockets[0], F_SETFL, O_NONBLOCK), 0);
    auto ring = RingClient::join(UniqueFd(::dup(node_->arena().fd())), place->slot, driver_);
    ASSERT_TRUE(ring.ok()) << ring.error().message;
    ring_ = std::move(*ring);
    auto link = DriverLink::start(UniqueFd(sockets[0]), *ring_, on_message_);
    ASSERT_TRUE(link.ok()) << link.error().message;
    link_ = std::move(*link);
    // As the server does it.
    server_ = std::thread([this, socket = sockets[1]] {
      char byte = 0;
      while (::recv(socket, &byte, 1, 0) > 0) {
      }
      node_->end_driver(driver_);
      if (before_close_) before_close_(socket);
      ::close(socket);
    });
  }

  void TearDown() override {
    link_.reset();
    server_.join();
    ring_.reset();
    NodeTest::TearDown();
  }

  void leaves_behind_a_writer(std::uint64_t size) {
    NoHooks hooks;
    auto block = ring_->allocate(size, hooks, StoreUse::kValue);
    ASSERT_TRUE(block.ok()) << block.error().message;
    std::atomic<bool> over{false};
    std::thread writer([&] {
      const std::array small{std::byte{1}};
      while (ring_->put(ObjectId{ring_->new_ids(1)}, {.bytes = small}))
        ::usleep(1000);
      ::usleep(100'000);  // it is leaving; time to lend on what it should not
      EXPECT_GE(used(), used_before_ + size) << "it was lent on while it was written to";
      over.store(true);
      ring_->seal(*block);
      const ObjectId id{ring_->new_ids(1)};
      EXPECT_FALSE(ring_->put(id, {.offset = block->offset, .size = size})) << "it has left";
    });
    link_->leave(kPatienceNs);
    EXPECT_TRUE(over.load());
    writer.join();
    EXPECT_EQ(used(), used_before_);
    EXPECT_FALSE(ring_->allocate(size, hooks, StoreUse::kValue)) << "it has left";
  }

  std::uint64_t used() { return node_->snapshot().store.used; }

  std::uint64_t used_before_ = 0;
  ProcessId driver_;
  std::unique_ptr<RingClient> ring_;
  std::unique_ptr<DriverLink> link_;
  DriverLink::OnMessage on_message_;       ///< Set before SetUp().
  std::function<void(int)> before_close_;  ///< Likewise.
  std::thread server_;
};

/// One whose allocations wait twice as long where it has other threads, at least.
class DriverOfAFullStoreTest : public DriverTest {
 protected:
  struct Hooks final : WaitHooks {
    explicit Hooks(bool others) : has_others(others) {}
    bool others_go_on() override { return has_others; }
    bool has_others;
  };

  void SetUp() override {
    store_full_wait_s_ = 10;
    DriverTest::SetUp();
    NoHooks hooks;
    auto block = ring_->allocate(60 * kMiB, hooks, StoreUse::kValue);
    ASSERT_TRUE(block.ok()) << block.error().message;
    held_ = ObjectId{ring_->new_ids(1)};
    ASSERT_TRUE(ring_->put(held_, {.offset = block->offset, .size = 60 * kMiB}).ok());
  }

  /// Of a value for which there is room when another thread has dropped one, after two seconds.
  Status allocate_while_another_thread_drops(bool has_others) {
    std::thread other([this] {
      ::usleep(2'200'000);
      ring_->drop_reference(held_);
    });
    Hooks hooks(has_others);
    auto block = ring_->allocate(40 * kMiB, hooks, StoreUse::kValue);
    other.join();
    if (!block) return block.error();
    ring_->discard(*block);
    return Ok{};
  }

  ObjectId held_;
};

TEST_F(DriverOfAFullStoreTest, WaitsForOtherThreads) {
  const Status status = allocate_while_another_thread_drops(true);
  EXPECT_TRUE(status.ok()) << status.error().message;
}

TEST_F(DriverOfAFullStoreTest, GetsAnErrorWhereItHasNone) {
  const Status status = allocate_while_another_thread_drops(false);
  ASSERT_FALSE(status.ok());
  EXPECT_NE(status.error().message.find("no room"), std::string::npos) << status.error().message;
}

TEST_F(DriverTest, WaitsForAWriterBeforeItsMemoryIsLentOn) { leaves_behind_a_writer(kMiB); }

TEST_F(DriverTest, WaitsForAWriterOfASmallValue) { leaves_behind_a_writer(5000); }

TEST_F(DriverTest, WhatMayStillBeWrittenToIsKeptUntilItsProcessHasEnded) {
  NoHooks hooks;
  ASSERT_TRUE(ring_->allocate(kMiB, hooks, StoreUse::kValue).ok());
  link_->leave(kPatienceNs, {}, kMillisecondNs);
  EXPECT_GE(used(), used_before_ + kMiB);
  node_->driver_process_ended(::getpid());
  EXPECT_EQ(used(), used_before_);
}

TEST_F(DriverTest, CallsAreOverAndMemoryIsThereBeforeTheEnd) {
  NoHooks hooks;
  auto block = ring_->allocate(kMiB, hooks, StoreUse::kValue);
  ASSERT_TRUE(block.ok()) << block.error().message;
  ring_->seal(*block);
  const ObjectId id{ring_->new_ids(1)};
  ASSERT_TRUE(ring_->put(id, {.offset = block->offset, .size = kMiB}).ok());
  bool is_called = false;
  link_->leave(kPatienceNs, [&] {
    is_called = true;
    EXPECT_FALSE(ring_->allocate(kMiB, hooks, StoreUse::kValue)) << "it is leaving";
    EXPECT_GE(used(), used_before_ + kMiB);
  });
  EXPECT_TRUE(is_called);
  EXPECT_EQ(used(), used_before_);
}

/// Whose server sends something after the end, and more when the driver is through with that.
class DriverThatHearsMoreTest : public DriverTest {
 protected:
  static constexpr std::int64_t kTimeoutNs = kSecondNs;

  void SetUp() override {
    on_message_ = [this](std::span<const std::byte>) {
      if (told_.load() == 0) ::usleep(kTimeoutNs / kMicrosecondNs * 3 / 2);
      told_.fetch_add(1);
    };
    before_close_ = [this](int socket) {
      EXPECT_EQ(::send(socket, "1", 1, 0), 1);
      while (told_.load() == 0)
        ::usleep(1000);
      ::usleep(50'000);  // a link that has given up is gone then
      static_cast<void>(::send(socket, "2", 1, MSG_NOSIGNAL));
    };
    DriverTest::SetUp();
  }

  std::atomic<int> told_{0};
};

TEST_F(DriverThatHearsMoreTest, StaysUntilTheServerHasSentAll) {
  link_->leave(kTimeoutNs);
  EXPECT_EQ(told_.load(), 2);
}

}  // namespace

}  // namespace haz::test
