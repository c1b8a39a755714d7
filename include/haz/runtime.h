/// @file
/// Starting and ending haz.
///
/// A program calls init() first in main, before it starts threads, opens connections or writes
/// anything:
///
///     int main(int argc, char** argv) {
///       const auto runtime = haz::init(argc, argv);
///       ...
///     }
///
/// Where workers come from: init() makes a copy of the program (fork), the *zygote*, which waits
/// there and from which workers are forked when tasks come. So static initialisers run once, in the
/// program; what they have made, each worker has a copy of. A worker never returns from init(). It
/// ends without destructors of static objects and functions of std::atexit(), but what std::printf
/// and std::cout have buffered is written. Tasks see no descriptors of the program but standard
/// output and error.
///
/// Where a copy can't be made, since static initialisers have started threads, and when a zygote
/// was killed, the program is started once more, with `--haz-zygote` before its arguments. Static
/// initialisers run in it, main gets as far as init(), and there it becomes the zygote. That is why
/// init() stands first.
///
/// A program that joins a long-lived node has workers there that are this program, too: a worker of
/// the node that is given its first task of the program starts the program's file, with
/// `--haz-worker` and a number before its arguments, in the program's folder and with its
/// environment. Static initialisers run in each such worker, main gets as far as init().
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "haz/detail/abi.h"
#include "haz/detail/export.h"
#include "haz/task_error.h"

namespace haz {

/// What init() starts.
struct runtime_options {
  /// Tasks that run at a time; 0: as many as this process may use processors.
  double num_cpus = 0;
  /// Further resources, name and amount, that tasks can ask for.
  std::vector<std::pair<std::string, double>> resources{};
  /// Size of the object store in bytes; 0: a third or so of the memory that the machine, or the
  /// container, has.
  std::uint64_t object_store_bytes = 0;
  /// Whether what tasks print appears in the program's output, each line with the task's name.
  bool show_output = true;
  /// Of a long-lived node to join (`haz start`), beside other programs of C++ and Python: "auto",
  /// the one that the environment variable HAZ_ADDRESS names, else the default one; or its name; or
  /// the path of its socket. "local": a node of this program's own. Empty: HAZ_ADDRESS, else
  /// "local". The options above, but for the last one, are the node's own then and can't be given.
  std::string address{};
  /// Where names of actors are looked up; programs that join one node share those of one namespace.
  /// Empty: one of this program's own.
  std::string name_space{};
  /// The interpreter that py_function() uses, with haz installed: a path, or a name in PATH. It is
  /// not needed, and not looked for, before the first call.
  std::string python = "python3";
};

class runtime;

namespace detail {
HAZ_API runtime start(int argc, char** argv, const runtime_options& options);
}  // namespace detail

/// Starts haz, one at a time in a process. `argc` and `argv` are those of main; in the processes of
/// workers this does not return.
///
/// Takes about a millisecond. Not thread-safe.
/// @throws usage_error if it runs already, for options out of range, and where the library is of
/// another version than the headers; node_died_error where there is no node to join; runtime_error.
runtime init(int argc, char** argv, const runtime_options& options = {});

/// haz, running for as long as this object exists. Its end ends all tasks and all processes. Let no
/// other thread use haz then.
class [[nodiscard]] HAZ_API runtime {
 public:
  runtime(runtime&& other) noexcept : generation_(std::exchange(other.generation_, 0)) {}
  runtime(const runtime&) = delete;
  runtime& operator=(const runtime&) = delete;
  runtime& operator=(runtime&&) = delete;
  ~runtime();

 private:
  friend runtime detail::start(int argc, char** argv, const runtime_options& options);
  explicit runtime(std::uint32_t generation) : generation_(generation) {}

  std::uint32_t generation_;
};

inline runtime init(int argc, char** argv, const runtime_options& options) {
  detail::check_headers();
  return detail::start(argc, argv, options);
}

/// Whether haz runs in this process.
HAZ_API bool is_running() noexcept;

/// Ends what init() has started, before the runtime object does. Idempotent.
HAZ_API void shutdown() noexcept;

}  // namespace haz
