/// @file
/// The client of a worker process, or of a driver that has joined a long-lived node: talks to the
/// scheduler's host through rings.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <unordered_map>
#include <vector>

#include "client/client.h"
#include "client/taken_items.h"
#include "os/event_fd.h"
#include "queue/drop_list.h"
#include "queue/spin.h"
#include "wire/process_area.h"

namespace haz {

/// One attempt's end.
struct FinishedTask {
  TaskId task;
  std::uint32_t attempt = 0;
  Outcome outcome = Outcome::kReturned;
  std::int64_t began_ns = 0;  ///< By the machine's monotonic clock.
  std::span<const NewValue> values;
};

class RingClient final : public Client {
 public:
  /// Runs a task on top of the one that is blocked. On the main thread.
  using NestedRunner = std::function<void(const TaskCommand&)>;

  /// Joins the node whose arena is `arena_fd`, as process `process` in `slot`. Call on the thread
  /// that will run tasks.
  static Result<std::unique_ptr<RingClient>> join(UniqueFd arena_fd, std::uint32_t slot,
                                                  ProcessId process);
  /// Joins in place of the client that this process had before it became another program (exec):
  /// one that had claimed its first task, and had not begun it. That is next_task()'s; ready() was
  /// called.
  static Result<std::unique_ptr<RingClient>> take_over(UniqueFd arena_fd, std::uint32_t slot,
                                                       ProcessId process);
  ~RingClient() override;

  // ---- the worker's main thread
  // --------------------------------------------------------------------

  void set_nested_runner(NestedRunner runner) { run_nested_ = std::move(runner); }
  /// Tells the host that tasks may come, unless who was taken over has.
  void ready();
  /// Looks at the next task before it is claimed, each time, until `look` is empty.
  void look_before_claim(std::function<void(const TaskCommand&)> look) {
    look_before_claim_ = std::move(look);
  }
  /// The next task, claimed; nullptr when the process should end, or `hooks` said so. The command
  /// is valid until release_task().
  const TaskCommand* next_task(WaitHooks& hooks);
  /// When next_task() returned its task, if it had to wait for it; else 0.
  [[nodiscard]] std::int64_t claimed_ns() const { return claimed_ns_; }
  void release_task() { tasks_.release(); }
  /// The attempt runs from now on: interrupts meant for it count. Returns the one that ran before.
  std::pair<TaskId, std::uint32_t> begin_attempt(TaskId task, std::uint32_t attempt,
                                                 bool report_start);
  /// The next task, claimed, if there is one. Does not return if the process has damaged its
  /// memory: the node starts another, which runs what this one has not begun.
  const TaskCommand* claim_task();
  /// Tells the host that the attempt begins.
  void report_start(TaskId task, std::uint32_t attempt);
  /// Whether the process should end.
  [[nodiscard]] bool should_stop() const {
    return area_->control.stop.load(std::memory_order_relaxed) != 0;
  }
  /// Lets should_stop() be true from now on.
  void stop();
  /// Whether the host wants that attempt interrupted.
  [[nodiscard]] bool interrupts(TaskId task, std::uint32_t attempt) const {
    return area_->control.interrupts.contains(task.value, attempt);
  }
  /// To be called before the process looks for whom an interrupt is: the host stops to remind it.
  void note_interrupts() noexcept {
    ProcessControl& control = area_->control;
    control.interrupts_seen.store(control.interrupts.count(), std::memory_order_relaxed);
  }
  /// The attempt has ended; `outer` runs again.
  void end_attempt(std::pair<TaskId, std::uint32_t> outer);
  /// Whether an interrupt is meant for the attempt that runs now. Async-signal-safe.
  [[nodiscard]] bool interrupt_pending() const noexcept;
  /// Returns when it was told, by the monotonic clock.
  std::int64_t finish(const FinishedTask& finished);
  /// The actor of this process ends: its calls fail from now on, also the one that runs.
  void exit_actor();
  /// The attempt has yielded its item number `index`.
  void yield_item(TaskId task, std::uint32_t attempt, std::uint64_t index, const NewValue& value);
  /// Whether nobody will take an item of the attempt any more, so that it should end.
  [[nodiscard]] bool is_stream_closed(TaskId task, std::uint32_t attempt) const {
    return area_->control.closed_streams.contains(task.value, attempt);
  }
  /// What the calling thread runs, or else the main one.
  [[nodiscard]] TaskId running_task() const {
    return attempt_here_.first ? attempt_here_.first : running_task_;
  }

  // ---- the event loop of an actor
  // ---------------------------------------------------------------------

  /// Makes calls_fd(). Once, before the following.
  Status open_calls_fd();
  /// Readable after await_calls() said no and a task has come, or the process should end.
  [[nodiscard]] int calls_fd() const { return calls_event_->fd(); }
  /// Whether there is a task to claim; looks for a short time if `spin`.
  bool await_calls(bool spin);
  void drain_calls() { calls_event_->drain(); }
  void signal_calls() { calls_event_->signal(); }

  // ---- a driver that has joined, from any thread
  // -------------------------------------------------------------------

  /// Hands in what no call has: dropped references, messages that nobody was told of. Whether that
  /// was anything.
  bool hand_in();
  /// From now on a thread that waits for a reply spins for so long before it sleeps, one at a time.
  void spin_for_replies(std::int64_t longest_ns);
  /// Of a driver: `socket_fd`, open while the client is not lost, hangs up when the node is gone:
  /// who waits for room in a ring looks there. Before other threads use the client.
  void watch_host(int socket_fd) { host_fd_ = socket_fd; }
  /// The node is gone: waits end with kClosed, what is sent from now on is dropped.
  void lose();
  /// After lose(), so that no other begins: waits until no thread writes to what this process was
  /// lent of the store, at most `timeout_ns`. Where one may still do so then, says it to the host.
  void await_writers(std::int64_t timeout_ns);
  [[nodiscard]] bool is_lost() const { return lost_.load(std::memory_order_relaxed); }

  // ---- Client
  // --------------------------------------------------------------------------------------

  [[nodiscard]] ProcessId process() const override { return process_; }
  [[nodiscard]] std::uint64_t epoch() const override { return header_->epoch; }
  std::uint64_t new_ids(std::uint32_t count) override {
    return next_id_.fetch_add(count, std::memory_order_relaxed);
  }
  Result<FunctionId> register_function(const FunctionOptions& options,
                                       std::span<const std::byte> code) override;
  Result<StoreBlock> allocate(std::uint64_t size, WaitHooks& hooks, StoreUse use) override;
  void seal(const StoreBlock& block) override;
  void discard(const StoreBlock& block) override;
  Status submit(const Submission& submission) override;
  Status submit_asked(const Submission& submission, WaitHooks& hooks) override;
  Result<ObjectId> create_actor(const Submission& submission, const ActorSpec& actor,
                                WaitHooks& hooks) override;
  Result<FoundActor> find_actor(const ActorSpec& actor, WaitHooks& hooks) override;
  void kill_actor(ObjectId id, bool no_restart) override;
  Status create_group(GroupSpec& spec, const NewValue& value, WaitHooks& hooks) override;
  void remove_group(ObjectId id) override;
  Status put(ObjectId id, const NewValue& value) override;
  WaitOutcome get(std::span<const ObjectId> ids, std::int64_t deadline_ns, WaitHooks& hooks,
                  FetchedValues& out) override;
  std::size_t find_ready(std::span<const ObjectId> /*ids*/,
                         std::span<std::size_t> /*places*/) override {
    return 0;
  }
  WaitOutcome wait(std::span<const ObjectId> ids, std::uint32_t needed, std::int64_t deadline_ns,
                   WaitHooks& hooks, std::vector<bool>& ready) override;
  TakenItem take_item(ObjectId stream, ObjectId* item, WaitHooks& hooks) override;
  void share_stream(ObjectId stream) override;
  bool subscribe(ObjectId id, std::uint64_t token, bool near) override;
  std::vector<std::uint64_t> take_completions() override;
  Result<int> completions_fd() override;
  void cancel(ObjectId id, bool force, bool recursive) override;
  void free(std::span<const ObjectId> ids) override;
  void add_reference(ObjectId id) override;
  void drop_reference(ObjectId id) noexcept override { drops_.append(id.value); }
  Result<std::vector<std::byte>> query(QueryKind kind, std::uint64_t argument) override;
  [[nodiscard]] Arena& arena() override { return *arena_; }

 private:
  struct Reply {
    bool done = false;
    bool lost = false;
    std::uint64_t token = 0;  ///< Not 0: nobody waits, the token is reported.
    std::vector<std::byte> body;
  };
  struct Chunk {
    std::uint64_t offset = 0;
    std::uint64_t size = 0;
    std::uint64_t used = 0;
    std::uint64_t sealed = 0;       ///< From its beginning on: read-only by now.
    std::uint64_t mapped = 0;       ///< From its beginning on: written without page faults.
    std::uint32_t unpublished = 0;  ///< Blocks allocated but not yet given to the host.
    bool retired = false;
  };
  /// Parts of a message, written one after the other, each padded to 8 bytes.
  using Parts = std::initializer_list<std::span<const std::byte>>;

  RingClient(std::unique_ptr<Arena> arena, std::uint32_t slot, ProcessId process);

  void send(MessageKind kind, Parts parts, bool ring_host);
  void send_gathered(MessageKind kind, std::span<const std::byte> body, bool ring_host);
  bool try_append(MessageKind kind, std::size_t size, Parts parts);
  void flush_drops();
  void note_dropped(ObjectId id);
  void announce();
  void ring_host();

  std::uint64_t expect_reply();
  WaitOutcome await_reply(std::uint64_t number, std::int64_t deadline_ns, WaitHooks& hooks,
                          Reply& reply);
  /// Sends `body`, which begins with `number`, and waits for the answer.
  Result<Reply> ask(MessageKind kind, std::span<const std::byte> body, std::uint64_t number,
                    WaitHooks& hooks);
  WaitOutcome request(std::span<const ObjectId> ids, std::uint32_t needed, bool wants_values,
                      std::int64_t deadline_ns, WaitHooks& hooks, Reply& reply);
  bool read_replies(std::unique_lock<std::mutex>& lock);
  void take_reply(MessageKind kind, std::span<const std::byte> body);
  void keep_value(std::span<const std::byte> body);
  void drop_unclaimed(std::span<const std::byte> body);
  bool has_news() const {
    return replies_.has_news() || ((idle_ || watches_tasks_) && tasks_.has_news());
  }
  void start_listening();
  void listen();
  void sleep(std::unique_lock<std::mutex>& lock, std::int64_t until_ns);
  bool spin_for_news(std::unique_lock<std::mutex>& lock, std::int64_t until_ns);
  void run_nested_tasks(std::unique_lock<std::mutex>& lock, bool blocked, WaitHooks& hooks);
  void return_nested_tasks();
  [[noreturn]] void leave_damaged();
  [[nodiscard]] bool is_driver() const { return host_fd_ >= 0; }
  [[nodiscard]] bool on_main_thread() const { return std::this_thread::get_id() == main_thread_; }

  Result<StoreBlock> ask_for_memory(AllocateKind kind, std::uint64_t size, WaitHooks& hooks);
  void published(std::uint64_t offset);
  void seal_published();
  void map_ahead(Chunk& chunk, std::uint64_t needed);
  bool has_writers();

  std::unique_ptr<Arena> arena_;
  ArenaHeader* header_;
  HostDoorbells* host_;
  ProcessArea* area_;
  std::uint32_t slot_;
  ProcessId process_;
  std::thread::id main_thread_;
  std::atomic<std::uint64_t> next_id_;
  std::atomic<std::uint64_t> next_number_{1};
  DropList drops_;
  TakenItems items_;
  NestedRunner run_nested_;
  std::function<void(const TaskCommand&)> look_before_claim_;
  bool was_ready_ = false;  ///< Before take_over().

  ClaimRingReader<TaskRing> tasks_;  ///< Main thread only.
  TaskId running_task_;
  std::uint32_t running_attempt_ = 0;
  static inline thread_local std::pair<TaskId, std::uint32_t> attempt_here_;  ///< Not of the main.
  std::atomic<std::uint64_t> finished_count_{0};
  std::atomic<bool> lost_{false};
  int host_fd_ = -1;
  std::atomic<bool> unannounced_{false};  ///< Messages were published without ringing the host.
  SpinPolicy spin_;
  std::int64_t claimed_ns_ = 0;
  std::int64_t spin_ns_;  ///< How long the next idle spin may last.

  std::mutex send_mutex_;  ///< Guards the submission ring's end.
  ByteRingWriter submissions_;
  std::mutex memory_mutex_;  ///< Guards chunks_.
  std::vector<Chunk> chunks_;
  std::vector<std::uint64_t> value_leases_;
  std::atomic<bool> has_unsealed_{false};  ///< Something was published since seal_published().

  std::atomic<std::uint32_t> spins_to_leave_out_{0};  ///< By subscribe().
  std::mutex reply_mutex_;                            ///< Guards what follows.
  std::int64_t reply_spin_ns_ = 0;                    ///< 0: not before a sleep.
  SpinPolicy reply_spin_;                             ///< Of the thread that is `sleeping_`.
  std::condition_variable reply_arrived_;
  ByteRingReader replies_;
  std::unordered_map<std::uint64_t, Reply> pending_;
  TaskCommand claimed_{};  ///< What claim_task() has returned.
  std::deque<TaskCommand> nested_;
  bool sleeping_ = false;       ///< A thread sleeps on the doorbell for all.
  bool idle_ = false;           ///< The thread that claims waits for tasks.
  bool watches_tasks_ = false;  ///< The listening thread is to signal calls_event_.
  bool ended_ = false;          ///< The listening thread is to end.
  std::uint32_t subscriptions_ = 0;
  std::vector<std::uint64_t> completions_;
  std::optional<EventFd> completions_event_;
  std::optional<EventFd> calls_event_;
  std::condition_variable to_listen_;
  std::thread listener_;  ///< Started by the first who needs it.
};

}  // namespace haz
