/// @file
/// One locked visit to a node's state.
#pragma once

#include <mutex>

#include "node/node.h"

namespace haz {

/// Holds the node's lock; at the end answers what has completed, and rings, unlocked, those who
/// have got something and sleep.
class Node::Round {
 public:
  explicit Round(Node& node) : node_(node), lock_(node.mutex_) {}
  Round(const Round&) = delete;
  Round& operator=(const Round&) = delete;
  ~Round() { end(); }

  /// Ends the round before its scope does.
  void end() {
    if (lock_.owns_lock()) node_.finish_round(lock_);
  }
  /// Ends a round in which nothing has happened that anyone must be told of.
  void end_quietly() { lock_.unlock(); }
  std::unique_lock<std::mutex>& lock() { return lock_; }

 private:
  Node& node_;
  std::unique_lock<std::mutex> lock_;
};

}  // namespace haz
