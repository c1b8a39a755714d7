#include "node/node.h"

#include <sys/random.h>

#include <algorithm>
#include <cstring>
#include <new>

#include "base/check.h"
#include "node/round.h"
#include "node/worker_output.h"
#include "os/clock.h"
#include "os/machine.h"
#include "os/thread.h"

namespace haz {

namespace {

constexpr std::uint32_t kMinWorkerCap = 32;
constexpr std::uint32_t kMaxWorkerCap = 1000;
/// Workers while most of them wait for what none of them can run.
constexpr std::uint32_t kMinHardWorkerCap = 512;
constexpr std::uint32_t kMaxHardWorkerCap = 2000;
/// Workers and actors together; each takes some address space, and memory once it is started.
constexpr std::uint32_t kProcessCap = 4000;
static_assert(kProcessCap < NewsMarks::kMaxSlots);
/// Share of the machine's (or the cgroup's) memory that objects may take by default.
constexpr std::uint64_t kStoreShareOfMemory = 3;
constexpr std::uint64_t kMinStoreBytes = 64 * kMiB;
constexpr std::int64_t kShutdownNs = 5 * kSecondNs;

std::uint32_t worker_cap(double num_cpus) {
  const double wanted = 4 * std::max(num_cpus, 1.0);
  return static_cast<std::uint32_t>(std::clamp<double>(wanted, kMinWorkerCap, kMaxWorkerCap));
}

SchedulerOptions scheduler_options(double num_cpus) {
  SchedulerOptions options;
  options.max_workers = worker_cap(num_cpus);
  options.hard_max_workers =
      std::clamp(2 * options.max_workers, kMinHardWorkerCap, kMaxHardWorkerCap);
  options.max_processes = kProcessCap;
  return options;
}

/// Out of processes, threads or descriptors: nothing that room in the store would help.
Error not_of_memory(Error error) {
  if (error.kind == ErrorKind::kOverloaded) error.kind = ErrorKind::kUnavailable;
  return error;
}

std::uint64_t random_epoch() {
  std::uint64_t epoch = 0;
  if (getrandom(&epoch, sizeof epoch, 0) != sizeof epoch) {
    epoch = static_cast<std::uint64_t>(monotonic_ns());
  }
  return epoch | 1;
}

}  // namespace

Result<std::unique_ptr<Node>> Node::create(NodeOptions options) {
  if (options.epoch == 0) options.epoch = random_epoch();
  // First of all: its interpreter starts while the rest is made.
  auto zygote = new_zygote(options);
  if (!zygote) return not_of_memory(zygote.error());
  options.first_zygote.reset();
  const MachineMemory memory = machine_memory();
  const bool chosen = options.object_store_bytes != 0;
  std::uint64_t limit = chosen ? options.object_store_bytes
                               : std::max(memory.limit_bytes / kStoreShareOfMemory, kMinStoreBytes);
  const std::uint64_t areas = (kProcessCap + 1) * kProcessAreaStride;
  const std::uint64_t objects = align_up(kAreasOffset + areas, ValueStore::kChunkBytes);
  // Twice the limit of address space, so that fragments do not make room unusable.
  const std::uint64_t fixed = objects + 64 * kMiB;
  const auto arena_bytes = [&] { return align_up(fixed + 2 * limit, ValueStore::kChunkBytes); };
  const auto create_arena = [&] { return Arena::create(arena_bytes()); };
  auto arena = create_arena();
  // A default may be too much for this process' address space (ulimit -v).
  while (!arena && !chosen && limit > kMinStoreBytes) {
    limit = std::max(limit / 2, kMinStoreBytes);
    arena = create_arena();
  }
  if (!arena) {
    Error error = arena.error();
    error.message += "; an object store of " + std::to_string(limit) + " bytes takes " +
                     std::to_string(arena_bytes()) + " bytes of address space and of a memory " +
                     "file, " + std::to_string(fixed) + " of them whatever its size: " +
                     (mapping_limit() <= fixed
                          ? "raise the limit, no smaller store would fit"
                          : "raise the limit, or give init() a smaller object_store_memory");
    return error;
  }
  std::unique_ptr<Node> node(
      new Node(std::move(options), std::move(*arena), std::move(*zygote), limit));
  const Status started = node->start(memory);
  if (!started) return not_of_memory(started.error());
  return node;
}

Node::Node(NodeOptions options, std::unique_ptr<Arena> arena, std::unique_ptr<ZygoteLink> zygote,
           std::uint64_t store_limit)
    : options_(std::move(options)),
      arena_(std::move(arena)),
      header_(reinterpret_cast<ArenaHeader*>(arena_->at(0))),
      doorbells_(reinterpret_cast<HostDoorbells*>(arena_->at(kDoorbellsOffset))),
      epoch_(options_.epoch),
      store_(
          *arena_,
          align_up(kAreasOffset + (kProcessCap + 1) * kProcessAreaStride, ValueStore::kChunkBytes),
          arena_->size(), store_limit),
      scheduler_(*this, scheduler_options(options_.num_cpus)),
      zygote_(std::move(zygote)) {
  ports_.resize(kProcessCap + 1);
}

Status Node::start(const MachineMemory& memory) {
  auto completions = EventFd::create();
  if (!completions) return completions.error();
  completions_event_ = std::move(*completions);
  auto watch_event = EventFd::create();
  if (!watch_event) return watch_event.error();
  watch_event_ = std::move(*watch_event);
  const Status reserved = arena_->reserve(0, kAreasOffset);
  if (!reserved) return reserved.error();
  header_->magic = kArenaMagic;
  header_->layout_version = kLayoutVersion;
  header_->max_processes = static_cast<std::uint32_t>(ports_.size());
  header_->epoch = epoch_;
  header_->areas_offset = kAreasOffset;
  header_->objects_offset =
      align_up(kAreasOffset + ports_.size() * kProcessAreaStride, ValueStore::kChunkBytes);
  scheduler_.set_resource("CPU", options_.num_cpus);
  scheduler_.set_resource("memory", static_cast<double>(memory.available_bytes));
  scheduler_.set_resource("object_store_memory", static_cast<double>(store_.usage().limit));
  for (const auto& [name, amount] : options_.resources)
    scheduler_.set_resource(name, amount);
  process_ = scheduler_.new_process();
  next_id_.store(first_id_of(process_), std::memory_order_relaxed);
  const Status lent = zygote_->lend_arena(arena_->fd());
  if (!lent) return lent.error();
  auto background_thread = start_thread([this] { background(); });
  if (!background_thread) return background_thread.error();
  background_thread_ = std::move(*background_thread);
  auto watch_thread = start_thread([this] { watch(); });
  if (!watch_thread) return watch_thread.error();
  watch_thread_ = std::move(*watch_thread);
  return Ok{};
}

Node::~Node() { shutdown(); }

void Node::shutdown() {
  {
    Round round(*this);
    if (shut_down_) return;
    shut_down_ = true;
    stopping_ = true;
    shutdown_deadline_ns_ = monotonic_ns() + kShutdownNs;
    closed_.store(true, std::memory_order_relaxed);
    if (zygote_) zygote_->request_shutdown();
    for (ThreadRequest* request : waiting_threads_)
      request->doorbell.ring();
    for (WorkerPort* port : driver_ports_) {
      port->area->control.stop.store(1, std::memory_order_relaxed);
      port->area->control.doorbell.ring_always();
    }
  }
  doorbells_->foreground.ring_always();
  doorbells_->background.ring_always();
  watch_event_->signal();
  if (background_thread_.joinable()) background_thread_.join();
  if (watch_thread_.joinable()) watch_thread_.join();
  const std::lock_guard lock(mutex_);
  for (const auto& port : live_ports_) {
    for (const auto& entry : port->requests)
      scheduler_.withdraw(*entry.second);
    port->requests.clear();
  }
  for (const auto& [token, request] : subscriptions_)
    scheduler_.withdraw(*request);
  subscriptions_.clear();
  completions_event_->signal();  // for a thread that waits for it
  zygote_.reset();
}

void Node::disable_after_fork() noexcept { (void)arena_->protect_after_fork(); }

// ---- functions and tasks -----------------------------------------------------------------------

Result<Function*> Node::register_function(const FunctionOptions& options,
                                          std::span<const std::byte> code) {
  Round round(*this);
  return add_function(options, code);
}

Result<Function*> Node::add_function(const FunctionOptions& options,
                                     std::span<const std::byte> code) {
  const std::uint64_t size = sizeof(FunctionBlock) + options.name.size() + code.size();
  auto function = scheduler_.register_function(options);
  if (!function) return function;
  auto block = store_.allocate(size, StoreUse::kMessage);
  if (!block) return block.error();
  std::byte* to = arena_->at(block->offset);
  const FunctionBlock head{static_cast<std::uint32_t>(options.name.size()),
                           static_cast<std::uint32_t>(code.size()), options.items_ahead, 0};
  std::memcpy(to, &head, sizeof head);
  std::memcpy(to + sizeof head, options.name.data(), options.name.size());
  if (!code.empty()) {
    std::memcpy(to + sizeof head + options.name.size(), code.data(), code.size());
  }
  (*function)->block_offset = block->offset;
  return function;
}

Status Node::submit(TaskSpec& spec, FunctionId function) {
  constexpr std::uint64_t kLookEvery = 16;
  Round round(*this);
  if (shut_down_) return Error{ErrorKind::kLost, "the node has been shut down"};
  // As often as ids pass a multiple: a task with many results takes many.
  const bool looks =
      (spec.id.value + spec.num_returns - 1) / kLookEvery != (spec.id.value - 1) / kLookEvery;
  if (looks) pump();
  scheduler_.story().note_time(rough_monotonic_ns());
  spec.submitter = process_;
  spec.function = scheduler_.function(function);
  HAZ_CHECK(spec.function != nullptr, "submit of a function that is not registered");
  Status status = scheduler_.submit(spec);
  if (!looks && gathers_ && !scheduler_.has_placeable()) {
    round.end_quietly();
    return status;
  }
  gathers_ = false;
  needs_dispatch_ = true;
  if (looks) begin_gathering(*spec.function);
  return status;
}

/// Lets tasks of `function` that are submitted next wait for the next look, if they may.
void Node::begin_gathering(const Function& function) {
  scheduler_.dispatch();
  needs_dispatch_ = start_failed_;
  gathers_ = scheduler_.is_supplied(function);
  if (!gathers_ || rings_in_time_) return;
  set_wake_policy(false);
  // Who had come to its end before it saw that is heard here: prepare() is sequentially consistent.
  if (leader_ == nullptr) (void)doorbells_->background.prepare();
  if (any_news()) {
    pump();
    gathers_ = scheduler_.is_supplied(function);
  }
  rings_in_time_ = gathers_;
}

Result<ObjectId> Node::create_actor(TaskSpec& spec, FunctionId function, const ActorSpec& actor) {
  Round round(*this);
  if (shut_down_) return Error{ErrorKind::kLost, "the node has been shut down"};
  pump();
  scheduler_.story().note_time(rough_monotonic_ns());
  spec.submitter = process_;
  spec.function = scheduler_.function(function);
  HAZ_CHECK(spec.function != nullptr, "creation of a class that is not registered");
  Result<ObjectId> made = scheduler_.create_actor(spec, actor);
  needs_dispatch_ = true;
  return made;
}

Result<ObjectId> Node::find_actor(const ActorSpec& actor, std::vector<std::byte>& meta) {
  Round round(*this);
  pump();
  const Actor* found = scheduler_.find_actor(actor.name_space, actor.name);
  if (found == nullptr) return Error{ErrorKind::kLost, "there is no actor of that name"};
  (void)scheduler_.add_reference(process_, found->id);
  meta = found->function->actor->meta;
  return found->id;
}

void Node::kill_actor(ObjectId id, bool no_restart) {
  Round round(*this);
  pump();
  scheduler_.kill_actor(id, no_restart);
  needs_dispatch_ = true;
}

Status Node::create_group(GroupSpec& spec, const NewValue& value) {
  Round round(*this);
  if (shut_down_) return Error{ErrorKind::kLost, "the node has been shut down"};
  pump();
  spec.creator = process_;
  needs_dispatch_ = true;
  return scheduler_.create_group(spec, value);
}

void Node::remove_group(ObjectId id) {
  Round round(*this);
  pump();
  scheduler_.remove_group(id);
  needs_dispatch_ = true;
}

void Node::cancel(ObjectId id, bool force, bool recursive) {
  Round round(*this);
  pump();
  scheduler_.cancel(id, force, recursive);
  needs_dispatch_ = true;
}

// ---- objects -----------------------------------------------------------------------------------

void Node::discard(std::uint64_t offset) {
  Round round(*this);
  store_.give_back(offset);
}

Status Node::put(ObjectId id, const NewValue& value) {
  Round round(*this);
  if (shut_down_) return Error{ErrorKind::kLost, "the node has been shut down"};
  drain_drops();
  return scheduler_.put(process_, id, value);
}

bool Node::add_reference(ObjectId id) {
  Round round(*this);
  return scheduler_.add_reference(process_, id);
}

void Node::free(std::span<const ObjectId> ids) {
  Round round(*this);
  for (const ObjectId id : ids)
    scheduler_.free_object(id);
}

// ---- views -------------------------------------------------------------------------------------

Node::Snapshot Node::snapshot() {
  Round round(*this);
  pump(true);
  Snapshot view;
  view.counts = scheduler_.counts();
  view.store = store_.usage();
  const ResourcePool& pool = scheduler_.resources();
  for (std::size_t i = 0; i < pool.size(); ++i) {
    view.resources.emplace_back(pool.name(i), std::pair(from_resource_units(pool.total(i)),
                                                        from_resource_units(pool.free(i))));
  }
  for (const WorkerPort* port : live_ports_)
    view.workers.emplace_back(port->slot, port->pid);
  view.zygote_pid = zygote_ ? zygote_->zygote_pid() : 0;
  return view;
}

Result<std::vector<std::byte>> Node::query(QueryKind kind, std::uint64_t argument) {
  Round round(*this);
  pump(true);
  std::vector<std::byte> bytes;
  encode_query(kind, argument, bytes);
  return bytes;
}

std::vector<StoryRecord> Node::story(std::uint64_t subject) {
  const std::lock_guard lock(mutex_);
  return scheduler_.story().of(subject);
}

}  // namespace haz
