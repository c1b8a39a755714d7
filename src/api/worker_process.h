/// @file
/// The processes of a C++ program that run its tasks, and the one that these are forked from.
#pragma once

namespace haz {

/// First argument of a program that is started to be a zygote.
inline constexpr const char* kZygoteArgument = "--haz-zygote";

/// Is the zygote of the driver that has started this process, and in the processes that are forked
/// from it a worker. Does not return.
[[noreturn]] void be_zygote();

/// Is the worker of a long-lived node that `place` says, as read_worker_place() reads it, whose
/// process has become this program. Does not return.
[[noreturn]] void be_worker_of_node(const char* place);

}  // namespace haz
