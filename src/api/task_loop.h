/// @file
/// What a worker process of a C++ program runs: takes tasks, calls their functions, hands in what
/// they return.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <unordered_map>

#include "api/client_engine.h"
#include "api/python_worker.h"
#include "api/task_call.h"
#include "client/ring_client.h"
#include "haz/detail/registry.h"

namespace haz {

/// Belongs to the worker's main thread.
class TaskLoop {
 public:
  /// Both outlive it.
  /// `place`: its `arena` is none where the worker never becomes an interpreter.
  TaskLoop(RingClient& ring, ClientEngine& engine, WorkerPlace place);
  /// Runs tasks until the process should end. `is_ready`: the node was told that it is.
  void run(bool is_ready = false);

 private:
  struct Loaded {
    const detail::remote_function* function = nullptr;
    std::string name;  ///< Of the task.
    std::uint32_t threads = 1;
    std::uint32_t concurrency = 1;
    bool is_retried = false;
    std::string missing;  ///< Why there is no function.
  };

  void look_at_first(const TaskCommand& command);
  const Loaded& load(const TaskCommand& command);
  void execute(const TaskCommand& command);
  void execute_here(const TaskCommand& command, const Loaded& loaded, bool outermost);
  void run_calls();
  void run_call_threads();
  [[nodiscard]] std::int64_t began_at(bool outermost) const;
  void call(const Loaded& loaded, const TaskCommand& command, bool outermost);
  void give_up(const TaskCommand& command, std::int64_t began_ns, std::span<const NewValue> values);
  void finish(const TaskCommand& command, std::int64_t began_ns, Outcome outcome,
              std::span<NewValue> values);
  void fail(const TaskCommand& command, std::int64_t began_ns, std::span<const std::byte> error);
  bool move_to_arena(NewValue& error);
  void set_threads(std::uint32_t threads);

  RingClient& ring_;
  WorkerPlace place_;
  std::string no_python_;  ///< Why this process has not become an interpreter.
  ClientEngine& engine_;
  std::mutex functions_mutex_;                           ///< Guards functions_.
  std::unordered_map<std::uint32_t, Loaded> functions_;  ///< By number; the places stay.
  std::uint32_t threads_ = 0;                            ///< What OpenMP was told; 0: nothing yet.
  std::shared_ptr<void> actor_;                          ///< That of this process.
  const Loaded* last_loaded_ = nullptr;                  ///< What execute() has run last.
  std::uint32_t last_number_ = 0;                        ///< Its number.
  std::int64_t ended_ns_ = 0;                            ///< When that ended; 0: not known.
  const std::string* output_name_ = nullptr;             ///< Of the task that runs.
  std::uint32_t concurrency_ = 1;                        ///< Calls of the actor at a time.
  std::mutex claim_mutex_;   ///< Held by the thread that waits for a call.
  const bool sets_threads_;  ///< Nobody has set OMP_NUM_THREADS for the program.
};

}  // namespace haz
