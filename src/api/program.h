/// @file
/// What a worker of a long-lived node has to become to run a C++ program's tasks: that program.
///
/// The node's zygote is no copy of the program. A worker that claims its first task finds the
/// program before the function's code, and runs it in its own place (exec) with an argument that
/// says which worker it is.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "os/fd.h"

namespace haz {

/// First argument of a program that is to be a worker; the second says which, see WorkerPlace.
inline constexpr const char* kWorkerArgument = "--haz-worker";

/// This program as others can start it, with the namespace of its actors: its file, folder,
/// arguments and environment. load() in _core/cpp_program.py reads it.
Result<std::string> describe_program(int argc, char** argv, const std::string& name_space);
/// The namespace in such a description.
std::string namespace_of_program(const std::string& program);

/// `code` with the program that runs it.
std::vector<std::byte> with_program(const std::string& program, std::span<const std::byte> code);

/// What with_program() was given, or only the code where it was not.
struct ProgramCode {
  std::string program;
  std::span<const std::byte> code;
};
ProgramCode split_program(std::span<const std::byte> bytes);

/// The worker that this process is to be.
struct WorkerPlace {
  std::uint32_t slot = 0;
  ProcessId process;
  UniqueFd arena;
};
/// "slot:process:descriptor"; nullopt: it is something else.
std::optional<WorkerPlace> read_worker_place(const char* argument);

}  // namespace haz
