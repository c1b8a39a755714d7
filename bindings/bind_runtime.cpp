/// @file
/// Starting and ending a node, and what can be done with objects, for Python.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cinttypes>
#include <cmath>
#include <cstdio>
#include <span>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "node_options.h"
#include "object_ref.h"
#include "os/clock.h"
#include "os/machine.h"
#include "placement.h"
#include "python_error.h"
#include "session.h"
#include "session_checks.h"
#include "shm/copy.h"
#include "submitter.h"
#include "values.h"
#include "worker_loop.h"

namespace nb = nanobind;

namespace haz::py {

namespace {

/// Throws the Python error that is set.
[[noreturn]] void throw_set_error() { throw nb::python_error(); }

std::int64_t deadline_of(nb::handle timeout_s) {
  return timeout_s.is_none() ? -1 : deadline_in(nb::cast<double>(timeout_s));
}

// ---- start and end -----------------------------------------------------------------------------

void show_lines(const nb::callable& show, const std::vector<LogLine>& lines) {
  hand_over_lines(show, lines, [](const LogLine& line, const nb::object& text) {
    return nb::make_tuple(line.stream == LogStream::kStderr, text);
  });
}

ZygoteFork fork_that_calls(nb::handle become) {
  ZygoteFork fork;
  fork.before_fork = PyOS_BeforeFork;
  fork.after_fork_in_parent = PyOS_AfterFork_Parent;
  fork.run = [become](const std::string& mark) {
    PyOS_AfterFork_Child();
    PyObject* result = PyObject_CallFunction(become.ptr(), "is", kFirstInheritedFd, mark.c_str());
    if (result == nullptr) PyErr_Print();
  };
  return fork;
}

nb::tuple own_process_facts() {
  const OwnProcess own = own_process();
  return nb::make_tuple(own.threads, own.resident_bytes, own.environment_bytes);
}

void start_node(double num_cpus, const nb::dict& resources, std::uint64_t object_store_bytes,
                std::vector<std::string> zygote_argv, const nb::bytes& zygote_setup,
                nb::handle show_output, bool fold_output, nb::handle become_zygote) {
  check_no_session();
  NodeOptions options = node_options_of(num_cpus, resources, object_store_bytes,
                                        std::move(zygote_argv), zygote_setup);
  if (!become_zygote.is_none()) options.first_zygote = fork_that_calls(become_zygote);
  options.show_output = !show_output.is_none();
  options.fold_output = fold_output;
  if (options.show_output) {
    // Kept for ever: the node's thread may still use it when nobody else does.
    auto* show = new nb::callable(nb::borrow<nb::callable>(show_output));
    options.on_output = [show](const std::vector<LogLine>& lines) { show_lines(*show, lines); };
  }
  auto node = Node::create(std::move(options));
  if (!node) {
    set_python_error(node.error());
    throw_set_error();
  }
  set_session(std::make_shared<Session>(std::move(*node)));
}

void stop_node(std::uint32_t generation) {
  constexpr std::int64_t kLeaveNs = 300 * kMillisecondNs;
  std::shared_ptr<Session> session = current_session();
  if (!session || session->node() == nullptr) return;
  if (generation != 0 && session->generation() != generation) return;
  set_session(nullptr);
  const nb::gil_scoped_release no_gil;
  session->node()->shutdown();
  // Threads that wait in it let go of it as they notice; not so one that calls this from a signal
  // handler in the middle of a wait. The last one to leave ends it.
  const std::int64_t deadline = monotonic_ns() + kLeaveNs;
  while (session.use_count() > 1 && monotonic_ns() < deadline)
    yield_cpu();
  session.reset();
  shutdown_copy_threads();
}

// ---- functions ---------------------------------------------------------------------------------

std::vector<std::pair<std::string, double>> amounts_of(nb::handle resources) {
  std::vector<std::pair<std::string, double>> amounts;
  for (const auto& [key, amount] : nb::cast<nb::dict>(resources)) {
    amounts.emplace_back(nb::cast<std::string>(key), nb::cast<double>(amount));
  }
  return amounts;
}

std::shared_ptr<const ActorOptions> actor_options_of(const nb::dict& given) {
  ActorOptions options;
  options.max_restarts = nb::cast<int>(given["max_restarts"]);
  options.max_pending_calls = nb::cast<std::uint32_t>(given["max_pending_calls"]);
  options.is_sequential = nb::cast<bool>(given["is_sequential"]);
  options.is_async = nb::cast<bool>(given["is_async"]);
  options.allow_out_of_order = nb::cast<bool>(given["allow_out_of_order"]);
  options.is_detached = nb::cast<bool>(given["is_detached"]);
  options.default_group_limit = nb::cast<std::uint32_t>(given["default_group_limit"]);
  options.resources = amounts_of(given["resources"]);
  for (const auto& [name, limit] : nb::cast<nb::dict>(given["groups"])) {
    options.groups.emplace_back(nb::cast<std::string>(name), nb::cast<std::uint32_t>(limit));
  }
  const auto meta = nb::cast<nb::bytes>(given["meta"]);
  const auto* bytes = reinterpret_cast<const std::byte*>(meta.c_str());
  options.meta.assign(bytes, bytes + meta.size());
  return std::make_shared<const ActorOptions>(std::move(options));
}

std::uint32_t register_function(std::uint32_t session_number, const std::string& name,
                                const nb::bytes& code, const nb::dict& resources, int max_retries,
                                bool retry_exceptions, double timeout_s, int items_ahead,
                                int priority, const std::string& group, nb::handle actor,
                                const std::string& environment) {
  const std::shared_ptr<Session> session = session_or_throw(session_number);
  FunctionOptions options;
  options.name = name;
  options.resources = amounts_of(resources);
  options.priority = priority;
  options.group = group;
  options.environment = environment.empty() ? plain_environment() : environment;
  if (!actor.is_none()) options.actor = actor_options_of(nb::cast<nb::dict>(actor));
  options.max_retries = max_retries;
  options.retry_exceptions = retry_exceptions;
  options.timeout_ns = timeout_s < 0 ? -1 : static_cast<std::int64_t>(timeout_s * 1e9);
  options.items_ahead = items_ahead;
  const auto* bytes = reinterpret_cast<const std::byte*>(code.c_str());
  auto function = [&] {
    const nb::gil_scoped_release no_gil;
    return session->client().register_function(options, {bytes, code.size()});
  }();
  if (function) return function->value;
  if (function.error().kind == ErrorKind::kInvalid) {
    set_haz_error("InfeasibleResourcesError", function.error().message.c_str());
  } else {
    set_python_error(function.error());
  }
  throw_set_error();
}

nb::object bind_submitter(std::uint32_t session_number, std::uint32_t function,
                          std::uint32_t num_returns, long long min_args, long long max_args,
                          nb::handle descriptor, nb::handle again, nb::handle generator,
                          nb::handle actor, nb::handle placement, bool asks) {
  const std::shared_ptr<Session> session = session_or_throw(session_number);
  if (!actor.is_none() &&
      (!is_ref(actor.ptr()) || generation_of_ref(actor.ptr()) != session->generation())) {
    set_haz_error("ObjectLostError", "the actor is of a run of haz that has ended");
    throw_set_error();
  }
  PyObject* submitter = make_submitter(
      *session, FunctionId{function}, num_returns, min_args, max_args, descriptor.ptr(),
      generator.is_none() ? nullptr : generator.ptr(), actor.is_none() ? nullptr : actor.ptr(),
      placement_of(*session, placement), asks, again.ptr());
  if (submitter == nullptr) throw_set_error();
  return nb::steal(submitter);
}

// ---- objects -----------------------------------------------------------------------------------

[[noreturn]] void throw_not_a_ref(const char* check, PyObject* value) {
  PyObject* make = nullptr;
  if (cached_attribute(make, "haz._core.checks", check) != nullptr) {
    PyObject* error = PyObject_CallOneArg(make, value);
    Py_DECREF(make);
    if (error != nullptr) raise_exception(error);
  }
  throw_set_error();
}

/// Raises unless `item` is a ref of this session; `check` makes the error of what is none.
void check_ref(const Session& session, PyObject* item, const char* check) {
  if (!is_ref(item)) throw_not_a_ref(check, item);
  if (generation_of_ref(item) == session.generation()) return;
  set_haz_error("ObjectLostError", "the ObjectRef is of a run of haz that has ended");
  throw_set_error();
}

/// Ids of the refs in the sequence `refs`.
std::vector<ObjectId> ids_of(const Session& session, nb::handle refs, const char* check) {
  const nb::object fast = nb::steal(PySequence_Fast(refs.ptr(), "expected a list of ObjectRefs"));
  if (!fast.is_valid()) throw_set_error();
  const Py_ssize_t count = PySequence_Fast_GET_SIZE(fast.ptr());
  PyObject** items = PySequence_Fast_ITEMS(fast.ptr());
  std::vector<ObjectId> ids(static_cast<std::size_t>(count));
  for (Py_ssize_t i = 0; i < count; ++i) {
    check_ref(session, items[i], check);
    ids[static_cast<std::size_t>(i)] = id_of_ref(items[i]);
  }
  return ids;
}

[[noreturn]] void throw_outcome(WaitOutcome outcome, const char* what) {
  if (PyErr_Occurred() == nullptr) {
    switch (outcome) {
      case WaitOutcome::kTimeout:
        set_haz_error("GetTimeoutError", what);
        break;
      case WaitOutcome::kUnknownObject:
        set_haz_error("ObjectLostError", "the object of this ObjectRef is gone");
        break;
      case WaitOutcome::kClosed:
        set_haz_error("NodeDiedError",
                      "haz was shut down while this call waited, or the node that this program had "
                      "joined has ended");
        break;
      default:
        PyErr_SetNone(PyExc_KeyboardInterrupt);
    }
  }
  throw_set_error();
}

void drop_pins(Session& session, const FetchedValues& fetched, std::size_t from) {
  for (std::size_t i = from; i < fetched.values.size(); ++i) {
    if (fetched.values[i].in_arena) session.client().drop_reference(fetched.values[i].id);
  }
}

/// Raises the first error among `fetched`, in order.
void throw_first_error(Session& session, const FetchedValues& fetched) {
  const auto failed = std::find_if(fetched.values.begin(), fetched.values.end(),
                                   [](const FetchedValue& value) { return value.is_error; });
  if (failed == fetched.values.end()) return;
  drop_pins(session, fetched, 0);
  raise_error_value(fetched.near_bytes.data() + failed->offset, failed->size);
  throw_set_error();
}

/// Whether a wait may not block: it would stop every other call of an actor with `async def`
/// methods.
bool must_not_block(nb::handle timeout_s) {
  return on_event_loop() && (timeout_s.is_none() || nb::cast<double>(timeout_s) > 0);
}

[[noreturn]] void throw_would_block(const char* message) {
  PyErr_SetString(PyExc_RuntimeError, message);
  throw_set_error();
}

/// What one get() fetches, in memory that the next one of its thread uses again.
class Fetch {
 public:
  Fetch() { std::swap(values, spare()); }
  Fetch(const Fetch&) = delete;
  Fetch& operator=(const Fetch&) = delete;
  ~Fetch() {
    constexpr std::size_t kMostBytes = 4096;
    if (values.near_bytes.capacity() > kMostBytes ||
        values.values.capacity() * sizeof(FetchedValue) > kMostBytes) {
      return;
    }
    values.values.clear();
    values.near_bytes.clear();
    std::swap(values, spare());
  }

  FetchedValues values;

 private:
  static FetchedValues& spare() {
    thread_local FetchedValues one;
    return one;
  }
};

/// What a get() of `ids` that has taken too long says.
std::string timeout_message(Session& session, std::span<const ObjectId> ids) {
  GilHooks hooks;
  std::vector<bool> ready;
  (void)session.client().wait(ids, static_cast<std::uint32_t>(ids.size()), monotonic_ns(), hooks,
                              ready);
  const auto first = std::find(ready.begin(), ready.end(), false);
  const auto place = static_cast<std::size_t>(first - ready.begin());
  if (place >= ids.size()) return "get() timed out";  // by now all are ready
  char ref[48];
  std::snprintf(ref, sizeof ref, "ObjectRef(%016" PRIx64 "%016" PRIx64 ")",
                session.client().epoch(), ids[place].value);
  if (ids.size() == 1) return "get() timed out: " + std::string(ref) + " is not ready yet";
  const auto missing = std::count(first, ready.end(), false);
  return "get() timed out: " + std::to_string(missing) + " of " + std::to_string(ids.size()) +
         " objects are not ready yet, the first is " + ref;
}

/// Waits for `ids`; raises unless all have values.
void fetch(Session& session, std::span<const ObjectId> ids, nb::handle timeout_s,
           FetchedValues& fetched) {
  GilHooks hooks;
  const bool no_block = must_not_block(timeout_s);
  const std::int64_t deadline = no_block ? monotonic_ns() : deadline_of(timeout_s);
  const WaitOutcome outcome = session.client().get(ids, deadline, hooks, fetched);
  if (outcome == WaitOutcome::kTimeout && no_block) {
    throw_would_block(
        "haz.get() would block the event loop of this actor and all its calls: write "
        "`await ref`, or `await asyncio.gather(*refs)` for several");
  }
  if (outcome == WaitOutcome::kTimeout && PyErr_Occurred() == nullptr) {
    throw_outcome(outcome, timeout_message(session, ids).c_str());
  }
  if (outcome != WaitOutcome::kDone) throw_outcome(outcome, "");
  throw_first_error(session, fetched);
}

nb::list get(nb::handle refs, nb::handle timeout_s) {
  const std::shared_ptr<Session> session = session_or_throw();
  const std::vector<ObjectId> ids = ids_of(*session, refs, "not_a_ref");
  Fetch fetched;
  fetch(*session, ids, timeout_s, fetched.values);
  nb::object values = nb::steal(PyList_New(static_cast<Py_ssize_t>(ids.size())));
  if (!values.is_valid()) throw_set_error();
  for (std::size_t i = 0; i < ids.size(); ++i) {
    PyObject* value = decode_fetched(*session, fetched.values, fetched.values.values[i]);
    if (value == nullptr) {
      drop_pins(*session, fetched.values, i + 1);
      throw_set_error();
    }
    PyList_SET_ITEM(values.ptr(), static_cast<Py_ssize_t>(i), value);
  }
  return nb::steal<nb::list>(values.release());
}

PyObject* get_one(PyObject* /*module*/, PyObject* ref) {
  if (!is_ref(ref)) return Py_NewRef(Py_NotImplemented);
  try {
    const std::shared_ptr<Session> session = session_or_throw();
    check_ref(*session, ref, "not_a_ref");
    const ObjectId id = id_of_ref(ref);
    Fetch fetched;
    fetch(*session, std::span(&id, 1), nb::none(), fetched.values);
    return decode_fetched(*session, fetched.values, fetched.values.values.front());
  } catch (nb::python_error& error) {
    error.restore();
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
  }
  return nullptr;
}

/// Whether two of `ids` are equal.
bool has_duplicates(std::span<const ObjectId> ids) {
  // Open addressing, half full at most, with multiplicative hashing. No id is 0.
  constexpr std::uint64_t kMix = 0x9E3779B97F4A7C15ULL;
  std::vector<std::uint64_t> seen(std::bit_ceil(2 * ids.size() + 1));
  const std::size_t mask = seen.size() - 1;
  const int shift = std::countl_zero(mask);
  for (const ObjectId id : ids) {
    std::size_t place = id.value * kMix >> shift;
    while (seen[place] != 0 && seen[place] != id.value)
      place = (place + 1) & mask;
    if (seen[place] != 0) return true;
    seen[place] = id.value;
  }
  return false;
}

/// Raises for the first of the refs `items` that stands among them twice, if there is one.
void check_no_duplicates(std::span<PyObject* const> items) {
  std::vector<ObjectId> ids(items.size());
  std::transform(items.begin(), items.end(), ids.begin(), id_of_ref);
  if (!has_duplicates(ids)) return;
  std::unordered_set<std::uint64_t> seen;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (!seen.insert(ids[i].value).second) throw_not_a_ref("duplicate_ref", items[i]);
  }
}

/// Copies refs of this session to `to` as long as their ids ascend, so that none of them can stand
/// there twice. The number of those; what comes then needs a closer look.
std::size_t copy_ascending(const Session& session, std::span<PyObject* const> items,
                           PyObject** to) {
  const std::uint32_t generation = session.generation();
  std::uint64_t last = 0;
  std::size_t copied = 0;
  for (PyObject* const item : items) {
    if (!is_ref(item) || generation_of_ref(item) != generation || id_of_ref(item).value <= last) {
      break;
    }
    last = id_of_ref(item).value;
    to[copied++] = Py_NewRef(item);
  }
  return copied;
}

/// A list of the refs `items`; raises for what can't be waited for. Looks at each of them once, as
/// the caller is often in a loop that takes few of many.
nb::list copy_waitables(const Session& session, std::span<PyObject* const> items) {
  nb::object copy = nb::steal(PyList_New(static_cast<Py_ssize_t>(items.size())));
  if (!copy.is_valid()) throw_set_error();
  PyObject** const to = PySequence_Fast_ITEMS(copy.ptr());
  const std::size_t copied = copy_ascending(session, items, to);
  for (std::size_t i = copied; i < items.size(); ++i) {
    check_ref(session, items[i], "not_a_ref_to_wait");
    to[i] = Py_NewRef(items[i]);
  }
  if (copied != items.size()) check_no_duplicates(items);
  return nb::steal<nb::list>(copy.release());
}

/// Takes the items at `places`, which ascend, out of `list`: returns (those, the others).
nb::tuple split_list(nb::list list, std::span<const std::size_t> places) {
  nb::object taken = nb::steal(PyList_New(static_cast<Py_ssize_t>(places.size())));
  if (!taken.is_valid()) throw_set_error();
  const auto size = static_cast<std::size_t>(PyList_GET_SIZE(list.ptr()));
  PyObject** const items = PySequence_Fast_ITEMS(list.ptr());
  for (std::size_t i = 0; i < places.size(); ++i) {
    const std::size_t next = i + 1 < places.size() ? places[i + 1] : size;
    PyList_SET_ITEM(taken.ptr(), static_cast<Py_ssize_t>(i), items[places[i]]);
    std::copy(items + places[i] + 1, items + next, items + places[i] - i);
  }
  Py_SET_SIZE(list.ptr(), static_cast<Py_ssize_t>(size - places.size()));
  return nb::make_tuple(taken, list);
}

/// Places of those that are ready, at most `num_returns`; waits for so many.
std::vector<std::size_t> wait_for_places(Session& session, nb::handle refs,
                                         std::uint32_t num_returns, nb::handle timeout_s) {
  const std::vector<ObjectId> ids = ids_of(session, refs, "not_a_ref_to_wait");
  GilHooks hooks;
  std::vector<bool> ready;
  const bool no_block = must_not_block(timeout_s);
  const std::int64_t deadline = no_block ? monotonic_ns() : deadline_of(timeout_s);
  const WaitOutcome outcome = session.client().wait(ids, num_returns, deadline, hooks, ready);
  if (outcome == WaitOutcome::kTimeout && no_block) {
    throw_would_block(
        "haz.wait() would block the event loop of this actor and all its calls: write "
        "`await asyncio.wait([asyncio.wrap_future(ref.future()) for ref in refs])`, or give "
        "timeout=0");
  }
  if (outcome != WaitOutcome::kDone && outcome != WaitOutcome::kTimeout) {
    throw_outcome(outcome, "");
  }
  std::vector<std::size_t> places;
  for (std::size_t i = 0; i < ready.size() && places.size() < num_returns; ++i) {
    if (ready[i]) places.push_back(i);
  }
  return places;
}

nb::tuple wait(nb::handle refs, std::uint32_t num_returns, nb::handle timeout_s) {
  constexpr std::size_t kLookedAtFirst = 32;
  const std::shared_ptr<Session> session = session_or_throw();
  const nb::object fast = nb::steal(PySequence_Fast(refs.ptr(), "expected a list of ObjectRefs"));
  if (!fast.is_valid()) throw_set_error();
  const std::span<PyObject* const> items(
      PySequence_Fast_ITEMS(fast.ptr()),
      static_cast<std::size_t>(PySequence_Fast_GET_SIZE(fast.ptr())));
  nb::list list = copy_waitables(*session, items);
  if (num_returns <= kLookedAtFirst) {
    std::array<ObjectId, kLookedAtFirst> ids;
    std::array<std::size_t, kLookedAtFirst> places{};
    const std::size_t count = std::min(items.size(), kLookedAtFirst);
    std::transform(items.begin(), items.begin() + static_cast<std::ptrdiff_t>(count), ids.begin(),
                   id_of_ref);
    const std::size_t found =
        session->client().find_ready({ids.data(), count}, {places.data(), num_returns});
    if (found == num_returns) return split_list(std::move(list), {places.data(), found});
  }
  const auto places = wait_for_places(*session, list, num_returns, timeout_s);
  return split_list(std::move(list), places);
}

nb::object put(nb::handle value) {
  const std::shared_ptr<Session> session = session_or_throw();
  const ObjectId id = put_value(*session, value.ptr());
  if (!id) throw_set_error();
  PyObject* ref = adopt_ref(*session, id);
  if (ref == nullptr) throw_set_error();
  return nb::steal(ref);
}

void cancel(nb::handle ref, bool force, bool recursive) {
  const std::shared_ptr<Session> session = session_or_throw();
  const std::vector<ObjectId> ids = ids_of(*session, nb::make_tuple(ref), "not_a_ref");
  session->client().cancel(ids.front(), force, recursive);
}

void free_objects(nb::handle refs) {
  const std::shared_ptr<Session> session = session_or_throw();
  session->client().free(ids_of(*session, refs, "not_a_ref"));
}

bool subscribe(nb::handle ref, std::uint64_t token) {
  const std::shared_ptr<Session> session = session_or_throw();
  const std::vector<ObjectId> ids = ids_of(*session, nb::make_tuple(ref), "not_a_ref");
  if (session->ring() != nullptr) return session->ring()->subscribe(ids.front(), token, true);
  return session->node()->subscribe(ids.front(), token);
}

std::vector<std::uint64_t> take_completions(std::uint32_t session_number) {
  const std::shared_ptr<Session> session = current_session();
  if (!session || session->generation() != session_number) return {};
  if (session->ring() != nullptr) return session->ring()->take_completions();
  return session->node()->take_completions();
}

int completions_fd() {
  const std::shared_ptr<Session> session = session_or_throw();
  if (session->node() != nullptr) return session->node()->completions_fd();
  const Result<int> fd = session->ring()->completions_fd();
  if (fd.ok()) return fd.value();
  set_python_error(fd.error());
  throw_set_error();
}

// ---- views -------------------------------------------------------------------------------------

nb::object query(int kind, std::uint64_t argument) {
  const std::shared_ptr<Session> session = session_or_throw();
  auto bytes = [&] {
    const nb::gil_scoped_release no_gil;
    return session->client().query(static_cast<QueryKind>(kind), argument);
  }();
  if (!bytes) {
    set_python_error(bytes.error());
    throw_set_error();
  }
  PyObject* value = decode_value(bytes->data(), bytes->size(), nullptr);
  if (value == nullptr) throw_set_error();
  return nb::steal(value);
}

nb::dict snapshot() {
  const std::shared_ptr<Session> session = session_or_throw();
  nb::dict view;
  if (session->node() == nullptr) return view;
  const Node::Snapshot now = session->node()->snapshot();
  view["objects"] = now.counts.objects;
  view["streams"] = now.counts.streams;
  view["unread_items"] = now.counts.items;
  view["tasks"] = now.counts.tasks;
  view["queued_tasks"] = now.counts.queued;
  view["idle_workers"] = now.counts.idle;
  view["starting_workers"] = now.counts.starting;
  view["store_limit_bytes"] = now.store.limit;
  view["store_used_bytes"] = now.store.used;
  view["store_peak_bytes"] = now.store.peak;
  view["zygote_pid"] = now.zygote_pid;
  nb::list pids;
  for (const auto& [slot, pid] : now.workers)
    pids.append(pid);
  view["worker_pids"] = pids;
  return view;
}

nb::list story(std::uint64_t subject) {
  const std::shared_ptr<Session> session = session_or_throw();
  nb::list records;
  if (session->node() == nullptr) return records;
  for (const StoryRecord& record : session->node()->story(subject)) {
    records.append(nb::make_tuple(record.time_ns, static_cast<int>(record.event), record.subject,
                                  record.detail, record.worker));
  }
  return records;
}

nb::tuple identity() {
  const std::shared_ptr<Session> session = session_or_throw();
  return nb::make_tuple(session->client().epoch(), session->client().process().value);
}

/// Those that pickle has to find by name, and one for which nanobind's call is too slow.
PyMethodDef plain_functions[] = {
    {"get_one", get_one, METH_O, "Return the value of a ref; NotImplemented for what is none."},
    {"restore_ref", restore_ref, METH_O, "Make a ref of an id that was pickled inside haz."},
    {"restore_foreign_ref",
     reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(restore_foreign_ref)),
     METH_FASTCALL, "Make a ref of an epoch and an id that were pickled outside of haz."},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

/// Adds the node and the objects to `m`.
void bind_runtime(nb::module_& m) {
  ScopedEncoder::set_copy_function(copy_far_buffer);
  if (!init_submitter_type() || PyModule_AddFunctions(m.ptr(), plain_functions) != 0) {
    throw_set_error();
  }
  m.def(
      "init_types",
      [](nb::handle ref_base) {
        if (!init_ref_type(ref_base.ptr())) throw_set_error();
        return nb::borrow(reinterpret_cast<PyObject*>(ref_type()));
      },
      nb::arg("ref_base"), "Make the type of refs, a subclass of `ref_base`; return it.",
      nb::sig("def init_types(ref_base: type) -> type"));
  m.def("start_node", start_node, nb::arg("num_cpus"), nb::arg("resources"),
        nb::arg("object_store_bytes"), nb::arg("zygote_argv"), nb::arg("zygote_setup"),
        nb::arg("show_output").none(), nb::arg("fold_output") = true,
        nb::arg("become_zygote") = nb::none(),
        "Start this process' own node. `show_output` is called with lists of (is_stderr, line);\n"
        "`fold_output`: floods of equal lines are told as one. `become_zygote` is called with a\n"
        "socket and the node's mark in a copy of this process, which is the first zygote; without\n"
        "it that is a program.",
        nb::sig("def start_node(num_cpus: float, resources: dict[str, float], object_store_bytes: "
                "int, zygote_argv: list[str], zygote_setup: bytes, show_output: "
                "collections.abc.Callable[[list[tuple[bool, str]]], None] | None, fold_output: "
                "bool = True, become_zygote: collections.abc.Callable[[int, str], object] | None = "
                "None) -> None"));
  m.def("own_process", own_process_facts,
        "Return this process' number of threads, resident bytes, and bytes of the environment it\n"
        "was started with.",
        nb::sig("def own_process() -> tuple[int, int, int]"));
  m.def("stop_node", stop_node, nb::arg("session") = 0,
        "End the node of this process, with all processes that it started; only if it is of that\n"
        "session, unless that is 0.");
  m.def(
      "session", [] { return session_or_throw()->generation(); },
      "Number of this process' session: of a start of a node, or of joining one.");
  m.def("register_function", register_function, nb::arg("session"), nb::arg("name"),
        nb::arg("code"), nb::arg("resources"), nb::arg("max_retries"), nb::arg("retry_exceptions"),
        nb::arg("timeout_s"), nb::arg("items_ahead") = -1, nb::arg("priority") = 0,
        nb::arg("group") = "", nb::arg("actor") = nb::none(), nb::arg("environment") = "",
        "Register the code and options of a function, a method or (with `actor`) a class.\n\n"
        "Returns its number. `items_ahead`: of a streaming one, how many items may wait to be\n"
        "taken, 0: any number; -1: it returns values. `actor` has max_restarts,\n"
        "max_pending_calls, is_sequential, is_async, allow_out_of_order, is_detached, resources,\n"
        "groups, default_group_limit and meta. Only functions of the same `environment` share\n"
        "workers.",
        nb::sig("def register_function(session: int, name: str, code: bytes, "
                "resources: dict[str, float], max_retries: int, retry_exceptions: bool, timeout_s: "
                "float, items_ahead: int = -1, priority: int = 0, group: str = \"\", actor: "
                "dict[str, typing.Any] | None = None, environment: str = \"\") -> int"));
  m.def(
      "bind_submitter", bind_submitter, nb::arg("session"), nb::arg("function"),
      nb::arg("num_returns"), nb::arg("min_args"), nb::arg("max_args"), nb::arg("descriptor"),
      nb::arg("again"), nb::arg("generator").none() = nb::none(), nb::arg("actor") = nb::none(),
      nb::arg("placement") = nb::none(), nb::arg("asks") = false,
      "Return the callable that submits tasks of a registered function, or calls of an actor.\n\n"
      "`again`: see haz.engines.base.\n"
      "`generator`: of a streaming one, what to make of the ref of the stream. `placement`: (ref\n"
      "of a placement group, bundle, captures); None for the ref: in none. `asks`:\n"
      "each call waits for the node, which may refuse it.",
      nb::sig("def bind_submitter(session: int, function: int, num_returns: int, "
              "min_args: int, max_args: int, descriptor: object, again: object, generator: "
              "collections.abc.Callable[[typing.Any], typing.Any] | None = None, actor: object = "
              "None, placement: tuple[typing.Any, int, bool] | None = None, asks: bool = False) -> "
              "collections.abc.Callable[..., typing.Any]"));
  m.def("get", get, nb::arg("refs"), nb::arg("timeout_s").none(), "Return the values of refs.",
        nb::sig("def get(refs: collections.abc.Sequence[typing.Any], timeout_s: float | None) -> "
                "list[typing.Any]"));
  m.def("wait", wait, nb::arg("refs"), nb::arg("num_returns"), nb::arg("timeout_s").none(),
        "Return (ready, not ready), both in the order of `refs`.",
        nb::sig("def wait(refs: collections.abc.Sequence[typing.Any], num_returns: int, timeout_s: "
                "float | None) -> tuple[list[typing.Any], list[typing.Any]]"));
  m.def("put", put, nb::arg("value").none(), "Store a value; return its ref.",
        nb::sig("def put(value: object) -> typing.Any"));
  m.def("cancel", cancel, nb::arg("ref"), nb::arg("force"), nb::arg("recursive"),
        "Cancel the task that makes `ref`.",
        nb::sig("def cancel(ref: object, force: bool, recursive: bool) -> None"));
  m.def("free", free_objects, nb::arg("refs"), "Drop the values of refs now.",
        nb::sig("def free(refs: collections.abc.Sequence[typing.Any]) -> None"));
  m.def("subscribe", subscribe, nb::arg("ref"), nb::arg("token"),
        "Report `token` once `ref` is ready; False if it is, or the object is gone.",
        nb::sig("def subscribe(ref: object, token: int) -> bool"));
  m.def("take_completions", take_completions, nb::arg("session"),
        "Return the tokens that were reported; none if another session runs.");
  m.def("completions_fd", completions_fd, "Readable while take_completions() has something.");
  m.def("query", query, nb::arg("kind"), nb::arg("argument") = 0,
        "Ask the node; see QueryKind in src/wire/messages.h.",
        nb::sig("def query(kind: int, argument: int = 0) -> typing.Any"));
  m.def("snapshot", snapshot, "State of this process' node.",
        nb::sig("def snapshot() -> dict[str, typing.Any]"));
  m.def("story", story, nb::arg("subject"), "History of a task, object or process; 0: of all.",
        nb::sig("def story(subject: int) -> list[tuple[int, int, int, int, int]]"));
  m.def("identity", identity, "Return the node's epoch and this process' number.",
        nb::sig("def identity() -> tuple[int, int]"));
  m.def("pin_pickled_refs", pin_pickled_refs, nb::arg("pin"),
        "Whether refs that this thread pickles by itself are kept without a warning.");
  m.def("usable_cpus", [] { return usable_cpus(); }, "Number of CPUs that this process may use.");
}

}  // namespace haz::py
