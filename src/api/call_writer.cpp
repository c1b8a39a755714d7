/// @file
/// The calls that the public headers make.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <mutex>
#include <string>
#include <vector>

#include "api/function_code.h"
#include "api/python_worker.h"
#include "api/registry.h"
#include "base/units.h"
#include "haz/detail/call.h"
#include "haz/task_error.h"

namespace haz::detail {

namespace {

/// Arguments that take more become objects of their own.
constexpr std::size_t kMaxArgumentBytes = 8 * kKiB;
/// Where those of a chunk take more, so do all that follow.
constexpr std::size_t kMaxPayloadBytes = 64 * kMiB;
/// Counts of positional arguments and of keywords, which are none, stand first.
constexpr std::size_t kCountsBytes = 2 * sizeof(std::uint32_t);

constexpr unsigned kGenerationShift = 32;

/// Of Python "module.name".
std::string shown_name(const remote_function& function) {
  std::string name = function.name;
  if (function.kind == function_kind::python) std::replace(name.begin(), name.end(), '\0', '.');
  if (function.kind == function_kind::python_method) name.erase(0, 1);
  return name;
}

/// What Python has to know of an actor to call it: whether calls may be refused, what only Python
/// fills in, then of each method name, signature, names of parameters. unpack_class() in
/// _core/cpp_code.py reads it.
std::vector<std::string> actor_parts(const remote_function& constructor,
                                     const actor_settings& settings) {
  std::vector<std::string> parts = {settings.max_pending_calls > 0 ? "limited" : "", ""};
  for (const remote_function* method : methods_of(constructor))
    parts.insert(parts.end(),
                 {unique_name_of(*method), signature_of(*method), parameters_of(*method)});
  return parts;
}

/// `code`: all but its name and library.
std::vector<std::byte> code_of(const remote_function& function, FunctionCode code) {
  if (function.kind != function_kind::python && function.kind != function_kind::python_method) {
    code.name = unique_name_of(function);
    code.library = library_of(function);
    return encode_function_code(code);
  }
  const std::size_t zero = function.name.find('\0');
  code.name = function.name.substr(0, zero);
  code.library = function.name.substr(zero + 1);
  return encode_function_code(code, kPythonCodeMark);
}

std::uint32_t bind(const binding& to) {
  const task_options& options = to.options;
  const std::string name = options.name.empty() ? shown_name(*to.function) : options.name;
  const bool is_method = to.function->kind == function_kind::method ||
                         to.function->kind == function_kind::python_method;
  // An actor's methods have the threads of its constructor.
  const auto threads = is_method ? 0 : static_cast<std::uint32_t>(std::max(options.num_cpus, 1.0));
  const auto concurrency = static_cast<std::uint32_t>(to.actor ? to.actor->max_concurrency : 1);
  std::vector<std::string> parts;
  if (to.actor) parts = actor_parts(*to.function, *to.actor);
  const std::vector<std::byte> code =
      code_of(*to.function, {threads, {}, {}, concurrency, options.retry_exceptions, parts});
  std::vector<named_amount> resources;
  if (!is_method) resources.push_back({"CPU", options.num_cpus});
  for (const auto& [resource, amount] : options.resources)
    resources.push_back({resource.c_str(), amount});
  function_spec spec{};
  spec.name = name.c_str();
  spec.code = code.data();
  spec.code_size = code.size();
  spec.resources = resources.data();
  spec.num_resources = resources.size();
  spec.max_retries = options.max_retries;
  spec.retry_exceptions = options.retry_exceptions;
  spec.timeout_ns =
      options.timeout_s ? static_cast<std::int64_t>(*options.timeout_s * kSecondNs) : -1;
  spec.priority = options.priority;
  spec.is_python = to.function->kind == function_kind::python;
  spec.is_method = is_method;
  if (spec.is_python) require_python();
  actor_spec actor{};
  std::vector<named_amount> held;
  if (to.actor) {
    held = resources;
    held.front().amount = to.actor->num_cpus;
    actor.max_restarts = to.actor->max_restarts;
    actor.max_pending_calls = static_cast<std::uint32_t>(to.actor->max_pending_calls);
    actor.is_detached = to.actor->detached;
    actor.max_concurrency = static_cast<std::uint32_t>(to.actor->max_concurrency);
    actor.resources = held.data();
    actor.num_resources = held.size();
    actor.meta = code.data();
    actor.meta_size = code.size();
    spec.actor = &actor;
  }
  std::uint32_t id = 0;
  failure why;
  if (!current_engine().register_function(spec, &id, why)) throw_failure(why);
  return id;
}

std::uint32_t number_of(binding& to) {
  const std::uint64_t known = to.number.load(std::memory_order_relaxed);
  const std::uint32_t generation = current_generation();
  if (generation != 0 && known >> kGenerationShift == generation) {
    return static_cast<std::uint32_t>(known);
  }
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  const std::uint64_t meanwhile = to.number.load(std::memory_order_relaxed);
  if (generation != 0 && meanwhile >> kGenerationShift == generation) {
    return static_cast<std::uint32_t>(meanwhile);
  }
  const std::uint32_t number = bind(to);
  to.number.store(std::uint64_t{generation} << kGenerationShift | number,
                  std::memory_order_relaxed);
  return number;
}

}  // namespace

void check_options(const task_options& options) {
  constexpr double kLongestS = 1e9;
  constexpr std::size_t kMostItems = std::size_t{1} << 20U;
  const auto refuse = [](const std::string& text) { throw usage_error("task_options: " + text); };
  const auto check_amount = [&](const std::string& name, double amount) {
    if (!(amount >= 0) || std::isinf(amount))
      refuse("an amount of " + std::to_string(amount) + " of " + name + " makes no sense");
  };
  check_amount("num_cpus", options.num_cpus);
  for (const auto& [name, amount] : options.resources) {
    if (name.empty() || name == "CPU") refuse("resources name things other than num_cpus");
    check_amount(name, amount);
  }
  if (options.max_retries < -1) refuse("max_retries is -1 (without end), 0 or more");
  if (options.timeout_s && !(*options.timeout_s > 0 && *options.timeout_s < kLongestS))
    refuse("timeout_s is a number of seconds above 0");
  if (options.chunksize > kMostItems) refuse("chunksize is at most " + std::to_string(kMostItems));
  if (options.retry_exceptions && options.chunksize > 1)
    refuse(
        "a chunk of several items is not called again because one has thrown: leave chunksize out "
        "where retry_exceptions is set");
}

namespace {

/// Of a node with so many CPUs.
std::size_t tasks_at_a_time(const task_options& options) {
  constexpr double kMost = 1024;
  double cpus = 1;
  failure why;
  if (!current_engine().count_cpus(&cpus, why)) throw_failure(why);
  const double share = options.num_cpus > 0 ? cpus / options.num_cpus : cpus;
  return static_cast<std::size_t>(std::clamp(share, 1.0, kMost));
}

}  // namespace

chunk_plan::chunk_plan(const binding& to, std::size_t num_items, bool each_alone) {
  constexpr std::size_t kMostItems = 256;
  // So that the last ones to end are short beside all that one worker does.
  constexpr std::size_t kPartsOfWorker = 4;
  const task_options& options = to.options;
  if (each_alone || to.function->kind != function_kind::function) return;
  if (options.chunksize != 0) {
    most_ = options.chunksize;
  } else if (num_items > 1 && !options.timeout_s && !options.retry_exceptions) {
    most_ = kMostItems;
    parts_ = kPartsOfWorker * tasks_at_a_time(options);
  }
}

call_writer::call_writer(std::size_t num_arguments, std::size_t num_items)
    : num_items_(num_items), ends_at_(kCountsBytes + num_items * num_arguments) {
  auto count = static_cast<std::uint32_t>(num_arguments);
  if (num_items > 1) count |= each_item;
  first_value_ = ends_at_ + (num_items > 1 ? num_items * sizeof(std::uint32_t) : 0);
  std::byte* const head = out_.grow(first_value_);
  std::memset(head, 0, ends_at_);
  std::memcpy(head, &count, sizeof count);
}

call_writer::~call_writer() {
  for (const std::uint64_t id : owned_) {
    if (engine* const engine = engine_of(current_generation())) engine->drop_reference(id);
  }
}

void call_writer::add_dependency(std::uint64_t id) {
  out_.data()[kCountsBytes + index_++] = from_dependency;
  dependencies_.push_back(id);
}

void call_writer::begin_value() {
  value_begin_ = out_.size();
  refs_begin_ = out_.refs().size();
}

void call_writer::end_value() {
  const std::size_t most = out_.size() < kMaxPayloadBytes ? kMaxArgumentBytes : 0;
  if (out_.num_far() != 0 || out_.size() - value_begin_ > most) {
    make_object();
    return;
  }
  // What was written may be a temporary: its refs are counted here until the call was submitted.
  for (std::size_t i = refs_begin_; i < out_.refs().size(); ++i) {
    current_engine().add_reference(out_.refs()[i]);
    owned_.push_back(out_.refs()[i]);
  }
  ++index_;
}

/// What was written since begin_value() is too large for a message.
void call_writer::make_object() {
  std::uint64_t id = 0;
  failure why;
  if (!current_engine().put(out_.value(value_begin_, 0, refs_begin_), &id, why)) throw_failure(why);
  out_.cut(value_begin_, 0, refs_begin_);
  owned_.push_back(id);
  add_dependency(id);
}

call call_writer::prepare(binding& to) {
  call made{};
  made.function = number_of(to);
  made.payload = out_.data();
  made.payload_size = out_.size();
  made.dependencies = dependencies_.data();
  made.num_dependencies = dependencies_.size();
  made.refs = out_.refs().data();
  made.num_refs = out_.refs().size();
  made.num_items = static_cast<std::uint32_t>(num_items_);
  return made;
}

std::uint64_t call_writer::submit(binding& to, std::uint64_t actor) {
  call made = prepare(to);
  made.actor = actor;
  std::uint64_t id = 0;
  failure why;
  if (!current_engine().submit(made, &id, why)) throw_failure(why);
  return id;
}

std::uint64_t call_writer::create(binding& to, const actor_name& name) {
  const call made = prepare(to);
  std::uint64_t id = 0;
  failure why;
  if (!current_engine().create_actor(made, name, &id, why)) throw_failure(why);
  return id;
}

}  // namespace haz::detail
