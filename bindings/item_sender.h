/// @file
/// The worker's side of a stream: hands in what a generator yields.
#pragma once

#include <Python.h>

#include <cstdint>

#include "session.h"

namespace haz::py {

/// One attempt of a streaming task. Of a process' main thread, or of one that runs an actor's
/// method; with the GIL.
class ItemSender {
 public:
  /// The first `given` items came from earlier attempts and are not sent again. `items_ahead`: how
  /// many items may wait for the consumer; 0: any number.
  ItemSender(Session& session, TaskId task, std::uint32_t attempt, std::uint32_t given,
             std::int32_t items_ahead);

  /// Sends the next item. False with a Python error.
  bool send(PyObject* item);
  /// Before the generator goes on: waits until the consumers have come near enough. False with a
  /// Python error, of a signal handler.
  bool wait_for_demand();
  /// For an event loop, instead of wait_for_demand(): has `token` reported among the completions
  /// when the consumers have come near enough; false if they have. note_demand() comes after it.
  bool subscribe(std::uint64_t token);
  void note_demand();
  /// Whether wait_for_demand() may have to wait.
  [[nodiscard]] bool needs_demand() const {
    return items_ahead_ > 0 && credit_ == 0 && count_ >= given_;
  }
  /// Whether only so many items may wait for the consumer.
  [[nodiscard]] bool is_bounded() const { return items_ahead_ > 0; }
  /// Whether the generator should be closed, since nobody will take its items.
  [[nodiscard]] bool is_closed() const { return ring_.is_stream_closed(task_, attempt_); }
  /// Items that the generator has yielded.
  [[nodiscard]] std::uint64_t count() const { return count_; }

 private:
  Session& session_;
  RingClient& ring_;
  TaskId task_;
  std::uint32_t attempt_;
  std::uint64_t given_;
  std::int32_t items_ahead_;
  std::uint64_t count_ = 0;
  std::uint64_t credit_;  ///< Items that may be sent before asking.
};

/// Runs `iterator`, what a streaming function has returned, to its end; returns the number of its
/// items. Takes over the reference. nullptr with a Python error: of the generator, or since an item
/// can't be sent; the generator is closed then. In a child that the generator has forked: None.
PyObject* send_items(ItemSender& sender, PyObject* iterator);

}  // namespace haz::py
