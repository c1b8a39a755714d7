/// @file
/// A lock-free list of ids that destructors append to and one consumer empties.
///
/// Destructors may run anywhere (a garbage collector starts them at any allocation), so appending
/// takes no lock and calls nothing that could wait.
#pragma once

#include <atomic>
#include <cstdint>

namespace haz {

/// Unbounded multi-producer single-consumer list of 64-bit values: a Treiber stack that is emptied
/// as a whole, so a node is never popped while another thread looks at it. Values that one thread
/// appends come out in that order.
class DropList {
 public:
  DropList() = default;
  DropList(const DropList&) = delete;
  DropList& operator=(const DropList&) = delete;
  ~DropList() {
    drain([](std::uint64_t) {});
  }

  /// Any thread.
  void append(std::uint64_t value) {
    Node* node = new Node{value, head_.load(std::memory_order_relaxed)};
    while (
        !head_.compare_exchange_weak(node->next, node,
                                     std::memory_order_seq_cst,  // pairs with the sleeper's check
                                     std::memory_order_relaxed)) {
    }
  }

  /// Consumer: calls `take(value)` for each value that has arrived.
  template <typename Take>
  void drain(Take&& take) {
    if (empty()) return;
    Node* node = head_.exchange(nullptr, std::memory_order_acquire);  // pairs with append()
    Node* oldest = nullptr;
    while (node != nullptr) {
      Node* next = node->next;
      node->next = oldest;
      oldest = node;
      node = next;
    }
    while (oldest != nullptr) {
      Node* next = oldest->next;
      take(oldest->value);
      delete oldest;
      oldest = next;
    }
  }

  [[nodiscard]] bool empty() const { return head_.load(std::memory_order_relaxed) == nullptr; }

 private:
  struct Node {
    std::uint64_t value;
    Node* next;
  };
  std::atomic<Node*> head_{nullptr};
};

}  // namespace haz
