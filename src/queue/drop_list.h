/// @file
/// A lock-free list of ids that destructors append to and one consumer empties.
///
/// Destructors may run anywhere (a garbage collector starts them at any allocation), so appending
/// takes no lock and calls nothing that could wait.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace haz {

/// Unbounded multi-producer single-consumer list of 64-bit values: a Treiber stack that is emptied
/// as a whole, so a node is never popped while another thread looks at it. Values that one thread
/// appends come out in that order.
///
/// Nodes are used again, since whoever drops thousands of references at once finds the allocator's
/// quick path exhausted. A producer takes all of those that are free, and keeps what it does not
/// need: no node is ever taken alone, so that the stack of them needs no guard against a node that
/// comes back.
class DropList {
 public:
  DropList() = default;
  DropList(const DropList&) = delete;
  DropList& operator=(const DropList&) = delete;
  ~DropList() {
    drain([](std::uint64_t) {});
    free_all(free_.load(std::memory_order_relaxed));
  }

  /// Any thread.
  void append(std::uint64_t value) {
    Node* node = new_node();
    node->value = value;
    node->next = head_.load(std::memory_order_relaxed);
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
    Node* const newest = head_.exchange(nullptr, std::memory_order_acquire);  // pairs with append()
    Node* oldest = nullptr;
    for (Node* node = newest; node != nullptr;) {
      Node* next = node->next;
      node->next = oldest;
      oldest = node;
      node = next;
    }
    std::size_t count = 0;
    for (const Node* node = oldest; node != nullptr; node = node->next) {
      take(node->value);
      ++count;
    }
    give_back(oldest, newest, count);
  }

  [[nodiscard]] bool empty() const { return head_.load(std::memory_order_relaxed) == nullptr; }

 private:
  struct Node {
    std::uint64_t value;
    Node* next;
  };
  /// Nodes that are kept for later.
  static constexpr std::size_t kMostFree = 4096;

  /// Free nodes of a thread, of whatever list.
  struct Spare {
    Node* first = nullptr;
    Spare() = default;
    Spare(const Spare&) = delete;
    Spare& operator=(const Spare&) = delete;
    ~Spare() {
      free_all(first);
      first = nullptr;  // a destructor that runs later may append
    }
  };

  static void free_all(Node* node) {
    while (node != nullptr)
      delete std::exchange(node, node->next);
  }

  Node* new_node() {
    thread_local Spare spare;
    if (spare.first == nullptr && free_.load(std::memory_order_relaxed) != nullptr) {
      spare.first = free_.exchange(nullptr, std::memory_order_acquire);  // pairs with give_back()
    }
    if (spare.first == nullptr) return new Node;
    return std::exchange(spare.first, spare.first->next);
  }

  /// Consumer: the chain from `first` to `last` is free.
  void give_back(Node* first, Node* last, std::size_t count) {
    Node* known = free_.exchange(nullptr, std::memory_order_acquire);  // pairs with the store below
    if (known == nullptr) num_free_ = 0;
    if (num_free_ + count > kMostFree) {
      free_all(first);
      free_.store(known, std::memory_order_release);  // pairs with new_node()
      return;
    }
    num_free_ += count;
    last->next = known;
    free_.store(first, std::memory_order_release);  // pairs with new_node()
  }

  std::atomic<Node*> head_{nullptr};
  std::atomic<Node*> free_{nullptr};
  std::size_t num_free_ = 0;  ///< The consumer's: at most so many are in `free_`.
};

}  // namespace haz
