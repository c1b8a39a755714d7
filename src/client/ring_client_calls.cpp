/// @file
/// Calls that the host decides on, with or without an answer.
#include <utility>

#include "client/ring_client.h"
#include "client/ring_parts.h"
#include "sched/function_message.h"
#include "sched/group_message.h"
#include "wire/message_reader.h"

namespace haz {

// ---- calls without a wait ----------------------------------------------------------------------

namespace {

SubmitMessage submit_message(const Submission& submission) {
  return {submission.id.value,
          submission.parent.value,
          submission.payload_offset,
          submission.payload_size,
          submission.function.value,
          submission.num_returns,
          static_cast<std::uint32_t>(submission.dependencies.size()),
          static_cast<std::uint32_t>(submission.refs.size()),
          0,
          submission.actor.value,
          submission.group.value,
          submission.bundle,
          submission.captures ? 1U : 0U};
}

std::span<const std::byte> near_payload(const Submission& submission) {
  return submission.payload_offset == 0 ? submission.payload : std::span<const std::byte>{};
}

}  // namespace

Status RingClient::submit(const Submission& submission) {
  if (is_lost()) {
    published(submission.payload_offset);  // or it would look as if it were still written
    return node_died();
  }
  const SubmitMessage message = submit_message(submission);
  send(MessageKind::kSubmit,
       {bytes_of(message), near_payload(submission), bytes_of_ids(submission.dependencies),
        bytes_of_ids(submission.refs)},
       true);
  published(submission.payload_offset);
  return Ok{};
}

Status RingClient::submit_asked(const Submission& submission, WaitHooks& hooks) {
  const std::uint64_t number = expect_reply();
  MessageBuilder builder;
  builder.add(number);
  builder.add(submit_message(submission));
  builder.add_bytes(near_payload(submission));
  builder.add_bytes(bytes_of_ids(submission.dependencies));
  builder.add_bytes(bytes_of_ids(submission.refs));
  SteadyHooks steady(hooks);
  const auto reply = ask(MessageKind::kAskedSubmit, builder.body(), number, steady);
  published(submission.payload_offset);
  if (!reply) return reply.error();
  return Ok{};
}

Status RingClient::put(ObjectId id, const NewValue& value) {
  if (is_lost()) {
    published(value.offset);
    return node_died();
  }
  const PutMessage message{id.value};
  const ValueEntry entry = entry_of(value);
  send(MessageKind::kPut,
       {bytes_of(message), bytes_of(entry), value.bytes, bytes_of_ids(value.refs)}, false);
  published(value.offset);
  return Ok{};
}

void RingClient::cancel(ObjectId id, bool force, bool recursive) {
  const CancelMessage message{id.value,
                              (force ? kCancelForce : 0U) | (recursive ? kCancelRecursive : 0U), 0};
  send(MessageKind::kCancel, {bytes_of(message)}, true);
}

void RingClient::free(std::span<const ObjectId> ids) {
  for (const ObjectId id : ids)
    items_.forget_value(id);
  send(MessageKind::kFree, {bytes_of_ids(ids)}, false);
}

void RingClient::add_reference(ObjectId id) {
  send(MessageKind::kAddReferences, {bytes_of(id)}, false);
}

Result<FunctionId> RingClient::register_function(const FunctionOptions& options,
                                                 std::span<const std::byte> code) {
  const std::uint64_t number = expect_reply();
  MessageBuilder builder;
  builder.add(RegisterMessage{number, code.size()});
  encode_function_options(options, builder);
  builder.add_bytes(code);
  NoHooks hooks;
  const auto reply = ask(MessageKind::kRegisterFunction, builder.body(), number, hooks);
  if (!reply) return reply.error();
  const auto answer = MessageReader(reply.value().body).take<AnswerMessage>();
  return FunctionId{static_cast<std::uint32_t>(answer.value)};
}

// ---- actors ------------------------------------------------------------------------------------

Result<ObjectId> RingClient::create_actor(const Submission& submission, const ActorSpec& actor,
                                          WaitHooks& hooks) {
  const std::uint64_t number = expect_reply();
  MessageBuilder builder;
  builder.add(CreateActorMessage{number, static_cast<std::uint32_t>(actor.name.size()),
                                 static_cast<std::uint32_t>(actor.name_space.size()),
                                 actor.get_if_exists ? 1U : 0U, 0});
  builder.add_bytes(bytes_of_text(actor.name));
  builder.add_bytes(bytes_of_text(actor.name_space));
  builder.add(submit_message(submission));
  builder.add_bytes(near_payload(submission));
  builder.add_bytes(bytes_of_ids(submission.dependencies));
  builder.add_bytes(bytes_of_ids(submission.refs));
  const auto reply = ask(MessageKind::kCreateActor, builder.body(), number, hooks);
  published(submission.payload_offset);
  if (!reply) return reply.error();
  return ObjectId{MessageReader(reply.value().body).take<AnswerMessage>().value};
}

Result<FoundActor> RingClient::find_actor(const ActorSpec& actor, WaitHooks& hooks) {
  const std::uint64_t number = expect_reply();
  MessageBuilder builder;
  builder.add(FindActorMessage{number, static_cast<std::uint32_t>(actor.name.size()),
                               static_cast<std::uint32_t>(actor.name_space.size())});
  builder.add_bytes(bytes_of_text(actor.name));
  builder.add_bytes(bytes_of_text(actor.name_space));
  const auto reply = ask(MessageKind::kFindActor, builder.body(), number, hooks);
  if (!reply) return reply.error();
  MessageReader reader(reply.value().body);
  const auto answer = reader.take<AnswerMessage>();
  const std::span<const std::byte> meta = reader.take_bytes(answer.num_bytes);
  return FoundActor{ObjectId{answer.value}, {meta.begin(), meta.end()}};
}

void RingClient::kill_actor(ObjectId id, bool no_restart) {
  const KillActorMessage message{id.value, no_restart ? 1U : 0U, 0};
  send(MessageKind::kKillActor, {bytes_of(message)}, true);
}

void RingClient::exit_actor() { send(MessageKind::kActorExit, {}, true); }

// ---- placement groups --------------------------------------------------------------------------

Status RingClient::create_group(GroupSpec& spec, const NewValue& value, WaitHooks& hooks) {
  const std::uint64_t number = expect_reply();
  MessageBuilder builder;
  builder.add(CreateGroupMessage{number});
  encode_group_spec(spec, builder);
  builder.add(entry_of(value));
  builder.add_bytes(value.bytes);
  builder.add_bytes(bytes_of_ids(value.refs));
  const auto reply = ask(MessageKind::kCreateGroup, builder.body(), number, hooks);
  published(value.offset);
  if (!reply) return reply.error();
  return Ok{};
}

void RingClient::remove_group(ObjectId id) {
  send(MessageKind::kRemoveGroup, {bytes_of(id)}, true);
}

Result<std::vector<std::byte>> RingClient::query(QueryKind kind, std::uint64_t argument) {
  const std::uint64_t number = expect_reply();
  const QueryMessage message{number, kind, 0, argument};
  send(MessageKind::kQuery, {bytes_of(message)}, true);
  NoHooks hooks;
  Reply reply;
  if (await_reply(number, -1, hooks, reply) != WaitOutcome::kDone) return node_died();
  MessageReader reader(reply.body);
  const auto answer = reader.take<AnswerMessage>();
  const std::span<const std::byte> bytes = reader.take_bytes(answer.num_bytes);
  return std::vector<std::byte>(bytes.begin(), bytes.end());
}

}  // namespace haz
