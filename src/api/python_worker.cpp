#include "api/python_worker.h"

#include <atomic>
#include <cstdio>
#include <iostream>
#include <mutex>
#include <utility>
#include <vector>

#include "api/library_host.h"
#include "haz/task_error.h"
#include "os/process.h"

namespace haz {

namespace {

struct Python {
  std::mutex mutex;
  std::string interpreter = "python3";
  bool was_found = false;
};

Python& python() {
  static auto* all = new Python;
  return *all;
}

std::atomic<bool> workers_are_python{false};

/// Writes the number of what workers must agree on, or why it can't.
constexpr const char* kQuestion = R"(
import os
try:
    from haz import _native
    answer = str(_native.library_host_version)
except BaseException as error:
    answer = f"{type(error).__name__}: {error}"
os.write(3, answer.encode())
)";

std::string program_of(const std::string& interpreter) {
  std::string program = find_program(interpreter);
  if (program.empty()) {
    throw runtime_error("haz::py_function() needs a Python with haz, and there is no program '" +
                        interpreter +
                        "': name one in haz::init(argc, argv, {.python = \"/path/to/python3\"})");
  }
  return program;
}

}  // namespace

void set_python(std::string interpreter) {
  Python& own = python();
  const std::lock_guard lock(own.mutex);
  own.was_found = own.was_found && own.interpreter == interpreter;
  own.interpreter = std::move(interpreter);
}

void note_python_workers() { workers_are_python.store(true, std::memory_order_relaxed); }

void require_python() {
  if (workers_are_python.load(std::memory_order_relaxed)) return;
  Python& own = python();
  const std::lock_guard lock(own.mutex);
  if (own.was_found) return;
  const std::string program = program_of(own.interpreter);
  const Result<std::string> answer = run_for_answer({program, "-c", kQuestion});
  if (!answer) {
    throw runtime_error("haz::py_function() can't run " + program + ": " + answer.error().message);
  }
  if (answer.value() == std::to_string(kLibraryHostVersion)) {
    own.was_found = true;
    return;
  }
  const bool is_number = answer.value().find_first_not_of("0123456789") == std::string::npos;
  if (is_number && !answer.value().empty()) {
    throw runtime_error("haz::py_function(): " + program +
                        " has another version of haz than this program was linked with");
  }
  throw runtime_error("haz::py_function() needs a Python with haz, and " + program +
                      " can't import it: " +
                      (answer.value().empty() ? "it has ended without a word" : answer.value()) +
                      ". Install haz there, or name another in haz::init(argc, argv, {.python = "
                      "\"/path/to/python3\"})");
}

std::string become_python(const WorkerPlace& place) {
  const std::string program = find_program(python().interpreter);
  if (program.empty()) return "there is no program '" + python().interpreter + "'";
  std::cout.flush();
  std::fflush(nullptr);
  const std::string code = "__import__('haz._core.cpp_worker', fromlist=['main']).main(" +
                           std::to_string(place.slot) + ", " + std::to_string(place.process.value) +
                           ", " + std::to_string(place.arena.get()) + ")";
  return program + ": " + become_program({program, "-c", code}, place.arena.get());
}

}  // namespace haz
