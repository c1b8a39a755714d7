/// @file
/// The client of the process that hosts the node itself.
#pragma once

#include "client/client.h"
#include "node/node.h"

namespace haz {

/// Calls the node directly: no ring, no wake-up.
class EmbeddedClient final : public Client {
 public:
  /// `node` outlives the client.
  explicit EmbeddedClient(Node& node) : node_(node) {}

  [[nodiscard]] ProcessId process() const override { return node_.process(); }
  [[nodiscard]] std::uint64_t epoch() const override { return node_.epoch(); }
  std::uint64_t new_ids(std::uint32_t count) override { return node_.new_ids(count); }
  Result<FunctionId> register_function(const FunctionOptions& options,
                                       std::span<const std::byte> code) override {
    auto function = node_.register_function(options, code);
    if (!function) return function.error();
    return (*function)->id;
  }
  Result<StoreBlock> allocate(std::uint64_t size, WaitHooks& hooks, StoreUse use) override {
    return node_.allocate(size, hooks, use);
  }
  void seal(const StoreBlock& /*block*/) override {}
  void discard(const StoreBlock& block) override { node_.discard(block.offset); }
  Status submit(const Submission& submission) override {
    TaskSpec spec = spec_of(submission);
    const Status status = node_.submit(spec, submission.function);
    if (!status && submission.payload_offset != 0) node_.discard(submission.payload_offset);
    return status;
  }
  Status submit_asked(const Submission& submission, WaitHooks& /*hooks*/) override {
    return submit(submission);
  }
  Result<ObjectId> create_actor(const Submission& submission, const ActorSpec& actor,
                                WaitHooks& /*hooks*/) override {
    TaskSpec spec = spec_of(submission);
    Result<ObjectId> made = node_.create_actor(spec, submission.function, actor);
    const bool taken = made.ok() && made.value().value == submission.id.value;
    if (!taken && submission.payload_offset != 0) node_.discard(submission.payload_offset);
    return made;
  }
  Result<FoundActor> find_actor(const ActorSpec& actor, WaitHooks& /*hooks*/) override {
    FoundActor found;
    auto id = node_.find_actor(actor, found.meta);
    if (!id) return id.error();
    found.id = *id;
    return found;
  }
  void kill_actor(ObjectId id, bool no_restart) override { node_.kill_actor(id, no_restart); }
  Status create_group(GroupSpec& spec, const NewValue& value, WaitHooks& /*hooks*/) override {
    return node_.create_group(spec, value);
  }
  void remove_group(ObjectId id) override { node_.remove_group(id); }
  Status put(ObjectId id, const NewValue& value) override { return node_.put(id, value); }
  WaitOutcome get(std::span<const ObjectId> ids, std::int64_t deadline_ns, WaitHooks& hooks,
                  FetchedValues& out) override {
    return node_.get(ids, deadline_ns, hooks, out);
  }
  std::size_t find_ready(std::span<const ObjectId> ids, std::span<std::size_t> places) override {
    return node_.find_ready(ids, places);
  }
  WaitOutcome wait(std::span<const ObjectId> ids, std::uint32_t needed, std::int64_t deadline_ns,
                   WaitHooks& hooks, std::vector<bool>& ready) override {
    return node_.wait(ids, needed, deadline_ns, hooks, ready);
  }
  TakenItem take_item(ObjectId stream, ObjectId* item, WaitHooks& /*hooks*/) override {
    if (item != nullptr) *item = ObjectId{node_.new_ids(1)};
    return node_.take_item(stream, item != nullptr ? *item : ObjectId{});
  }
  void share_stream(ObjectId /*stream*/) override {}
  bool subscribe(ObjectId id, std::uint64_t token, bool /*near*/) override {
    return node_.subscribe(id, token);
  }
  std::vector<std::uint64_t> take_completions() override { return node_.take_completions(); }
  Result<int> completions_fd() override { return node_.completions_fd(); }
  void cancel(ObjectId id, bool force, bool recursive) override {
    node_.cancel(id, force, recursive);
  }
  void free(std::span<const ObjectId> ids) override { node_.free(ids); }
  void add_reference(ObjectId id) override { (void)node_.add_reference(id); }
  void drop_reference(ObjectId id) noexcept override { node_.drop_reference(id); }
  Result<std::vector<std::byte>> query(QueryKind kind, std::uint64_t argument) override {
    return node_.query(kind, argument);
  }
  [[nodiscard]] Arena& arena() override { return node_.arena(); }

 private:
  static TaskSpec spec_of(const Submission& submission) {
    TaskSpec spec;
    spec.id = submission.id;
    spec.parent = submission.parent;
    spec.actor = submission.actor;
    spec.group = submission.group;
    spec.bundle = submission.bundle;
    spec.captures = submission.captures;
    spec.num_returns = submission.num_returns;
    spec.payload_offset = submission.payload_offset;
    spec.payload_size = submission.payload_size;
    spec.payload = submission.payload;
    spec.dependencies = submission.dependencies;
    spec.refs = submission.refs;
    return spec;
  }

  Node& node_;
};

}  // namespace haz
