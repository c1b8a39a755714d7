// Code of src/ on a model of C++'s memory: all that its threads may do, one after the other.
//
// Include it before anything of haz. Namespace haz::std below hides std::atomic from code in
// namespace haz, so that the very text of src/queue is what runs: its atomics ask the explorer what
// they read, its futex calls sleep in the model. For programs of their own: what is compiled here
// has the names of what is in haz_core.
//
// The model: each store is a message of its location, in the order in which they are made. A thread
// has a view: the oldest message that it may still read of each location. A load reads any that is
// not older; one that acquires takes over the view that a releasing store has put into the message.
// A sequentially consistent load reads nothing older than the last sequentially consistent store.
// So a load may be delayed, and a store become visible late or out of order, as on weakly ordered
// processors. Left out: loads that see stores of the future, stores that are ordered behind later
// ones, fences, compare-and-swaps that fail without reason.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <climits>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <ctime>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <unordered_set>
#include <utility>
#include <vector>

namespace haz {

class Doorbell;

namespace test {

template <typename T>
concept IsComplete = requires { sizeof(T); };
static_assert(!IsComplete<Doorbell>, "include the model before anything of haz");

}  // namespace test

}  // namespace haz

namespace haz::test {

enum class AccessKind : ::std::uint8_t { kLoad, kStore, kSwap, kWait, kWake, kLock };
enum class SwapKind : ::std::uint8_t { kExchange, kCompare, kAdd, kOr, kAnd };

/// What a thread does to one location.
struct Access {
  AccessKind kind = AccessKind::kLoad;
  SwapKind swap = SwapKind::kExchange;
  const void* address = nullptr;
  ::std::memory_order order = ::std::memory_order_seq_cst;
  ::std::memory_order failure_order = ::std::memory_order_seq_cst;  ///< Of a kCompare.
  ::std::uint64_t operand = 0;
  ::std::uint64_t expected = 0;  ///< Of a kCompare or kWait.
  ::std::uint64_t initial = 0;   ///< What the location held before any thread ran.
};

/// What a thread's body throws where something is wrong.
struct Wrong {
  ::std::string text;
};

/// Makes the order of some accesses weaker than the code says.
struct Weakened {
  const void* address;
  AccessKind kind;
  ::std::memory_order order;
};

/// Runs threads in all orders, with all values that each load may read. A thread is run again from
/// its begin for each access, with the answers so far: so bodies must do the same each time, leave
/// nothing behind but in atomics, and have these where they stay, not on their stack.
class Explorer {
 public:
  using Body = ::std::function<void()>;

  void add_thread(::std::string name, Body body) {
    threads_.push_back({::std::move(name), ::std::move(body)});
  }
  /// What the location is called in reports.
  void name(const void* address, ::std::string text) { names_[address] = ::std::move(text); }
  /// Leaves out what takes more switches away from a thread that could go on: few are enough for
  /// most errors.
  void limit_switches(unsigned most) { most_switches_ = most; }
  void weaken(Weakened weakened) { weakened_.push_back(weakened); }

  /// How something goes wrong: a thread throws Wrong, or one sleeps or waits for ever. Empty: in no
  /// way.
  ::std::string find_failure();
  [[nodiscard]] ::std::size_t num_states() const { return seen_.size(); }

  /// Of an access in a thread's body; outside of find_failure() of memory as it is.
  static ::std::optional<::std::uint64_t> perform(Access access);
  /// False: outside of find_failure().
  static bool unlock(const void* address);

 private:
  static constexpr ::std::size_t kMostLocations = 16;
  static constexpr ::std::size_t kMostSteps = 250;
  using View = ::std::array<::std::uint8_t, kMostLocations>;

  struct Message {
    ::std::uint64_t value;
    View view;
  };
  struct Location {
    const void* address;
    ::std::vector<Message> messages;
    ::std::uint8_t sequential = 0;  ///< The last sequentially consistent store.
    int owner = -1;                 ///< Of a mutex.
  };
  enum class ThreadState : ::std::uint8_t { kReady, kSleeping, kEnded };
  struct Thread {
    ThreadState state = ThreadState::kReady;
    View view{};
    ::std::vector<::std::uint64_t> answers;
    ::std::size_t unlocks = 0;
    Access next;
  };
  struct State {
    ::std::vector<Location> locations;
    ::std::vector<Thread> threads;
    unsigned switches = 0;  ///< So far, and by whom the last access was; where it matters.
    ::std::size_t last = 0;
  };
  struct Named {
    ::std::string name;
    Body body;
  };
  /// The body that runs now.
  struct Run {
    Explorer& explorer;
    State& state;
    ::std::size_t thread;
    ::std::size_t answered = 0;
    ::std::size_t unlocks = 0;
    bool is_unwinding = false;
  };
  struct Paused {};
  struct OtherWriter {};
  struct Found {
    ::std::string text;
  };

  void run(State& state, ::std::size_t thread);
  void explore(const State& state);
  [[nodiscard]] static bool can_go_on(const State& state, ::std::size_t thread);
  void try_step(const State& state, ::std::size_t thread);
  /// Goes on from a copy of `state` in which the thread has got `answer` for its access.
  template <typename Effect>
  void follow(const State& state, ::std::size_t thread, ::std::uint64_t answer, Effect&& effect);
  void read(const State& state, ::std::size_t thread, ::std::size_t location);
  void swap(const State& state, ::std::size_t thread, ::std::size_t location);
  void wake(const State& state, ::std::size_t thread, ::std::size_t location);

  static ::std::size_t locate(State& state, const Access& access);
  [[nodiscard]] bool has_other_writers(const void* address, ::std::size_t thread) const;
  void note_writer(const void* address, ::std::size_t thread);
  [[nodiscard]] ::std::memory_order weakened(const Access& access) const;
  static void append(State& state, Thread& thread, ::std::size_t location, ::std::uint64_t value,
                     ::std::memory_order order, const View* sequence);
  static void acquire(View& view, const View& other) {
    for (::std::size_t i = 0; i < view.size(); ++i)
      view[i] = ::std::max(view[i], other[i]);
  }
  [[nodiscard]] ::std::string text_of(const Access& access) const;
  [[nodiscard]] ::std::string key_of(const State& state) const;
  [[noreturn]] void report(const ::std::string& what) const;

  static inline Run* run_ = nullptr;
  ::std::vector<Named> threads_;
  ::std::map<const void*, ::std::string> names_;
  /// Which threads were seen to write to a location, or to lock a mutex: a bit each. What only one
  /// does, and what nobody does, needs no order: its loads and locks are not looked at.
  ::std::map<const void*, ::std::uint32_t> writers_;
  ::std::vector<Weakened> weakened_;
  ::std::optional<unsigned> most_switches_;
  ::std::unordered_set<::std::string> seen_;
  ::std::vector<::std::string> steps_;
};

}  // namespace haz::test

namespace haz::std {

using namespace ::std;

template <typename T>
class atomic {
 public:
  atomic() = default;
  constexpr atomic(T value) : value_(value) {}  // NOLINT(google-explicit-constructor): as std's

  T load(memory_order order = memory_order_seq_cst) const {
    return value_of(perform({.kind = test::AccessKind::kLoad, .order = order}));
  }
  void store(T value, memory_order order = memory_order_seq_cst) {
    const auto answer =
        perform({.kind = test::AccessKind::kStore, .order = order, .operand = bits_of(value)});
    if (!answer) value_ = value;
  }
  T exchange(T value, memory_order order = memory_order_seq_cst) {
    return swap(test::SwapKind::kExchange, value, order, value);
  }
  T fetch_add(T value, memory_order order = memory_order_seq_cst) {
    return swap(test::SwapKind::kAdd, value, order, static_cast<T>(value_ + value));
  }
  T fetch_or(T value, memory_order order = memory_order_seq_cst) {
    return swap(test::SwapKind::kOr, value, order, static_cast<T>(value_ | value));
  }
  T fetch_and(T value, memory_order order = memory_order_seq_cst) {
    return swap(test::SwapKind::kAnd, value, order, static_cast<T>(value_ & value));
  }
  bool compare_exchange_strong(T& expected, T wanted, memory_order order,
                               memory_order failure_order) {
    const auto answer = perform({.kind = test::AccessKind::kSwap,
                                 .swap = test::SwapKind::kCompare,
                                 .order = order,
                                 .failure_order = failure_order,
                                 .operand = bits_of(wanted),
                                 .expected = bits_of(expected)});
    const T found = value_of(answer);
    if (found == expected) {
      if (!answer) value_ = wanted;
      return true;
    }
    expected = found;
    return false;
  }
  bool compare_exchange_strong(T& expected, T wanted, memory_order order = memory_order_seq_cst) {
    const bool releases = order == memory_order_acq_rel || order == memory_order_release;
    const memory_order failure_order = order == memory_order_release ? memory_order_relaxed
                                       : releases                    ? memory_order_acquire
                                                                     : order;
    return compare_exchange_strong(expected, wanted, order, failure_order);
  }
  bool compare_exchange_weak(T& expected, T wanted, memory_order order,
                             memory_order failure_order) {
    return compare_exchange_strong(expected, wanted, order, failure_order);
  }
  bool compare_exchange_weak(T& expected, T wanted, memory_order order = memory_order_seq_cst) {
    return compare_exchange_strong(expected, wanted, order);
  }
  [[nodiscard]] uint64_t initial() const { return bits_of(value_); }

 private:
  static uint64_t bits_of(T value) {
    uint64_t bits = 0;
    static_assert(sizeof value <= sizeof bits);
    memcpy(&bits, &value, sizeof value);
    return bits;
  }
  T value_of(const optional<uint64_t>& answer) const {
    if (!answer) return value_;
    T value{};
    memcpy(&value, &*answer, sizeof value);
    return value;
  }
  optional<uint64_t> perform(test::Access access) const {
    access.address = this;
    access.initial = bits_of(value_);
    return test::Explorer::perform(access);
  }
  T swap(test::SwapKind kind, T value, memory_order order, T outside) {
    const auto answer = perform(
        {.kind = test::AccessKind::kSwap, .swap = kind, .order = order, .operand = bits_of(value)});
    const T before = value_of(answer);
    if (!answer) value_ = outside;
    return before;
  }

  T value_{};
};

/// The model has none.
void atomic_thread_fence(memory_order order) = delete;

}  // namespace haz::std
