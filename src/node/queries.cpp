#include <algorithm>
#include <array>
#include <utility>

#include "node/node.h"
#include "wire/value.h"

namespace haz {

namespace {

/// (id, name, namespace, strategy, state, captures, bundles).
void encode_group(const PlacementGroup& group, bool captures, const ResourcePool& pool,
                  ValueWriter& writer) {
  constexpr std::uint32_t kFields = 7;
  writer.begin_tuple(kFields);
  writer.integer(static_cast<std::int64_t>(group.id.value));
  writer.str(group.name);
  writer.str(group.name_space);
  writer.str(group.strategy);
  writer.integer(static_cast<std::int64_t>(group.state));
  writer.boolean(captures);
  writer.begin_list(static_cast<std::uint32_t>(group.bundles.size()));
  for (const Bundle& bundle : group.bundles) {
    writer.begin_dict(static_cast<std::uint32_t>(bundle.request.size()));
    for (const auto& [index, units] : bundle.request) {
      writer.str(pool.name(index));
      writer.number(from_resource_units(units));
    }
  }
}

void encode_counts(const SchedulerCounts& counts, ValueWriter& writer) {
  const std::array<std::pair<const char*, std::size_t>, 9> entries{
      {{"objects", counts.objects},
       {"streams", counts.streams},
       {"unread_items", counts.items},
       {"tasks", counts.tasks},
       {"queued", counts.queued},
       {"workers", counts.workers},
       {"idle_workers", counts.idle},
       {"actors", counts.actors},
       {"placement_groups", counts.groups}}};
  writer.begin_dict(entries.size());
  for (const auto& [name, count] : entries) {
    writer.str(name);
    writer.integer(static_cast<std::int64_t>(count));
  }
}

}  // namespace

void Node::encode_query(QueryKind kind, std::uint64_t argument, std::vector<std::byte>& out) {
  ValueWriter writer;
  switch (kind) {
    case QueryKind::kSnapshot:
      encode_counts(scheduler_.counts(), writer);
      break;
    case QueryKind::kNamedActors:
      encode_named_actors(writer);
      break;
    case QueryKind::kGroups:
    case QueryKind::kGroupOfTask:
      encode_groups(QueryMessage{0, kind, 0, argument}, writer);
      break;
    case QueryKind::kActorName: {
      const Actor* actor = scheduler_.find_actor(ObjectId{argument});
      writer.str(actor != nullptr ? actor->name : std::string());
      break;
    }
    case QueryKind::kIsCancelled: {
      const Task* task = scheduler_.find_task(TaskId{argument});
      writer.boolean(task != nullptr && task->cancel_requested);
      break;
    }
    case QueryKind::kIsWanted:
      writer.boolean(scheduler_.is_result_wanted(TaskId{argument}));
      break;
    case QueryKind::kTasks:
      encode_tasks(argument, writer);
      break;
    case QueryKind::kActors:
      encode_actors(argument, writer);
      break;
    case QueryKind::kObjects:
      encode_objects(argument, writer);
      break;
    case QueryKind::kTaskOf:
      writer.integer(static_cast<std::int64_t>(scheduler_.task_of(ObjectId{argument}).value));
      break;
    case QueryKind::kWorkers:
      encode_workers(writer);
      break;
    default:
      encode_resources(kind == QueryKind::kTotalResources, writer);
  }
  out.assign(writer.data().begin(), writer.data().end());
}

void Node::encode_groups(const QueryMessage& query, ValueWriter& writer) {
  std::vector<std::pair<const PlacementGroup*, bool>> found;
  if (query.kind == QueryKind::kGroupOfTask) {
    const Task* task = scheduler_.find_task(TaskId{query.argument});
    if (task != nullptr) found.push_back(scheduler_.group_of(*task));
  } else if (query.argument != 0) {
    found.emplace_back(scheduler_.find_group(ObjectId{query.argument}), false);
  } else {
    for (const auto& entry : scheduler_.groups())
      found.emplace_back(entry.second.get(), false);
  }
  std::erase_if(found, [](const auto& one) { return one.first == nullptr; });
  writer.begin_list(static_cast<std::uint32_t>(found.size()));
  for (const auto& [group, captures] : found)
    encode_group(*group, captures, scheduler_.resources(), writer);
}

void Node::encode_named_actors(ValueWriter& writer) {
  constexpr std::uint32_t kFields = 4;
  const Scheduler::ActorNames& names = scheduler_.actor_names();
  writer.begin_list(static_cast<std::uint32_t>(names.size()));
  for (const auto& [name, actor] : names) {
    const bool runs = actor->state == ActorState::kAlive && actor->worker != nullptr;
    writer.begin_tuple(kFields);
    writer.str(name.first);
    writer.str(name.second);
    writer.integer(actor->pending);
    writer.integer(runs ? port_of(*actor->worker).pid : 0);
  }
}

void Node::encode_resources(bool total, ValueWriter& writer) {
  const ResourcePool& pool = scheduler_.resources();
  writer.begin_dict(static_cast<std::uint32_t>(pool.size()));
  for (std::size_t i = 0; i < pool.size(); ++i) {
    writer.str(pool.name(i));
    if (!total && pool.name(i) == "object_store_memory") {
      const StoreUsage usage = store_.usage();
      writer.number(static_cast<double>(usage.limit - std::min(usage.used, usage.limit)));
    } else {
      writer.number(from_resource_units(total ? pool.total(i) : pool.free(i)));
    }
  }
}

}  // namespace haz
