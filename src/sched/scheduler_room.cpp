/// @file
/// While the object store has no room: what may begin, and how a standstill ends.
#include <algorithm>
#include <array>
#include <bit>
#include <limits>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "sched/scheduler.h"

namespace haz {

namespace {

/// Ready tasks of a class looked at for one that may begin.
constexpr std::size_t kLookedAt = 32;
/// Arguments and refs of a task looked at for one that nothing else holds.
constexpr std::uint32_t kArgumentsLookedAt = 64;
/// Ticks after which a standstill is no passing one.
constexpr std::uint32_t kLastingTicks = 2;
/// Ticks after which nobody has got room beyond the limit, so that something else must help.
constexpr std::uint32_t kLongTicks = 4;
/// Ticks at which a standstill that lasts is looked at again.
constexpr std::uint32_t kLongestPauseTicks = 512;

}  // namespace

void Scheduler::wait_for_room(RoomWait& wait, Worker* worker, TaskId id) {
  room_waits_.push_back(&wait);
  Task* task = worker != nullptr && id ? find_task(id) : nullptr;
  if (task == nullptr || task->worker != worker) return;
  wait.task = id;
  wait.function = task->function->id;
  ++task->function->room_waits;
  task->function->has_waited_for_room = true;
  lend(wait, task);
}

void Scheduler::end_room_wait(RoomWait& wait) {
  room_waits_.remove(&wait);
  if (Function* waited = function(wait.function); waited != nullptr) --waited->room_waits;
  end_lending(wait);
  ticks_still_ = 0;
  looks_at_all_ = false;
}

// ---- what may begin ----------------------------------------------------------------------------

bool Scheduler::holds_objects(const Task& task) {
  if (task.payload_offset != 0 || task.num_refs != 0) return true;
  const std::span nodes(task.dependencies.get(), task.num_dependencies);
  return std::any_of(nodes.begin(), nodes.end(),
                     [](const WaitNode& node) { return node.object->offset != 0; });
}

/// Whether the store gets memory back when `task` ends.
bool Scheduler::frees_room(const Task& task) const {
  if (task.payload_offset != 0) return true;
  const auto is_its_own = [](const Object* object) {
    return object != nullptr && object->offset != 0 && object->refs == 1;
  };
  for (std::uint32_t i = 0; i < std::min(task.num_dependencies, kArgumentsLookedAt); ++i) {
    if (is_its_own(task.dependencies[i].object)) return true;
  }
  for (std::uint32_t i = 0; i < std::min(task.num_refs, kArgumentsLookedAt); ++i) {
    if (is_its_own(objects_.find(task.refs[i].value))) return true;
  }
  return false;
}

/// Whether the task may begin. Of a function whose tasks wait for room one more would only wait,
/// too, and keep what it has made in memory of its own.
bool Scheduler::may_begin(const Task& task) const {
  if (room_waits_.empty() || frees_room(task)) return true;
  return task.function->room_waits == 0 && (looks_at_all_ || !waits_at_once(task));
}

/// The task of the class that is to begin next, or nullptr.
Task* Scheduler::next_ready(const ResourceClass& resources) const {
  if (room_waits_.empty()) return resources.ready.front();
  const std::size_t most = looks_at_all_ ? std::numeric_limits<std::size_t>::max() : kLookedAt;
  Task* task = resources.ready.find(most, [this](const Task& each) { return may_begin(each); });
  if (task != nullptr || !looks_at_all_ || blocks_others() != nullptr) return task;
  // Of those who wait nobody is needed: one who is gets room beyond the limit, once it has begun.
  return resources.ready.find(
      most, [this](const Task& each) { return ends_a_wait(each) || is_passed_on(each); });
}

/// Whether the task has refs, or a generator, of tasks that have not begun: most likely it would
/// wait for these, and lend its slot to one more that waits.
bool Scheduler::waits_at_once(const Task& task) const {
  for (std::uint32_t i = 0; i < std::min(task.num_refs, kArgumentsLookedAt); ++i) {
    const Object* object = objects_.find(task.refs[i].value);
    if (object == nullptr || object->state != ObjectState::kPending) continue;
    const Task* producer = object->producer;
    if (producer == nullptr) continue;
    const bool has_begun = producer->worker != nullptr &&
                           (producer->nested || producer->worker->assigned.front() == producer);
    if (!has_begun) return true;
  }
  return false;
}

// ---- a standstill ------------------------------------------------------------------------------

/// Whether the worker comes to the end of a task by itself, as far as can be seen.
bool Scheduler::can_go_on(const Worker& worker) const {
  const Task* front = worker.assigned.front();
  if (worker.doomed) return true;
  if (front == nullptr || worker.state == WorkerState::kBlocked) return false;
  const bool side_by_side =
      worker.actor != nullptr && !worker.actor->function->actor->is_sequential;
  if (!side_by_side) return front->waiting_threads == 0;
  std::size_t waiting = 0;
  for (const RoomWait* wait = room_waits_.front(); wait != nullptr;
       wait = List<RoomWait, &RoomWait::room_link>::next(wait)) {
    if (wait->process == worker.process) ++waiting;
  }
  // All calls of an event loop wait when one of them holds it up.
  return worker.actor->function->actor->is_async ? waiting == 0 : waiting < worker.assigned.size();
}

bool Scheduler::stands_still() const {
  if (room_waits_.empty() || starting_ != 0) return false;
  return std::none_of(workers_.begin(), workers_.end(),
                      [this](const Worker* worker) { return can_go_on(*worker); });
}

/// Once in a while, as long as it lasts, all ready tasks are looked at.
void Scheduler::look_at_standstill() {
  ticks_still_ = stands_still() ? ticks_still_ + 1 : 0;
  const bool again = std::has_single_bit(ticks_still_) || ticks_still_ % kLongestPauseTicks == 0;
  if (ticks_still_ >= kLongTicks && again) looks_at_all_ = true;
}

const Task* Scheduler::task_of(const RoomWait& wait) const {
  const Object* first = wait.task ? objects_.find(wait.task.value) : nullptr;
  const Task* task = first != nullptr ? first->producer : nullptr;
  return task != nullptr && task->id == wait.task ? task : nullptr;
}

bool Scheduler::frees_room(const RoomWait& wait) const {
  const Task* task = task_of(wait);
  return task != nullptr && frees_room(*task);
}

/// Whether somebody waits for the very next thing that the task makes, and for nothing more.
bool Scheduler::ends_a_wait(const Task& task) const {
  if (const Stream* stream = find_stream(task.id)) return stream->wanted;
  for (std::uint32_t i = 0; i < task.num_returns; ++i) {
    const Object* object = objects_.find(task.id.return_id(i).value);
    for (const WaitNode* node = object->waiters; node != nullptr; node = node->next) {
      if (node->waiter->kind == Waiter::Kind::kRequest && node->waiter->missing == 1) return true;
    }
  }
  return false;
}

/// Whether what the task returns goes to other tasks alone, and with these.
bool Scheduler::is_passed_on(const Task& task) const {
  if (task.function->streams() || task.num_returns == 0) return false;
  for (std::uint32_t i = 0; i < task.num_returns; ++i) {
    const Object* object = objects_.find(task.id.return_id(i).value);
    std::uint32_t holders = 1;  // the task itself
    for (const WaitNode* node = object->waiters; node != nullptr; node = node->next)
      holders += node->waiter->kind == Waiter::Kind::kTask ? 1 : 0;
    if (object->refs != holders) return false;
  }
  return true;
}

RoomWait* Scheduler::blocks_others() const {
  if (ticks_still_ < kLastingTicks) return nullptr;
  RoomWait* found = nullptr;
  std::uint64_t order = std::numeric_limits<std::uint64_t>::max();
  for (RoomWait* wait = room_waits_.front(); wait != nullptr;
       wait = List<RoomWait, &RoomWait::room_link>::next(wait)) {
    const Task* task = task_of(*wait);
    if (task == nullptr) continue;
    if (frees_room(*task)) return wait;
    // What comes first is most likely needed first.
    if (task->order >= order || !(ends_a_wait(*task) || is_passed_on(*task))) continue;
    found = wait;
    order = task->order;
  }
  return found;
}

// ---- whether any can come ----------------------------------------------------------------------

/// Whether the worker holds objects, or somebody waits for what it makes.
bool Scheduler::has_to_do_with_others(const Worker& worker) const {
  if (has_references(worker.process)) return true;
  for (const Task* task = worker.assigned.front(); task != nullptr;
       task = List<Task, &Task::queue_link>::next(task)) {
    const bool holds = task->num_dependencies != 0 || task->num_refs != 0 ||
                       task->payload_offset != 0 || task->first_child != nullptr;
    if (holds || task->awaited || task->function->streams() || task->creates_actor) return true;
    for (std::uint32_t i = 0; i < task->num_returns; ++i) {
      if (objects_.find(task->id.return_id(i).value)->waiters != nullptr) return true;
    }
  }
  return false;
}

bool Scheduler::room_can_come() const {
  if (starting_ != 0) return true;
  const auto goes_on_some_time = [](const Request* request) { return request->has_deadline; };
  for (const Request* request = blocked_requests_.front(); request != nullptr;
       request = List<Request, &Request::blocked_link>::next(request)) {
    if (goes_on_some_time(request)) return true;
  }
  for (const Request* request = lending_requests_.front(); request != nullptr;
       request = List<Request, &Request::lending_link>::next(request)) {
    if (goes_on_some_time(request)) return true;
  }
  const bool has_backlog = queued_ != 0 || queued_calls_ != 0;
  return std::any_of(workers_.begin(), workers_.end(), [&](const Worker* worker) {
    return can_go_on(*worker) && (worker->doomed || has_backlog || has_to_do_with_others(*worker));
  });
}

// ---- who holds what ----------------------------------------------------------------------------

namespace {

/// Who has references of one object, beside the driver.
struct KnownHolders {
  std::uint32_t tasks = 0;
  std::uint32_t processes = 0;
  std::uint32_t values = 0;
};

std::string in_megabytes(std::uint64_t bytes) {
  constexpr std::uint64_t kTenth = 100'000;
  const std::uint64_t tenths = (bytes + kTenth / 2) / kTenth;
  return std::to_string(tenths / 10) + "." + std::to_string(tenths % 10) + " MB";
}

std::string hex_of(std::uint64_t id) {
  constexpr const char* kDigits = "0123456789abcdef";
  std::string text(16, '0');
  for (std::size_t i = text.size(); i > 0; id >>= 4)
    text[--i] = kDigits[id & 15];
  return text;
}

}  // namespace

std::string Scheduler::holders_of_room(std::uint64_t epoch) const {
  constexpr std::size_t kShown = 3;
  std::unordered_map<std::uint64_t, KnownHolders> known;
  std::vector<std::pair<std::uint64_t, std::uint64_t>> sizes;  // and ids
  objects_.for_each([&](std::uint64_t id, const Object* object) {
    if (object->offset != 0) sizes.emplace_back(object->size, id);
    if (object->inner) {
      for (const ObjectId inner : *object->inner)
        ++known[inner.value].values;
    }
    const Task* task = object->producer;
    if (task == nullptr || task->id.value != id) return;
    for (std::uint32_t i = 0; i < task->num_dependencies; ++i)
      ++known[task->dependencies[i].object->id.value].tasks;
    for (std::uint32_t i = 0; i < task->num_refs; ++i)
      ++known[task->refs[i].value].tasks;
  });
  for (const auto& [process, table] : references_) {
    table.for_each([&](std::uint64_t id, std::uint32_t count) { known[id].processes += count; });
  }
  std::array<std::uint64_t, 5> held{};
  for (const auto& [size, id] : sizes) {
    const KnownHolders& holders = known[id];
    const std::uint32_t others = holders.tasks + holders.processes + holders.values;
    const std::size_t who = objects_.find(id)->refs > others ? 0
                            : holders.processes != 0         ? 1
                            : holders.tasks != 0             ? 2
                                                             : 3;
    held[who] += size;
  }
  for (const auto& [task, stream] : streams_) {
    for (const Object* item : stream->items)
      held[4] += item->offset != 0 ? item->size : 0;
  }
  constexpr std::array<const char*, 5> kWho{
      "refs and views of the driver", "refs and views of tasks and actors",
      "arguments of tasks that have not ended", "other values that refer to them",
      "generators whose items nobody has taken"};
  std::string text;
  for (std::size_t who = 0; who < held.size(); ++who) {
    if (held[who] == 0) continue;
    text += (text.empty() ? "Held by " : ", by ") + std::string(kWho[who]) + ": " +
            in_megabytes(held[who]);
  }
  if (sizes.empty()) return text + (text.empty() ? "" : ".");
  std::sort(sizes.rbegin(), sizes.rend());
  text += ". The largest:";
  for (std::size_t i = 0; i < std::min(sizes.size(), kShown); ++i) {
    text += (i != 0 ? ", ObjectRef(" : " ObjectRef(") + hex_of(epoch) + hex_of(sizes[i].second) +
            ") of " + in_megabytes(sizes[i].first);
  }
  return text + ".";
}

}  // namespace haz
