/// @file
/// Claims tasks, and tells of their ends.
#include <algorithm>
#include <cstdio>
#include <limits>
#include <utility>

#include "client/ring_client.h"
#include "client/ring_parts.h"
#include "os/clock.h"
#include "os/process.h"
#include "wire/message_reader.h"

namespace haz {

namespace {

constexpr int kDamagedExit = 1;

}  // namespace

const TaskCommand* RingClient::claim_task() {
  seal_published();
  if (area_->control.mark.load(std::memory_order_relaxed) != kControlMark) leave_damaged();
  if (look_before_claim_) {
    if (const TaskCommand* next = tasks_.peek_next()) look_before_claim_(*next);
  }
  const TaskCommand* const shared = tasks_.claim_next();
  if (shared == nullptr) {
    if (tasks_.is_damaged()) leave_damaged();
    return nullptr;
  }
  claimed_ = TaskCommand::read(*shared);
  return &claimed_;
}

/// A task has written where only haz does, and came to its end all the same. Who is not to blame
/// must not run here.
void RingClient::leave_damaged() {
  std::fputs("haz: a task has written over haz's memory in this process, which ends of it\n",
             stderr);
  // Where there are threads, or an event loop, some calls may run.
  if (on_main_thread() && !running_task_ && !calls_event_) send(MessageKind::kDamaged, {}, true);
  exit_now(kDamagedExit);
}

const TaskCommand* RingClient::next_task(WaitHooks& hooks) {
  claimed_ns_ = 0;
  if (tasks_.has_news()) {
    if (const TaskCommand* command = claim_task(); command != nullptr) return command;
  }
  const std::int64_t idle_since = monotonic_ns();
  const ProcessControl& control = area_->control;
  announce();
  seal_published();  // Not before the host was told: it need not wait for this.
  const TaskCommand* command = nullptr;
  bool blocked = false;
  const std::uint32_t spin_us = control.spin_us.load(std::memory_order_relaxed);
  const std::int64_t longest_spin =
      std::int64_t{std::min(spin_us, kMaxWorkerSpinUs)} * kMicrosecondNs;
  if (spin_.allowed(idle_since) &&
      spin_.spin(idle_since, idle_since + std::min(spin_ns_, longest_spin),
                 [this] { return tasks_.has_news(); })) {
    command = claim_task();
  }
  while (command == nullptr && control.stop.load(std::memory_order_relaxed) == 0) {
    if (!blocked) hooks.before_block();
    blocked = true;
    {
      std::unique_lock lock(reply_mutex_);
      idle_ = true;
      read_replies(lock);
      if (nested_.empty()) sleep(lock, monotonic_ns() + kLongestSleepNs);
      idle_ = false;
      // One that was sent while the task below it blocked, and came when that had ended.
      run_nested_tasks(lock, blocked, hooks);
    }
    announce();
    command = claim_task();
    if (command == nullptr && hooks.interrupted()) break;
  }
  if (blocked) hooks.after_block();
  claimed_ns_ = monotonic_ns();
  spin_ns_ = claimed_ns_ - idle_since < longest_spin ? longest_spin : kShortSpinNs;
  return command;
}

std::pair<TaskId, std::uint32_t> RingClient::begin_attempt(TaskId task, std::uint32_t attempt,
                                                           bool report_start) {
  const std::pair begun{task, attempt};
  std::pair outer{running_task_, running_attempt_};
  if (on_main_thread()) {
    running_task_ = task;
    running_attempt_ = attempt;
  } else {
    outer = std::exchange(attempt_here_, begun);
  }
  if (report_start) this->report_start(task, attempt);
  return outer;
}

void RingClient::report_start(TaskId task, std::uint32_t attempt) {
  const StartedMessage message{task.value, attempt, 0};
  send(MessageKind::kStarted, {bytes_of(message)}, true);
}

void RingClient::end_attempt(std::pair<TaskId, std::uint32_t> outer) {
  if (!on_main_thread()) {
    attempt_here_ = outer;
    return;
  }
  running_task_ = outer.first;
  running_attempt_ = outer.second;
}

bool RingClient::interrupt_pending() const noexcept {
  if (!on_main_thread()) {
    return attempt_here_.first && interrupts(attempt_here_.first, attempt_here_.second);
  }
  return running_task_ && interrupts(running_task_, running_attempt_);
}

void RingClient::stop() {
  area_->control.stop.store(1, std::memory_order_relaxed);
  area_->control.doorbell.ring_always();
}

std::int64_t RingClient::finish(const FinishedTask& finished) {
  const std::span<const NewValue> values = finished.values;
  const std::int64_t now_ns = monotonic_ns();
  const auto run_ns =
      static_cast<std::uint64_t>(std::max<std::int64_t>(now_ns - finished.began_ns, 0));
  const FinishedMessage message{finished.task.value,
                                finished.attempt,
                                static_cast<std::uint32_t>(finished.outcome),
                                run_ns,
                                now_ns,
                                static_cast<std::uint32_t>(values.size()),
                                0};
  const std::uint64_t finished_count = finished_count_.fetch_add(1, std::memory_order_relaxed) + 1;
  const bool is_short = run_ns <= std::numeric_limits<std::uint32_t>::max();
  if (values.size() == 1 && values[0].offset == 0 && values[0].refs.empty() && is_short) {
    const FinishedNearMessage near{finished.task.value,
                                   now_ns,
                                   finished.attempt,
                                   static_cast<std::uint32_t>(run_ns),
                                   static_cast<std::uint32_t>(values[0].bytes.size()),
                                   static_cast<std::uint8_t>(finished.outcome),
                                   static_cast<std::uint8_t>(values[0].is_error ? 1 : 0),
                                   0};
    send(MessageKind::kFinishedNear, {bytes_of(near), values[0].bytes}, false);
  } else if (values.size() == 1) {
    const ValueEntry entry = entry_of(values[0]);
    send(MessageKind::kFinished,
         {bytes_of(message), bytes_of(entry), values[0].bytes, bytes_of_ids(values[0].refs)},
         false);
  } else {
    MessageBuilder builder;
    builder.add(message);
    for (const NewValue& value : values)
      builder.add(entry_of(value));
    for (const NewValue& value : values) {
      builder.add_bytes(value.bytes);
      builder.add_bytes(bytes_of_ids(value.refs));
    }
    send_gathered(MessageKind::kFinished, builder.body(), false);
  }
  for (const NewValue& value : values)
    published(value.offset);
  // pairs with the host's store before it looks at the rings and sleeps
  if (finished_count >= area_->control.wake_after.load(std::memory_order_seq_cst)) ring_host();
  return now_ns;
}

void RingClient::yield_item(TaskId task, std::uint32_t attempt, std::uint64_t index,
                            const NewValue& value) {
  const YieldMessage message{task.value, index, attempt, 0};
  const ValueEntry entry = entry_of(value);
  send(MessageKind::kYield,
       {bytes_of(message), bytes_of(entry), value.bytes, bytes_of_ids(value.refs)}, false);
  published(value.offset);
  // pairs with the host's store before it looks at the rings and sleeps
  if (area_->control.wake_on_item.load(std::memory_order_seq_cst) != 0) ring_host();
}

}  // namespace haz
