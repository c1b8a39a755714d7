#include "sched/function_message.h"

#include <type_traits>
#include <utility>

#include "sched/message_parts.h"

namespace haz {

namespace {

struct FunctionHead {
  std::int64_t timeout_ns;
  std::int32_t max_retries;
  std::int32_t priority;
  std::uint32_t retry_exceptions;
  std::int32_t items_ahead;
  std::uint32_t reserved;
  std::uint32_t is_actor;  ///< 1: an ActorHead and what belongs to it follow.
};
static_assert(std::is_trivially_copyable_v<FunctionHead>);

struct ActorHead {
  std::int32_t max_restarts;
  std::uint32_t max_pending_calls;
  std::uint32_t default_group_limit;
  std::uint32_t num_groups;
  std::uint32_t is_sequential;
  std::uint32_t allow_out_of_order;
  std::uint32_t is_async;
  std::uint32_t is_detached;
};
static_assert(std::is_trivially_copyable_v<ActorHead>);

}  // namespace

void encode_function_options(const FunctionOptions& options, MessageBuilder& message) {
  message.add(FunctionHead{options.timeout_ns, options.max_retries, options.priority,
                           options.retry_exceptions ? 1U : 0U, options.items_ahead, 0,
                           options.actor ? 1U : 0U});
  add_text(message, options.name);
  add_text(message, options.group);
  add_text(message, options.environment);
  add_amounts(message, options.resources);
  if (!options.actor) return;
  const ActorOptions& actor = *options.actor;
  message.add(ActorHead{actor.max_restarts, actor.max_pending_calls, actor.default_group_limit,
                        static_cast<std::uint32_t>(actor.groups.size()),
                        actor.is_sequential ? 1U : 0U, actor.allow_out_of_order ? 1U : 0U,
                        actor.is_async ? 1U : 0U, actor.is_detached ? 1U : 0U});
  add_amounts(message, actor.resources);
  for (const auto& [name, limit] : actor.groups) {
    message.add(std::uint64_t{limit});
    add_text(message, name);
  }
  message.add(std::uint64_t{actor.meta.size()});
  message.add_bytes(actor.meta);
}

FunctionOptions decode_function_options(MessageReader& reader) {
  const auto head = reader.take<FunctionHead>();
  FunctionOptions options;
  options.timeout_ns = head.timeout_ns;
  options.max_retries = head.max_retries;
  options.priority = head.priority;
  options.retry_exceptions = head.retry_exceptions != 0;
  options.items_ahead = head.items_ahead;
  options.name = take_text(reader);
  options.group = take_text(reader);
  options.environment = take_text(reader);
  options.resources = take_amounts(reader);
  if (head.is_actor == 0 || !reader.ok()) return options;
  const auto actor_head = reader.take<ActorHead>();
  ActorOptions actor;
  actor.max_restarts = actor_head.max_restarts;
  actor.max_pending_calls = actor_head.max_pending_calls;
  actor.default_group_limit = actor_head.default_group_limit;
  actor.is_sequential = actor_head.is_sequential != 0;
  actor.allow_out_of_order = actor_head.allow_out_of_order != 0;
  actor.is_async = actor_head.is_async != 0;
  actor.is_detached = actor_head.is_detached != 0;
  actor.resources = take_amounts(reader);
  for (std::uint32_t i = 0; i < actor_head.num_groups && reader.ok(); ++i) {
    const auto limit = static_cast<std::uint32_t>(reader.take<std::uint64_t>());
    actor.groups.emplace_back(take_text(reader), limit);
  }
  const std::span<const std::byte> meta = reader.take_bytes(reader.take<std::uint64_t>());
  actor.meta.assign(meta.begin(), meta.end());
  options.actor = std::make_shared<const ActorOptions>(std::move(actor));
  return options;
}

}  // namespace haz
