#include "os/machine.h"

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <system_error>

#include "base/units.h"

namespace haz {
namespace {

/// Version 1 writes LONG_MAX rounded down to a page for "no limit"; nothing near it is a limit.
constexpr std::uint64_t kNoLimitBytes = std::uint64_t{1} << 60;

template <typename Number>
std::optional<Number> parse_number(std::string_view text) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{}) return std::nullopt;
  const std::string_view rest = text.substr(static_cast<std::size_t>(end - text.data()));
  if (rest.find_first_not_of(" \t\n") != std::string_view::npos) return std::nullopt;
  return value;
}

/// Cuts `text` at its first `separator`; returns what was before it.
std::string_view take_until(std::string_view& text, char separator) {
  const std::size_t position = text.find(separator);
  const std::string_view head = text.substr(0, position);
  text = position == std::string_view::npos ? std::string_view{} : text.substr(position + 1);
  return head;
}

bool list_has(std::string_view comma_list, std::string_view item) {
  while (!comma_list.empty()) {
    if (take_until(comma_list, ',') == item) return true;
  }
  return false;
}

/// Value after the first line that starts with `key` and one of `separators`.
std::string_view line_value(std::string_view text, std::string_view key,
                            std::string_view separators) {
  while (!text.empty()) {
    const std::string_view line = take_until(text, '\n');
    if (line.size() <= key.size() || line.substr(0, key.size()) != key) continue;
    if (separators.find(line[key.size()]) == std::string_view::npos) continue;
    const std::string_view value = line.substr(key.size() + 1);
    const std::size_t begin = value.find_first_not_of(" \t");
    return begin == std::string_view::npos ? std::string_view{} : value.substr(begin);
  }
  return {};
}

struct CgroupMount {
  bool version2 = false;
  std::string root;     ///< Which cgroup of the hierarchy the mount shows.
  std::string folder;   ///< Where it's mounted.
  std::string options;  ///< Of version 1: has the controllers.
};

/// Mountinfo writes space, tab, newline and backslash as \ooo.
std::string unescape(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    unsigned code = 0;
    if (text[i] == '\\' && i + 3 < text.size() &&
        std::from_chars(&text[i + 1], &text[i + 1] + 3, code, 8).ec == std::errc{}) {
      out.push_back(static_cast<char>(code));
      i += 3;
    } else {
      out.push_back(text[i]);
    }
  }
  return out;
}

/// One line is "id parent dev root folder options [tags…] - type source super-options".
std::optional<CgroupMount> parse_mount(std::string_view line) {
  const std::size_t dash = line.find(" - ");
  if (dash == std::string_view::npos) return std::nullopt;
  std::string_view tail = line.substr(dash + 3);
  const std::string_view type = take_until(tail, ' ');
  if (type != "cgroup" && type != "cgroup2") return std::nullopt;
  take_until(tail, ' ');
  for (int skipped = 0; skipped < 3; ++skipped)
    take_until(line, ' ');
  CgroupMount mount;
  mount.version2 = type == "cgroup2";
  mount.root = unescape(take_until(line, ' '));
  mount.folder = unescape(take_until(line, ' '));
  mount.options = tail;
  return mount;
}

/// The process' path in one hierarchy; version 2's line has no controllers: "0::/path".
std::optional<std::string> own_path(std::string_view self_cgroup, const CgroupMount& mount,
                                    std::string_view controller) {
  while (!self_cgroup.empty()) {
    std::string_view line = take_until(self_cgroup, '\n');
    const std::string_view hierarchy = take_until(line, ':');
    const std::string_view controllers = take_until(line, ':');
    const bool matches = mount.version2 ? hierarchy == "0" && controllers.empty()
                                        : list_has(controllers, controller);
    if (matches) return std::string(line);
  }
  return std::nullopt;
}

/// `path` below `root`, or "" where the process is outside of what is mounted (a container that
/// sees the host's paths): then the mount's top is the nearest known folder.
std::string path_below(const std::string& path, const std::string& root) {
  std::string below;
  if (root == "/") {
    below = path;
  } else if (path.starts_with(root) && (path.size() == root.size() || path[root.size()] == '/')) {
    below = path.substr(root.size());
  }
  if (below == "/" || below.find("/..") != std::string::npos) return {};
  return below;
}

std::vector<std::string> folders_upwards(const std::string& top, std::string below) {
  std::vector<std::string> folders;
  while (!below.empty()) {
    folders.push_back(top + below);
    below.resize(below.rfind('/'));
  }
  folders.push_back(top);
  return folders;
}

std::vector<CgroupFolders> own_cgroup_folders(const ReadFile& read_file,
                                              std::string_view controller) {
  const auto cgroup = read_file("/proc/self/cgroup");
  const auto mountinfo = read_file("/proc/self/mountinfo");
  if (!cgroup || !mountinfo) return {};
  return find_cgroup_folders(*cgroup, *mountinfo, controller);
}

std::optional<double> cpu_quota_of(const ReadFile& read_file, const std::string& folder,
                                   bool version2) {
  if (version2) {
    const auto text = read_file(folder + "/cpu.max");
    return text ? parse_cpu_max(*text) : std::nullopt;
  }
  const auto quota = read_file(folder + "/cpu.cfs_quota_us");
  const auto period = read_file(folder + "/cpu.cfs_period_us");
  return quota && period ? parse_cfs_quota(*quota, *period) : std::nullopt;
}

std::optional<std::uint64_t> memory_value(const ReadFile& read_file, const std::string& path) {
  const auto text = read_file(path);
  return text ? parse_memory_bytes(*text) : std::nullopt;
}

/// Memory that the kernel can drop from a cgroup when it's needed.
std::uint64_t reclaimable_bytes(const ReadFile& read_file, const std::string& folder,
                                bool version2) {
  const auto stat = read_file(folder + "/memory.stat");
  if (!stat) return 0;
  return parse_stat_value(*stat, version2 ? "inactive_file" : "total_inactive_file").value_or(0);
}

void apply_memory_limit(MachineMemory& memory, const ReadFile& read_file, const std::string& folder,
                        bool version2) {
  std::uint64_t limit = kNoLimitBytes;
  // memory.high doesn't kill but throttles to a crawl, which is as good as a limit.
  for (const char* name : {"/memory.max", "/memory.high", "/memory.limit_in_bytes"}) {
    const bool is_version1 = std::string_view(name) == "/memory.limit_in_bytes";
    if (is_version1 == version2) continue;
    limit = std::min(limit, memory_value(read_file, folder + name).value_or(kNoLimitBytes));
  }
  if (limit >= memory.total_bytes) return;
  memory.limit_bytes = std::min(memory.limit_bytes, limit);
  const std::uint64_t used =
      memory_value(read_file, folder + (version2 ? "/memory.current" : "/memory.usage_in_bytes"))
          .value_or(0);
  const std::uint64_t reclaimable = reclaimable_bytes(read_file, folder, version2);
  const std::uint64_t kept = used - std::min(used, reclaimable);
  memory.available_bytes = std::min(memory.available_bytes, limit - std::min(limit, kept));
}

/// Number of processors in the affinity mask, which may be wider than cpu_set_t.
int affinity_cpus() {
  for (int cpus = 1024; cpus <= 1 << 20; cpus *= 4) {
    cpu_set_t* set = CPU_ALLOC(static_cast<std::size_t>(cpus));
    if (set == nullptr) break;
    const std::size_t bytes = CPU_ALLOC_SIZE(static_cast<std::size_t>(cpus));
    const bool known = sched_getaffinity(0, bytes, set) == 0;
    const int error_number = errno;
    const int count = known ? CPU_COUNT_S(bytes, set) : 0;
    CPU_FREE(set);
    if (known) return std::max(count, 1);
    if (error_number != EINVAL) break;
  }
  return static_cast<int>(std::max(sysconf(_SC_NPROCESSORS_ONLN), 1L));
}

}  // namespace

std::optional<std::string> read_system_file(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return std::nullopt;
  std::string contents;
  std::array<char, 4096> buffer{};
  ssize_t count = 0;
  while ((count = read(fd, buffer.data(), buffer.size())) > 0 || (count < 0 && errno == EINTR)) {
    if (count > 0) contents.append(buffer.data(), static_cast<std::size_t>(count));
  }
  close(fd);
  if (count < 0) return std::nullopt;
  return contents;
}

int usable_cpus() { return usable_cpus(affinity_cpus(), read_system_file); }

MachineMemory machine_memory() { return machine_memory(read_system_file); }

int usable_cpus(int affinity_cpus, const ReadFile& read_file) {
  int cpus = std::max(affinity_cpus, 1);
  for (const CgroupFolders& hierarchy : own_cgroup_folders(read_file, "cpu")) {
    for (const std::string& folder : hierarchy.folders) {
      const auto quota = cpu_quota_of(read_file, folder, hierarchy.version2);
      if (quota && *quota < cpus) cpus = std::max(1, static_cast<int>(std::ceil(*quota)));
    }
  }
  return cpus;
}

MachineMemory machine_memory(const ReadFile& read_file) {
  const std::string meminfo = read_file("/proc/meminfo").value_or("");
  MachineMemory memory;
  memory.total_bytes = parse_meminfo_bytes(meminfo, "MemTotal").value_or(0);
  memory.limit_bytes = memory.total_bytes;
  memory.available_bytes = parse_meminfo_bytes(meminfo, "MemAvailable").value_or(0);
  for (const CgroupFolders& hierarchy : own_cgroup_folders(read_file, "memory")) {
    for (const std::string& folder : hierarchy.folders) {
      apply_memory_limit(memory, read_file, folder, hierarchy.version2);
    }
  }
  return memory;
}

std::optional<std::uint64_t> parse_meminfo_bytes(std::string_view meminfo, std::string_view key) {
  std::string_view value = line_value(meminfo, key, ":");
  const auto number = parse_number<std::uint64_t>(take_until(value, ' '));
  if (!number || value.substr(0, 2) != "kB") return std::nullopt;
  return *number * kKiB;
}

std::optional<std::uint64_t> parse_stat_value(std::string_view stat, std::string_view key) {
  return parse_number<std::uint64_t>(line_value(stat, key, " \t"));
}

std::optional<std::uint64_t> parse_memory_bytes(std::string_view text) {
  const auto number = parse_number<std::uint64_t>(text);
  if (!number || *number >= kNoLimitBytes) return std::nullopt;
  return number;
}

std::optional<double> parse_cpu_max(std::string_view text) {
  const std::string_view quota = take_until(text, ' ');
  return parse_cfs_quota(quota, text);
}

std::optional<double> parse_cfs_quota(std::string_view quota_us, std::string_view period_us) {
  const auto quota = parse_number<std::int64_t>(quota_us);
  const auto period = parse_number<std::int64_t>(period_us);
  if (!quota || !period || *quota <= 0 || *period <= 0) return std::nullopt;
  return static_cast<double>(*quota) / static_cast<double>(*period);
}

std::vector<CgroupFolders> find_cgroup_folders(std::string_view self_cgroup,
                                               std::string_view mountinfo,
                                               std::string_view controller) {
  std::vector<CgroupFolders> found;
  while (!mountinfo.empty()) {
    const auto mount = parse_mount(take_until(mountinfo, '\n'));
    if (!mount || (!mount->version2 && !list_has(mount->options, controller))) continue;
    const auto path = own_path(self_cgroup, *mount, controller);
    if (!path) continue;
    found.push_back(CgroupFolders{mount->version2,
                                  folders_upwards(mount->folder, path_below(*path, mount->root))});
  }
  std::stable_sort(found.begin(), found.end(), [](const auto& left, const auto& right) {
    return left.version2 < right.version2;
  });
  return found;
}

}  // namespace haz
