/// @file
/// Error values, and failures of the engine, as exceptions.
#include <csignal>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "haz/detail/engine.h"
#include "haz/task_error.h"
#include "wire/value.h"

namespace haz {

namespace {

/// The fields of an error's value that are plain, and the tasks that it went through.
struct ErrorValue {
  std::vector<std::pair<std::string, std::string>> texts;
  std::vector<std::pair<std::string, std::int64_t>> integers;
  std::vector<std::string> causes;
  std::vector<std::string> stack;
  std::vector<std::string> through;
  double timeout_s = 0;

  [[nodiscard]] std::string text(std::string_view key) const {
    for (const auto& [name, value] : texts) {
      if (name == key) return value;
    }
    return {};
  }
  [[nodiscard]] std::int64_t integer(std::string_view key) const {
    for (const auto& [name, value] : integers) {
      if (name == key) return value;
    }
    return 0;
  }
};

bool read_texts(ValueReader& reader, std::uint32_t count, std::vector<std::string>& out) {
  for (std::uint32_t i = 0; i < count; ++i) {
    auto item = reader.next();
    if (!item || item->kind != ValueItem::Kind::kStr) return false;
    out.emplace_back(item->text());
  }
  return true;
}

/// Reads the value of the field `key`.
bool read_field(ValueReader& reader, const std::string& key, ErrorValue& error) {
  ValueReader ahead = reader;
  auto item = ahead.next();
  if (!item) return false;
  switch (item->kind) {
    case ValueItem::Kind::kStr:
      error.texts.emplace_back(key, item->text());
      break;
    case ValueItem::Kind::kBytes:
      error.texts.emplace_back(
          key, std::string(reinterpret_cast<const char*>(item->bytes.data()), item->bytes.size()));
      break;
    case ValueItem::Kind::kInt:
      error.integers.emplace_back(key, item->integer);
      break;
    case ValueItem::Kind::kFloat:
      if (key == "timeout_s") error.timeout_s = item->number;
      break;
    case ValueItem::Kind::kList:
      if (key != "causes" && key != "through" && key != "stack") return reader.skip().ok();
      (void)reader.next();
      return read_texts(reader, item->count,
                        key == "causes"  ? error.causes
                        : key == "stack" ? error.stack
                                         : error.through);
    case ValueItem::Kind::kShared: {
      ValueReader again = ahead.shared(item->count);
      if (!read_field(again, key, error)) return false;
      break;
    }
    default:
      break;
  }
  return reader.skip().ok();
}

/// nullopt: it is none.
std::optional<ErrorValue> read_error(std::span<const std::byte> bytes) {
  ValueReader reader(bytes);
  auto head = reader.next();
  if (!head || head->kind != ValueItem::Kind::kDict) return std::nullopt;
  ErrorValue error;
  for (std::uint32_t i = 0; i < head->count; ++i) {
    auto key = reader.next();
    if (!key || key->kind != ValueItem::Kind::kStr) return std::nullopt;
    if (!read_field(reader, std::string(key->text()), error)) return std::nullopt;
  }
  while (!reader.at_end()) {
    auto name = reader.next();
    if (!name || name->kind != ValueItem::Kind::kStr) break;
    error.through.emplace_back(name->text());
  }
  return error;
}

std::string through_tasks(const ErrorValue& error) {
  if (error.through.empty()) return {};
  std::string names;
  for (const std::string& name : error.through)
    names += (names.empty() ? "" : ", ") + name;
  return "\nSo these tasks, which have it as an argument, did not run: " + names;
}

std::string how_it_ended(const ErrorValue& error) {
  const auto signal = static_cast<int>(error.integer("signal"));
  std::string text;
  if (const std::string why = error.text("why_killed"); !why.empty()) return why;
  if (signal != 0) {
    const char* const name = ::sigabbrev_np(signal);
    text = "was killed by signal " + std::to_string(signal);
    return name != nullptr ? text + " (SIG" + name + ")" : text;
  }
  return "exited with code " + std::to_string(error.integer("exit_code"));
}

std::string last_words(const ErrorValue& error) {
  const std::string text = error.text("stderr");
  return text.empty() ? text : "\nIts last words on standard error:\n" + text;
}

[[noreturn]] void throw_task_error(const ErrorValue& error) {
  task_error::report report;
  report.task_name = error.text("task_name");
  report.type_name = error.text("type_name");
  report.message = error.text("message");
  report.traceback = error.text("traceback");
  report.causes = error.causes;
  report.stack = error.stack;
  report.pid = error.integer("pid");
  std::string text = "task " + report.task_name + " (pid " + std::to_string(report.pid) +
                     ") has thrown " + report.type_name + ": " + report.message;
  if (error.text("language") != "C++") {
    text += "\n" + report.traceback;
  } else {
    for (const std::string& line : report.stack)
      text += "\n  at " + line;
    for (const std::string& cause : report.causes)
      text += "\n  caused by " + cause;
  }
  throw task_error(text + through_tasks(error), std::move(report));
}

[[noreturn]] void throw_crash(const ErrorValue& error) {
  std::string text = error.text("message");
  if (text.empty()) {
    const std::int64_t attempts = error.integer("attempts");
    text = "task " + error.text("task_name") + " has no result: its process " +
           std::to_string(error.integer("pid")) + " " + how_it_ended(error);
    if (attempts > 1)
      text += ", as did those of the " + std::to_string(attempts - 1) + " tries before";
    text += last_words(error);
  }
  throw worker_crashed_error(text + through_tasks(error), error.integer("pid"),
                             static_cast<int>(error.integer("signal")),
                             static_cast<int>(error.integer("exit_code")));
}

std::string shown_seconds(double seconds) {
  std::string text = std::to_string(seconds);
  while (text.back() == '0')
    text.pop_back();
  if (text.back() == '.') text.pop_back();
  return text;
}

std::string message_or(const ErrorValue& error, const std::string& otherwise) {
  const std::string message = error.text("message");
  return (message.empty() ? otherwise : message) + through_tasks(error);
}

std::string shown_actor(const ErrorValue& error) {
  const std::string name = error.text("actor_name");
  const std::string text = "actor " + error.text("class_name");
  return name.empty() ? text : text + " '" + name + "'";
}

std::string death_of_actor(const ErrorValue& error) {
  const std::string reason = error.text("reason");
  std::string told = reason;
  if (reason == "killed") {
    told = "haz::kill() ended it";
  } else if (reason == "out_of_scope") {
    told = "its last handle went away";
  } else if (reason == "exited") {
    told = "it has ended itself";
  } else if (reason == "never_placed") {
    told = "no process could be started for it";
  } else if (reason == "node" || reason == "driver") {
    told = "haz was shut down";
  } else if (reason == "signal" || reason == "exit_code") {
    told = "its process " + std::to_string(error.integer("pid")) + " " + how_it_ended(error);
  } else if (reason == "constructor") {
    const std::string packed = error.text("cause");
    const auto cause = read_error(std::as_bytes(std::span(packed)));
    told = "its constructor failed";
    if (cause) told += ": " + cause->text("type_name") + ": " + cause->text("message");
  }
  std::string text = shown_actor(error) + " has ended: " + told;
  if (const std::int64_t restarts = error.integer("restarts"); restarts > 0) {
    text += "; it had been started again " + std::to_string(restarts) +
            (restarts > 1 ? " times" : " time");
  }
  return text + last_words(error);
}

[[noreturn]] void throw_death_of_actor(ErrorValue error) {
  std::string text = error.text("message");
  if (text.empty()) text = death_of_actor(error);
  if (!error.through.empty()) {  // the first is the call that was to be the actor's
    text = "the call " + error.through.front() + " has no result: " + text;
    error.through.erase(error.through.begin());
  }
  throw actor_died_error(text + through_tasks(error));
}

[[noreturn]] void throw_error(const ErrorValue& error) {
  const std::string kind = error.text("kind");
  const std::string task = "task " + error.text("task_name");
  if (kind == "task_error") throw_task_error(error);
  if (kind == "worker_crashed") throw_crash(error);
  if (kind == "cancelled") throw task_cancelled_error(message_or(error, task + " was cancelled"));
  if (kind == "timeout") {
    throw task_timeout_error(message_or(
        error, task + " has run longer than its timeout_s of " + shown_seconds(error.timeout_s)));
  }
  if (kind == "infeasible" || kind == "group_removed")
    throw infeasible_resources_error(message_or(error, task + " can't be placed"));
  if (kind == "object_store_full" || kind == "out_of_memory")
    throw object_store_full_error(message_or(error, "the object store is full"));
  if (kind == "serialization") throw type_error(message_or(error, "a value can't be passed"));
  if (kind == "node_died") throw node_died_error(message_or(error, "the node ended"));
  if (kind == "actor_died") throw_death_of_actor(error);
  if (kind == "actor_unavailable") {
    throw actor_unavailable_error(message_or(
        error, "the call " + error.text("task_name") + " has no result: the process of " +
                   shown_actor(error) + " " + how_it_ended(error) +
                   ", and it is started again; a later call may succeed" + last_words(error)));
  }
  if (kind == "pending_calls") {
    throw pending_calls_error(message_or(error, shown_actor(error) + " takes no more calls now"));
  }
  throw object_lost_error(message_or(error, "the object is gone (" + kind + ")"));
}

}  // namespace

namespace detail {

void throw_error_value(const std::byte* bytes, std::size_t size) {
  const std::optional<ErrorValue> error = read_error({bytes, size});
  if (!error) throw type_error("the error of a task came damaged or incomplete");
  throw_error(*error);
}

void throw_failure(const failure& why) {
  const std::string text = why.text;
  switch (why.kind) {
    case failure_kind::invalid:
    case failure_kind::exists:
      throw usage_error(text);
    case failure_kind::overloaded:
      throw object_store_full_error(text);
    case failure_kind::timeout:
      throw get_timeout_error(text);
    case failure_kind::interrupted:
      throw task_cancelled_error(text);
    case failure_kind::lost:
      throw object_lost_error(text);
    case failure_kind::node_died:
      throw node_died_error(text);
    case failure_kind::infeasible:
      throw infeasible_resources_error(text);
    case failure_kind::pending_calls:
      throw pending_calls_error(text);
  }
  throw usage_error(text);
}

}  // namespace detail
}  // namespace haz
