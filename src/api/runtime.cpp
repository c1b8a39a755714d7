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
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/client_engine.h"
#include "api/current_engine.h"
#include "api/fork_guard.h"
#include "api/worker_process.h"
#include "client/embedded_client.h"
#include "node/node.h"
#include "os/machine.h"
#include "os/process.h"
#include "shm/copy.h"

namespace haz {

namespace {

/// What runs between init() and shutdown().
struct Session {
  explicit Session(std::unique_ptr<Node> made) : node(std::move(made)), client(*node) {}

  std::unique_ptr<Node> node;
  EmbeddedClient client;
};

std::unique_ptr<Session>& session() {
  // Never destroyed: refs of static objects look here until the very end.
  static auto* slot = new std::unique_ptr<Session>;
  return *slot;
}

/// Engines outlive their sessions, since views do: what they hold is given back through them.
ClientEngine& new_engine(Client& client) {
  static auto* all = new std::vector<std::unique_ptr<ClientEngine>>;
  all->push_back(std::make_unique<ClientEngine>(client, nullptr));
  return *all->back();
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

runtime init(int argc, char** argv, const runtime_options& options) {
  if (argc > 1 && std::string_view(argv[1]) == kZygoteArgument) be_zygote();
  if (is_forked_child()) {
    throw usage_error("haz::init(): not in a forked child of a process that uses haz");
  }
  if (session() || is_running()) throw usage_error("haz::init(): haz runs already in this process");
  check(options);
  auto node = Node::create(node_options(argc, argv, options));
  if (!node) throw runtime_error("haz::init(): " + node.error().message);
  session() = std::make_unique<Session>(std::move(*node));
  static const int kRegistered = std::atexit(shutdown);
  (void)kRegistered;
  guard_in_forked_children(&session()->node->arena());
  return runtime(set_current_engine(new_engine(session()->client)));
}

bool is_running() noexcept { return detail::current_generation() != 0; }

void shutdown() noexcept {
  std::unique_ptr<Session> ending = std::move(session());
  if (!ending) return;
  clear_current_engine();
  guard_in_forked_children(nullptr);
  if (is_forked_child()) {
    // A forked child: what there is of the node is its parent's.
    static_cast<void>(new (std::nothrow) auto(std::move(ending)));
    return;
  }
  ending->node->shutdown();
  ending.reset();
  shutdown_copy_threads();
}

runtime::~runtime() {
  if (generation_ != 0 && generation_ == detail::current_generation()) shutdown();
}

}  // namespace haz
