#include "os/process.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <climits>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "os/signals.h"
#include "os/system_error.h"

#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif

extern char** environ;

namespace haz {

namespace {

constexpr int kMaxInheritedFds = 8;

// ---- spawn: what runs between vfork and exec. It shares the caller's memory, so it makes system
// calls only, and writes nothing but *failure.

struct ChildPlan {
  const char* path;
  char* const* argv;
  char* const* env;
  const int* fds;
  int fd_count;
  pid_t dies_with;  // the process that starts this one; 0: lives on without it
  volatile int* failure;
};

void restore_default_signals() {
  struct sigaction action{};
  action.sa_handler = SIG_DFL;
  for (int number = 1; number < NSIG; ++number)
    ::sigaction(number, &action, nullptr);
}

void close_from(int first) {
  if (::syscall(SYS_close_range, static_cast<unsigned>(first), ~0U, 0U) == 0) return;
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  const int end = static_cast<int>(std::min<rlim_t>(limit.rlim_cur, 65536));
  for (int fd = first; fd < end; ++fd)
    ::close(fd);
}

bool place_fds(const ChildPlan& plan) {
  // First out of the way of the numbers that they are to get, then onto them.
  int parked[kMaxInheritedFds];
  for (int index = 0; index < plan.fd_count; ++index) {
    parked[index] = ::fcntl(plan.fds[index], F_DUPFD, kFirstInheritedFd + plan.fd_count);
    if (parked[index] < 0) return false;
  }
  for (int index = 0; index < plan.fd_count; ++index) {
    if (::dup2(parked[index], kFirstInheritedFd + index) < 0) return false;
  }
  if (!detach_stdin()) return false;
  for (const int standard : {STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(standard, F_GETFD) < 0 && !duplicate_onto(STDIN_FILENO, standard)) return false;
  }
  close_from(kFirstInheritedFd + plan.fd_count);
  return true;
}

pid_t caller_to_die_with(bool wanted) {
  const pid_t pid = ::getpid();
  return wanted && ::syscall(SYS_gettid) == pid ? pid : 0;
}

// False if that process is gone already.
bool die_with(pid_t parent) {
  if (parent == 0) return true;
  die_with_parent();
  return ::getppid() == parent;
}

[[noreturn]] void run_spawned_child(const ChildPlan& plan) {
  restore_default_signals();
  ::setsid();
  if (die_with(plan.dies_with) && place_fds(plan)) {
    unblock_all_signals();
    ::execve(plan.path, plan.argv, plan.env);
  }
  *plan.failure = errno;
  ::_exit(127);
}

std::vector<char*> pointers_to(const std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  pointers.reserve(strings.size() + 1);
  for (const std::string& text : strings)
    pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

std::vector<std::string> environment_of(const SpawnOptions& options) {
  std::vector<std::string> variables;
  if (options.env) {
    variables = *options.env;
  } else {
    for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry)
      variables.emplace_back(*entry);
  }
  if (options.variable.empty()) return variables;
  const std::string name = options.variable.substr(0, options.variable.find('=') + 1);
  std::erase_if(variables, [&name](const std::string& entry) { return entry.starts_with(name); });
  variables.push_back(options.variable);
  return variables;
}

pid_t vfork_and_run(const ChildPlan& plan) {
  // The child must not run a handler of this process on the shared memory.
  const ScopedSignalBlock no_signals;
  const pid_t pid = ::vfork();
  if (pid == 0) run_spawned_child(plan);
  return pid;
}

// ---- /proc

struct ProcessStat {
  pid_t pid = 0;
  pid_t parent = 0;
  pid_t session = 0;
  char state = '?';
  std::uint64_t start_ticks = 0;
};

// Reads a field counted from the state, which is field 0.
std::optional<std::uint64_t> stat_field(std::string_view rest, int index) {
  std::size_t begin = 0;
  for (int skipped = 0; skipped < index; ++skipped) {
    begin = rest.find(' ', begin);
    if (begin == std::string_view::npos) return std::nullopt;
    ++begin;
  }
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(rest.data() + begin, rest.data() + rest.size(), value);
  if (error != std::errc{}) return std::nullopt;
  return value;
}

// What follows the second field, the program's name in brackets, which may itself hold brackets and
// spaces; empty where there is nothing.
std::string_view after_name(std::string_view text) {
  const std::size_t bracket = text.rfind(')');
  if (bracket == std::string_view::npos || bracket + 2 >= text.size()) return {};
  return text.substr(bracket + 2);
}

// The strings that the program got with its start, as [begin, end).
struct EnvironmentArea {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};

EnvironmentArea environment_area(std::string_view rest) {
  constexpr int kBeginField = 47;
  constexpr int kEndField = 48;
  const auto begin = stat_field(rest, kBeginField);
  const auto end = stat_field(rest, kEndField);
  if (!begin || !end || *begin == 0 || *end < *begin) return {};
  return EnvironmentArea{*begin, *end};
}

// A process' line in /proc.
class StatLine {
 public:
  // Of this process if `pid` is 0.
  explicit StatLine(pid_t pid) {
    char path[32] = "/proc/self/stat";
    if (pid != 0) std::snprintf(path, sizeof path, "/proc/%d/stat", static_cast<int>(pid));
    const long size = read_text(path, buffer_, sizeof buffer_);
    if (size > 0) rest_ = after_name(std::string_view(buffer_, static_cast<std::size_t>(size)));
  }
  StatLine(const StatLine&) = delete;
  StatLine& operator=(const StatLine&) = delete;
  ~StatLine() = default;

  // The fields from the state on; empty: there is no such process.
  [[nodiscard]] std::string_view fields() const { return rest_; }

 private:
  char buffer_[1024];
  std::string_view rest_;
};

bool show_variable(const std::string& variable) {
  const EnvironmentArea area = environment_area(StatLine(0).fields());
  if (area.end - area.begin <= variable.size()) return false;
  // The variables lie there still: they get memory of their own, for ever.
  auto* entries = new std::vector<char*>;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry)
    entries->push_back(::strdup(*entry));
  entries->push_back(nullptr);
  environ = entries->data();
  auto* bytes = reinterpret_cast<char*>(area.begin);  // NOLINT(performance-no-int-to-ptr)
  const std::size_t room = area.end - area.begin;
  const std::string old(bytes, room);
  std::string shown = variable;
  // The last ones may have no room.
  for (std::size_t begin = 0, end = 0; begin < room; begin = end + 1) {
    end = std::min(old.find('\0', begin), room);
    if (shown.size() + (end - begin) + 2 > room) break;
    shown += '\0';
    shown.append(old, begin, end - begin);
  }
  shown.resize(room);
  std::copy(shown.begin(), shown.end(), bytes);
  return true;
}

std::optional<ProcessStat> read_process_stat(pid_t pid) {
  constexpr int kParentField = 1;
  constexpr int kSessionField = 3;
  constexpr int kStartField = 19;
  const StatLine line(pid);
  const std::string_view rest = line.fields();
  if (rest.empty()) return std::nullopt;
  const auto parent = stat_field(rest, kParentField);
  const auto session = stat_field(rest, kSessionField);
  const auto start = stat_field(rest, kStartField);
  if (!parent || !session || !start) return std::nullopt;
  return ProcessStat{pid, static_cast<pid_t>(*parent), static_cast<pid_t>(*session), rest.front(),
                     *start};
}

std::optional<std::vector<ProcessStat>> list_processes() {
  DIR* directory = ::opendir("/proc");
  if (directory == nullptr) return std::nullopt;
  std::vector<ProcessStat> processes;
  while (const dirent* entry = ::readdir(directory)) {
    const std::string_view name(entry->d_name);
    int pid = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), pid);
    if (error != std::errc{} || end != name.data() + name.size()) continue;
    if (const auto stat = read_process_stat(pid)) processes.push_back(*stat);
  }
  ::closedir(directory);
  return processes;
}

std::vector<ProcessStat> descendants_of(pid_t ancestor, const std::vector<ProcessStat>& all) {
  std::unordered_multimap<pid_t, const ProcessStat*> children;
  for (const ProcessStat& process : all)
    children.emplace(process.parent, &process);
  std::vector<ProcessStat> found;
  std::vector<pid_t> open = {ancestor};
  while (!open.empty()) {
    const pid_t parent = open.back();
    open.pop_back();
    const auto [first, last] = children.equal_range(parent);
    for (auto child = first; child != last; ++child) {
      if (child->second->pid == ancestor) continue;
      found.push_back(*child->second);
      open.push_back(child->second->pid);
    }
    // Each parent is taken once, so parents that changed during the scan can't make a circle.
    children.erase(parent);
  }
  return found;
}

// Kills exactly the process that was seen: its number, or its parent's, may belong to another one
// by now. A descendant that was only handed to a new parent is met by the next pass.
int kill_seen_process(const ProcessStat& seen) {
  const UniqueFd pidfd = open_pidfd(seen.pid);
  const auto now = read_process_stat(seen.pid);
  if (!now || now->start_ticks != seen.start_ticks) return ESRCH;
  if (now->parent != seen.parent) return EAGAIN;
  return send_signal(pidfd.get(), seen.pid, SIGKILL);
}

bool is_ended(const ProcessStat& process) { return process.state == 'Z' || process.state == 'X'; }

// Whether "NAME=value" stands in the environment that the process had when its program started.
bool started_with(pid_t pid, const std::string& variable) {
  if (variable.empty()) return false;
  char path[32];
  std::snprintf(path, sizeof path, "/proc/%d/environ", static_cast<int>(pid));
  const UniqueFd file(::open(path, O_RDONLY | O_CLOEXEC));
  if (!file) return false;
  std::string text(1, '\0');
  char buffer[4096];
  for (ssize_t got = 0; (got = ::read(file.get(), buffer, sizeof buffer)) > 0;)
    text.append(buffer, static_cast<std::size_t>(got));
  std::string wanted(1, '\0');
  wanted += variable;
  wanted += '\0';
  return text.find(wanted) != std::string::npos;
}

}  // namespace

Result<pid_t> spawn_process(const SpawnOptions& options) {
  if (options.argv.empty() || options.inherited_fds.size() > kMaxInheritedFds) {
    return Error{ErrorKind::kInvalid, "cannot start a process: malformed options"};
  }
  const std::vector<char*> argv = pointers_to(options.argv);
  const std::vector<std::string> variables = environment_of(options);
  const std::vector<char*> env = pointers_to(variables);
  volatile int failure = 0;
  const ChildPlan plan{options.argv.front().c_str(),
                       argv.data(),
                       env.data(),
                       options.inherited_fds.data(),
                       static_cast<int>(options.inherited_fds.size()),
                       caller_to_die_with(options.dies_with_caller),
                       &failure};
  const pid_t pid = vfork_and_run(plan);
  if (pid < 0) return system_error("cannot start " + options.argv.front(), errno);
  // Where vfork is emulated by fork (qemu, ThreadSanitizer) this stays 0, and the failure is told
  // by the exit code 127.
  if (failure != 0) {
    ::waitpid(pid, nullptr, 0);
    return system_error("cannot start " + options.argv.front(), failure);
  }
  return pid;
}

std::string find_program(const std::string& name) {
  const auto is_program = [](const std::string& path) { return ::access(path.c_str(), X_OK) == 0; };
  if (name.find('/') != std::string::npos) {
    if (!is_program(name)) return {};
    std::array<char, PATH_MAX> folder{};
    if (name.front() == '/' || ::getcwd(folder.data(), folder.size()) == nullptr) return name;
    return std::string(folder.data()) + "/" + name;
  }
  const char* const path = std::getenv("PATH");
  std::string_view folders = path != nullptr ? path : "/usr/local/bin:/usr/bin:/bin";
  while (!name.empty() && !folders.empty()) {
    const std::size_t end = std::min(folders.find(':'), folders.size());
    const std::string found = std::string(folders.substr(0, end)) + "/" + name;
    if (found.front() == '/' && is_program(found)) return found;
    folders.remove_prefix(std::min(end + 1, folders.size()));
  }
  return {};
}

Result<std::string> run_for_answer(const std::vector<std::string>& argv) {
  auto pipe = make_pipe();
  if (!pipe) return pipe.error();
  SpawnOptions options;
  options.argv = argv;
  options.inherited_fds = {pipe->write_end.get()};
  Result<pid_t> pid = spawn_process(options);
  pipe->write_end.reset();
  if (!pid) return pid.error();
  std::array<char, 4096> answer{};
  std::size_t size = 0;
  while (size < answer.size()) {
    const ssize_t got = ::read(pipe->read_end.get(), answer.data() + size, answer.size() - size);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    size += static_cast<std::size_t>(got);
  }
  int status = 0;
  while (::waitpid(*pid, &status, 0) < 0 && errno == EINTR) {
  }
  return std::string(answer.data(), size);
}

std::string become_program(const std::vector<std::string>& argv, int fd) {
  if (::fcntl(fd, F_SETFD, 0) != 0) return std::strerror(errno);
  const std::vector<char*> pointers = pointers_to(argv);
  ::execve(argv.front().c_str(), pointers.data(), environ);
  const int error_number = errno;
  ::fcntl(fd, F_SETFD, FD_CLOEXEC);
  return std::strerror(error_number);
}

Result<pid_t> fork_apart(const ForkOptions& options) {
  constexpr int kFailed = 127;
  if (options.inherited_fds.size() > kMaxInheritedFds) {
    return Error{ErrorKind::kInvalid, "cannot copy this process: too many descriptors to inherit"};
  }
  const pid_t dies_with = caller_to_die_with(options.dies_with_caller);
  const pid_t pid = ::fork();
  if (pid < 0) return system_error("cannot copy this process", errno);
  if (pid > 0) return pid;
  if (!die_with(dies_with)) ::_exit(kFailed);
  ::setsid();
  ChildPlan plan{};
  plan.fds = options.inherited_fds.data();
  plan.fd_count = static_cast<int>(options.inherited_fds.size());
  if (!place_fds(plan) || !show_variable(options.shown_variable)) ::_exit(kFailed);
  unblock_all_signals();
  return 0;
}

OwnProcess own_process() {
  constexpr int kThreadsField = 17;
  constexpr int kResidentField = 21;
  const StatLine line(0);
  const std::string_view rest = line.fields();
  if (rest.empty()) return {};
  const EnvironmentArea area = environment_area(rest);
  const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  return OwnProcess{stat_field(rest, kThreadsField).value_or(0),
                    stat_field(rest, kResidentField).value_or(0) * page, area.end - area.begin};
}

Result<ProgramFile> own_program_file() {
  constexpr const char* kOwn = "/proc/self/exe";
  std::array<char, PATH_MAX> path{};
  struct stat status{};
  const ssize_t size = ::readlink(kOwn, path.data(), path.size());
  if (size < 0 || ::stat(kOwn, &status) != 0) {
    return system_error("cannot tell which file this program is", errno);
  }
  constexpr std::int64_t kSecond = 1'000'000'000;
  ProgramFile file{{path.data(), static_cast<std::size_t>(size)}, {}};
  for (const std::int64_t part :
       {static_cast<std::int64_t>(status.st_dev), static_cast<std::int64_t>(status.st_ino),
        static_cast<std::int64_t>(status.st_size),
        static_cast<std::int64_t>(status.st_mtim.tv_sec * kSecond + status.st_mtim.tv_nsec)}) {
    file.identity += (file.identity.empty() ? "" : ":") + std::to_string(part);
  }
  return file;
}

std::string working_folder() {
  std::array<char, PATH_MAX> path{};
  return ::getcwd(path.data(), path.size()) != nullptr ? path.data() : "/";
}

pid_t current_pid() noexcept { return ::getpid(); }

pid_t parent_pid() noexcept { return ::getppid(); }

pid_t fork_process() noexcept { return ::fork(); }

void exit_now(int code) noexcept { ::_exit(code); }

void start_session() noexcept { ::setsid(); }

UniqueFd open_pidfd(pid_t pid) noexcept {
  return UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0U)));
}

int send_signal(int pidfd, pid_t pid, int signal_number) noexcept {
  if (pidfd >= 0) {
    if (::syscall(SYS_pidfd_send_signal, pidfd, signal_number, nullptr, 0U) == 0) return 0;
    if (errno != ENOSYS) return errno;
  }
  if (pid <= 0) return ESRCH;
  return ::kill(pid, signal_number) == 0 ? 0 : errno;
}

bool has_ended(pid_t pid) noexcept {
  if (::kill(pid, 0) != 0 && errno == ESRCH) return true;
  const auto stat = read_process_stat(pid);
  return stat && (stat->state == 'Z' || stat->state == 'X');
}

std::string describe(const ProcessExit& exit) {
  if (exit.signal == 0) return "exited with code " + std::to_string(exit.exit_code);
  std::string text = "was killed by signal " + std::to_string(exit.signal);
  // glibc 2.32; before that, only the number.
#if defined(__GLIBC__) && (__GLIBC__ > 2 || (__GLIBC__ == 2 && __GLIBC_MINOR__ >= 32))
  if (const char* name = ::sigabbrev_np(exit.signal)) text += std::string(" (SIG") + name + ")";
#endif
  if (exit.core_dumped) text += ", core dumped";
  return text;
}

ReapOutcome reap(pid_t pid, ProcessExit& exit) noexcept {
  int status = 0;
  pid_t ended = 0;
  do {
    ended = ::waitpid(pid, &status, WNOHANG | __WALL);
  } while (ended < 0 && errno == EINTR);
  if (ended == 0) return ReapOutcome::kRunning;
  if (ended < 0) return ReapOutcome::kNoChildren;
  exit = ProcessExit{};
  exit.pid = ended;
  if (WIFSIGNALED(status)) {
    exit.signal = WTERMSIG(status);
    exit.core_dumped = WCOREDUMP(status);
  } else {
    exit.exit_code = WEXITSTATUS(status);
  }
  return ReapOutcome::kReaped;
}

bool become_subreaper() noexcept { return ::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0; }

bool die_with_parent() noexcept { return ::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) == 0; }

void live_without_parent() noexcept { ::prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0); }

void set_process_name(const char* name) noexcept { ::prctl(PR_SET_NAME, name, 0, 0, 0); }

void raise_oom_score(int points) noexcept {
  constexpr const char* kPath = "/proc/self/oom_score_adj";
  constexpr int kWorst = 1000;
  char buffer[16];
  const long size = read_text(kPath, buffer, sizeof buffer);
  if (size <= 0) return;
  int score = 0;
  if (std::from_chars(buffer, buffer + size, score).ec != std::errc{}) return;
  const int length = std::snprintf(buffer, sizeof buffer, "%d", std::min(score + points, kWorst));
  write_text(kPath, std::string_view(buffer, static_cast<std::size_t>(length)));
}

bool duplicate_onto(int fd, int target) noexcept {
  // dup2 onto itself would leave the descriptor close-on-exec.
  if (fd == target) return ::fcntl(fd, F_SETFD, 0) == 0;
  return ::dup2(fd, target) >= 0;
}

bool detach_stdin() noexcept {
  const int null = ::open("/dev/null", O_RDWR);
  if (null < 0) return false;
  if (null == STDIN_FILENO) return true;
  const bool done = ::dup2(null, STDIN_FILENO) >= 0;
  ::close(null);
  return done;
}

void kill_children() noexcept {
  char list[4096];
  const long size = read_text("/proc/thread-self/children", list, sizeof list);
  const char* const end = list + std::max(size, 0L);
  for (const char* next = list; next < end; ++next) {
    int pid = 0;
    const auto [stop, error] = std::from_chars(next, end, pid);
    // A number that touches the buffer's end may be cut: leave it to the next call.
    if (error != std::errc{} || stop == end) return;
    send_signal(-1, pid, SIGKILL);
    next = stop;
  }
}

bool has_more_children_than(std::size_t known) noexcept {
  char list[4096];
  const long size = read_text("/proc/thread-self/children", list, sizeof list);
  if (size < 0 || size == sizeof list) return true;
  return static_cast<std::size_t>(std::count(list, list + size, ' ')) > known;
}

int kill_heirs(Heritage& heritage) {
  const auto all = list_processes();
  if (!all) return 0;
  const auto in_sessions = [](const ProcessStat& process, const std::vector<pid_t>& sessions) {
    return std::find(sessions.begin(), sessions.end(), process.session) != sessions.end();
  };
  std::vector<pid_t> left;
  int alive = 0;
  for (const ProcessStat& process : *all) {
    if (process.pid == current_pid() || is_ended(process)) continue;
    const bool by_session = in_sessions(process, heritage.sessions);
    if (!by_session && !started_with(process.pid, heritage.variable)) continue;
    if (kill_seen_process(process) == ESRCH) continue;
    ++alive;
    if (by_session) left.push_back(process.session);
  }
  heritage.sessions = std::move(left);
  return alive;
}

KillSweep kill_descendants() {
  KillSweep sweep;
  const auto all = list_processes();
  if (!all) {
    sweep.can_look = false;
    return sweep;
  }
  for (const ProcessStat& process : descendants_of(current_pid(), *all)) {
    if (is_ended(process)) continue;
    const int error = kill_seen_process(process);
    if (error == ESRCH) continue;
    ++sweep.alive;
    if (error == EPERM) ++sweep.denied;
  }
  return sweep;
}

}  // namespace haz
