/// @file
/// What the calls of haz throw. All derive from haz::error; copies share the text and may be read
/// by any number of threads.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "haz/detail/export.h"
#include "haz/error.h"

namespace haz {

/// Base class of what follows: a text of any length.
class HAZ_API runtime_error : public error {
 public:
  /// With what what() returns.
  explicit runtime_error(std::string text)
      : text_(std::make_shared<const std::string>(std::move(text))) {}
  [[nodiscard]] const char* what() const noexcept override { return text_->c_str(); }

 private:
  std::shared_ptr<const std::string> text_;
};

/// haz is not running: init() was not called, or the runtime has ended.
class HAZ_API not_running_error : public runtime_error {
 public:
  using runtime_error::runtime_error;
};

/// What was given makes no sense: a function that is not registered, options out of range.
class HAZ_API usage_error : public runtime_error {
 public:
  using runtime_error::runtime_error;
};

/// A value has another type than the program says; or is one that C++ can't read.
class HAZ_API type_error : public runtime_error {
 public:
  using runtime_error::runtime_error;
};

/// A task has thrown. Of an exception of Python the type and the traceback are Python's.
class HAZ_API task_error : public runtime_error {
 public:
  /// What is known of it.
  struct report {
    std::string task_name;           ///< By default that of its function.
    std::string type_name;           ///< "std::out_of_range"
    std::string message;             ///< What its what() said.
    std::string traceback;           ///< Of Python; of C++ the exception, its stack and its causes.
    std::vector<std::string> stack;  ///< Of C++: functions, the one that has thrown first.
    std::vector<std::string> causes;  ///< "type: message" of each nested exception.
    std::int64_t pid = 0;             ///< Of the process in which it was thrown.
  };
  /// With what what() returns, and what the other members do.
  task_error(std::string text, report what_happened)
      : runtime_error(std::move(text)),
        report_(std::make_shared<const report>(std::move(what_happened))) {}

  /// Name of the task, by default that of its function.
  [[nodiscard]] const std::string& task_name() const { return report_->task_name; }
  /// Type of what was thrown.
  [[nodiscard]] const std::string& type_name() const { return report_->type_name; }
  /// What was said by what was thrown.
  [[nodiscard]] const std::string& message() const { return report_->message; }
  /// Of Python: the traceback as Python shows it. Of C++: the exception, its stack and its causes.
  [[nodiscard]] const std::string& traceback() const { return report_->traceback; }
  /// Of C++: the functions that were active when it was thrown, the innermost first, up to the
  /// task's own, as "simulate(int) (program+0x1234)", where the number is for addr2line. Functions
  /// that the compiler has put into others are not there. Empty where it is not known: it was
  /// thrown in another thread, the C++ library is linked statically.
  [[nodiscard]] const std::vector<std::string>& stack() const { return report_->stack; }
  /// Of std::throw_with_nested, outermost first.
  [[nodiscard]] const std::vector<std::string>& causes() const { return report_->causes; }
  /// Process in which it was thrown.
  [[nodiscard]] std::int64_t pid() const { return report_->pid; }

 private:
  std::shared_ptr<const report> report_;
};

/// The process that ran a task has died: of a signal, by exit(), or killed.
class HAZ_API worker_crashed_error : public runtime_error {
 public:
  /// With what what() returns, and what the other members do.
  worker_crashed_error(std::string text, std::int64_t pid, int signal, int exit_code)
      : runtime_error(std::move(text)), pid_(pid), signal_(signal), exit_code_(exit_code) {}
  /// Of the process that has died.
  [[nodiscard]] std::int64_t pid() const { return pid_; }
  /// Number of the signal that ended it; 0: it exited.
  [[nodiscard]] int signal() const { return signal_; }
  /// -1 if a signal ended it.
  [[nodiscard]] int exit_code() const { return exit_code_; }

 private:
  std::int64_t pid_;
  int signal_;
  int exit_code_;
};

/// The task was cancelled.
class HAZ_API task_cancelled_error : public runtime_error {
 public:
  using runtime_error::runtime_error;
};

/// The task has run longer than its `timeout_s`.
class HAZ_API task_timeout_error : public runtime_error {
 public:
  using runtime_error::runtime_error;
};

/// get_for() has waited as long as it may. The task goes on.
class HAZ_API get_timeout_error : public runtime_error {
 public:
  using runtime_error::runtime_error;
};

/// The node can never give the resources that a task asks for.
class HAZ_API infeasible_resources_error : public runtime_error {
 public:
  using runtime_error::runtime_error;
};

/// The object store has no room, and nobody is seen who could free some.
class HAZ_API object_store_full_error : public runtime_error {
 public:
  using runtime_error::runtime_error;
};

/// The object of a ref is gone.
class HAZ_API object_lost_error : public runtime_error {
 public:
  using runtime_error::runtime_error;
};

/// haz has ended while a call waited.
class HAZ_API node_died_error : public runtime_error {
 public:
  using runtime_error::runtime_error;
};

/// A call of an actor has failed because of the actor.
class HAZ_API actor_error : public runtime_error {
 public:
  using runtime_error::runtime_error;
};

/// The actor has ended for good.
class HAZ_API actor_died_error : public actor_error {
 public:
  using actor_error::actor_error;
};

/// The call had begun when the actor's process died, and the actor is started again: later calls
/// may succeed.
class HAZ_API actor_unavailable_error : public actor_error {
 public:
  using actor_error::actor_error;
};

/// The actor has as many calls as its `max_pending_calls` allows.
class HAZ_API pending_calls_error : public actor_error {
 public:
  using actor_error::actor_error;
};

}  // namespace haz
