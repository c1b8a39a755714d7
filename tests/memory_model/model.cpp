#include "memory_model/model.h"

#include "os/futex.h"
#include "os/robust_mutex.h"

namespace haz::test {

namespace {

bool acquires(::std::memory_order order) {
  return order == ::std::memory_order_acquire || order == ::std::memory_order_acq_rel ||
         order == ::std::memory_order_seq_cst;
}

bool releases(::std::memory_order order) {
  return order == ::std::memory_order_release || order == ::std::memory_order_acq_rel ||
         order == ::std::memory_order_seq_cst;
}

const char* name_of(::std::memory_order order) {
  switch (order) {
    case ::std::memory_order_seq_cst:
      return "sequentially consistent";
    case ::std::memory_order_acq_rel:
      return "acquire and release";
    case ::std::memory_order_acquire:
    case ::std::memory_order_consume:
      return "acquire";
    case ::std::memory_order_release:
      return "release";
    case ::std::memory_order_relaxed:
      break;
  }
  return "relaxed";
}

::std::uint64_t swapped(const Access& access, ::std::uint64_t before) {
  switch (access.swap) {
    case SwapKind::kAdd:
      return before + access.operand;
    case SwapKind::kOr:
      return before | access.operand;
    case SwapKind::kAnd:
      return before & access.operand;
    case SwapKind::kExchange:
    case SwapKind::kCompare:
      break;
  }
  return access.operand;
}

}  // namespace

// ---- what the code calls -----------------------------------------------------------------------

::std::optional<::std::uint64_t> Explorer::perform(Access access) {
  if (run_ == nullptr) return ::std::nullopt;
  Thread& thread = run_->state.threads[run_->thread];
  if (run_->answered < thread.answers.size()) return thread.answers[run_->answered++];
  const bool is_load = access.kind == AccessKind::kLoad;
  const bool is_lock = access.kind == AccessKind::kLock;
  if ((is_load || is_lock) && !run_->explorer.has_other_writers(access.address, run_->thread)) {
    const ::std::size_t at = locate(run_->state, access);
    if (is_lock) run_->explorer.note_writer(access.address, run_->thread);
    thread.answers.push_back(run_->state.locations[at].messages.back().value);
    return thread.answers[run_->answered++];
  }
  thread.next = access;
  run_->is_unwinding = true;
  throw Paused{};
}

/// It comes together with the access before it: whoever waits for the mutex could do nothing
/// between the two.
bool Explorer::unlock(const void* address) {
  if (run_ == nullptr) return false;
  Thread& thread = run_->state.threads[run_->thread];
  if (run_->is_unwinding || ++run_->unlocks <= thread.unlocks) return true;
  thread.unlocks = run_->unlocks;
  Location& mutex = run_->state.locations[locate(run_->state, {.address = address})];
  mutex.owner = -1;
  mutex.messages.front().view = thread.view;
  return true;
}

// ---- the search --------------------------------------------------------------------------------

::std::string Explorer::find_failure() {
  for (;;) {
    State begin;
    begin.threads.resize(threads_.size());
    seen_.clear();
    steps_.clear();
    try {
      for (::std::size_t thread = 0; thread < threads_.size(); ++thread)
        run(begin, thread);
      explore(begin);
      return {};
    } catch (const Found& found) {
      return found.text;
    } catch (const OtherWriter&) {
      run_ = nullptr;
    }
  }
}

/// Lets the thread come to its next access, or its end.
void Explorer::run(State& state, ::std::size_t thread) {
  Run run{*this, state, thread};
  run_ = &run;
  ::std::optional<::std::string> wrong;
  try {
    threads_[thread].body();
    state.threads[thread].state = ThreadState::kEnded;
  } catch (const Paused&) {
    locate(state, state.threads[thread].next);
  } catch (const Wrong& error) {
    wrong = threads_[thread].name + ": " + error.text;
  }
  run_ = nullptr;
  if (wrong) report(*wrong);
}

void Explorer::explore(const State& state) {
  if (!seen_.insert(key_of(state)).second) return;
  if (steps_.size() > kMostSteps) report("there is no end");
  bool all_ended = true;
  bool any_step = false;
  const bool may_switch =
      !most_switches_ || state.switches < *most_switches_ || !can_go_on(state, state.last);
  for (::std::size_t thread = 0; thread < state.threads.size(); ++thread) {
    all_ended = all_ended && state.threads[thread].state == ThreadState::kEnded;
    if (!can_go_on(state, thread)) continue;
    any_step = true;
    if (thread == state.last || may_switch) try_step(state, thread);
  }
  if (any_step || all_ended) return;
  ::std::string asleep;
  for (::std::size_t thread = 0; thread < state.threads.size(); ++thread) {
    if (state.threads[thread].state != ThreadState::kEnded)
      asleep += (asleep.empty() ? "" : ", ") + threads_[thread].name;
  }
  report("for ever asleep: " + asleep);
}

bool Explorer::can_go_on(const State& state, ::std::size_t thread) {
  if (state.threads[thread].state != ThreadState::kReady) return false;
  const Access& next = state.threads[thread].next;
  return next.kind != AccessKind::kLock ||
         ::std::none_of(state.locations.begin(), state.locations.end(), [&](const Location& one) {
           return one.address == next.address && one.owner >= 0;
         });
}

void Explorer::try_step(const State& before, ::std::size_t thread) {
  State state = before;
  if (most_switches_) {
    if (thread != before.last && can_go_on(before, before.last)) ++state.switches;
    state.last = thread;
  }
  const Access& access = state.threads[thread].next;
  State copy = state;
  const ::std::size_t at = locate(copy, access);
  const Location& location = state.locations[at];
  steps_.push_back(threads_[thread].name + ": " + text_of(access));
  const bool writes = access.kind == AccessKind::kStore || access.kind == AccessKind::kSwap ||
                      access.kind == AccessKind::kLock;
  if (writes) note_writer(access.address, thread);
  switch (access.kind) {
    case AccessKind::kLoad:
      read(state, thread, at);
      break;
    case AccessKind::kSwap:
      swap(state, thread, at);
      break;
    case AccessKind::kWake:
      wake(state, thread, at);
      break;
    case AccessKind::kStore:
      follow(state, thread, 0, [&](State& next) {
        append(next, next.threads[thread], at, access.operand, weakened(access), nullptr);
      });
      break;
    case AccessKind::kLock:
      follow(state, thread, 1, [&](State& next) {
        next.locations[at].owner = static_cast<int>(thread);
        acquire(next.threads[thread].view, next.locations[at].messages.front().view);
      });
      break;
    case AccessKind::kWait: {
      // The kernel looks at memory itself.
      const bool sleeps = location.messages.back().value == access.expected;
      const auto outcome = sleeps ? FutexOutcome::kWoken : FutexOutcome::kChanged;
      if (!sleeps) {
        follow(state, thread, static_cast<::std::uint64_t>(outcome), [](State&) {});
        break;
      }
      copy.threads[thread].state = ThreadState::kSleeping;
      explore(copy);
      break;
    }
  }
  steps_.pop_back();
}

template <typename Effect>
void Explorer::follow(const State& state, ::std::size_t thread, ::std::uint64_t answer,
                      Effect&& effect) {
  State next = state;
  effect(next);
  next.threads[thread].answers.push_back(answer);
  run(next, thread);
  explore(next);
}

void Explorer::read(const State& state, ::std::size_t thread, ::std::size_t at) {
  const Location& location = state.locations[at];
  const ::std::memory_order order = weakened(state.threads[thread].next);
  ::std::size_t first = state.threads[thread].view[at];
  if (order == ::std::memory_order_seq_cst) {
    first = ::std::max(first, ::std::size_t{location.sequential});
  }
  for (::std::size_t i = first; i < location.messages.size(); ++i) {
    steps_.back() += i + 1 < location.messages.size() ? " (an old one)" : "";
    follow(state, thread, location.messages[i].value, [&](State& next) {
      View& view = next.threads[thread].view;
      view[at] = static_cast<::std::uint8_t>(i);
      if (acquires(order)) acquire(view, location.messages[i].view);
    });
  }
}

void Explorer::swap(const State& state, ::std::size_t thread, ::std::size_t at) {
  const Access& access = state.threads[thread].next;
  const Location& location = state.locations[at];
  const ::std::memory_order order = weakened(access);
  const Message& last = location.messages.back();
  const bool compares = access.swap == SwapKind::kCompare;
  if (!compares || last.value == access.expected) {
    follow(state, thread, last.value, [&](State& next) {
      Thread& mine = next.threads[thread];
      if (acquires(order)) acquire(mine.view, last.view);
      append(next, mine, at, swapped(access, last.value), order, &last.view);
    });
  }
  if (!compares) return;
  // One that fails is a load.
  for (::std::size_t i = state.threads[thread].view[at]; i < location.messages.size(); ++i) {
    if (location.messages[i].value == access.expected) continue;
    follow(state, thread, location.messages[i].value, [&](State& next) {
      View& view = next.threads[thread].view;
      view[at] = static_cast<::std::uint8_t>(i);
      if (acquires(access.failure_order)) acquire(view, location.messages[i].view);
    });
  }
}

/// Any one sleeper, or all.
void Explorer::wake(const State& state, ::std::size_t thread, ::std::size_t at) {
  const void* address = state.locations[at].address;
  ::std::vector<::std::size_t> sleepers;
  for (::std::size_t i = 0; i < state.threads.size(); ++i) {
    const Thread& other = state.threads[i];
    if (other.state == ThreadState::kSleeping && other.next.address == address)
      sleepers.push_back(i);
  }
  const auto get_up = [this](State& next, ::std::size_t sleeper) {
    next.threads[sleeper].state = ThreadState::kReady;
    next.threads[sleeper].answers.push_back(static_cast<::std::uint64_t>(FutexOutcome::kWoken));
    run(next, sleeper);
  };
  if (sleepers.size() <= state.threads[thread].next.operand) {
    follow(state, thread, 0, [&](State& next) {
      for (const ::std::size_t sleeper : sleepers)
        get_up(next, sleeper);
    });
    return;
  }
  for (const ::std::size_t sleeper : sleepers)
    follow(state, thread, 0, [&](State& next) { get_up(next, sleeper); });
}

// ---- memory ------------------------------------------------------------------------------------

::std::size_t Explorer::locate(State& state, const Access& access) {
  const auto known =
      ::std::find_if(state.locations.begin(), state.locations.end(),
                     [&](const Location& one) { return one.address == access.address; });
  if (known != state.locations.end()) {
    return static_cast<::std::size_t>(known - state.locations.begin());
  }
  if (state.locations.size() == kMostLocations) throw Found{"the model has too few locations"};
  state.locations.push_back({access.address, {{access.initial, View{}}}});
  return state.locations.size() - 1;
}

bool Explorer::has_other_writers(const void* address, ::std::size_t thread) const {
  const auto known = writers_.find(address);
  return known != writers_.end() && (known->second & ~(1U << thread)) != 0;
}

/// Of one that was not known the search begins again: what was left out so far was not.
void Explorer::note_writer(const void* address, ::std::size_t thread) {
  ::std::uint32_t& writers = writers_[address];
  if ((writers & 1U << thread) != 0) return;
  writers |= 1U << thread;
  throw OtherWriter{};
}

::std::memory_order Explorer::weakened(const Access& access) const {
  for (const Weakened& one : weakened_) {
    if (one.address == access.address && one.kind == access.kind &&
        access.order == ::std::memory_order_seq_cst) {
      return one.order;
    }
  }
  return access.order;
}

/// `sequence`: that of the message which a swap has read, and goes on.
void Explorer::append(State& state, Thread& thread, ::std::size_t at, ::std::uint64_t value,
                      ::std::memory_order order, const View* sequence) {
  Location& location = state.locations[at];
  const auto number = static_cast<::std::uint8_t>(location.messages.size());
  thread.view[at] = number;
  Message message{value, {}};
  if (releases(order)) message.view = thread.view;
  message.view[at] = number;
  if (sequence != nullptr) acquire(message.view, *sequence);
  location.messages.push_back(message);
  if (order == ::std::memory_order_seq_cst) location.sequential = number;
}

// ---- reports -----------------------------------------------------------------------------------

::std::string Explorer::text_of(const Access& access) const {
  static constexpr ::std::array kKinds{"load", "store", "swap", "sleep", "wake", "lock"};
  const auto name = names_.find(access.address);
  ::std::string text = kKinds[static_cast<::std::size_t>(access.kind)];
  text += " " + (name != names_.end() ? name->second : ::std::string("something"));
  return access.kind <= AccessKind::kSwap ? text + ", " + name_of(weakened(access)) : text;
}

::std::string Explorer::key_of(const State& state) const {
  ::std::string key;
  key.reserve(1024);
  const auto add = [&key](::std::uint64_t number) {
    key.append(reinterpret_cast<const char*>(&number), sizeof number);
  };
  const auto add_view = [&key](const View& view) {
    key.append(reinterpret_cast<const char*>(view.data()), view.size());
  };
  add(state.switches << 8 | state.last);
  for (const Location& location : state.locations) {
    add(reinterpret_cast<::std::uint64_t>(location.address));
    add(location.sequential | static_cast<::std::uint64_t>(location.owner + 1) << 8 |
        location.messages.size() << 16);
    for (const Message& message : location.messages) {
      add(message.value);
      add_view(message.view);
    }
  }
  for (const Thread& thread : state.threads) {
    add(static_cast<::std::uint64_t>(thread.state) | thread.answers.size() << 8);
    for (const ::std::uint64_t answer : thread.answers)
      add(answer);
    add_view(thread.view);
  }
  return key;
}

void Explorer::report(const ::std::string& what) const {
  ::std::string text = what + "\nafter:\n";
  for (const ::std::string& step : steps_)
    text += "  " + step + "\n";
  throw Found{text};
}

}  // namespace haz::test

// ---- what the code asks the system for ---------------------------------------------------------

namespace haz {

FutexOutcome futex_wait(const std::atomic<std::uint32_t>& word, std::uint32_t expected,
                        std::int64_t /*timeout_ns*/) {
  const auto answer = test::Explorer::perform({.kind = test::AccessKind::kWait,
                                               .address = &word,
                                               .expected = expected,
                                               .initial = word.initial()});
  return answer ? static_cast<FutexOutcome>(*answer) : FutexOutcome::kTimedOut;
}

void futex_wake(const std::atomic<std::uint32_t>& word, int count) {
  (void)test::Explorer::perform({.kind = test::AccessKind::kWake,
                                 .address = &word,
                                 .operand = static_cast<std::uint64_t>(count),
                                 .initial = word.initial()});
}

Status RobustMutex::initialize() { return Ok{}; }

bool RobustMutex::lock_until(std::int64_t /*until_ns*/) {
  (void)test::Explorer::perform({.kind = test::AccessKind::kLock, .address = this});
  return true;
}

bool RobustMutex::try_lock() { return lock_until(0); }

void RobustMutex::unlock() { test::Explorer::unlock(this); }

}  // namespace haz
