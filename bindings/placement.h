/// @file
/// Where tasks and actors run, as Python says it.
#pragma once

#include <nanobind/nanobind.h>

#include "client/client.h"
#include "session.h"

namespace haz::py {

/// The fields of a Submission that say where it runs.
struct Placement {
  ObjectId group{};
  std::int32_t bundle = kAnyBundle;
  bool captures = false;

  void apply(Submission& submission) const {
    submission.group = group;
    submission.bundle = bundle;
    submission.captures = captures;
  }
};

/// Of None, or (ref of a placement group or None, bundle, captures). Throws a Python error for what
/// is of another session.
Placement placement_of(const Session& session, nanobind::handle given);

}  // namespace haz::py
