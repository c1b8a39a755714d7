// Round trip between two processes: the limit of a synchronous call.
// usage: pingpong spin|futex|pipe PAUSE_US COUNT BUDGET_S   -> {"p50": s, "p99": s, "calls": n}
// The parent pauses (sleeps) PAUSE_US between calls, as a caller with other work would.
// Spinning processes are pinned to two cores: left alone they sometimes share one for a long time,
// which is the scheduler's doing and no limit of the machine.
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>

#include <atomic>
#include <cstring>
#include <memory>
#include <string>

#include "probe.h"

namespace {

class Link {
 public:
  virtual ~Link() = default;
  virtual void prepare(bool /*is_server*/) {}     // each process, before the first call
  virtual void call(std::uint32_t sequence) = 0;  // parent: send, then wait for the answer
  virtual void serve() = 0;                       // child: answer for ever
};

struct Words {
  alignas(128) std::atomic<std::uint32_t> request;
  alignas(128) std::atomic<std::uint32_t> reply;
};

// Puts this process on the first or the last core that it may use.
void pin(bool to_last) {
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0) return;
  int chosen = -1;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &allowed) && (chosen < 0 || to_last)) chosen = cpu;
  }
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(chosen, &one);
  sched_setaffinity(0, sizeof(one), &one);
}

class SpinLink final : public Link {
 public:
  void prepare(bool is_server) override { pin(is_server); }
  void call(std::uint32_t sequence) override {
    words_->request.store(sequence, std::memory_order_release);
    while (words_->reply.load(std::memory_order_acquire) != sequence)
      probe::cpu_relax();
  }
  void serve() override {
    for (std::uint32_t seen = 0;;) {
      const std::uint32_t wanted = words_->request.load(std::memory_order_acquire);
      if (wanted == seen) {
        probe::cpu_relax();
        continue;
      }
      seen = wanted;
      words_->reply.store(seen, std::memory_order_release);
    }
  }

 private:
  Words* words_ = static_cast<Words*>(probe::shared_memory(sizeof(Words)));
};

void futex_wait(std::atomic<std::uint32_t>& word, std::uint32_t while_value) {
  syscall(SYS_futex, &word, FUTEX_WAIT, while_value, nullptr, nullptr, 0);
}

void futex_wake(std::atomic<std::uint32_t>& word) {
  syscall(SYS_futex, &word, FUTEX_WAKE, 1, nullptr, nullptr, 0);
}

class FutexLink final : public Link {
 public:
  void call(std::uint32_t sequence) override {
    words_->request.store(sequence, std::memory_order_release);
    futex_wake(words_->request);
    while (words_->reply.load(std::memory_order_acquire) != sequence) {
      futex_wait(words_->reply, sequence - 1);
    }
  }
  void serve() override {
    for (std::uint32_t seen = 0;;) {
      while (words_->request.load(std::memory_order_acquire) == seen) {
        futex_wait(words_->request, seen);
      }
      seen = words_->request.load(std::memory_order_acquire);
      words_->reply.store(seen, std::memory_order_release);
      futex_wake(words_->reply);
    }
  }

 private:
  Words* words_ = static_cast<Words*>(probe::shared_memory(sizeof(Words)));
};

class PipeLink final : public Link {
 public:
  PipeLink() {
    if (pipe(request_) != 0 || pipe(reply_) != 0) probe::die("pipe");
  }
  void call(std::uint32_t sequence) override {
    if (write(request_[1], &sequence, 4) != 4 || read(reply_[0], &sequence, 4) != 4) {
      probe::die("pipe call");
    }
  }
  void serve() override {
    for (std::uint32_t value = 0;;) {
      if (read(request_[0], &value, 4) != 4 || write(reply_[1], &value, 4) != 4) std::exit(0);
    }
  }

 private:
  int request_[2] = {-1, -1};
  int reply_[2] = {-1, -1};
};

std::unique_ptr<Link> make_link(const std::string& kind) {
  if (kind == "spin") return std::make_unique<SpinLink>();
  if (kind == "futex") return std::make_unique<FutexLink>();
  if (kind == "pipe") return std::make_unique<PipeLink>();
  std::fprintf(stderr, "unknown kind %s\n", kind.c_str());
  std::exit(2);
}

void pause_for(long microseconds) {
  if (microseconds <= 0) return;
  const timespec pause{microseconds / 1000000, (microseconds % 1000000) * 1000};
  nanosleep(&pause, nullptr);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) return 2;
  const auto link = make_link(argv[1]);
  const long pause_us = std::atol(argv[2]);
  const auto count = static_cast<std::size_t>(std::atol(argv[3]));
  const double deadline_s = probe::now_s() + std::atof(argv[4]);
  const pid_t server = probe::fork_child();
  link->prepare(server == 0);
  if (server == 0) {
    link->serve();
    return 0;
  }
  std::vector<double> seconds;
  seconds.reserve(std::min<std::size_t>(count, 1 << 22));
  for (std::uint32_t sequence = 1; seconds.size() < count; ++sequence) {
    pause_for(pause_us);
    const double start_s = probe::now_s();
    link->call(sequence);
    const double end_s = probe::now_s();
    seconds.push_back(end_s - start_s);
    if (end_s > deadline_s) break;
  }
  probe::kill_and_reap(server);
  std::printf("{\"p50\": %.9f, \"p99\": %.9f, \"calls\": %zu}\n", probe::median(seconds),
              probe::percentile(seconds, 0.99), seconds.size());
}
