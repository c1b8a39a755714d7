/// @file
/// Errors that the scheduler itself gives as the value of an object, in the value format.
///
/// Each is a dictionary with a `kind`, which the languages turn into their exception.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "sched/task.h"

namespace haz {

struct Actor;
enum class ActorEnd : std::uint8_t;
struct DeathCause;

/// `worker_crashed`: task_name, pid, signal, exit_code, stderr, why_killed, attempts.
std::vector<std::byte> crashed_error(const Task& task, const DeathCause& cause);
/// `worker_crashed`, with a message: the process was ended because of another of its tasks, and
/// this one may not run a second time.
std::vector<std::byte> ended_with_another_error(const Task& task, const DeathCause& cause);
/// `cancelled`: task_name, task_id.
std::vector<std::byte> cancelled_error(const Task& task);
/// `infeasible`: message.
std::vector<std::byte> infeasible_error(const std::string& message);
/// `group_removed`: message; of the object of a placement group.
std::vector<std::byte> group_removed_error();
/// `group_removed`: task_name.
std::vector<std::byte> group_removed_error(const Task& task);
/// `timeout`: task_name, timeout_s.
std::vector<std::byte> timeout_error(const Task& task);
/// `infeasible`: message; all of `workers` processes wait, with up to `nested` tasks on top of
/// another.
std::vector<std::byte> no_process_error(const Task& task, std::size_t workers,
                                        std::uint32_t nested);
/// `node_died`: message.
std::vector<std::byte> node_died_error(const std::string& message);
/// `object_lost`: message.
std::vector<std::byte> lost_error(const std::string& message);
/// `owner_died`: task_name. The driver has ended whose task it was.
std::vector<std::byte> owner_died_error(const Task& task);
/// `pending_calls`: message; an actor has as many calls as it takes.
std::vector<std::byte> pending_calls_error(const std::string& message);
/// `serialization`: message; for a result that came damaged.
std::vector<std::byte> damaged_result_error(const Task& task);
/// `actor_died`: class_name, actor_name, actor (its id), reason (`exited`, `killed`,
/// `out_of_scope`, `constructor`, `signal`, `exit_code`, `never_placed`, `group_removed`, `node`,
/// `driver`), restarts; of a process: pid, signal, exit_code, stderr, why_killed; of a constructor:
/// cause, its error. A call that fails of it gets it by passed_on_error().
std::vector<std::byte> actor_died_error(const Actor& actor, ActorEnd end, const DeathCause* cause,
                                        const ValueBytes* error = nullptr);
/// `actor_unavailable`: class_name, actor_name, actor, task_name, restarts, pid, signal, exit_code,
/// stderr, why_killed. The call had started when the process died, and the actor is started again.
std::vector<std::byte> actor_unavailable_error(const Task& task, const DeathCause& cause);
/// `error` as it is passed on to `task`, whose argument it was: the name of the task is appended as
/// a further value of the payload. Chains of tasks beyond some kilobytes of names are not told in
/// full.
ValueBytes passed_on_error(const ValueBytes& error, const Task& task);
/// Why a process is killed whose task has run too long, in words.
std::string overran_limit(const Task& task);
/// How a process ended: "77 exited with code 3".
std::string in_words(const DeathCause& cause);
/// The function of an actor is its constructor, whose name ends in `.__init__` in Python.
std::string_view class_name_of(std::string_view constructor);
/// How messages name an actor: its class, and its name if it has one.
std::string shown_actor(const Actor& actor);
/// `freed`. Constant; the span is valid for ever.
std::span<const std::byte> freed_error();

}  // namespace haz
