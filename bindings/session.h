/// @file
/// This process' connection to its node, as the Python objects of the module see it.
#pragma once

#include <Python.h>
#include <unistd.h>

#include <cstdint>
#include <memory>
#include <string>

#include "client/client.h"
#include "client/driver_link.h"
#include "client/ring_client.h"
#include "node/node.h"

namespace haz::py {

/// A started node or a joined one. In a forked child it is inert: nothing of it is torn down.
class Session {
 public:
  /// A node of this process' own.
  explicit Session(std::unique_ptr<Node> node);
  /// A worker of another process' node.
  explicit Session(std::unique_ptr<RingClient> ring);
  /// A driver that has joined a long-lived node.
  Session(std::unique_ptr<RingClient> ring, std::unique_ptr<DriverLink> link);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  Client& client() { return *client_; }
  Node* node() { return node_.get(); }
  RingClient* ring() { return ring_; }
  DriverLink* link() { return link_.get(); }
  [[nodiscard]] std::uint32_t generation() const { return generation_; }

 private:
  std::uint32_t generation_;
  pid_t owner_pid_ = getpid();
  std::unique_ptr<Node> node_;
  std::unique_ptr<Client> client_;
  RingClient* ring_ = nullptr;
  std::unique_ptr<DriverLink> link_;
};

/// The session of this process; null before init and after shutdown. With the GIL.
std::shared_ptr<Session> current_session();
void set_session(std::shared_ptr<Session> session);

/// The session of that number if it is the current one, else nullptr; for objects that outlive
/// theirs. With the GIL; the pointer is good while the GIL is held.
Session* session_of(std::uint32_t generation);

/// Epoch of the node of that session, also when it has ended; 0 if there never was one.
std::uint64_t epoch_of_session(std::uint32_t generation);

/// True in a forked child of a process that had a session.
bool forked();

/// Lets go of the GIL while a thread waits, and notices signals.
class GilHooks final : public WaitHooks {
 public:
  void before_block() override { state_ = PyEval_SaveThread(); }
  void after_block() override {
    PyEval_RestoreThread(state_);
    state_ = nullptr;
  }
  [[nodiscard]] bool may_run_tasks() const override { return true; }
  bool others_go_on() override;
  bool interrupted() override;

 private:
  PyThreadState* state_ = nullptr;
};

/// The environment for which functions are registered that name none; "" at first. With the GIL.
const std::string& plain_environment();
void set_plain_environment(const char* name);

/// The monotonic time that is `seconds` from now.
std::int64_t deadline_in(double seconds);

/// Sets the Python error that stands for `error`.
void set_python_error(const Error& error);
/// Sets the exception `name` of haz.exceptions with `message`.
void set_haz_error(const char* name, const char* message);
/// Attribute `name` of module `module`, kept for ever; nullptr with a Python error. Borrowed.
PyObject* cached_attribute(PyObject*& cache, const char* module, const char* name);

}  // namespace haz::py
