/// @file
/// Lists of what there is on the node and of what has ended, for `haz.util.state`.
///
/// Each is a dictionary of `functions`, id to (name, resources), of those that the entries name;
/// `total`, the number of what there is; and `live` and `ended`, lists of tuples. Ids are numbers,
/// 0: none. Times are monotonic nanoseconds.
#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "node/node.h"
#include "wire/value.h"

namespace haz {

namespace {

/// What a task that has not ended does, as the numbers that the answer has.
enum class Progress : std::uint8_t {
  kWaitsForArguments,
  kWaitsForResources,
  kWaitsForActor,
  kGiven,  ///< To a worker that still runs another one.
  kRuns,
  kBlocked,  ///< Runs, and waits for objects.
};

Progress progress_of(const Task& task) {
  if (task.state == TaskState::kWaiting) return Progress::kWaitsForArguments;
  if (task.state == TaskState::kQueued) {
    return task.place == CallPlace::kGroup ? Progress::kWaitsForActor
                                           : Progress::kWaitsForResources;
  }
  const Worker& worker = *task.worker;
  const bool beside_others =
      worker.actor != nullptr && !worker.actor->function->actor->is_sequential;
  if (task.blocking_request != nullptr || task.lends_cpu) return Progress::kBlocked;
  if (task.nested || beside_others) return Progress::kRuns;
  const Task* before = List<Task, &Task::queue_link>::previous(&task);
  return before == nullptr || before->nested ? Progress::kRuns : Progress::kGiven;
}

void write(ValueWriter& writer, std::int64_t number) { writer.integer(number); }
void write(ValueWriter& writer, std::uint64_t number) {
  writer.integer(static_cast<std::int64_t>(number));
}
void write(ValueWriter& writer, std::uint32_t number) { writer.integer(number); }
void write(ValueWriter& writer, std::int32_t number) { writer.integer(number); }
void write(ValueWriter& writer, bool value) { writer.boolean(value); }
void write(ValueWriter& writer, const std::string& text) { writer.str(text); }
void write(ValueWriter& writer, TaskId id) { write(writer, id.value); }
void write(ValueWriter& writer, ObjectId id) { write(writer, id.value); }
void write(ValueWriter& writer, FunctionId id) { write(writer, id.value); }
void write(ValueWriter& writer, ProcessId id) { write(writer, id.value); }
void write(ValueWriter& writer, const ValueBytes& bytes) { writer.bytes(bytes.view()); }
void write(ValueWriter& writer, const TaskTimes& times) {
  writer.begin_tuple(3);
  write(writer, times.submitted_ns);
  write(writer, times.began_ns);
  write(writer, times.ended_ns);
}
template <typename Enum>
  requires std::is_enum_v<Enum>
void write(ValueWriter& writer, Enum value) {
  writer.integer(static_cast<std::int64_t>(value));
}

template <typename... Fields>
void write_tuple(ValueWriter& writer, const Fields&... fields) {
  writer.begin_tuple(sizeof...(Fields));
  (write(writer, fields), ...);
}

void write_request(const ResourceRequest& request, const ResourcePool& pool, ValueWriter& writer) {
  writer.begin_dict(static_cast<std::uint32_t>(request.size()));
  for (const auto& [index, units] : request) {
    writer.str(pool.name(index));
    writer.number(from_resource_units(units));
  }
}

/// The functions that some entries name.
class NamedFunctions {
 public:
  void add(const Function* function) {
    if (function != nullptr) functions_[function->id.value] = function;
  }
  void write_to(const ResourcePool& pool, ValueWriter& writer) const {
    writer.begin_dict(static_cast<std::uint32_t>(functions_.size()));
    for (const auto& [id, function] : functions_) {
      writer.integer(id);
      writer.begin_tuple(2);
      writer.str(function->name);
      write_request(function->actor ? function->actor_request : function->resources->request, pool,
                    writer);
    }
  }

 private:
  std::map<std::uint32_t, const Function*> functions_;
};

template <typename Record, typename Write>
void write_all(const std::vector<Record>& records, ValueWriter& writer, Write write_one) {
  writer.begin_list(static_cast<std::uint32_t>(records.size()));
  for (const Record& record : records)
    write_one(record);
}

/// Leaves the first `most` in the order of their ids; returns how many there were.
template <typename Entry>
std::size_t keep_first(std::vector<const Entry*>& entries, std::size_t most) {
  std::sort(entries.begin(), entries.end(),
            [](const Entry* a, const Entry* b) { return a->id.value < b->id.value; });
  const std::size_t total = entries.size();
  if (total > most) entries.resize(most);
  return total;
}

/// Those of which the function is still known, the latest first.
template <typename Ended>
std::vector<const Ended*> known(const Recent<Ended>& ended, Scheduler& scheduler,
                                NamedFunctions& functions) {
  std::vector<const Ended*> found;
  for (std::size_t i = ended.size(); i > 0; --i) {
    const Function* function = scheduler.function(ended[i - 1].function);
    if (function == nullptr) continue;
    functions.add(function);
    found.push_back(&ended[i - 1]);
  }
  return found;
}

}  // namespace

/// live: (id, function, parent, actor, is a constructor, process, pid, attempt, times, progress,
/// group). ended: (id, function, parent, actor, is a constructor, process, attempt, times, end).
void Node::encode_tasks(std::size_t most, ValueWriter& writer) {
  std::vector<const Task*> tasks = scheduler_.live_tasks();
  const std::size_t total = keep_first(tasks, most);
  NamedFunctions functions;
  for (const Task* task : tasks)
    functions.add(task->function);
  const auto ended = known(scheduler_.history().tasks, scheduler_, functions);
  writer.begin_dict(4);
  writer.str("functions");
  functions.write_to(scheduler_.resources(), writer);
  writer.str("total");
  write(writer, std::uint64_t{total});
  writer.str("live");
  write_all(tasks, writer, [&](const Task* task) {
    const std::int32_t pid = task->worker != nullptr ? port_of(*task->worker).pid : 0;
    const PlacementGroup* group = task->resources->group;
    write_tuple(writer, task->id, task->function->id, task->parent_id,
                task->actor != nullptr ? task->actor->id : ObjectId{}, task->creates_actor,
                task->process, pid, task->attempt, task->times, progress_of(*task),
                group != nullptr ? group->id : ObjectId{});
  });
  writer.str("ended");
  write_all(ended, writer, [&](const EndedTask* task) {
    write_tuple(writer, task->id, task->function, task->parent, task->actor, task->creates_actor,
                task->process, task->attempt, task->times, task->end);
  });
}

/// live: (id, constructor, process, pid, restarts, is detached, name, namespace, state, waits for
/// resources, group). ended: (id, constructor, process, restarts, is detached, name, namespace,
/// death). A dead one of which there are handles is only among those that have ended.
void Node::encode_actors(std::size_t most, ValueWriter& writer) {
  NamedFunctions functions;
  std::vector<const Actor*> actors;
  for (const auto& [id, actor] : scheduler_.actors()) {
    if (actor->state != ActorState::kDead) actors.push_back(actor.get());
  }
  const std::size_t total = keep_first(actors, most);
  for (const Actor* actor : actors)
    functions.add(actor->function);
  const auto ended = known(scheduler_.history().actors, scheduler_, functions);
  writer.begin_dict(4);
  writer.str("functions");
  functions.write_to(scheduler_.resources(), writer);
  writer.str("total");
  write(writer, std::uint64_t{total});
  writer.str("live");
  write_all(actors, writer, [&](const Actor* actor) {
    const std::int32_t pid = actor->worker != nullptr ? port_of(*actor->worker).pid : 0;
    const bool waits = actor->creation != nullptr && actor->creation->state != TaskState::kWaiting;
    write_tuple(writer, actor->id, actor->function->id, actor->process, pid, actor->restarts,
                actor->function->actor->is_detached, actor->name, actor->name_space, actor->state,
                waits, actor->group);
  });
  writer.str("ended");
  write_all(ended, writer, [&](const EndedActor* actor) {
    write_tuple(writer, actor->id, actor->function, actor->process, actor->restarts,
                actor->is_detached, actor->name, actor->name_space, actor->death);
  });
}

/// live: (id, bytes, references, state, is an actor, lies in the arena, the task that makes it).
void Node::encode_objects(std::size_t most, ValueWriter& writer) const {
  std::vector<const Object*> objects;
  scheduler_.for_each_object([&objects](const Object& object) {
    if (object.role == ObjectRole::kValue) objects.push_back(&object);
  });
  const std::size_t total = keep_first(objects, most);
  writer.begin_dict(2);
  writer.str("total");
  write(writer, std::uint64_t{total});
  writer.str("live");
  write_all(objects, writer, [&](const Object* object) {
    const TaskId producer = object->producer != nullptr ? object->producer->id : TaskId{};
    write_tuple(writer, object->id, object->size, object->refs, object->state, object->is_actor,
                object->offset != 0, producer);
  });
}

/// live: (process, pid, state, actor, job). ended: (process, pid, exit code, signal, job).
void Node::encode_workers(ValueWriter& writer) {
  writer.begin_dict(2);
  writer.str("live");
  write_all(scheduler_.workers(), writer, [&](const Worker* worker) {
    write_tuple(writer, worker->process, static_cast<std::int32_t>(port_of(*worker).pid),
                worker->state, worker->actor != nullptr ? worker->actor->id : ObjectId{},
                worker->job);
  });
  const Recent<EndedWorker>& ended = scheduler_.history().workers;
  writer.str("ended");
  writer.begin_list(static_cast<std::uint32_t>(ended.size()));
  for (std::size_t i = ended.size(); i > 0; --i) {
    const EndedWorker& worker = ended[i - 1];
    write_tuple(writer, worker.process, worker.pid, worker.exit_code, worker.signal, worker.job);
  }
}

}  // namespace haz
