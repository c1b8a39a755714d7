#include "sched/error_values.h"

#include <string_view>

#include "base/units.h"
#include "sched/scheduler.h"
#include "wire/plain_error.h"
#include "wire/value.h"

namespace haz {

namespace {

std::vector<std::byte> copy_of(const ValueWriter& writer) {
  return {writer.data().begin(), writer.data().end()};
}

/// Begins a dictionary of `fields` entries, of which `kind` is the first.
ValueWriter begin_error(std::string_view kind, std::uint32_t fields) {
  ValueWriter writer;
  writer.begin_dict(fields);
  writer.str("kind");
  writer.str(kind);
  return writer;
}

void add(ValueWriter& writer, std::string_view key, std::string_view text) {
  writer.str(key);
  writer.str(text);
}

void add(ValueWriter& writer, std::string_view key, std::int64_t number) {
  writer.str(key);
  writer.integer(number);
}

}  // namespace

std::vector<std::byte> crashed_error(const Task& task, const DeathCause& cause) {
  ValueWriter writer = begin_error("worker_crashed", 8);
  add(writer, "task_name", task.function->name);
  add(writer, "pid", cause.pid);
  add(writer, "signal", cause.signal);
  add(writer, "exit_code", cause.exit_code);
  add(writer, "stderr", cause.last_stderr);
  add(writer, "why_killed", cause.why_killed);
  add(writer, "attempts", std::int64_t{task.starts});
  return copy_of(writer);
}

std::vector<std::byte> ended_with_another_error(const Task& task, const DeathCause& cause) {
  ValueWriter writer = begin_error("worker_crashed", 6);
  add(writer, "message",
      "the process of task " + task.function->name +
          " was ended to stop another task in it, which was cancelled by force or had run too "
          "long, and did not heed an interrupt; max_retries=0 forbids to run this one again");
  add(writer, "task_name", task.function->name);
  add(writer, "pid", cause.pid);
  add(writer, "signal", cause.signal);
  add(writer, "exit_code", cause.exit_code);
  return copy_of(writer);
}

std::vector<std::byte> cancelled_error(const Task& task) {
  ValueWriter writer = begin_error("cancelled", 3);
  add(writer, "task_name", task.function->name);
  add(writer, "task_id", static_cast<std::int64_t>(task.id.value));
  return copy_of(writer);
}

std::vector<std::byte> infeasible_error(const std::string& message) {
  return plain_error("infeasible", message);
}

std::vector<std::byte> group_removed_error() {
  return plain_error("group_removed", "the placement group was removed");
}

std::vector<std::byte> group_removed_error(const Task& task) {
  ValueWriter writer = begin_error("group_removed", 2);
  add(writer, "task_name", task.function->name);
  return copy_of(writer);
}

std::vector<std::byte> timeout_error(const Task& task) {
  ValueWriter writer = begin_error("timeout", 3);
  add(writer, "task_name", task.function->name);
  writer.str("timeout_s");
  writer.number(static_cast<double>(task.function->timeout_ns) / 1e9);
  return copy_of(writer);
}

std::vector<std::byte> no_process_error(const Task& task, std::size_t workers,
                                        std::uint32_t nested) {
  return plain_error(
      "infeasible",
      "task " + task.function->name + " can't run: all " + std::to_string(workers) +
          " worker processes wait for results, each with up to " + std::to_string(nested) +
          " tasks on top of another, and no more are started. Have fewer tasks wait at a time: "
          "pass refs on as arguments or return them, instead of calling get() inside of tasks");
}

std::vector<std::byte> node_died_error(const std::string& message) {
  return plain_error("node_died", message);
}

std::vector<std::byte> lost_error(const std::string& message) {
  return plain_error("object_lost", message);
}

std::vector<std::byte> owner_died_error(const Task& task) {
  ValueWriter writer = begin_error("owner_died", 2);
  add(writer, "task_name", task.function->name);
  return copy_of(writer);
}

std::vector<std::byte> pending_calls_error(const std::string& message) {
  return plain_error("pending_calls", message);
}

std::vector<std::byte> damaged_result_error(const Task& task) {
  return plain_error("serialization",
                     "the result of '" + task.function->name + "' came damaged or incomplete");
}

namespace {

const char* reason_of(ActorEnd end, const DeathCause* cause) {
  switch (end) {
    case ActorEnd::kExited:
      return "exited";
    case ActorEnd::kKilled:
      return "killed";
    case ActorEnd::kOutOfScope:
      return "out_of_scope";
    case ActorEnd::kConstructor:
      return "constructor";
    case ActorEnd::kNeverPlaced:
      return "never_placed";
    case ActorEnd::kGroupRemoved:
      return "group_removed";
    case ActorEnd::kNode:
      return "node";
    case ActorEnd::kDriver:
      return "driver";
    case ActorEnd::kProcess:
      return cause != nullptr && cause->signal != 0 ? "signal" : "exit_code";
  }
  return "exited";
}

void add_actor(ValueWriter& writer, const Actor& actor) {
  add(writer, "class_name", class_name_of(actor.function->name));
  add(writer, "actor_name", actor.name);
  add(writer, "actor", static_cast<std::int64_t>(actor.id.value));
  add(writer, "restarts", std::int64_t{actor.restarts});
}

void add_cause(ValueWriter& writer, const DeathCause& cause) {
  add(writer, "pid", cause.pid);
  add(writer, "signal", cause.signal);
  add(writer, "exit_code", cause.exit_code);
  add(writer, "stderr", cause.last_stderr);
  add(writer, "why_killed", cause.why_killed);
}

}  // namespace

std::vector<std::byte> actor_died_error(const Actor& actor, ActorEnd end, const DeathCause* cause,
                                        const ValueBytes* error) {
  constexpr std::uint32_t kFields = 6;
  constexpr std::uint32_t kCauseFields = 5;
  ValueWriter writer = begin_error(
      "actor_died", kFields + (cause != nullptr ? kCauseFields : 0) + (error != nullptr ? 1 : 0));
  add_actor(writer, actor);
  add(writer, "reason", reason_of(end, cause));
  if (cause != nullptr) add_cause(writer, *cause);
  if (error != nullptr) {
    writer.str("cause");
    writer.bytes(error->view());
  }
  return copy_of(writer);
}

std::vector<std::byte> actor_unavailable_error(const Task& task, const DeathCause& cause) {
  ValueWriter writer = begin_error("actor_unavailable", 11);
  add_actor(writer, *task.actor);
  add(writer, "task_name", task.function->name);
  add_cause(writer, cause);
  return copy_of(writer);
}

ValueBytes passed_on_error(const ValueBytes& error, const Task& task) {
  constexpr std::size_t kMaxBytes = 16 * kKiB;
  if (error.size() > kMaxBytes) return error.share();
  std::vector<std::byte> passed(error.view().begin(), error.view().end());
  ValueWriter writer;
  writer.str(task.function->name);
  passed.insert(passed.end(), writer.data().begin(), writer.data().end());
  return ValueBytes(passed);
}

std::string_view class_name_of(std::string_view constructor) {
  constexpr std::string_view kEnd = ".__init__";
  if (constructor.ends_with(kEnd)) constructor.remove_suffix(kEnd.size());
  return constructor;
}

std::string overran_limit(const Task& task) {
  const double seconds = static_cast<double>(task.function->timeout_ns) / 1e9;
  return task.function->name + " overran its limit of " + shown_amount(to_resource_units(seconds)) +
         " s, and heeded no interrupt";
}

std::string in_words(const DeathCause& cause) {
  const std::string pid = std::to_string(cause.pid);
  if (cause.signal == 0) return pid + " exited with code " + std::to_string(cause.exit_code);
  return pid + " was killed by signal " + std::to_string(cause.signal) +
         (cause.why_killed.empty() ? "" : " (" + cause.why_killed + ")");
}

std::string shown_actor(const Actor& actor) {
  std::string text(class_name_of(actor.function->name));
  if (!actor.name.empty()) text += " '" + actor.name + "'";
  return text;
}

std::span<const std::byte> freed_error() {
  static const std::vector<std::byte> kBytes = copy_of(begin_error("freed", 1));
  return kBytes;
}

}  // namespace haz
