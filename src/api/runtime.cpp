/// @file
/// init() and the processes that it starts.
#include "haz/runtime.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <memory>
#include <new>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/client_engine.h"
#include "api/current_engine.h"
#include "api/fork_guard.h"
#include "api/node_joining.h"
#include "api/program.h"
#include "api/python_worker.h"
#include "api/worker_process.h"
#include "client/embedded_client.h"
#include "node/node.h"
#include "os/machine.h"
#include "os/process.h"
#include "shm/copy.h"

namespace haz {

namespace {

/// How long leaving a node may take: it then goes on by itself.
constexpr std::int64_t kLeaveNs = 5 * kSecondNs;

/// What runs between init() and shutdown(): a node of the program's own, or the place on a node
/// that it has joined.
struct Session {
  explicit Session(std::unique_ptr<Node> made)
      : node(std::move(made)), embedded(std::make_unique<EmbeddedClient>(*node)) {}
  explicit Session(JoinedNode made) : joined(std::move(made)) {}

  Client& client() { return embedded ? static_cast<Client&>(*embedded) : *joined.ring; }

  std::unique_ptr<Node> node;
  std::unique_ptr<EmbeddedClient> embedded;
  JoinedNode joined;
};

std::unique_ptr<Session>& session() {
  // Never destroyed: refs of static objects look here until the very end.
  static auto* slot = new std::unique_ptr<Session>;
  return *slot;
}

/// Engines outlive their sessions, since views do: what they hold is given back through them.
std::vector<std::unique_ptr<ClientEngine>>& engines() {
  static auto* all = new std::vector<std::unique_ptr<ClientEngine>>;
  return *all;
}

ClientEngine& new_engine(Client& client) {
  engines().push_back(std::make_unique<ClientEngine>(client, nullptr, kPythonEnvironment));
  return *engines().back();
}

void check(const runtime_options& options) {
  const auto refuse = [](const std::string& text) { throw usage_error("haz::init(): " + text); };
  const auto is_amount = [](double amount) { return amount >= 0 && !std::isinf(amount); };
  if (!is_amount(options.num_cpus)) refuse("num_cpus is a number, or 0 for all that there are");
  for (const auto& [name, amount] : options.resources) {
    if (name.empty() || name == "CPU") refuse("resources name things other than num_cpus");
    if (!is_amount(amount)) refuse("the amount of " + name + " makes no sense");
  }
}

/// The node to join; empty: one of our own.
std::string address_of(const runtime_options& options) {
  const char* const named = std::getenv("HAZ_ADDRESS");
  const std::string variable = named != nullptr ? named : "";
  std::string address = options.address.empty() ? variable : options.address;
  if (options.address == "auto" && !variable.empty()) address = variable;
  if (address == "local") address.clear();
  return address;
}

void check_for_joining(const runtime_options& options) {
  if (options.num_cpus == 0 && options.resources.empty() && options.object_store_bytes == 0) return;
  throw usage_error(
      "haz::init(): with an address it joins a node that runs, so num_cpus, resources and "
      "object_store_bytes can't be given: give them to `haz start`");
}

void flush_output() {
  std::cout.flush();
  std::clog.flush();
  std::fflush(nullptr);
}

void show_lines(const std::vector<LogLine>& lines) {
  for (const LogLine& line : lines) {
    std::FILE* const stream = line.stream == LogStream::kStderr ? stderr : stdout;
    std::fprintf(stream, "%s\n", shown(line).c_str());
  }
  std::fflush(stdout);
}

/// A copy of this process is no zygote that is as it should be if other threads hold locks there.
bool can_be_copied() {
  constexpr std::uint64_t kMarkBytes = 64;  // what the copy shows in its environment
  const OwnProcess own = own_process();
  return own.threads == 1 && own.environment_bytes >= kMarkBytes;
}

ZygoteFork copy_of_this_program() {
  ZygoteFork fork;
  fork.before_fork = flush_output;  // what is buffered would be written by both
  fork.after_fork_in_parent = [] {};
  fork.run = [](const std::string& mark) {
    const std::size_t equals = mark.find('=');
    ::setenv(mark.substr(0, equals).c_str(), mark.c_str() + equals + 1, 1);
    be_zygote();
  };
  return fork;
}

NodeOptions node_options(int argc, char** argv, const runtime_options& options) {
  NodeOptions node;
  node.num_cpus = options.num_cpus != 0 ? options.num_cpus : usable_cpus();
  node.resources = options.resources;
  node.object_store_bytes = options.object_store_bytes;
  // Names the program that runs, even if its file has been replaced.
  node.zygote_argv = {"/proc/self/exe", kZygoteArgument};
  for (int i = 1; i < argc; ++i)
    node.zygote_argv.emplace_back(argv[i]);
  if (can_be_copied()) node.first_zygote = copy_of_this_program();
  node.show_output = options.show_output;
  if (options.show_output) node.on_output = show_lines;
  return node;
}

}  // namespace

namespace {

ClientEngine& start_node(int argc, char** argv, const runtime_options& options) {
  auto node = Node::create(node_options(argc, argv, options));
  if (!node) throw runtime_error("haz::init(): " + node.error().message);
  session() = std::make_unique<Session>(std::move(*node));
  return new_engine(session()->client());
}

void show_line(bool is_stderr, std::string_view text) {
  std::FILE* const stream = is_stderr ? stderr : stdout;
  std::fprintf(stream, "%.*s\n", static_cast<int>(text.size()), text.data());
  std::fflush(stdout);
}

ClientEngine& start_on(int argc, char** argv, const runtime_options& options,
                       const std::string& address) {
  check_for_joining(options);
  note_python_workers();
  const std::string own =
      std::to_string(std::random_device()()) + "-" + std::to_string(current_pid());
  const std::string& name_space = options.name_space.empty() ? own : options.name_space;
  auto program = describe_program(argc, argv, name_space);
  if (!program) throw runtime_error("haz::init(): " + program.error().message);
  auto joined =
      join_node(address, argc > 0 ? argv[0] : "", options.show_output ? show_line : OnLine());
  if (!joined) {
    const std::string text = "haz::init(): " + joined.error().message;
    if (joined.error().kind == ErrorKind::kNodeDied) throw node_died_error(text);
    throw runtime_error(text);
  }
  session() = std::make_unique<Session>(std::move(*joined));
  ClientEngine& engine = new_engine(session()->client());
  engine.set_program(std::move(*program));
  return engine;
}

}  // namespace

runtime detail::start(int argc, char** argv, const runtime_options& options) {
  set_python(options.python);
  if (argc > 1 && std::string_view(argv[1]) == kZygoteArgument) be_zygote();
  if (argc > 2 && std::string_view(argv[1]) == kWorkerArgument) be_worker_of_node(argv[2]);
  if (is_forked_child()) {
    throw usage_error("haz::init(): not in a forked child of a process that uses haz");
  }
  if (session() || is_running()) throw usage_error("haz::init(): haz runs already in this process");
  check(options);
  const std::string address = address_of(options);
  ClientEngine& engine =
      address.empty() ? start_node(argc, argv, options) : start_on(argc, argv, options, address);
  static const int kRegistered = std::atexit(shutdown);
  (void)kRegistered;
  guard_in_forked_children(&session()->client().arena());
  return runtime(set_current_engine(engine));
}

bool is_running() noexcept { return detail::current_generation() != 0; }

void shutdown() noexcept {
  std::unique_ptr<Session> ending = std::move(session());
  if (!ending) return;
  clear_current_engine();
  ClientEngine& engine = *engines().back();
  guard_in_forked_children(nullptr);
  if (is_forked_child()) {
    // A forked child: what there is of the node is its parent's.
    static_cast<void>(new (std::nothrow) auto(std::move(ending)));
    return;
  }
  if (ending->node) ending->node->shutdown();
  if (ending->joined.link) ending->joined.link->leave(kLeaveNs);
  engine.end_notifications();
  ending.reset();
  shutdown_copy_threads();
}

runtime::~runtime() {
  if (generation_ != 0 && generation_ == detail::current_generation()) shutdown();
}

}  // namespace haz
