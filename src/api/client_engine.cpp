#include "api/client_engine.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

#include "api/program.h"
#include "os/clock.h"
#include "sched/actor.h"
#include "shm/copy.h"
#include "wire/value.h"

namespace haz {

namespace {

using detail::encoded;
using detail::failure;
using detail::failure_kind;

std::int64_t deadline_after(std::int64_t timeout_ns) {
  constexpr std::int64_t kLongestNs = std::int64_t{1} << 60;
  return timeout_ns < 0 ? -1 : monotonic_ns() + std::min(timeout_ns, kLongestNs);
}

Status copy_far(std::byte* to, const detail::far_bytes& far, bool cold) {
  if (cold) {
    Status copied = copy_to_cold(to, far.data, far.size);
    if (copied || copied.error().kind != ErrorKind::kUnavailable) return copied;
  }
  copy_large(to, far.data, far.size);
  return Ok{};
}

/// Writes the laid out value to `block`, at `to`.
Status write_to(std::byte* to, const encoded& value, const StoreBlock& block) {
  if (value.num_far == 0) return copy_far(to, {value.stream, value.size, 0}, block.cold);
  std::memcpy(to, value.stream, value.size);
  to[value.size] = static_cast<std::byte>(ValueTag::kEnd);
  for (std::size_t i = 0; i < value.num_far; ++i) {
    std::uint64_t offset = 0;
    std::memcpy(&offset, value.stream + value.far[i].field, sizeof offset);
    if (Status copied = copy_far(to + offset, value.far[i], block.cold); !copied) return copied;
  }
  return Ok{};
}

std::span<const ObjectId> ids_of(const std::uint64_t* ids, std::size_t count) {
  static_assert(sizeof(ObjectId) == sizeof(std::uint64_t));
  return {reinterpret_cast<const ObjectId*>(ids), count};
}

bool tell_outcome(failure& why, WaitOutcome outcome, bool is_joined) {
  switch (outcome) {
    case WaitOutcome::kDone:
      return true;
    case WaitOutcome::kTimeout:
      tell(why, failure_kind::timeout, "get_for() timed out: the object is not ready yet");
      break;
    case WaitOutcome::kInterrupted:
      tell(why, failure_kind::interrupted, "the task that waited here was cancelled");
      break;
    case WaitOutcome::kUnknownObject:
      tell(why, failure_kind::lost, "the object of this ref is gone");
      break;
    case WaitOutcome::kClosed:
      tell(why, failure_kind::node_died,
           is_joined
               ? "the node that this program had joined has ended: see `haz status`, and start "
                 "another by `haz start`"
               : "haz was shut down while this call waited");
      break;
  }
  return false;
}

std::vector<std::pair<std::string, double>> amounts_of(const detail::named_amount* resources,
                                                       std::size_t count) {
  std::vector<std::pair<std::string, double>> amounts;
  amounts.reserve(count);
  for (std::size_t i = 0; i < count; ++i)
    amounts.emplace_back(resources[i].name, resources[i].amount);
  return amounts;
}

std::shared_ptr<const ActorOptions> actor_options_of(const detail::actor_spec& actor) {
  ActorOptions options;
  options.max_restarts = actor.max_restarts;
  options.max_pending_calls = actor.max_pending_calls;
  options.resources = amounts_of(actor.resources, actor.num_resources);
  options.is_detached = actor.is_detached;
  options.is_sequential = actor.max_concurrency == 1;
  options.meta.assign(actor.meta, actor.meta + actor.meta_size);
  return std::make_shared<const ActorOptions>(std::move(options));
}

}  // namespace

std::uint64_t lay_out(const encoded& value) {
  std::uint64_t size = value.size;
  for (std::size_t i = 0; i < value.num_far; ++i) {
    const detail::far_bytes& far = value.far[i];
    size = align_up(size + (i == 0 ? 1 : 0), kPayloadAlignment);  // the first comes after kEnd
    std::memcpy(value.stream + far.field, &size, sizeof size);
    size += far.size;
  }
  return size;
}

void write_laid_out(const encoded& value, std::byte* to) {
  (void)write_to(to, value, StoreBlock{});
}

void tell(failure& why, failure_kind kind, const char* text) noexcept {
  why.kind = kind;
  std::snprintf(why.text, sizeof why.text, "%s", text);
}

void tell(failure& why, const Error& error) noexcept {
  failure_kind kind = failure_kind::invalid;
  switch (error.kind) {
    case ErrorKind::kOverloaded:
      kind = failure_kind::overloaded;
      break;
    case ErrorKind::kTimeout:
      kind = failure_kind::timeout;
      break;
    case ErrorKind::kCancelled:
      kind = failure_kind::interrupted;
      break;
    case ErrorKind::kLost:
      kind = failure_kind::lost;
      break;
    case ErrorKind::kExists:
      kind = failure_kind::exists;
      break;
    case ErrorKind::kNodeDied:
      kind = failure_kind::node_died;
      break;
    case ErrorKind::kInvalid:
    case ErrorKind::kUnavailable:
      break;
  }
  tell(why, kind, error.message.c_str());
}

namespace {

/// `work()`, or false, and says why, where there is no memory. For the members below: they are
/// called by code that other compilers may have made, and no exception leaves them.
template <class Work>
bool guarded(failure& why, const Work& work) noexcept {
  try {
    return work();
  } catch (const std::bad_alloc&) {
    tell(why, failure_kind::overloaded, "no memory left in this process");
    return false;
  }
}

}  // namespace

void ClientEngine::set_program(std::string program) {
  if (program == program_) return;
  program_ = std::move(program);
  name_space_ = namespace_of_program(program_);
}

bool ClientEngine::register_function(const detail::function_spec& function, std::uint32_t* id,
                                     failure& why) noexcept {
  return guarded(why, [&] {
    FunctionOptions options;
    options.name = function.name;
    options.resources = amounts_of(function.resources, function.num_resources);
    options.max_retries = function.max_retries;
    options.retry_exceptions = function.retry_exceptions;
    options.timeout_ns = function.timeout_ns;
    options.priority = function.priority;
    if (function.is_python) options.environment = python_environment_;
    if (function.actor != nullptr) options.actor = actor_options_of(*function.actor);
    if (options.actor && options.actor->is_detached && program_.empty()) {
      tell(
          why, failure_kind::invalid,
          "a detached actor needs a node that outlives this program: start one by `haz start`, and "
          "join it with the address of haz::init()");
      return false;
    }
    std::span<const std::byte> code(function.code, function.code_size);
    std::vector<std::byte> with;
    if (!program_.empty() && !function.is_method) {
      // Workers of Python, too, belong to one program: its folder, environment and namespace.
      options.environment = function.is_python ? python_environment_ + '\0' + program_ : program_;
      with = with_program(program_, code);
      code = with;
    }
    auto made = client_.register_function(options, code);
    if (made) {
      *id = made->value;
      return true;
    }
    tell(why, made.error());
    if (made.error().kind == ErrorKind::kInvalid) why.kind = failure_kind::infeasible;
    return false;
  });
}

/// False, and says why, where there is no room for the arguments.
bool ClientEngine::fill(Submission& submission, const detail::call& call, failure& why) {
  submission.function = FunctionId{call.function};
  submission.actor = ObjectId{call.actor};
  submission.payload_size = static_cast<std::uint32_t>(call.payload_size);
  submission.payload = {call.payload, call.payload_size};
  submission.dependencies = ids_of(call.dependencies, call.num_dependencies);
  submission.refs = ids_of(call.refs, call.num_refs);
  submission.num_returns = call.num_items;
  if (call.payload_size > Client::kMaxNearPayload) {
    NativeHooks hooks(ring_);
    auto block = client_.allocate(call.payload_size, hooks, StoreUse::kMessage);
    if (!block) {
      tell(why, block.error());
      return false;
    }
    std::memcpy(client_.arena().at(block->offset), call.payload, call.payload_size);
    client_.seal(*block);
    submission.payload_offset = block->offset;
    submission.payload = {};
  }
  submission.id = TaskId{client_.new_ids(call.num_items)};
  if (ring_ != nullptr) submission.parent = ring_->running_task();
  return true;
}

bool ClientEngine::submit(const detail::call& call, std::uint64_t* id, failure& why) noexcept {
  return guarded(why, [&] {
    Submission submission;
    if (!fill(submission, call, why)) return false;
    const Status status = client_.submit(submission);
    if (status) {
      *id = submission.id.value;
      return true;
    }
    tell(why, status.error());
    if (status.error().kind == ErrorKind::kOverloaded) why.kind = failure_kind::pending_calls;
    return false;
  });
}

bool ClientEngine::create_actor(const detail::call& call, const detail::actor_name& name,
                                std::uint64_t* id, failure& why) noexcept {
  return guarded(why, [&] {
    Submission submission;
    if (!fill(submission, call, why)) return false;
    NativeHooks hooks(ring_);
    const auto made = client_.create_actor(
        submission, ActorSpec{name.name, space_of(name), name.get_if_exists}, hooks);
    if (made) {
      *id = made.value().value;
      return true;
    }
    tell(why, made.error());
    return false;
  });
}

bool ClientEngine::find_actor(const detail::actor_name& name, std::uint64_t* id,
                              detail::bytes_receiver receiver, void* context,
                              failure& why) noexcept {
  return guarded(why, [&] {
    NativeHooks hooks(ring_);
    const auto found = client_.find_actor(ActorSpec{name.name, space_of(name), false}, hooks);
    if (found) {
      *id = found.value().id.value;
      receiver(context, found.value().meta.data(), found.value().meta.size());
      return true;
    }
    tell(why, found.error());
    if (found.error().kind == ErrorKind::kLost) {
      const std::string space = space_of(name);
      tell(why, failure_kind::lost,
           ("there is no actor of the name '" + std::string(name.name) + "'" +
            (space.empty() ? "" : " in the namespace '" + space + "'") + ", or it has ended")
               .c_str());
    }
    return false;
  });
}

bool ClientEngine::store(const encoded& value, detail::stored* place, failure& why) noexcept {
  return guarded(why, [&] {
    place->size = lay_out(value);
    place->offset = 0;
    if (value.num_far == 0 && value.size <= Client::kMaxNearValue) return true;
    NativeHooks hooks(ring_);
    auto block = client_.allocate(place->size, hooks, StoreUse::kValue);
    if (!block) {
      tell(why, block.error());
      return false;
    }
    if (Status written = write_to(client_.arena().at(block->offset), value, *block); !written) {
      client_.discard(*block);
      tell(why, written.error());
      return false;
    }
    client_.seal(*block);
    place->offset = block->offset;
    return true;
  });
}

bool ClientEngine::put(const encoded& value, std::uint64_t* id, failure& why) noexcept {
  detail::stored place{};
  if (!store(value, &place, why)) return false;
  return guarded(why, [&] {
    NewValue made{.offset = place.offset, .size = place.size};
    if (place.offset == 0) made.bytes = {value.stream, value.size};
    made.refs = ids_of(value.refs, value.num_refs);
    const ObjectId object{client_.new_ids(1)};
    const Status status = client_.put(object, made);
    if (status) {
      *id = object.value;
      return true;
    }
    tell(why, status.error());
    return false;
  });
}

bool ClientEngine::get(const std::uint64_t* ids, std::size_t count, std::int64_t timeout_ns,
                       detail::fetched_receiver receiver, void* context, failure& why) noexcept {
  return guarded(why, [&] {
    NativeHooks hooks(ring_);
    FetchedValues values;
    const WaitOutcome outcome =
        client_.get(ids_of(ids, count), deadline_after(timeout_ns), hooks, values);
    if (!tell_outcome(why, outcome, is_joined())) return false;
    const auto as_told = [&](const FetchedValue& value) {
      const std::byte* data = value.in_arena ? client_.arena().at(value.offset)
                                             : values.near_bytes.data() + value.offset;
      return detail::fetched{value.id.value, data,           value.size,
                             value.ready,    value.in_arena, value.is_error};
    };
    const auto failed = std::find_if(values.values.begin(), values.values.end(),
                                     [](const FetchedValue& value) { return value.is_error; });
    if (failed != values.values.end()) {
      for (const FetchedValue& value : values.values) {
        if (value.in_arena && &value != &*failed) client_.drop_reference(value.id);
      }
      const detail::fetched one = as_told(*failed);
      receiver(context, &one, 1);
      return true;
    }
    std::array<detail::fetched, detail::fetched_at_once> told;  // NOLINT(*-member-init)
    for (std::span<const FetchedValue> left(values.values); !left.empty();) {
      const std::size_t some = std::min(left.size(), told.size());
      std::transform(left.begin(), left.begin() + static_cast<std::ptrdiff_t>(some), told.begin(),
                     as_told);
      receiver(context, told.data(), some);
      left = left.subspan(some);
    }
    return true;
  });
}

bool ClientEngine::wait(const std::uint64_t* ids, std::size_t count, std::size_t needed,
                        std::int64_t timeout_ns, bool* ready, failure& why) noexcept {
  return guarded(why, [&] {
    NativeHooks hooks(ring_);
    std::vector<bool> flags;
    const WaitOutcome outcome = client_.wait(ids_of(ids, count), static_cast<std::uint32_t>(needed),
                                             deadline_after(timeout_ns), hooks, flags);
    if (outcome != WaitOutcome::kTimeout && !tell_outcome(why, outcome, is_joined())) return false;
    for (std::size_t i = 0; i < count; ++i)
      ready[i] = i < flags.size() && flags[i];
    return true;
  });
}

void ClientEngine::cancel(std::uint64_t id, bool force, bool recursive) noexcept {
  client_.cancel(ObjectId{id}, force, recursive);
}

bool ClientEngine::count_cpus(double* cpus, failure& why) noexcept {
  *cpus = cpus_.load(std::memory_order_relaxed);
  if (*cpus != 0) return true;
  return guarded(why, [&] {
    auto answer = client_.query(QueryKind::kTotalResources, 0);
    if (!answer) {
      tell(why, answer.error());
      return false;
    }
    ValueReader reader(*answer);
    auto table = reader.next();
    for (std::uint32_t i = 0; table && i < table->count; ++i) {
      auto name = reader.next();
      auto amount = reader.next();
      if (name && amount && name->text() == "CPU") *cpus = amount->number;
    }
    cpus_.store(*cpus, std::memory_order_relaxed);
    return true;
  });
}

bool ClientEngine::notify(std::uint64_t id, detail::ready_callback resume, void* context,
                          bool* is_ready, failure& why) noexcept {
  return guarded(why, [&] {
    auto known = completions_.notify(ObjectId{id}, resume, context);
    if (known) {
      *is_ready = *known;
      return true;
    }
    tell(why, known.error());
    return false;
  });
}

bool ClientEngine::exit_actor(failure& why) noexcept {
  if (!is_actor_.load(std::memory_order_relaxed)) {
    tell(why, failure_kind::invalid, "haz::exit_actor() ends the actor whose method calls it");
    return false;
  }
  ring_->exit_actor();
  ring_->stop();
  return true;
}

void* ClientEngine::hold_memory() noexcept {
  // Null where there is no memory: then the mapping may go before what points there.
  return new (std::nothrow) std::shared_ptr<const ArenaMapping>(client_.arena().mapping());
}

void ClientEngine::release_memory(void* held) noexcept {
  delete static_cast<std::shared_ptr<const ArenaMapping>*>(held);
}

}  // namespace haz
