#include "session.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <new>
#include <utility>
#include <vector>

#include "client/embedded_client.h"
#include "os/clock.h"

namespace haz::py {

namespace {

/// Epochs of all sessions, by generation from 1.
std::vector<std::uint64_t>& epochs() {
  static auto* all = new std::vector<std::uint64_t>;
  return *all;
}

std::uint32_t next_generation(std::uint64_t epoch) {
  epochs().push_back(epoch);
  return static_cast<std::uint32_t>(epochs().size());
}

std::atomic<bool> in_forked_child{false};
/// For the handler of forks, which may take no lock.
std::atomic<Arena*> arena_to_protect{nullptr};

std::shared_ptr<Session>& session_slot() {
  // Never destroyed: destructors of Python objects look here until the very end.
  static auto* slot = new std::shared_ptr<Session>;
  return *slot;
}

void after_fork_in_child() {
  if (Arena* arena = arena_to_protect.load(std::memory_order_relaxed); arena != nullptr) {
    in_forked_child.store(true, std::memory_order_relaxed);
    (void)arena->protect_after_fork();
  }
}

}  // namespace

Session::Session(std::unique_ptr<Node> node)
    : generation_(next_generation(node->epoch())),
      node_(std::move(node)),
      client_(std::make_unique<EmbeddedClient>(*node_)) {}

Session::Session(std::unique_ptr<RingClient> ring)
    : generation_(next_generation(ring->epoch())),
      client_(std::move(ring)),
      ring_(static_cast<RingClient*>(client_.get())) {}

Session::Session(std::unique_ptr<RingClient> ring, std::unique_ptr<DriverLink> link)
    : Session(std::move(ring)) {
  link_ = std::move(link);
}

Session::~Session() {
  if (getpid() == owner_pid_) return;
  // The parent's; leaked here, so that nothing of it is torn down.
  static_cast<void>(new (std::nothrow) auto(std::move(node_)));
  static_cast<void>(new (std::nothrow) auto(std::move(link_)));
  static_cast<void>(new (std::nothrow) auto(std::move(client_)));
}

std::shared_ptr<Session> current_session() { return forked() ? nullptr : session_slot(); }

void set_session(std::shared_ptr<Session> session) {
  static const int kRegistered = pthread_atfork(nullptr, nullptr, after_fork_in_child);
  (void)kRegistered;
  arena_to_protect.store(session ? &session->client().arena() : nullptr, std::memory_order_relaxed);
  session_slot() = std::move(session);
}

Session* session_of(std::uint32_t generation) {
  Session* session = session_slot().get();
  return session != nullptr && session->generation() == generation && !forked() ? session : nullptr;
}

std::uint64_t epoch_of_session(std::uint32_t generation) {
  return generation != 0 && generation <= epochs().size() ? epochs()[generation - 1] : 0;
}

bool forked() { return in_forked_child.load(std::memory_order_relaxed); }

namespace {

std::string& plain_environment_slot() {
  static auto* slot = new std::string;
  return *slot;
}

}  // namespace

const std::string& plain_environment() { return plain_environment_slot(); }
void set_plain_environment(const char* name) { plain_environment_slot() = name; }

std::int64_t deadline_in(double seconds) {
  constexpr double kLongestS = 1e9;
  return monotonic_ns() + static_cast<std::int64_t>(std::min(seconds, kLongestS) * 1e9);
}

namespace {

bool program_has_other_threads() {
  PyObject* ask = nullptr;
  if (cached_attribute(ask, "haz._core.program_threads", "others_go_on") == nullptr) {
    PyErr_Clear();
    return false;
  }
  PyObject* answer = PyObject_CallNoArgs(ask);
  Py_DECREF(ask);
  const bool any = answer == Py_True;
  Py_XDECREF(answer);
  PyErr_Clear();
  return any;
}

}  // namespace

bool GilHooks::others_go_on() {
  const bool blocked = state_ != nullptr;
  if (blocked) PyEval_RestoreThread(state_);
  const bool any = program_has_other_threads();
  if (blocked) state_ = PyEval_SaveThread();
  return any;
}

bool GilHooks::interrupted() {
  PyEval_RestoreThread(state_);
  const bool raised = PyErr_CheckSignals() != 0;
  state_ = PyEval_SaveThread();
  return raised;
}

PyObject* cached_attribute(PyObject*& cache, const char* module, const char* name) {
  if (cache != nullptr) return cache;
  PyObject* imported = PyImport_ImportModule(module);
  if (imported == nullptr) return nullptr;
  cache = PyObject_GetAttrString(imported, name);
  Py_DECREF(imported);
  return cache;
}

void set_haz_error(const char* name, const char* message) {
  PyObject* cache = nullptr;
  PyObject* type = cached_attribute(cache, "haz.exceptions", name);
  if (type == nullptr) return;
  PyErr_SetString(type, message);
  Py_DECREF(type);
}

void set_python_error(const Error& error) {
  if (PyErr_Occurred() != nullptr) return;
  switch (error.kind) {
    case ErrorKind::kOverloaded:
      set_haz_error("ObjectStoreFullError", error.message.c_str());
      break;
    case ErrorKind::kTimeout:
      set_haz_error("GetTimeoutError", error.message.c_str());
      break;
    case ErrorKind::kNodeDied:
      set_haz_error("NodeDiedError", error.message.c_str());
      break;
    case ErrorKind::kLost:
      set_haz_error("ObjectLostError", error.message.c_str());
      break;
    default:
      PyErr_SetString(PyExc_RuntimeError, error.message.c_str());
  }
}

}  // namespace haz::py
