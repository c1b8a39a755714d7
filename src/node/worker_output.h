/// @file
/// What the node's watching thread keeps of one worker's output.
#pragma once

#include "node/log_lines.h"
#include "node/node.h"
#include "node/output_reader.h"
#include "os/fd.h"

namespace haz {

struct Node::WorkerOutput {
  WorkerOutput(std::uint32_t id, pid_t pid, UniqueFd out, UniqueFd err)
      : process_id(id), lines(pid), stdout_fd(std::move(out)), stderr_fd(std::move(err)) {}

  std::uint32_t process_id;
  LogLines lines;
  UniqueFd stdout_fd;
  UniqueFd stderr_fd;
  OutputReader* reader = nullptr;  ///< Has the descriptors, if one has.
};

}  // namespace haz
