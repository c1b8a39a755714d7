/// @file
/// How a task runs.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace haz {

/// How a task runs. What is not given is as said here.
struct task_options {
  /// Processors that it needs; also the threads of its OpenMP loops.
  double num_cpus = 1;
  /// Other resources of the node: name and amount.
  std::vector<std::pair<std::string, double>> resources{};
  /// Further starts after the death of its process; -1: without end.
  int max_retries = 3;
  /// Whether it is also started again when it has thrown.
  bool retry_exceptions = false;
  /// Longest run of one try in seconds, of which get() then throws task_timeout_error.
  std::optional<double> timeout_s{};
  /// Greater ones start earlier.
  int priority = 0;
  /// In messages; empty: that of the function.
  std::string name{};
  /// Of map(): items that make one task; 0: chosen for what there is to do.
  std::size_t chunksize = 0;
};

}  // namespace haz
