/// @file
/// One node: hosts the scheduler in the process that owns the node, feeds it with what the workers
/// write, carries out its commands.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "base/units.h"
#include "node/log_folding.h"
#include "node/log_lines.h"
#include "node/output_reader.h"
#include "node/room_patience.h"
#include "node/start_failures.h"
#include "node/worker_port.h"
#include "node/zygote_link.h"
#include "os/event_fd.h"
#include "os/machine.h"
#include "queue/drop_list.h"
#include "queue/spin.h"
#include "sched/scheduler.h"
#include "shm/arena.h"
#include "store/value_store.h"
#include "store/wait.h"
#include "wire/message_reader.h"
#include "wire/process_area.h"

namespace haz {

class MessageReader;
class ValueWriter;

/// What a node is made of.
struct NodeOptions {
  double num_cpus = 1;
  std::vector<std::pair<std::string, double>> resources;
  std::uint64_t epoch = 0;                 ///< Number of the node; 0: a random one.
  std::uint64_t object_store_bytes = 0;    ///< 0: derived from the machine or its cgroup.
  std::vector<std::string> zygote_argv;    ///< Program that forks the workers, and its arguments.
  std::string zygote_setup;                ///< Passed to it.
  std::optional<ZygoteFork> first_zygote;  ///< What to start first instead of `zygote_argv`.
  bool show_output = true;                 ///< Give workers' output to `on_output`.
  bool fold_output = true;                 ///< Floods of equal lines as one.
  /// Called from the node's own thread, without locks.
  std::function<void(const std::vector<LogLine>&)> on_output;
  /// Likewise: nothing of that driver, whose end_driver() was called, runs any more.
  std::function<void(ProcessId)> on_driver_over;
  /// How long an allocation waits for room when nothing is seen that could free any.
  double store_full_wait_s = 10;
};

/// A request of a thread of the owning process.
struct ThreadRequest : Request {
  Doorbell doorbell{};      ///< Where the thread sleeps while another one leads.
  std::uint64_t token = 0;  ///< Not 0: an asynchronous one; the token is reported.
};

/// Every public member may be called from any thread unless it says otherwise.
class Node final : private Actions {
 public:
  /// Makes the arena and starts the zygote; does not wait for it.
  static Result<std::unique_ptr<Node>> create(NodeOptions options);
  ~Node() override;

  /// Ends workers, everything that they have started, and the threads of the node. Requests end
  /// with kClosed. Idempotent.
  void shutdown();
  /// After a fork, in the child: makes this process' copy harmless. Async-signal-safe.
  void disable_after_fork() noexcept;

  // ---- tasks and objects of the owning process
  // ----------------------------------------------------

  [[nodiscard]] ProcessId process() const { return process_; }
  [[nodiscard]] std::uint64_t epoch() const { return epoch_; }
  /// `count` consecutive new ids; the first one.
  std::uint64_t new_ids(std::uint32_t count) {
    return next_id_.fetch_add(count, std::memory_order_relaxed);
  }
  Result<Function*> register_function(const FunctionOptions& options,
                                      std::span<const std::byte> code);
  /// `spec.submitter` is set here; the function by its id.
  Status submit(TaskSpec& spec, FunctionId function);
  /// As Scheduler::create_actor().
  Result<ObjectId> create_actor(TaskSpec& spec, FunctionId function, const ActorSpec& actor);
  /// The actor of that name, of which the process gets a handle; kLost when there is none.
  Result<ObjectId> find_actor(const ActorSpec& actor, std::vector<std::byte>& meta);
  void kill_actor(ObjectId id, bool no_restart);
  /// As Scheduler::create_group(); `spec.creator` is set here.
  Status create_group(GroupSpec& spec, const NewValue& value);
  void remove_group(ObjectId id);
  /// Memory to write a value or payload into. Waits for room where room can come.
  Result<StoreBlock> allocate(std::uint64_t size, WaitHooks& hooks,
                              StoreUse use = StoreUse::kValue);
  /// Gives back what allocate() gave and no put() or submit() took.
  void discard(std::uint64_t offset);
  Status put(ObjectId id, const NewValue& value);
  /// Waits until all have a value, or one has an error. `deadline_ns`: monotonic; negative: none.
  WaitOutcome get(std::span<const ObjectId> ids, std::int64_t deadline_ns, WaitHooks& hooks,
                  FetchedValues& out);
  /// Without waiting: the places in `ids` of the first that are ready, at most `places.size()`.
  std::size_t find_ready(std::span<const ObjectId> ids, std::span<std::size_t> places);
  /// Waits until `needed` are ready; `ready` gets a flag for each.
  WaitOutcome wait(std::span<const ObjectId> ids, std::uint32_t needed, std::int64_t deadline_ns,
                   WaitHooks& hooks, std::vector<bool>& ready);
  /// Takes the next item of a stream, which becomes the object `item`; if that is none, only tells
  /// whether there is one. Does not wait: that is done on the stream.
  TakenItem take_item(ObjectId stream, ObjectId item);
  /// Reports `token` on completions_fd() once the object is ready. False: it is, or there is no
  /// such object.
  bool subscribe(ObjectId id, std::uint64_t token);
  /// Readable while take_completions() has something.
  [[nodiscard]] int completions_fd() const { return completions_event_->fd(); }
  std::vector<std::uint64_t> take_completions();
  bool add_reference(ObjectId id);
  /// From destructors: never waits.
  void drop_reference(ObjectId id) noexcept { drops_.append(id.value); }
  void cancel(ObjectId id, bool force, bool recursive);
  void free(std::span<const ObjectId> ids);

  /// An encoded value that answers `kind`.
  Result<std::vector<std::byte>> query(QueryKind kind, std::uint64_t argument);

  // ---- other drivers, of a long-lived node
  // ---------------------------------------------------------

  /// Where a driver joins: RingClient::join() with these and the arena's descriptor.
  struct DriverPlace {
    std::uint32_t slot;
    ProcessId process;
  };
  /// Makes room for one more driver, of the process `pid`. kOverloaded when there is none. With
  /// `fold_output`, floods of equal lines of its tasks are told as one.
  Result<DriverPlace> admit_driver(std::int32_t pid, bool fold_output);
  /// The driver has ended or is to: ends its tasks, its actors, its workers. Idempotent. Its
  /// `on_driver_over` comes when they have.
  void end_driver(ProcessId driver);
  /// The process `pid`, of which drivers have ended, can't write to the node's memory any more.
  /// Until then only another driver of the same process gets their places there.
  void driver_process_ended(std::int32_t pid);

  [[nodiscard]] Arena& arena() { return *arena_; }
  [[nodiscard]] std::byte* at(std::uint64_t offset) const { return arena_->at(offset); }

  // ---- views
  // ---------------------------------------------------------------------------------------

  struct Snapshot {
    SchedulerCounts counts;
    StoreUsage store;
    std::vector<std::pair<std::string, std::pair<double, double>>> resources;  ///< total, free
    std::vector<std::pair<std::uint32_t, pid_t>> workers;                      ///< slot, pid
    pid_t zygote_pid = 0;
  };
  Snapshot snapshot();
  /// For tests: whether each worker that has tasks rings, at the latest, when it has none any more,
  /// if by then there may be some for it; and whether somebody hears that.
  [[nodiscard]] bool is_told_in_time();
  std::vector<StoryRecord> story(std::uint64_t subject);

 private:
  class Round;
  friend class Round;
  struct WorkerOutput;
  struct WaitingAllocation {
    WorkerPort* port;
    AllocateMessage message;
    RoomWait wait{};
  };
  /// Time between an interrupt and the end of a process that does not heed it.
  static constexpr std::int64_t kHeedNs = 2 * kSecondNs;
  /// Time until a process is reminded of an interrupt that it has not looked at.
  static constexpr std::int64_t kRemindNs = kSecondNs / 10;
  /// What happens to a task when its time is over.
  enum class Stop : std::uint8_t { kInterrupt, kKill, kCancel, kKillCancelled, kRemind };
  struct TimeLimit {
    std::int64_t at_ns;
    TaskId task;
    std::uint32_t attempt;
    Stop stop;
  };

  /// The place of a driver that has ended, while its process may live.
  struct HeldSlot {
    std::uint32_t slot;
    std::int32_t pid;
    ProcessId process;
    bool keeps_leases;
  };

  Node(NodeOptions options, std::unique_ptr<Arena> arena, std::unique_ptr<ZygoteLink> zygote,
       std::uint64_t store_limit);
  Status start(const MachineMemory& memory);

  // Actions.
  bool has_room(const Worker& worker) override;
  std::uint64_t assign(Task& task) override;
  bool take_back(Task& task) override;
  void run_nested(Task& task) override;
  void release_block(Task& task) override;
  void start_worker() override;
  void interrupt(Task& task) override;
  void interrupt_then_kill(Task& task) override;
  void close_stream(Task& task) override;
  void kill_worker(Worker& worker) override;
  void stop_worker(Worker& worker) override;
  void complete(Request& request) override;
  void free_value(std::uint64_t offset) override;

  [[nodiscard]] std::uint32_t free_slot() const;
  [[nodiscard]] bool is_held(std::uint32_t slot) const;
  std::uint32_t slot_for_driver(std::int32_t pid);
  Result<WorkerPort*> new_port(std::uint32_t slot);
  [[nodiscard]] bool some_driver_waits() const;
  bool spin_for_drivers();
  [[nodiscard]] ProcessId job_of(const WorkerPort& port) const;
  void end_driver_port(WorkerPort& port, bool keeps_leases);
  void end_expelled();
  void tell_ended_drivers(std::vector<ProcessId>& over);
  void note_jobs(std::vector<LogLine>& lines) const;
  void fill_command(TaskCommand& command, Task& task);
  static void add_grant(TaskCommand& command, const ResourceGrant& grant);
  bool lay_out_arguments(TaskCommand& command, Task& task, std::size_t near_room);
  /// Sends the interrupt of `task` again unless its process has looked at it; whether it did.
  bool interrupt_again(const Task& task);
  /// Has the process look for whom an interrupt is, if there are any. Where it is not known yet,
  /// on_worker_forked() does that.
  void send_interrupt(const WorkerPort& port);
  WorkerPort& port_of(const Worker& worker) { return *ports_[worker.slot]; }
  void touch(WorkerPort& port);
  void note_busy(WorkerPort& port);
  void kill_port(WorkerPort& port, const char* why);

  // Messages of workers (inbox.cpp).
  bool any_news() const;
  /// Reads what workers that run something, or that say so, have written; with `all`, what any has.
  bool pump(bool all = false);
  bool look_at(WorkerPort& port);
  void drain(WorkerPort& port);
  void check_ports(std::int64_t now_ns);
  bool handle(WorkerPort& port, const RecordView& record);
  bool handle_body(WorkerPort& port, MessageKind kind, std::span<const std::byte> body);
  bool on_finished(WorkerPort& port, MessageKind kind, std::span<const std::byte> body);
  bool on_finished_near(const WorkerPort& port, std::span<const std::byte> body);
  bool on_submit(WorkerPort& port, std::span<const std::byte> body);
  bool on_asked_submit(WorkerPort& port, std::span<const std::byte> body);
  bool on_put(WorkerPort& port, std::span<const std::byte> body);
  bool on_request(WorkerPort& port, std::span<const std::byte> body);
  bool on_withdraw(WorkerPort& port, std::span<const std::byte> body);
  bool on_started(WorkerPort& port, std::span<const std::byte> body);
  bool on_ids(WorkerPort& port, MessageKind kind, std::span<const std::byte> body);
  bool on_allocate(WorkerPort& port, std::span<const std::byte> body);
  bool on_register(WorkerPort& port, std::span<const std::byte> body);
  bool on_query(WorkerPort& port, std::span<const std::byte> body);
  bool read_submission(WorkerPort& port, MessageReader& reader, TaskSpec& spec);
  bool on_create_actor(WorkerPort& port, std::span<const std::byte> body);
  bool on_find_actor(WorkerPort& port, std::span<const std::byte> body);
  bool on_kill_actor(std::span<const std::byte> body);
  bool on_actor_exit(WorkerPort& port);
  bool on_create_group(WorkerPort& port, std::span<const std::byte> body);
  void answer_error(WorkerPort& port, std::uint64_t number, const Error& error);
  bool on_yield(WorkerPort& port, std::span<const std::byte> body);
  bool on_next_item(WorkerPort& port, std::span<const std::byte> body);
  bool take_value(WorkerPort& port, const ValueEntry& entry, MessageReader& reader, NewValue& value,
                  std::vector<std::vector<std::byte>>& copies);
  bool on_return_items(WorkerPort& port, std::span<const std::byte> body);
  void answer_items(WorkerPort& port, std::uint64_t number, TakenItem taken,
                    std::span<const ObjectId> items);
  void send_body(WorkerPort& port, MessageKind kind, std::span<const std::byte> body);
  void answer(WorkerPort& port, std::uint64_t number, AnswerStatus status, std::uint64_t value,
              std::uint64_t size, std::span<const std::byte> bytes);
  void answer_completed();
  void answer_objects(WorkerPort& port, PortRequest& request);
  /// How an allocation of a worker is tried.
  enum class Try : std::uint8_t {
    kPlain,
    kUrgent,  ///< Beyond the limit, since everything waits for it.
    kLast,    ///< With an error if there is no room.
  };
  bool serve_allocations(std::int64_t now_ns);
  Result<StoreBlock> wait_for_room(std::uint64_t size, WaitHooks& hooks, StoreUse use,
                                   bool others_go_on);
  bool serve_in_order();
  bool serve_urgent();
  bool fail_hopeless(std::int64_t now_ns);
  [[nodiscard]] DriverSeen look_at(const WorkerPort& port) const;
  [[nodiscard]] DriversState look_at_drivers() const;
  void tell_of_full_store(std::int64_t now_ns, std::vector<LogLine>& lines);
  [[nodiscard]] Error full_store_error(Error error) const;
  bool must_queue(const AllocateMessage& message) const;
  bool try_allocation(WorkerPort& port, const AllocateMessage& message, Try how);
  Result<Function*> add_function(const FunctionOptions& options, std::span<const std::byte> code);
  void encode_query(QueryKind kind, std::uint64_t argument, std::vector<std::byte>& out);
  void encode_named_actors(ValueWriter& writer);
  void encode_resources(bool total, ValueWriter& writer);
  void encode_groups(const QueryMessage& query, ValueWriter& writer);
  // What there is and what has ended (state.cpp).
  void encode_tasks(std::size_t most, ValueWriter& writer);
  void encode_actors(std::size_t most, ValueWriter& writer);
  void encode_objects(std::size_t most, ValueWriter& writer) const;
  void encode_workers(ValueWriter& writer);

  // Progress (pump.cpp).
  void drain_drops();
  void run_timers(std::int64_t now_ns);
  [[nodiscard]] std::int64_t next_timer(std::int64_t now_ns) const;
  void trim_idle_workers(std::int64_t now_ns);
  std::vector<LogLine> tell_waiting(std::int64_t now_ns);
  void trim_store();
  void set_wake_policy(bool every_completion);
  void finish_round(std::unique_lock<std::mutex>& lock);
  void begin_gathering(const Function& function);
  void end_subscriptions();
  void background();
  WaitOutcome wait_for(std::unique_lock<std::mutex>& lock, ThreadRequest& request,
                       std::int64_t deadline_ns, WaitHooks& hooks);
  bool lead(std::unique_lock<std::mutex>& lock, ThreadRequest& request, std::int64_t sleep_ns,
            bool every_completion);
  bool spin_for(std::unique_lock<std::mutex>& lock, ThreadRequest& request);
  void stop_leading();
  [[nodiscard]] std::uint32_t busy_workers() const;
  void fetch(const Object* object, FetchedValues& out, FetchedValue& value);
  bool fetch_ready(std::span<const ObjectId> ids, FetchedValues& out, bool& has_failed);
  void fetch_missing(const ThreadRequest& request, FetchedValues& out);
  void let_go(FetchedValues& out);

  // Processes (supervise.cpp).
  static Result<std::unique_ptr<ZygoteLink>> new_zygote(const NodeOptions& options);
  Status start_zygote();
  void watch();
  void on_zygote_event(ZygoteEvent& event, std::vector<LogLine>& lines);
  void on_worker_forked(WorkerForked& forked);
  void on_worker_exited(const WorkerExited& exited, std::vector<LogLine>& lines);
  void forget_port(WorkerPort& port, bool keeps_leases = false);
  void fail_start(std::string reason);
  void note_failed_starts();
  void ask_for_workers();
  void drop_unasked(const std::string& reason);
  static void read_output(WorkerOutput& output, std::vector<LogLine>& lines);
  void read_outputs(std::vector<LogLine>& lines);
  void finish_output(WorkerOutput& output, std::vector<LogLine>& lines);
  void hand_to_reader(WorkerOutput& output);
  void show(std::vector<LogLine>& lines, std::span<const ProcessId> over, bool stop);

  NodeOptions options_;
  std::unique_ptr<Arena> arena_;
  ArenaHeader* header_;
  HostDoorbells* doorbells_;
  std::uint64_t epoch_ = 0;
  ProcessId process_;
  std::atomic<std::uint64_t> next_id_{0};
  std::atomic<bool> closed_{false};
  DropList drops_;
  std::optional<EventFd> completions_event_;
  std::optional<EventFd> watch_event_;

  std::mutex mutex_;  ///< Guards everything below.
  ValueStore store_;
  Scheduler scheduler_;
  std::vector<std::unique_ptr<WorkerPort>> ports_;  ///< By slot; slot 0 is the host's own.
  std::vector<WorkerPort*> live_ports_;
  /// Those that start or have tasks. What the others write is marked, or can wait.
  std::vector<WorkerPort*> busy_ports_;
  std::vector<WorkerPort*> touched_;
  std::vector<Doorbell*> threads_to_ring_;  ///< At the end of the round.
  std::vector<std::byte> record_;           ///< The message being handled.
  std::vector<PortRequest*> completed_;
  std::vector<WaitNode> spare_nodes_;            ///< Memory of the last short get(), for the next.
  std::vector<ObjectId> missing_;                ///< See fetch_ready().
  std::vector<ThreadRequest*> waiting_threads_;  ///< Followers.
  std::unordered_map<std::uint64_t, std::unique_ptr<ThreadRequest>> subscriptions_;  ///< By token.
  std::vector<std::uint64_t> ended_subscriptions_;  ///< Completed, to be withdrawn and told.
  std::vector<std::uint64_t> completions_;
  std::list<WaitingAllocation> waiting_allocations_;
  std::uint32_t endless_waits_ = 0;  ///< Threads of this process that wait, without a deadline.
  std::uint32_t timed_waits_ = 0;    ///< The others that wait.
  RoomPatience room_patience_{options_.store_full_wait_s};
  bool others_go_on_ = false;  ///< While it runs: this program has threads that may free some.
  std::uint64_t freed_when_hopeless_ = 0;  ///< Of freed_, at the last look.
  std::int64_t full_since_ns_ = 0;     ///< Somebody waits for room, and nothing was freed; or 0.
  std::uint64_t freed_when_full_ = 0;  ///< Of freed_, when that began.
  bool told_of_full_store_ = false;    ///< Since then.
  std::vector<TimeLimit> time_limits_;
  ThreadRequest* leader_ = nullptr;
  std::thread::id leader_thread_;  ///< When there is a leader.
  bool stopping_ = false;
  bool shut_down_ = false;
  bool needs_dispatch_ = false;
  /// What this process submits may wait for the next look at the rings: the workers have enough to
  /// do, and ring before they have not.
  bool gathers_ = false;
  bool rings_in_time_ = false;  ///< All busy workers know that they are to do so.
  std::uint64_t progress_ = 0;  ///< Messages handled.
  std::uint64_t freed_ = 0;     ///< Values freed.
  std::int64_t background_wakes_at_ns_ = 0;
  std::int64_t next_tick_ns_ = 0;
  std::int64_t next_telling_ns_ = 0;
  int short_sleeps_ = 0;  ///< Of the background thread, still to come.
  std::int64_t last_activity_ns_ = 0;
  std::int64_t crowded_since_ns_ = 0;  ///< More workers are idle than there are CPU slots; or 0.
  std::int64_t shutdown_deadline_ns_ = 0;
  SpinPolicy spin_;
  SpinPolicy background_spin_;  ///< The background thread's own.
  const std::uint32_t cpus_ = static_cast<std::uint32_t>(usable_cpus());
  std::unique_ptr<ZygoteLink> zygote_;
  std::uint32_t failed_starts_ = 0;  ///< To be told to the scheduler.
  StartFailures start_failures_;
  bool start_failed_ = false;  ///< Since the last round.
  std::vector<WorkerPort*> driver_ports_;
  std::vector<HeldSlot> held_slots_;
  std::vector<ProcessId> unfolded_jobs_;   ///< Of drivers that want all lines of their tasks.
  std::vector<ProcessId> ending_drivers_;  ///< Whose workers may still be about to end.
  std::vector<std::uint32_t> expelled_;    ///< Slots of drivers that wrote nonsense.
  std::deque<std::uint32_t> unasked_;      ///< Slots of workers that the zygote is to be asked for.
  std::vector<std::unique_ptr<OutputReader>> readers_;  ///< The watching thread's own.
  std::vector<std::unique_ptr<WorkerOutput>> outputs_;  ///< Likewise.
  LogFolding folding_;                                  ///< The watching thread's own.
  std::thread background_thread_;
  std::thread watch_thread_;
};

}  // namespace haz
