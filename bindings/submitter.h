/// @file
/// The callable behind `RemoteFunction.remote`.
#pragma once

#include <Python.h>

#include "placement.h"
#include "session.h"

namespace haz::py {

/// Makes the type. Once.
bool init_submitter_type();

/// A callable that submits a task of `function` at each call, or a call of the method `function` of
/// `actor`, a ref (nullptr: none), which it holds. `descriptor` checks unusual arguments.
/// `generator`: of a streaming function, what makes of the ref of its stream what the callable
/// returns; else nullptr. `asks`: whether the node may refuse a call, so that each waits for its
/// word. `again`, an Again of haz.engines.base, serves calls when the run of haz has ended that the
/// callable belongs to, and pickles it.
PyObject* make_submitter(const Session& session, FunctionId function, std::uint32_t num_returns,
                         long long min_args, long long max_args, PyObject* descriptor,
                         PyObject* generator, PyObject* actor, const Placement& placement,
                         bool asks, PyObject* again);

}  // namespace haz::py
