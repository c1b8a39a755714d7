/// @file
/// How a C++ program finds and joins a long-lived node, as haz._core.node_address has it for
/// Python.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "client/driver_link.h"
#include "client/ring_client.h"

namespace haz {

/// What a driver that has joined has.
struct JoinedNode {
  std::unique_ptr<RingClient> ring;
  std::unique_ptr<DriverLink> link;  ///< Goes before the ring.
};

/// Called with a line that a task of the driver has written.
using OnLine = std::function<void(bool is_stderr, std::string_view text)>;

/// Joins the node that `address` means: "auto" or "" the default one, a name, or a socket's path.
/// `program` is what the node shows of the driver. kNodeDied, kInvalid: there is none; it can't be
/// joined.
Result<JoinedNode> join_node(const std::string& address, const std::string& program,
                             OnLine on_line);

}  // namespace haz
