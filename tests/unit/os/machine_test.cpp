#include "os/machine.h"

#include <gtest/gtest.h>

#include <map>
#include <string>

#include "base/units.h"

namespace haz {

namespace {

using Files = std::map<std::string, std::string>;

ReadFile reader(Files files) {
  return [files = std::move(files)](const std::string& path) -> std::optional<std::string> {
    const auto it = files.find(path);
    if (it == files.end()) return std::nullopt;
    return it->second;
  };
}

constexpr char kMeminfo[] =
    "MemTotal:       16384000 kB\nMemFree:         1000 kB\nMemAvailable:    8192000 kB\n";

/// systemd on a host with version 2 only.
Files version2_host() {
  return {
      {"/proc/meminfo", kMeminfo},
      {"/proc/self/cgroup", "0::/user.slice/job.scope\n"},
      {"/proc/self/mountinfo",
       "25 30 0:23 / /sys rw,nosuid - sysfs sysfs rw\n"
       "30 25 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"},
  };
}

/// Docker with version 1: the container sees its own cgroup at the mount point, while
/// /proc/self/cgroup names the path on the host.
Files version1_container() {
  return {
      {"/proc/meminfo", kMeminfo},
      {"/proc/self/cgroup", "5:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n0::/\n"},
      {"/proc/self/mountinfo",
       "40 30 0:30 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"
       "41 30 0:31 /docker/abc /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n"},
  };
}

}  // namespace

TEST(MachineTest, ParsesMeminfo) {
  EXPECT_EQ(parse_meminfo_bytes(kMeminfo, "MemTotal"), 16384000 * kKiB);
  EXPECT_EQ(parse_meminfo_bytes(kMeminfo, "MemAvailable"), 8192000 * kKiB);
  EXPECT_EQ(parse_meminfo_bytes(kMeminfo, "Mem"), std::nullopt);
  EXPECT_EQ(parse_meminfo_bytes("MemTotal: lots kB\n", "MemTotal"), std::nullopt);
  EXPECT_EQ(parse_meminfo_bytes("", "MemTotal"), std::nullopt);
}

TEST(MachineTest, ParsesMemoryBytes) {
  EXPECT_EQ(parse_memory_bytes("1048576\n"), kMiB);
  EXPECT_EQ(parse_memory_bytes("max\n"), std::nullopt);
  EXPECT_EQ(parse_memory_bytes("9223372036854771712\n"), std::nullopt);
  EXPECT_EQ(parse_memory_bytes("-1\n"), std::nullopt);
  EXPECT_EQ(parse_memory_bytes(""), std::nullopt);
  EXPECT_EQ(parse_memory_bytes("12x"), std::nullopt);
}

TEST(MachineTest, ParsesCpuQuotas) {
  EXPECT_EQ(parse_cpu_max("150000 100000\n"), 1.5);
  EXPECT_EQ(parse_cpu_max("max 100000\n"), std::nullopt);
  EXPECT_EQ(parse_cpu_max(""), std::nullopt);
  EXPECT_EQ(parse_cfs_quota("50000\n", "100000\n"), 0.5);
  EXPECT_EQ(parse_cfs_quota("-1\n", "100000\n"), std::nullopt);
  EXPECT_EQ(parse_cfs_quota("50000", "0"), std::nullopt);
}

TEST(MachineTest, FindsFoldersUpwards) {
  const Files files = version2_host();
  const auto found = find_cgroup_folders(files.at("/proc/self/cgroup"),
                                         files.at("/proc/self/mountinfo"), "memory");
  ASSERT_EQ(found.size(), 1U);
  EXPECT_TRUE(found[0].version2);
  EXPECT_EQ(found[0].folders,
            (std::vector<std::string>{"/sys/fs/cgroup/user.slice/job.scope",
                                      "/sys/fs/cgroup/user.slice", "/sys/fs/cgroup"}));
}

TEST(MachineTest, ContainerPathsAreRelativeToTheMount) {
  const Files files = version1_container();
  const auto found =
      find_cgroup_folders(files.at("/proc/self/cgroup"), files.at("/proc/self/mountinfo"), "cpu");
  ASSERT_EQ(found.size(), 1U);
  EXPECT_FALSE(found[0].version2);
  EXPECT_EQ(found[0].folders, std::vector<std::string>{"/sys/fs/cgroup/cpu,cpuacct"});
}

TEST(MachineTest, PathsOutsideOfTheMountFallBackToItsTop) {
  const auto found =
      find_cgroup_folders("0::/../../elsewhere\n",
                          "30 25 0:26 / /sys/fs/my\\040group rw - cgroup2 cgroup2 rw\n", "cpu");
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].folders, std::vector<std::string>{"/sys/fs/my group"});
}

TEST(MachineTest, NoLimitsMeansTheMachine) {
  const MachineMemory memory = machine_memory(reader(version2_host()));
  EXPECT_EQ(memory.total_bytes, 16384000 * kKiB);
  EXPECT_EQ(memory.limit_bytes, memory.total_bytes);
  EXPECT_EQ(memory.available_bytes, 8192000 * kKiB);
  EXPECT_EQ(usable_cpus(8, reader(version2_host())), 8);
}

TEST(MachineTest, LeastLimitOfAllLevelsCounts) {
  Files files = version2_host();
  files["/sys/fs/cgroup/user.slice/job.scope/memory.max"] = "max\n";
  files["/sys/fs/cgroup/user.slice/job.scope/memory.high"] = "3221225472\n";
  files["/sys/fs/cgroup/user.slice/job.scope/memory.current"] = "1073741824\n";
  files["/sys/fs/cgroup/user.slice/memory.max"] = "2147483648\n";
  files["/sys/fs/cgroup/user.slice/memory.current"] = "1610612736\n";
  files["/sys/fs/cgroup/user.slice/memory.stat"] = "anon 1\ninactive_file 536870912\n";
  files["/sys/fs/cgroup/user.slice/job.scope/cpu.max"] = "250000 100000\n";
  files["/sys/fs/cgroup/user.slice/cpu.max"] = "400000 100000\n";
  const MachineMemory memory = machine_memory(reader(files));
  EXPECT_EQ(memory.limit_bytes, 2 * kGiB);
  EXPECT_EQ(memory.available_bytes, kGiB);
  EXPECT_EQ(usable_cpus(8, reader(files)), 3);
  EXPECT_EQ(usable_cpus(2, reader(files)), 2);
}

TEST(MachineTest, VersionOneLimits) {
  Files files = version1_container();
  files["/sys/fs/cgroup/memory/memory.limit_in_bytes"] = "1073741824\n";
  files["/sys/fs/cgroup/memory/memory.usage_in_bytes"] = "805306368\n";
  files["/sys/fs/cgroup/memory/memory.stat"] = "cache 5\ntotal_inactive_file 268435456\n";
  files["/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us"] = "30000\n";
  files["/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us"] = "100000\n";
  const MachineMemory memory = machine_memory(reader(files));
  EXPECT_EQ(memory.limit_bytes, kGiB);
  EXPECT_EQ(memory.available_bytes, 512 * kMiB);
  EXPECT_EQ(usable_cpus(16, reader(files)), 1);
}

TEST(MachineTest, OverusedGroupHasNothingAvailable) {
  Files files = version2_host();
  files["/sys/fs/cgroup/memory.max"] = "1073741824\n";
  files["/sys/fs/cgroup/memory.current"] = "2147483648\n";
  EXPECT_EQ(machine_memory(reader(files)).available_bytes, 0U);
}

TEST(MachineTest, NoFilesAtAll) {
  EXPECT_EQ(usable_cpus(0, reader({})), 1);
  EXPECT_EQ(machine_memory(reader({})).limit_bytes, 0U);
}

TEST(MachineTest, ThisMachineMakesSense) {
  EXPECT_GE(usable_cpus(), 1);
  const MachineMemory memory = machine_memory();
  EXPECT_GT(memory.limit_bytes, 0U);
  EXPECT_LE(memory.limit_bytes, memory.total_bytes);
  EXPECT_LE(memory.available_bytes, memory.total_bytes);
}

}  // namespace haz
