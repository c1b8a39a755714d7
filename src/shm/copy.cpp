#include "shm/copy.h"

#include <pthread.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "base/units.h"
#include "os/clock.h"
#include "os/futex.h"
#include "os/machine.h"
#include "os/memory.h"
#include "os/signals.h"

namespace haz {
namespace {

constexpr std::size_t kNonTemporalFromBytes = kMiB;
constexpr std::size_t kParallelFromBytes = 8 * kMiB;
/// Cold copies are ten times slower, so waking a helper pays sooner.
constexpr std::size_t kColdParallelFromBytes = 2 * kMiB;
/// Large enough that taking one costs nothing, small enough that nobody waits long for the last.
constexpr std::size_t kWarmBlockBytes = 512 * kKiB;
/// Small enough that the pages just cleared are in the cache when they are written.
constexpr std::size_t kColdBlockBytes = 256 * kKiB;
constexpr int kMaxThreads = 4;
/// A helper needs about this long for its last block; sleeping would cost more than that.
constexpr std::int64_t kSpinNs = 100 * kMicrosecondNs;

#if defined(__x86_64__)
constexpr std::size_t kStreamAlignment = 64;
constexpr std::size_t kStreamBytes = 128;

/// Copies whole kStreamBytes to an aligned destination; returns how many bytes that were.
std::size_t stream_sse2(std::byte* destination, const std::byte* source, std::size_t size_bytes) {
  std::size_t done = 0;
  for (; done + kStreamBytes <= size_bytes; done += kStreamBytes) {
    const auto* from = reinterpret_cast<const __m128i*>(source + done);
    auto* to = reinterpret_cast<__m128i*>(destination + done);
    __m128i lanes[8];
    for (int i = 0; i < 8; ++i)
      lanes[i] = _mm_loadu_si128(from + i);
    for (int i = 0; i < 8; ++i)
      _mm_stream_si128(to + i, lanes[i]);
  }
  _mm_sfence();
  return done;
}

__attribute__((target("avx2"))) std::size_t stream_avx2(std::byte* destination,
                                                        const std::byte* source,
                                                        std::size_t size_bytes) {
  std::size_t done = 0;
  for (; done + kStreamBytes <= size_bytes; done += kStreamBytes) {
    const auto* from = reinterpret_cast<const __m256i*>(source + done);
    auto* to = reinterpret_cast<__m256i*>(destination + done);
    const __m256i lane0 = _mm256_loadu_si256(from);
    const __m256i lane1 = _mm256_loadu_si256(from + 1);
    const __m256i lane2 = _mm256_loadu_si256(from + 2);
    const __m256i lane3 = _mm256_loadu_si256(from + 3);
    _mm256_stream_si256(to, lane0);
    _mm256_stream_si256(to + 1, lane1);
    _mm256_stream_si256(to + 2, lane2);
    _mm256_stream_si256(to + 3, lane3);
  }
  _mm_sfence();
  return done;
}

void copy_non_temporal(std::byte* destination, const std::byte* source, std::size_t size_bytes) {
  static const bool kHasAvx2 = __builtin_cpu_supports("avx2") != 0;
  const std::size_t misaligned =
      reinterpret_cast<std::uintptr_t>(destination) & (kStreamAlignment - 1);
  const std::size_t head = std::min((kStreamAlignment - misaligned) % kStreamAlignment, size_bytes);
  std::memcpy(destination, source, head);
  destination += head;
  source += head;
  size_bytes -= head;
  const std::size_t done = kHasAvx2 ? stream_avx2(destination, source, size_bytes)
                                    : stream_sse2(destination, source, size_bytes);
  std::memcpy(destination + done, source + done, size_bytes - done);
}
#else
void copy_non_temporal(std::byte* destination, const std::byte* source, std::size_t size_bytes) {
  std::memcpy(destination, source, size_bytes);
}
#endif

/// One large copy, worked off in blocks by whoever comes.
class CopyJob {
 public:
  enum class Kind : std::uint8_t { kWarm, kCold, kWarmUp };

  CopyJob(Kind kind, void* destination, const void* source, std::size_t size_bytes)
      : kind_(kind),
        block_bytes_(kind == Kind::kWarm ? kWarmBlockBytes : kColdBlockBytes),
        destination_(static_cast<std::byte*>(destination)),
        source_(static_cast<const std::byte*>(source)),
        size_bytes_(size_bytes) {}

  /// Copies blocks until none is left. Any number of threads at once.
  void work() {
    for (;;) {
      const std::size_t offset = next_.fetch_add(block_bytes_, std::memory_order_relaxed);
      if (offset >= size_bytes_) return;
      copy_block(offset, std::min(block_bytes_, size_bytes_ - offset));
    }
  }

  /// How it went; after every thread has left work().
  Status status() && {
    if (error_) return *std::move(error_);
    return Ok{};
  }

 private:
  void copy_block(std::size_t offset, std::size_t size_bytes) {
    if (kind_ == Kind::kWarm) {
      copy_non_temporal(destination_ + offset, source_ + offset, size_bytes);
      return;
    }
    Status populated = populate_for_writing(destination_ + offset, size_bytes);
    if (!populated) {
      next_.store(size_bytes_, std::memory_order_relaxed);
      const std::lock_guard lock(error_mutex_);
      error_ = populated.error();
      return;
    }
    if (kind_ == Kind::kCold) std::memcpy(destination_ + offset, source_ + offset, size_bytes);
  }

  const Kind kind_;
  const std::size_t block_bytes_;
  std::byte* const destination_;
  const std::byte* const source_;
  const std::size_t size_bytes_;
  std::atomic<std::size_t> next_{0};
  std::mutex error_mutex_;
  std::optional<Error> error_;
};

/// The process' helper threads. They belong to the process as its memory bandwidth does, hence the
/// one global; it is never destroyed, since copies may run until the process ends.
class CopyThreads {
 public:
  static CopyThreads& instance() {
    static auto* const kInstance = new CopyThreads;
    return *kInstance;
  }

  /// Works the job off, with helpers where they can be had.
  void run(CopyJob& job) {
    if (!owned_by_this_process() || !post(job)) {
      job.work();
      return;
    }
    job.work();
    const std::int64_t limit_ns = monotonic_ns() + kSpinNs;
    while (active_.load(std::memory_order_relaxed) != 0 && monotonic_ns() < limit_ns)
      cpu_relax();
    std::unique_lock lock(mutex_);
    open_ = false;
    idle_.wait(lock, [this] { return active_.load(std::memory_order_relaxed) == 0; });
    job_ = nullptr;
  }

  void shutdown() {
    if (!owned_by_this_process()) return;
    std::vector<std::thread> threads;
    {
      const std::lock_guard lock(mutex_);
      ++generation_;
      threads.swap(threads_);
      started_ = false;
    }
    wake_.notify_all();
    for (std::thread& thread : threads)
      thread.join();
  }

 private:
  CopyThreads() = default;

  /// Whether the threads and the mutex are this process' own. A forked child has neither the
  /// threads nor any way to know the mutex's state.
  bool owned_by_this_process() {
    const pid_t self = getpid();
    pid_t owner = 0;
    return owner_.compare_exchange_strong(owner, self, std::memory_order_relaxed) || owner == self;
  }

  /// Offers the job to the helpers; false if they are at another one.
  bool post(CopyJob& job) {
    {
      const std::unique_lock lock(mutex_, std::try_to_lock);
      if (!lock || job_ != nullptr) return false;
      if (!started_) start();
      if (threads_.empty()) return false;
      job_ = &job;
      open_ = true;
      ++job_number_;
    }
    wake_.notify_all();
    return true;
  }

  void start() {
    started_ = true;
    const ScopedSignalBlock no_signals;  // threads inherit the mask: signals belong to the others
    const int helpers = std::min(kMaxThreads, usable_cpus()) - 1;
    for (int i = 0; i < helpers; ++i) {
      try {
        threads_.emplace_back([this, generation = generation_] { help(generation); });
      } catch (const std::system_error&) {
        return;  // no more threads to be had: the copies are slower, that's all
      }
      pthread_setname_np(threads_.back().native_handle(), "haz-copy");
    }
  }

  void help(std::uint64_t generation) {
    std::uint64_t last_job = 0;
    std::unique_lock lock(mutex_);
    for (;;) {
      wake_.wait(lock,
                 [&] { return generation_ != generation || (open_ && job_number_ != last_job); });
      if (generation_ != generation) return;
      CopyJob* job = job_;
      last_job = job_number_;
      active_.fetch_add(1, std::memory_order_relaxed);
      lock.unlock();
      job->work();
      lock.lock();
      if (active_.fetch_sub(1, std::memory_order_relaxed) == 1) idle_.notify_all();
    }
  }

  std::atomic<pid_t> owner_{0};
  std::mutex mutex_;
  std::condition_variable wake_;
  std::condition_variable idle_;
  std::vector<std::thread> threads_;
  bool started_ = false;
  std::uint64_t generation_ = 0;  ///< Of the threads; shutdown() ends one.
  std::uint64_t job_number_ = 0;
  CopyJob* job_ = nullptr;
  bool open_ = false;           ///< Whether helpers may still join the job.
  std::atomic<int> active_{0};  ///< Helpers at the job; changed under the mutex.
};

Status run_cold(CopyJob::Kind kind, void* destination, const void* source, std::size_t size_bytes) {
  if (size_bytes == 0) return Ok{};
  if (!can_populate()) {
    return Error{ErrorKind::kUnavailable, "this kernel can't populate pages (Linux 5.14 can)"};
  }
  CopyJob job(kind, destination, source, size_bytes);
  if (size_bytes >= kColdParallelFromBytes) {
    CopyThreads::instance().run(job);
  } else {
    job.work();
  }
  return std::move(job).status();
}

}  // namespace

void copy_large(void* destination, const void* source, std::size_t size_bytes) noexcept {
  if (size_bytes == 0) return;
  if (size_bytes < kNonTemporalFromBytes) {
    std::memcpy(destination, source, size_bytes);
  } else if (size_bytes < kParallelFromBytes) {
    copy_non_temporal(static_cast<std::byte*>(destination), static_cast<const std::byte*>(source),
                      size_bytes);
  } else {
    CopyJob job(CopyJob::Kind::kWarm, destination, source, size_bytes);
    CopyThreads::instance().run(job);
  }
}

Status copy_to_cold(void* destination, const void* source, std::size_t size_bytes) {
  return run_cold(CopyJob::Kind::kCold, destination, source, size_bytes);
}

Status warm_up(void* destination, std::size_t size_bytes) {
  return run_cold(CopyJob::Kind::kWarmUp, destination, nullptr, size_bytes);
}

void shutdown_copy_threads() { CopyThreads::instance().shutdown(); }

}  // namespace haz
