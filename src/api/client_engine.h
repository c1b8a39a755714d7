/// @file
/// The engine that the public headers use, on top of this process' client of its node.
#pragma once

#include <atomic>
#include <string>
#include <utility>

#include "api/completions.h"
#include "client/client.h"
#include "client/ring_client.h"
#include "haz/detail/engine.h"

namespace haz {

/// Fills in where far bytes will stand; returns the size of the whole.
std::uint64_t lay_out(const detail::encoded& value);
/// Writes a laid out value.
void write_laid_out(const detail::encoded& value, std::byte* to);

/// That of the workers of a C++ program that have become interpreters.
inline constexpr const char* kPythonEnvironment = "python";

/// Any thread may call it.
class ClientEngine final : public detail::engine {
 public:
  /// `client` outlives it. `ring`: the same one, in a worker; else null.
  /// `python_environment`: what functions are registered for that only workers of Python run.
  ClientEngine(Client& client, RingClient* ring, std::string python_environment)
      : client_(client),
        ring_(ring),
        completions_(client),
        python_environment_(std::move(python_environment)) {}

  /// `program`: what workers of the node have to become to run this program's tasks, as
  /// describe_program() says it. Before other threads use the engine; of a worker by its main
  /// thread.
  void set_program(std::string program);
  [[nodiscard]] std::uint32_t version() const noexcept override { return detail::abi_version; }
  bool register_function(const detail::function_spec& function, std::uint32_t* id,
                         detail::failure& why) noexcept override;
  bool submit(const detail::call& call, std::uint64_t* id, detail::failure& why) noexcept override;
  bool create_actor(const detail::call& call, const detail::actor_name& name, std::uint64_t* id,
                    detail::failure& why) noexcept override;
  bool find_actor(const detail::actor_name& name, std::uint64_t* id,
                  detail::bytes_receiver receiver, void* context,
                  detail::failure& why) noexcept override;
  void kill_actor(std::uint64_t id, bool no_restart) noexcept override {
    client_.kill_actor(ObjectId{id}, no_restart);
  }
  bool put(const detail::encoded& value, std::uint64_t* id, detail::failure& why) noexcept override;
  bool store(const detail::encoded& value, detail::stored* place,
             detail::failure& why) noexcept override;
  bool get(const std::uint64_t* ids, std::size_t count, std::int64_t timeout_ns,
           detail::fetched_receiver receiver, void* context,
           detail::failure& why) noexcept override;
  bool wait(const std::uint64_t* ids, std::size_t count, std::size_t needed,
            std::int64_t timeout_ns, bool* ready, detail::failure& why) noexcept override;
  void cancel(std::uint64_t id, bool force, bool recursive) noexcept override;
  bool count_cpus(double* cpus, detail::failure& why) noexcept override;
  void add_reference(std::uint64_t id) noexcept override { client_.add_reference(ObjectId{id}); }
  void drop_reference(std::uint64_t id) noexcept override { client_.drop_reference(ObjectId{id}); }
  [[nodiscard]] bool is_interrupted() const noexcept override {
    if (ring_ == nullptr || !ring_->interrupt_pending()) return false;
    ring_->note_interrupts();
    return true;
  }
  bool notify(std::uint64_t id, detail::ready_callback resume, void* context, bool* is_ready,
              detail::failure& why) noexcept override;
  bool exit_actor(detail::failure& why) noexcept override;
  /// Whoever waits for notify() goes on now. Before the client goes.
  void end_notifications() noexcept { completions_.end(); }
  /// That of actors whose calls name none; as set_program() sets it, too.
  void set_name_space(std::string name_space) { name_space_ = std::move(name_space); }
  /// In an actor's process: exit_actor() does something. By the main thread.
  void become_actor() { is_actor_ = true; }
  [[nodiscard]] void* hold_memory() noexcept override;
  void release_memory(void* held) noexcept override;

 private:
  /// Whether this is a driver that has joined a long-lived node.
  [[nodiscard]] bool is_joined() const { return ring_ == nullptr && !program_.empty(); }
  [[nodiscard]] std::string space_of(const detail::actor_name& name) const {
    return *name.name_space != '\0' ? name.name_space : name_space_;
  }
  bool fill(Submission& submission, const detail::call& call, detail::failure& why);

  Client& client_;
  RingClient* ring_;
  Completions completions_;
  std::atomic<bool> is_actor_{false};
  std::atomic<double> cpus_{0};  ///< Of the node, which has that many for good; 0: not asked yet.
  std::string program_;          ///< Empty: workers are this program already.
  std::string name_space_;       ///< Of actors whose calls name none.
  const std::string python_environment_;
};

/// Fills `why`.
void tell(detail::failure& why, detail::failure_kind kind, const char* text) noexcept;
void tell(detail::failure& why, const Error& error) noexcept;

/// What a thread of C++ does while it waits.
class NativeHooks final : public WaitHooks {
 public:
  /// `ring`: of a worker; else null.
  explicit NativeHooks(const RingClient* ring) : ring_(ring) {}
  [[nodiscard]] bool may_run_tasks() const override { return ring_ != nullptr; }
  bool interrupted() override { return ring_ != nullptr && ring_->interrupt_pending(); }

 private:
  const RingClient* ring_;
};

}  // namespace haz
