/// @file
/// The session that a call from Python needs, or its error.
#pragma once

#include <nanobind/nanobind.h>

#include <cstdint>
#include <memory>

#include "session.h"

namespace haz::py {

/// The session of this process; throws RuntimeError where there is none. With the GIL.
inline std::shared_ptr<Session> session_or_throw() {
  std::shared_ptr<Session> session = current_session();
  if (session) return session;
  PyErr_SetString(PyExc_RuntimeError,
                  forked() ? "haz can't be used in a forked child of a process that uses it"
                           : "haz is not initialized: call haz.init()");
  throw nanobind::python_error();
}

/// The session of that number: what one node has registered means nothing to the next.
inline std::shared_ptr<Session> session_or_throw(std::uint32_t generation) {
  std::shared_ptr<Session> session = session_or_throw();
  if (session->generation() == generation) return session;
  PyErr_SetString(PyExc_RuntimeError, "haz was shut down by another thread at the same time");
  throw nanobind::python_error();
}

}  // namespace haz::py
