/// @file
/// What this process may use of the machine: processors and memory, under affinity and cgroups
/// (version 1, version 2, and both at once).
///
/// The functions that take a ReadFile are pure given it: tests hand them files of other machines.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace haz {

/// Gives the contents of a file of /proc or /sys, or nullopt where it can't be read.
using ReadFile = std::function<std::optional<std::string>(const std::string& path)>;

/// Reads files of this machine.
std::optional<std::string> read_system_file(const std::string& path);

/// Memory in bytes.
struct MachineMemory {
  std::uint64_t total_bytes = 0;      ///< Of the machine.
  std::uint64_t limit_bytes = 0;      ///< The least of total and every cgroup limit above us.
  std::uint64_t available_bytes = 0;  ///< What can be had now without swapping or being killed.
};

/// Processors that this process can keep busy: those of its affinity, no more than the cgroup quota
/// rounded up; at least 1. Reads files: tens of microseconds. Thread-safe.
int usable_cpus();

/// Memory of this process' machine and cgroups. Reads files: tens of microseconds. Thread-safe.
MachineMemory machine_memory();

/// usable_cpus() for `affinity_cpus` and the files that `read_file` gives.
int usable_cpus(int affinity_cpus, const ReadFile& read_file);

/// machine_memory() for the files that `read_file` gives. Where /proc/meminfo is missing all
/// are 0.
MachineMemory machine_memory(const ReadFile& read_file);

/// A line of /proc/meminfo such as "MemTotal:  24684092 kB" in bytes. `key` has no colon.
std::optional<std::uint64_t> parse_meminfo_bytes(std::string_view meminfo, std::string_view key);

/// Value of a line "key value" as in memory.stat.
std::optional<std::uint64_t> parse_stat_value(std::string_view stat, std::string_view key);

/// A memory limit or use: nullopt for "max", for the near-2^63 that version 1 shows without a
/// limit, and for what is no number.
std::optional<std::uint64_t> parse_memory_bytes(std::string_view text);

/// Processors in cpu.max of version 2 ("150000 100000" is 1.5), or nullopt without a quota.
std::optional<double> parse_cpu_max(std::string_view text);

/// Processors in cpu.cfs_quota_us and cpu.cfs_period_us of version 1, or nullopt without a quota.
std::optional<double> parse_cfs_quota(std::string_view quota_us, std::string_view period_us);

/// The folders that hold the limits of one controller ("cpu", "memory") for this process: its own
/// cgroup first, then each parent up to what is mounted.
struct CgroupFolders {
  bool version2 = false;
  std::vector<std::string> folders;
};

/// Finds them for `controller` from the contents of /proc/self/cgroup and /proc/self/mountinfo: for
/// each hierarchy that may hold it, version 1 before version 2.
std::vector<CgroupFolders> find_cgroup_folders(std::string_view self_cgroup,
                                               std::string_view mountinfo,
                                               std::string_view controller);

}  // namespace haz
