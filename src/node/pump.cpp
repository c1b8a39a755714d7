#include <algorithm>
#include <cmath>
#include <limits>

#include "node/node.h"
#include "node/round.h"
#include "os/clock.h"

namespace haz {

namespace {

constexpr std::uint64_t kNeverWake = std::numeric_limits<std::uint64_t>::max();
constexpr std::int64_t kTickNs = 2 * kMillisecondNs;
/// Who waits for resources from one look to the next is told why.
constexpr std::int64_t kTellWaitingNs = 5 * kSecondNs;
/// Longest sleep while references may have been dropped a moment ago.
constexpr std::int64_t kActiveSleepNs = 50 * kMillisecondNs;
/// How long workers that were started while others were blocked are kept without work.
constexpr std::int64_t kKeepCrowdNs = 5 * kSecondNs;
/// Sleeps of one tick each after a timer was wanted.
constexpr int kShortSleeps = 25;
/// Longest sleep of an idle node: bounds the harm of a lost ring.
constexpr std::int64_t kIdleSleepNs = 500 * kMillisecondNs;
/// Longest sleep of a thread that has asked not to hear of every completion.
constexpr std::int64_t kBulkSleepNs = 4 * kMillisecondNs;
constexpr std::int64_t kThreadSleepNs = 100 * kMillisecondNs;
/// Spinning covers the wake-up of a worker and a short task.
constexpr std::int64_t kSpinNs = 200 * kMicrosecondNs;
/// Requests for more objects than this do not want to hear of each.
constexpr std::size_t kBulkObjects = 8;
/// Memory for the ids of so many is kept.
constexpr std::size_t kFewObjects = 4096;

}  // namespace

void Node::drain_drops() {
  drops_.drain([this](std::uint64_t id) { scheduler_.drop_reference(process_, ObjectId{id}); });
}

// ---- rounds ------------------------------------------------------------------------------------

void Node::finish_round(std::unique_lock<std::mutex>& lock) {
  std::uint64_t freed = 0;
  do {
    freed = freed_;
    if (!waiting_allocations_.empty() && serve_allocations(monotonic_ns())) needs_dispatch_ = true;
    if ((needs_dispatch_ || scheduler_.has_abandoned()) && !stopping_) {
      needs_dispatch_ = false;
      scheduler_.dispatch();
      while (start_failed_)
        note_failed_starts();
    }
    if (!completed_.empty()) answer_completed();
  } while (freed != freed_ && !waiting_allocations_.empty());
  const bool told = !ended_subscriptions_.empty();
  if (told) end_subscriptions();
  set_wake_policy(false);
  std::vector<Doorbell*> to_ring;
  for (WorkerPort* port : touched_) {
    port->touched = false;
    Doorbell& doorbell = port->area->control.doorbell;
    if (doorbell.wanted_after_any()) to_ring.push_back(&doorbell);
  }
  touched_.clear();
  // With the lock: these lie on stacks that their threads may leave as soon as it is free.
  for (Doorbell* doorbell : threads_to_ring_)
    doorbell->ring();
  threads_to_ring_.clear();
  // Most rounds need no look at the timers: the background thread wakes for the next tick anyway.
  const bool wakes_for_tick =
      leader_ != nullptr || next_tick_ns_ + kTickNs >= background_wakes_at_ns_;
  const bool has_others = !time_limits_.empty() || scheduler_.next_restart_ns() != 0;
  const std::int64_t timer = wakes_for_tick && !has_others ? 0 : next_timer(0);
  if (timer != 0 && leader_ == nullptr && timer + kTickNs < background_wakes_at_ns_) {
    // It then sleeps in short steps for a while, even if this timer is not needed any more.
    background_wakes_at_ns_ = timer;
    short_sleeps_ = kShortSleeps;
    to_ring.push_back(&doorbells_->background);
  }
  if (told) completions_event_->signal();
  lock.unlock();
  for (Doorbell* doorbell : to_ring)
    doorbell->ring();
}

void Node::set_wake_policy(bool every_completion) {
  const bool somebody = leader_ != nullptr || !waiting_threads_.empty() || some_driver_waits();
  const bool backlog = gathers_ || scheduler_.has_backlog();
  if (!backlog) rings_in_time_ = false;
  for (std::size_t i = 0; i < busy_ports_.size();) {
    WorkerPort* port = busy_ports_[i];
    const Worker* worker = port->worker;
    if (worker != nullptr && worker->assigned.empty() && !port->has_waiting()) {
      port->busy = false;
      busy_ports_[i] = busy_ports_.back();
      busy_ports_.pop_back();
      continue;
    }
    ++i;
    std::uint64_t after = 0;
    const std::uint32_t on_idle = somebody || backlog ? 1 : 0;
    if (worker != nullptr && worker->wanted_soon == 0 && !every_completion) {
      after = somebody || backlog
                  ? port->finished_seen + std::max<std::uint64_t>(worker->assigned.size() / 2, 1)
                  : kNeverWake;
    }
    ProcessControl& control = port->area->control;
    if (port->wake_after != after) {
      port->wake_after = after;
      control.wake_after.store(after, std::memory_order_relaxed);
    }
    const std::uint32_t on_item = worker != nullptr && worker->wanted_items != 0 ? 1 : 0;
    if (port->wake_on_item != on_item) {
      port->wake_on_item = on_item;
      control.wake_on_item.store(on_item, std::memory_order_relaxed);
    }
    if (port->wake_on_idle != on_idle) {
      port->wake_on_idle = on_idle;
      control.wake_on_idle.store(on_idle, std::memory_order_relaxed);
    }
  }
}

bool Node::is_told_in_time() {
  const std::lock_guard lock(mutex_);
  if (needs_dispatch_ || !(gathers_ || scheduler_.has_backlog())) return true;
  return std::all_of(busy_ports_.begin(), busy_ports_.end(), [](const WorkerPort* port) {
    if (port->worker == nullptr || port->worker->assigned.empty()) return true;
    const ProcessControl& control = port->area->control;
    return control.wake_on_idle.load(std::memory_order_relaxed) != 0 &&
           control.wake_after.load(std::memory_order_relaxed) <=
               port->finished_seen + port->worker->assigned.size();
  });
}

// ---- timers ------------------------------------------------------------------------------------

std::int64_t Node::next_timer(std::int64_t none) const {
  std::int64_t next = none;
  const auto consider = [&next](std::int64_t at) { next = next == 0 ? at : std::min(next, at); };
  if (scheduler_.wants_tick()) consider(next_tick_ns_);
  for (const TimeLimit& limit : time_limits_)
    consider(limit.at_ns);
  if (const std::int64_t at = scheduler_.next_restart_ns(); at != 0) consider(at);
  if (!waiting_allocations_.empty()) consider(next_tick_ns_);
  return next;
}

void Node::trim_idle_workers(std::int64_t now_ns) {
  const auto keep = static_cast<std::size_t>(std::max(std::ceil(options_.num_cpus), 1.0));
  if (scheduler_.counts().idle <= keep) {
    crowded_since_ns_ = 0;
  } else if (crowded_since_ns_ == 0) {
    crowded_since_ns_ = now_ns;
  } else if (now_ns - crowded_since_ns_ > kKeepCrowdNs) {
    while (Worker* worker = scheduler_.retire_idle(keep))
      stop_worker(*worker);
  }
}

std::vector<LogLine> Node::tell_waiting(std::int64_t now_ns) {
  std::vector<LogLine> lines;
  if (!options_.show_output || !options_.on_output) return lines;
  tell_of_full_store(now_ns, lines);
  std::vector<std::string> texts = scheduler_.take_notices();
  if (now_ns >= next_telling_ns_) {
    next_telling_ns_ = now_ns + kTellWaitingNs;
    for (std::string& text : scheduler_.tell_waiting("more than 5 s"))
      texts.push_back(std::move(text));
  }
  for (std::string& text : texts)
    lines.push_back({.stream = LogStream::kStderr, .task_name = {}, .text = std::move(text)});
  return lines;
}

void Node::run_timers(std::int64_t now_ns) {
  scheduler_.story().set_time(now_ns);
  trim_idle_workers(now_ns);
  if (now_ns >= next_tick_ns_) {
    next_tick_ns_ = now_ns + kTickNs;
    if (scheduler_.wants_tick()) {
      scheduler_.tick();
      needs_dispatch_ = true;
    }
  }
  if (const std::int64_t at = scheduler_.next_restart_ns(); at != 0 && now_ns >= at) {
    scheduler_.restart_due();
    needs_dispatch_ = true;
  }
  for (std::size_t i = 0; i < time_limits_.size();) {
    const TimeLimit limit = time_limits_[i];  // what is done about it may add others
    const Task* task = scheduler_.find_task(limit.task);
    const bool over = task == nullptr || task->attempt != limit.attempt;
    if (!over && limit.at_ns > now_ns) {
      ++i;
      continue;
    }
    if (!over && limit.stop == Stop::kRemind) {
      if (interrupt_again(*task)) {
        time_limits_[i].at_ns = now_ns + kRemindNs;
        ++i;
        continue;
      }
    } else if (!over && limit.stop == Stop::kCancel) {
      scheduler_.cancel(end_of(limit.task), false, true);
    } else if (!over && limit.stop == Stop::kKillCancelled) {
      scheduler_.kill_attempt(limit.task, limit.attempt);
    } else if (!over) {
      scheduler_.timed_out(limit.task, limit.attempt, limit.stop == Stop::kKill);
    }
    if (over || limit.stop != Stop::kInterrupt) {
      time_limits_[i] = time_limits_.back();
      time_limits_.pop_back();
    } else {
      time_limits_[i].at_ns = now_ns + kHeedNs;
      time_limits_[i].stop = Stop::kKill;
    }
  }
}

/// Spins for what drivers and their workers are about to publish: with them this thread does what a
/// thread that waits does for its own node. Whether there is news.
bool Node::spin_for_drivers() {
  const std::int64_t now = monotonic_ns();
  if (cpus_ < 2 || !background_spin_.allowed(now)) return false;
  {
    const std::lock_guard lock(mutex_);
    if (stopping_ || driver_ports_.empty() || busy_workers() >= cpus_) return false;
  }
  return background_spin_.spin(now, now + kSpinNs, [this] { return doorbells_->news.any(); });
}

/// Gives memory that is free beyond the store's budget back to the system, without the lock while
/// that is done.
void Node::trim_store() {
  constexpr std::uint64_t kPieceBytes = 16 * kMiB;
  for (bool punched = true; punched;) {
    std::optional<detail::ByteRange> range;
    {
      const std::lock_guard lock(mutex_);
      if (!stopping_) range = store_.begin_trim(kPieceBytes);
    }
    if (!range) return;
    punched = arena_->punch(range->begin, range->size());
    const std::lock_guard lock(mutex_);
    store_.end_trim(*range, punched);
  }
}

// ---- the node's own thread ---------------------------------------------------------------------

void Node::background() {
  for (;;) {
    std::uint32_t prepared = 0;
    std::int64_t sleep_ns = 0;
    bool progress = false;
    std::vector<LogLine> told;
    {
      Round round(*this);
      if (stopping_) return;
      const std::int64_t now = monotonic_ns();
      progress = leader_ == nullptr && pump(true);
      if (progress) last_activity_ns_ = now;
      drain_drops();
      run_timers(now);
      check_ports(now);
      told = tell_waiting(now);
      end_expelled();
      round.end();
    }
    if (!told.empty()) options_.on_output(told);
    trim_store();
    if (progress && spin_for_drivers()) continue;
    {
      const std::lock_guard lock(mutex_);
      if (stopping_) return;
      prepared = doorbells_->background.prepare();
      if (leader_ != nullptr) {
        doorbells_->background.cancel();
        prepared &= ~std::uint32_t{1};
      } else if (any_news() || needs_dispatch_) {
        doorbells_->background.cancel();
        continue;
      }
      const std::int64_t now = monotonic_ns();
      const bool active = now - last_activity_ns_ < 2 * kActiveSleepNs;
      std::int64_t wake_at = now + (active ? kActiveSleepNs : kIdleSleepNs);
      if (short_sleeps_ > 0) {
        --short_sleeps_;
        wake_at = now + kTickNs;
      }
      if (const std::int64_t timer = next_timer(0); timer != 0) wake_at = std::min(wake_at, timer);
      background_wakes_at_ns_ = wake_at;
      sleep_ns = std::max<std::int64_t>(wake_at - now, 0);
    }
    doorbells_->background.sleep(prepared, sleep_ns);
  }
}

// ---- threads that wait -------------------------------------------------------------------------

std::uint32_t Node::busy_workers() const {
  return static_cast<std::uint32_t>(
      std::count_if(busy_ports_.begin(), busy_ports_.end(), [](const WorkerPort* port) {
        return port->worker == nullptr || port->worker->state == WorkerState::kBusy ||
               port->worker->state == WorkerState::kNested;
      }));
}

void Node::stop_leading() {
  leader_ = nullptr;
  last_activity_ns_ = rough_monotonic_ns();
  if (!waiting_threads_.empty()) {
    threads_to_ring_.push_back(&waiting_threads_.front()->doorbell);
    return;
  }
  (void)doorbells_->background.prepare();
  if (any_news()) pump();
}

bool Node::spin_for(std::unique_lock<std::mutex>& lock, ThreadRequest& request) {
  const std::int64_t now = monotonic_ns();
  if (busy_workers() >= cpus_ || !spin_.allowed(now) || cpus_ < 2) return false;
  finish_round(lock);
  const auto look = [&] {
    if (!lock.try_lock()) return false;
    const bool progress = any_news() && pump();
    // Whoever waited for the rest of the round is served at its end, which is near if this is over.
    if (request.completed || shut_down_) return true;
    if (progress) {
      finish_round(lock);
      lock.lock();
      if (request.completed || shut_down_) return true;
    }
    lock.unlock();
    return false;
  };
  if (spin_.spin<2>(now, now + kSpinNs, look)) return true;
  lock.lock();
  return request.completed || shut_down_;
}

bool Node::lead(std::unique_lock<std::mutex>& lock, ThreadRequest& request, std::int64_t sleep_ns,
                bool every_completion) {
  const std::int64_t now = monotonic_ns();
  run_timers(now);
  if (const std::int64_t timer = next_timer(0); timer != 0) {
    sleep_ns = std::min(sleep_ns, std::max<std::int64_t>(timer - now, 0));
  }
  if (needs_dispatch_) {
    finish_round(lock);
    lock.lock();
    if (request.completed) return true;
  }
  set_wake_policy(every_completion);
  bool all = false;
  const std::uint32_t prepared = doorbells_->foreground.prepare();
  if (any_news() || needs_dispatch_ || request.completed || shut_down_) {
    doorbells_->foreground.cancel();
  } else {
    finish_round(lock);
    if (every_completion) {
      lock.lock();
      set_wake_policy(true);
      lock.unlock();
    }
    all = doorbells_->foreground.sleep(prepared, sleep_ns) == FutexOutcome::kTimedOut;
    lock.lock();
  }
  if (leader_ == &request) pump(all);
  return request.completed;
}

WaitOutcome Node::wait_for(std::unique_lock<std::mutex>& lock, ThreadRequest& request,
                           std::int64_t deadline_ns, WaitHooks& hooks) {
  bool blocked = false;
  bool spun = false;
  WaitOutcome outcome = WaitOutcome::kDone;
  std::uint32_t& waits = deadline_ns < 0 ? endless_waits_ : timed_waits_;
  ++waits;
  while (!request.completed) {
    if (shut_down_) {
      outcome = WaitOutcome::kClosed;
      break;
    }
    // The leader may be this thread: a signal handler that waits in the middle of a wait.
    const bool inside = leader_ != &request && leader_thread_ == std::this_thread::get_id();
    if (leader_ == nullptr || inside) {
      leader_ = &request;
      leader_thread_ = std::this_thread::get_id();
      doorbells_->background.cancel();
      std::erase(waiting_threads_, &request);
    }
    const bool leading = leader_ == &request;
    if (leading && !spun && !request.bulk) {
      spun = true;
      if (spin_for(lock, request)) continue;
    }
    const std::int64_t now = monotonic_ns();
    std::int64_t sleep_ns = kThreadSleepNs;
    if (deadline_ns >= 0) {
      if (now >= deadline_ns) {
        outcome = WaitOutcome::kTimeout;
        break;
      }
      sleep_ns = std::min(sleep_ns, deadline_ns - now);
    }
    if (!blocked) {
      blocked = true;
      if (!leading) waiting_threads_.push_back(&request);
      finish_round(lock);
      hooks.before_block();
      lock.lock();
      continue;
    }
    if (leading) {
      const std::uint64_t before = progress_;
      lead(lock, request, request.bulk ? std::min(sleep_ns, kBulkSleepNs) : sleep_ns,
           !request.bulk);
      // A bulk wait without any progress is one for long tasks: hear of each from now on.
      if (request.bulk && progress_ == before) request.bulk = false;
    } else {
      const std::uint32_t prepared = request.doorbell.prepare();
      finish_round(lock);
      request.doorbell.sleep(prepared, sleep_ns);
      lock.lock();
    }
    if (request.completed) break;
    const bool store_is_full = room_patience_.is_running();
    finish_round(lock);
    const bool interrupted = hooks.interrupted();
    const bool others_go_on = store_is_full && !interrupted && hooks.others_go_on();
    lock.lock();
    if (store_is_full) others_go_on_ = others_go_on;
    if (leading && leader_ != &request && leader_ != nullptr) waiting_threads_.push_back(&request);
    if (interrupted) {
      outcome = WaitOutcome::kInterrupted;
      break;
    }
  }
  --waits;
  if (request.completed) outcome = WaitOutcome::kDone;
  std::erase(waiting_threads_, &request);
  // Nobody leads: this thread was asked to, and leaves all the same.
  if (leader_ == &request || leader_ == nullptr) stop_leading();
  if (blocked) {
    finish_round(lock);
    hooks.after_block();
    lock.lock();
  }
  return outcome;
}

void Node::fetch(const Object* object, FetchedValues& out, FetchedValue& value) {
  value.id = object->id;
  value.offset = object->offset;
  value.size = object->size;
  value.ready = true;
  value.is_error = object->state == ObjectState::kError;
  if (object->offset != 0) {
    value.in_arena = true;
    (void)scheduler_.add_reference(process_, object->id);
  } else {
    value.offset = out.near_bytes.size();
    const std::span<const std::byte> bytes = object->bytes.view();
    out.near_bytes.insert(out.near_bytes.end(), bytes.begin(), bytes.end());
  }
}

/// Fetches what is there, up to the first error; what is to be waited for goes to `missing_`.
/// False: one of the objects is unknown.
bool Node::fetch_ready(std::span<const ObjectId> ids, FetchedValues& out, bool& has_failed) {
  missing_.clear();
  out.values.clear();
  out.values.resize(ids.size());
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const Object* object = scheduler_.find(ids[i]);
    if (object == nullptr) return false;
    if (has_failed) continue;
    if (object->state == ObjectState::kPending) {
      missing_.push_back(ids[i]);
      continue;
    }
    fetch(object, out, out.values[i]);
    has_failed = object->state == ObjectState::kError;
  }
  return true;
}

/// Fetches what `request` has waited for: the objects of those in `out` that were missing.
void Node::fetch_missing(const ThreadRequest& request, FetchedValues& out) {
  auto node = request.nodes.begin();
  for (FetchedValue& value : out.values) {
    if (value.ready) continue;
    if (node->object->state != ObjectState::kPending) fetch(node->object, out, value);
    ++node;
  }
}

/// Nobody gets what was fetched.
void Node::let_go(FetchedValues& out) {
  for (const FetchedValue& value : out.values) {
    if (value.in_arena) scheduler_.drop_reference(process_, value.id);
  }
  out = {};
}

WaitOutcome Node::get(std::span<const ObjectId> ids, std::int64_t deadline_ns, WaitHooks& hooks,
                      FetchedValues& out) {
  Round round(*this);
  pump();
  if (needs_dispatch_) scheduler_.dispatch();
  bool has_failed = false;
  if (!fetch_ready(ids, out, has_failed)) {
    let_go(out);
    return WaitOutcome::kUnknownObject;
  }
  if (has_failed || missing_.empty()) return WaitOutcome::kDone;
  ThreadRequest request;
  request.process = process_;
  request.needed = static_cast<std::uint32_t>(missing_.size());
  request.stop_at_error = true;
  request.bulk = missing_.size() > kBulkObjects;
  request.nodes.swap(spare_nodes_);
  (void)scheduler_.start(request, missing_, nullptr);  // they are known
  if (missing_.capacity() > kFewObjects) missing_ = {};
  WaitOutcome outcome = WaitOutcome::kDone;
  if (!request.completed) outcome = wait_for(round.lock(), request, deadline_ns, hooks);
  if (request.completed) {
    fetch_missing(request, out);
  } else {
    let_go(out);
  }
  scheduler_.withdraw(request);
  if (request.nodes.capacity() <= kBulkObjects) {
    request.nodes.clear();
    request.nodes.swap(spare_nodes_);
  }
  return outcome;
}

std::size_t Node::find_ready(std::span<const ObjectId> ids, std::span<std::size_t> places) {
  Round round(*this);
  pump();
  std::size_t found = 0;
  for (std::size_t i = 0; i < ids.size() && found < places.size(); ++i) {
    const Object* object = scheduler_.find(ids[i]);
    if (object == nullptr) return 0;
    if (object->state != ObjectState::kPending) places[found++] = i;
  }
  return found;
}

WaitOutcome Node::wait(std::span<const ObjectId> ids, std::uint32_t needed,
                       std::int64_t deadline_ns, WaitHooks& hooks, std::vector<bool>& ready) {
  Round round(*this);
  pump();
  if (needs_dispatch_) scheduler_.dispatch();
  ready.assign(ids.size(), false);
  std::uint32_t found = 0;
  for (std::size_t i = 0; i < ids.size() && found < needed; ++i) {
    const Object* object = scheduler_.find(ids[i]);
    if (object == nullptr) return WaitOutcome::kUnknownObject;
    if (object->state == ObjectState::kPending) continue;
    ready[i] = true;
    ++found;
  }
  if (found == needed) return WaitOutcome::kDone;
  ThreadRequest request;
  request.process = process_;
  request.needed = needed;
  if (!scheduler_.start(request, ids, nullptr)) return WaitOutcome::kUnknownObject;
  WaitOutcome outcome = WaitOutcome::kDone;
  if (!request.completed) outcome = wait_for(round.lock(), request, deadline_ns, hooks);
  for (std::size_t i = 0; i < ids.size(); ++i) {
    ready[i] = request.nodes[i].object->state != ObjectState::kPending;
  }
  scheduler_.withdraw(request);
  return outcome;
}

// ---- asynchronous completions ------------------------------------------------------------------

bool Node::subscribe(ObjectId id, std::uint64_t token) {
  Round round(*this);
  pump();
  const Object* object = scheduler_.find(id);
  if (object != nullptr && object->state != ObjectState::kPending) return false;
  auto request = std::make_unique<ThreadRequest>();
  request->process = process_;
  request->needed = 1;
  request->token = token;
  if (!scheduler_.start(*request, std::span(&id, 1), nullptr)) return false;
  subscriptions_.emplace(token, std::move(request));
  // What was published before the workers knew that it is wanted was not told of.
  set_wake_policy(false);
  if (leader_ == nullptr) (void)doorbells_->background.prepare();
  if (any_news()) pump();
  return true;
}

void Node::end_subscriptions() {
  for (const std::uint64_t token : ended_subscriptions_) {
    completions_.push_back(token);
    const auto ended = subscriptions_.find(token);
    if (ended == subscriptions_.end()) continue;
    scheduler_.withdraw(*ended->second);
    subscriptions_.erase(ended);
  }
  ended_subscriptions_.clear();
}

std::vector<std::uint64_t> Node::take_completions() {
  Round round(*this);
  completions_event_->drain();
  std::vector<std::uint64_t> tokens;
  tokens.swap(completions_);
  return tokens;
}

}  // namespace haz
