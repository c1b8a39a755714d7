/// @file
/// Which thread of a team runs which iterations, and what becomes of their results.
#pragma once

#include <cstdint>
#include <exception>
#include <new>
#include <type_traits>
#include <utility>

#ifdef _OPENMP
#include <omp.h>
#endif

namespace haz {

/// How the iterations of a loop come to its threads. A chunk of 0 means, of
enum class schedule : std::uint8_t {
  static_,  ///< decided before: one even part for each thread. With a chunk: chunks in turn.
  dynamic,  ///< who is free takes the next chunk: at least 64 for each thread.
  guided,   ///< the same with chunks that become smaller: half an even part of what is left.
  runtime,  ///< what OMP_SCHEDULE says, or omp_set_schedule; as in OpenMP single iterations,
            ///< dynamic.
};

namespace detail {

/// Parts of a thread's share between which it looks whether the loop has failed.
inline constexpr std::uint64_t blocks_per_share = 64;

inline std::uint64_t at_least_one(std::uint64_t number) { return number > 0 ? number : 1; }

/// Whether the function that runs in this thread is to end: asked between parts of a loop, by the
/// thread that has begun it. Null: there is nobody to ask. Set before kernels run.
inline bool (*interrupt_check)() = nullptr;

/// Parts of a loop of one thread that can be interrupted: `size` iterations in blocks that grow, so
/// that neither few slow iterations nor many quick ones wait for long. The same for the same size.
class growing_blocks {
 public:
  explicit growing_blocks(std::uint64_t size) : size_(size) {
    const std::uint64_t share = size / blocks_per_share;
    most_ = share > 32 ? share : 32;
  }
  bool next() {
    begin = end;
    end = size_ - begin > block_ ? begin + block_ : size_;
    block_ = 2 * block_ < most_ ? 2 * block_ : most_;
    return begin < size_;
  }

  std::uint64_t begin = 0;
  std::uint64_t end = 0;

 private:
  std::uint64_t size_;
  std::uint64_t most_ = 0;
  std::uint64_t block_ = 1;
};

/// One loop, as all threads of its team share it.
class loop_state {
 public:
  loop_state(std::uint64_t size, haz::schedule schedule, std::uint64_t chunk)
      : size_(size), schedule_(schedule), chunk_(chunk) {
    if (schedule_ == haz::schedule::runtime) resolve();
  }

  [[nodiscard]] std::uint64_t size() const { return size_; }
  [[nodiscard]] haz::schedule schedule() const { return schedule_; }
  [[nodiscard]] std::uint64_t chunk() const { return chunk_; }

  // The loop's own data is published by the start of the team, and results by its end: these
  // atomics order nothing.
  [[nodiscard]] bool has_failed() const { return __atomic_load_n(&failed_, __ATOMIC_RELAXED); }
  void fail(std::exception_ptr&& error) noexcept {
    if (!__atomic_exchange_n(&failed_, true, __ATOMIC_RELAXED)) error_ = std::move(error);
  }
  /// After the team has ended.
  void rethrow() const {
    if (error_) std::rethrow_exception(error_);
  }

  /// Takes the next iterations for a thread: up to `wanted(iterations left)`. Returns the first,
  /// and their number; 0: none is left.
  template <class Wanted>
  std::pair<std::uint64_t, std::uint64_t> take(const Wanted& wanted) {
    std::uint64_t begin = __atomic_load_n(&taken_, __ATOMIC_RELAXED);
    while (begin < size_) {
      const std::uint64_t left = size_ - begin;
      std::uint64_t number = wanted(left);
      if (number > left) number = left;
      if (__atomic_compare_exchange_n(&taken_, &begin, begin + number, true, __ATOMIC_RELAXED,
                                      __ATOMIC_RELAXED))
        return {begin, number};
    }
    return {size_, 0};
  }

 private:
  void resolve() {
    schedule_ = haz::schedule::dynamic;
#ifdef _OPENMP
    omp_sched_t kind{};
    int chunk = 0;
    omp_get_schedule(&kind, &chunk);
    chunk_ = chunk > 0 ? static_cast<std::uint64_t>(chunk) : 0;
    // The highest bit says that chunks come in order, which they do.
    switch (static_cast<unsigned>(kind) & 0x7FFFFFFFU) {
      case omp_sched_static:
      case omp_sched_auto:
        schedule_ = haz::schedule::static_;
        break;
      case omp_sched_guided:
        schedule_ = haz::schedule::guided;
        break;
      default:
        chunk_ = at_least_one(chunk_);
    }
#endif
  }

  std::uint64_t size_;
  haz::schedule schedule_;
  std::uint64_t chunk_;
  std::exception_ptr error_;
  bool failed_ = false;
  alignas(64) std::uint64_t taken_ = 0;  // on a cache line of its own
};

/// What one thread runs, part by part.
class loop_share {
 public:
  loop_share(loop_state& loop, int thread, int team)
      : loop_(loop),
        thread_(static_cast<std::uint64_t>(thread)),
        team_(static_cast<std::uint64_t>(team)) {
    const std::uint64_t size = loop.size();
    const std::uint64_t chunk = loop.chunk() < size ? loop.chunk() : size;
    switch (loop.schedule()) {
      case haz::schedule::static_:
        is_shared_ = false;
        if (chunk > 0) {
          chunk_ = chunk;
          next_ = thread_ < (size - 1) / chunk + 1 ? thread_ * chunk : size;
          stop_ = size;
        } else {
          const std::uint64_t rest = size % team_;
          next_ = thread_ * (size / team_) + (thread_ < rest ? thread_ : rest);
          stop_ = next_ + size / team_ + (thread_ < rest ? 1 : 0);
          chunk_ = at_least_one((stop_ - next_) / blocks_per_share);
          team_ = 1;  // the blocks of a share follow each other
        }
        break;
      case haz::schedule::guided:
        is_guided_ = true;
        chunk_ = at_least_one(chunk);
        break;
      default:
        chunk_ = chunk > 0 ? chunk : at_least_one(size / team_ / blocks_per_share);
    }
  }

  /// Sets `begin` and `end` to the next part. False: there is none, or the loop has failed.
  bool next() {
    if (loop_.has_failed()) return false;
    if (is_shared_) return take();
    if (next_ >= stop_) return false;
    begin = next_;
    end = stop_ - begin > chunk_ ? begin + chunk_ : stop_;
    // The distance to the next chunk may not fit.
    next_ = (stop_ - begin) / chunk_ >= team_ ? begin + chunk_ * team_ : stop_;
    return true;
  }

  std::uint64_t begin = 0;
  std::uint64_t end = 0;

 private:
  bool take() {
    const auto [first, number] = loop_.take([this](std::uint64_t left) {
      if (!is_guided_) return chunk_;
      const std::uint64_t part = left / (2 * team_);
      return part > chunk_ ? part : chunk_;
    });
    begin = first;
    end = first + number;
    return number > 0;
  }

  loop_state& loop_;
  std::uint64_t thread_;
  std::uint64_t team_;
  std::uint64_t chunk_ = 1;
  std::uint64_t next_ = 0;
  std::uint64_t stop_ = 0;
  bool is_shared_ = true;
  bool is_guided_ = false;
};

struct plus {
  template <class Value>
  Value operator()(const Value& a, const Value& b) const {
    return a + b;
  }
};

/// Combines `at(begin)` to `at(end - 1)`; there is at least one. Numbers in several chains, which
/// the processor, or a vector instruction, works on at the same time.
template <class Value, class Index, class At, class Combine>
Value reduce_part(Index begin, Index end, const At& at, const Combine& combine) {
  constexpr Index lanes = 8;
  if constexpr (std::is_arithmetic_v<Value>) {
    if (end - begin >= 2 * lanes) {
      Value sums[lanes];
      for (Index lane = 0; lane < lanes; ++lane)
        sums[lane] = at(begin + lane);
      Index i = begin + lanes;
      for (; i + lanes <= end; i += lanes) {
        for (Index lane = 0; lane < lanes; ++lane)
          sums[lane] = static_cast<Value>(combine(sums[lane], at(i + lane)));
      }
      for (; i < end; ++i)
        sums[0] = static_cast<Value>(combine(sums[0], at(i)));
      for (Index lane = 1; lane < lanes; ++lane)
        sums[0] = static_cast<Value>(combine(sums[0], sums[lane]));
      return sums[0];
    }
  }
  Value sum = at(begin);
  for (Index i = begin + 1; i < end; ++i)
    sum = static_cast<Value>(combine(std::move(sum), at(i)));
  return sum;
}

/// One value for each thread that has one, on cache lines of their own.
template <class Value>
class partial_results {
 public:
  explicit partial_results(int threads) : slots_(new slot[static_cast<std::size_t>(threads)]) {
    num_slots_ = threads;
  }
  partial_results(const partial_results&) = delete;
  partial_results& operator=(const partial_results&) = delete;
  ~partial_results() {
    for (int i = 0; i < num_slots_; ++i) {
      if (slots_[i].has_value) slots_[i].value.~Value();
    }
    delete[] slots_;
  }

  /// From the thread of that number only.
  template <class Combine>
  void add(int thread, Value&& value, const Combine& combine) {
    slot& own = slots_[thread];
    if (own.has_value) {
      own.value = static_cast<Value>(combine(std::move(own.value), std::move(value)));
    } else {
      new (&own.value) Value(std::move(value));
      own.has_value = true;
    }
  }

  /// When all threads have ended. In the order of the threads.
  template <class Combine>
  Value result(Value&& initial, const Combine& combine) {
    Value sum = std::move(initial);
    for (int i = 0; i < num_slots_; ++i) {
      if (slots_[i].has_value)
        sum = static_cast<Value>(combine(std::move(sum), std::move(slots_[i].value)));
    }
    return sum;
  }

 private:
  struct alignas(64) slot {
    // The value's life begins with add().
    slot() {}   // NOLINT(modernize-use-equals-default)
    ~slot() {}  // NOLINT(modernize-use-equals-default)
    slot(const slot&) = delete;
    slot& operator=(const slot&) = delete;
    union {
      Value value;
    };
    bool has_value = false;
  };
  slot* slots_;
  int num_slots_;
};

}  // namespace detail
}  // namespace haz
