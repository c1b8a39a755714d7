/// @file
/// What tasks print: passed on line by line, with the task's name.
#pragma once

namespace haz {

/// From now on std::printf, std::cout and the like write lines that can be told apart by task; what
/// is written to the descriptors themselves goes past that. Call it once, in a worker, before
/// other threads.
void name_output_by_task();

/// What is printed from now on is that of the task `name`, which stays as it is for ever.
void set_output_task(const char* name);

/// Writes what is buffered. `ended`: the last words of a crash don't belong to what has ended.
void flush_task_output(bool ended);

/// In a process where others write, too: writes out what is buffered, and names the task again at
/// the next output. Whether there was any since the last call.
bool take_task_output();

}  // namespace haz
