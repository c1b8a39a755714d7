#include "api/task_failure.h"

#include <cxxabi.h>

#include <exception>
#include <string>
#include <typeinfo>

#include "api/throw_stack.h"
#include "haz/task_error.h"
#include "os/code_names.h"
#include "os/process.h"
#include "wire/value.h"

namespace haz {

namespace {

constexpr std::size_t kMostCauses = 16;

std::string readable(const std::type_info& type) { return demangled(type.name()); }

/// What it says; users' classes may return null.
std::string said(const std::exception& exception) {
  const char* const text = exception.what();
  return text != nullptr ? text : "";
}

/// "type: message" of what `exception` was thrown with, outermost first.
void add_causes(const std::exception& exception, std::vector<std::string>& causes) {
  try {
    std::rethrow_if_nested(exception);
  } catch (const std::exception& cause) {
    causes.push_back(readable(typeid(cause)) + ": " + said(cause));
    if (causes.size() < kMostCauses) add_causes(cause, causes);
  } catch (...) {
    causes.push_back(readable(*abi::__cxa_current_exception_type()));
  }
}

std::string traceback_of(const task_error::report& report) {
  std::string text = report.type_name + ": " + report.message;
  for (const std::string& line : report.stack)
    text += "\n  at " + line;
  for (const std::string& cause : report.causes)
    text += "\n  caused by " + cause;
  return text;
}

/// What is being handled.
task_error::report current_report() {
  task_error::report report;
  try {
    throw;
  } catch (const task_error& error) {
    // A get() in the task has thrown and the task let it pass: what was thrown first matters.
    report.type_name = error.type_name();
    report.message = error.message();
    report.causes = error.causes();
    report.stack = error.stack();
    report.traceback = error.traceback() + "\nwhich get() has thrown again in another task";
    return report;
  } catch (const std::exception& error) {
    report.type_name = readable(typeid(error));
    report.message = said(error);
    add_causes(error, report.causes);
  } catch (...) {
    const std::type_info* const type = abi::__cxa_current_exception_type();
    report.type_name = type != nullptr ? readable(*type) : "something foreign";
    try {
      throw;
    } catch (const char* text) {
      report.message = text != nullptr ? text : "";
    } catch (const std::string& text) {
      report.message = text;
    } catch (...) {
      report.message = "no std::exception, so it has no message";
    }
  }
  report.stack = stack_of(std::current_exception());
  report.traceback = traceback_of(report);
  return report;
}

std::vector<std::byte> copy_of(const ValueWriter& writer) {
  return {writer.data().begin(), writer.data().end()};
}

}  // namespace

std::vector<std::byte> pack_current_exception(std::string_view task_name) {
  const task_error::report report = current_report();
  ValueWriter writer;
  // As pack_exception() in _core/errors.py makes them.
  writer.begin_dict(12);
  const auto add = [&writer](std::string_view key, std::string_view text) {
    writer.str(key);
    writer.str(text);
  };
  add("kind", "task_error");
  add("language", "C++");
  add("task_name", task_name);
  writer.str("pid");
  writer.integer(current_pid());
  add("function", task_name);
  add("type_name", report.type_name);
  add("message", report.message);
  add("traceback", report.traceback);
  writer.str("pickled");
  writer.none();
  writer.str("refs");
  writer.begin_list(0);
  writer.str("causes");
  writer.begin_list(static_cast<std::uint32_t>(report.causes.size()));
  for (const std::string& cause : report.causes)
    writer.str(cause);
  writer.str("stack");
  writer.begin_list(static_cast<std::uint32_t>(report.stack.size()));
  for (const std::string& line : report.stack)
    writer.str(line);
  return copy_of(writer);
}

}  // namespace haz
