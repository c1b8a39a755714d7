/// @file
/// Functions of Python that a program of C++ calls: a worker of the program that is to run the
/// first of them becomes an interpreter (exec), and stays one. So the program needs none before.
#pragma once

#include <string>

#include "api/program.h"

namespace haz {

/// The interpreter, as runtime_options have it. By init(), before there are workers.
void set_python(std::string interpreter);
/// The workers of this node are Python's anyway.
void note_python_workers();

/// Throws runtime_error, which says why, where there is no interpreter with this version of haz.
/// Asks it once in a process, and waits for its answer.
void require_python();

/// The calling worker, which has begun no task and not more than one thread, becomes an
/// interpreter. Returns only if that fails: why.
std::string become_python(const WorkerPlace& place);

}  // namespace haz
