#include "api/worker_process.h"

#include <stdio_ext.h>

#include <csignal>
#include <cstdint>
#include <cstdio>
#include <iostream>
#include <memory>
#include <optional>
#include <utility>

#include "api/client_engine.h"
#include "api/current_engine.h"
#include "api/fork_guard.h"
#include "api/program.h"
#include "api/python_worker.h"
#include "api/task_loop.h"
#include "client/ring_client.h"
#include "node/zygote_loop.h"
#include "os/process.h"
#include "os/signals.h"

namespace haz {

namespace {

constexpr int kFailed = 1;

/// An interrupt ends waits and sleeps; should_stop() tells of it.
void note_interrupt(int /*signal*/) {}

[[noreturn]] void end_worker(int code) {
  std::cout.flush();
  std::clog.flush();
  std::fflush(nullptr);
  exit_now(code);
}

/// Runs tasks as the worker whose ring that is.
/// `place`: for an interpreter that the worker may have to become.
[[noreturn]] void run_worker(Result<std::unique_ptr<RingClient>> ring, WorkerPlace place,
                             bool is_ready) {
  for (const int signal : {SIGTERM, SIGHUP, SIGPIPE, SIGCHLD, SIGUSR1, SIGUSR2})
    handle_signal(signal, nullptr);
  handle_signal(SIGINT, note_interrupt);
  if (!ring) {
    std::fprintf(stderr, "haz: a worker can't join its node: %s\n", ring.error().message.c_str());
    end_worker(kFailed);
  }
  ClientEngine engine(**ring, ring->get(), kPythonEnvironment);
  set_current_engine(engine);
  guard_in_forked_children(&(*ring)->arena());
  unblock_all_signals();
  TaskLoop(**ring, engine, std::move(place)).run(is_ready);
  end_worker(0);
}

}  // namespace

void be_worker_of_node(const char* place) {
  std::optional<WorkerPlace> worker = read_worker_place(place);
  if (!worker) {
    std::fprintf(stderr, "haz: %s is an argument of workers; it is not meant for people\n",
                 kWorkerArgument);
    exit_now(kFailed);
  }
  ::__fpurge(stdout);  // what was printed up to here, the driver has printed, too
  set_process_name("haz-worker");
  note_python_workers();
  run_worker(RingClient::take_over(std::move(worker->arena), worker->slot, worker->process), {},
             /*is_ready=*/true);
}

void be_zygote() {
  ::__fpurge(stdout);  // what the program has printed up to here, its first process has printed too
  auto setup = receive_zygote_setup(kFirstInheritedFd);
  if (!setup) exit_now(kFailed);
  std::optional<ForkedWorker> worker =
      run_zygote(UniqueFd(kFirstInheritedFd), setup->driver_pid, {});
  if (!worker) exit_now(0);
  WorkerPlace place{worker->slot, ProcessId{worker->process_id}, duplicate(worker->arena_fd.get())};
  run_worker(
      RingClient::join(std::move(worker->arena_fd), worker->slot, ProcessId{worker->process_id}),
      std::move(place), /*is_ready=*/false);
}

}  // namespace haz
