/// @file
/// Amounts of resources: CPU slots, GPUs, memory and what users name themselves.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "sched/gpus.h"

namespace haz {

/// Resource amounts are fixed-point, so that ten times 0.1 CPU is one CPU.
inline constexpr std::int64_t kResourceUnit = 10'000;
inline constexpr std::size_t kCpuIndex = 0;
/// No request asks for more, and nodes are taken to have no more: so that no sum of units
/// overflows.
inline constexpr double kMaxResourceAmount = 1e14;

inline std::int64_t to_resource_units(double amount) {
  return std::llround(amount * static_cast<double>(kResourceUnit));
}
inline double from_resource_units(std::int64_t units) {
  return static_cast<double>(units) / static_cast<double>(kResourceUnit);
}

/// The amount for a person: "2", "0.5".
inline std::string shown_amount(std::int64_t units) {
  std::string text = std::to_string(units / kResourceUnit);
  if (units % kResourceUnit == 0) return text;
  std::string decimals = std::to_string(kResourceUnit + units % kResourceUnit);
  decimals.erase(decimals.find_last_not_of('0') + 1);
  return text + "." + decimals.substr(1);
}

/// What a task asks for: (resource index, units), indices rising, units positive.
using ResourceRequest = std::vector<std::pair<std::size_t, std::int64_t>>;

/// Units of the resource `index` in `request`.
inline std::int64_t units_of(const ResourceRequest& request, std::size_t index) {
  for (const auto& [asked, units] : request) {
    if (asked == index) return units;
  }
  return 0;
}

struct Bundle;

/// What one holder was given, beside the amounts that it has asked for.
struct ResourceGrant {
  GpuShare gpus{};
  Bundle* bundle = nullptr;  ///< From which all of it is; none: from the node itself.
};

/// Total and free amounts of resources, by their index: of a node, or of what was reserved there.
/// Free CPU may go below zero: a task that resumes after it was blocked does not wait for a slot.
/// Not thread-safe.
class ResourceAmounts {
 public:
  ResourceAmounts() = default;
  /// What `reserved` is of `whole`, with its GPUs, all free.
  ResourceAmounts(const ResourceAmounts& whole, const ResourceRequest& reserved,
                  const GpuShare& gpus)
      : total_(whole.total_.size()), gpu_index_(whole.gpu_index_) {
    for (const auto& [index, units] : reserved)
      total_[index] = units;
    free_ = total_;
    for (const std::uint32_t id : gpus.ids)
      gpus_.add(id, gpus.units_each);
  }
  /// The same with nothing in use.
  [[nodiscard]] ResourceAmounts unused() const {
    ResourceAmounts copy(*this);
    copy.free_ = copy.total_;
    copy.gpus_.reset();
    return copy;
  }

  /// Whether `times` such requests fit into what is free now.
  [[nodiscard]] bool fits(const ResourceRequest& request, std::int64_t times = 1) const {
    for (const auto& [index, units] : request) {
      if (free(index) / units < times) return false;
      if (index == gpu_index_ && !gpus_.fits(units, times)) return false;
    }
    return true;
  }

  /// Whether so much of one resource can't be had now.
  [[nodiscard]] bool lacks(std::size_t index, std::int64_t units) const {
    return free(index) < units || (index == gpu_index_ && !gpus_.fits(units));
  }

  /// Whether more of what `request` needs is in use than there is, since blocked tasks resumed.
  [[nodiscard]] bool overdrawn(const ResourceRequest& request) const {
    for (const auto& [index, units] : request) {
      if (free(index) < 0) return true;
    }
    return false;
  }

  /// Takes what `request` asks for. Precondition: fits(), where GPUs are asked for.
  ResourceGrant acquire(const ResourceRequest& request) {
    ResourceGrant grant;
    for (const auto& [index, units] : request) {
      free_[index] -= units;
      if (index == gpu_index_) grant.gpus = gpus_.take(units);
    }
    return grant;
  }
  void release(const ResourceRequest& request, ResourceGrant& grant) {
    for (const auto& [index, units] : request)
      free_[index] += units;
    gpus_.give_back(grant.gpus);
  }
  /// The holder of `from` holds `to` instead, and keeps its GPUs, of which both have as many.
  void exchange(const ResourceRequest& from, const ResourceRequest& to) {
    for (const auto& [index, units] : from)
      free_[index] += units;
    for (const auto& [index, units] : to)
      free_[index] -= units;
  }
  void add_cpu(std::int64_t units) { free_[kCpuIndex] += units; }
  /// Units of GPUs in `request`.
  [[nodiscard]] std::int64_t gpu_units(const ResourceRequest& request) const {
    return units_of(request, gpu_index_);
  }
  [[nodiscard]] const GpuTable& gpus() const { return gpus_; }

  [[nodiscard]] std::size_t size() const { return total_.size(); }
  /// Of an index that came later than this: 0.
  [[nodiscard]] std::int64_t total(std::size_t index) const {
    return index < total_.size() ? total_[index] : 0;
  }
  [[nodiscard]] std::int64_t free(std::size_t index) const {
    return index < free_.size() ? free_[index] : 0;
  }

 protected:
  std::vector<std::int64_t> total_;
  std::vector<std::int64_t> free_;
  std::size_t gpu_index_ = std::numeric_limits<std::size_t>::max();  ///< None: there are no GPUs.
  GpuTable gpus_;
};

/// The resources of one node, which have names. Not thread-safe.
class ResourcePool : public ResourceAmounts {
 public:
  ResourcePool() { (void)index_of("CPU"); }

  /// Index of the resource called `name`, if there is one; `CPU` is kCpuIndex.
  [[nodiscard]] std::optional<std::size_t> find(std::string_view name) const {
    for (std::size_t i = 0; i < names_.size(); ++i) {
      if (names_[i] == name) return i;
    }
    return std::nullopt;
  }
  /// The same; makes it, with total 0, if it is new.
  std::size_t index_of(std::string_view name) {
    if (const std::optional<std::size_t> found = find(name)) return *found;
    names_.emplace_back(name);
    total_.push_back(0);
    free_.push_back(0);
    if (name == "GPU") gpu_index_ = names_.size() - 1;
    return names_.size() - 1;
  }

  /// Of GPUs: only while none is in use.
  void set_total(std::size_t index, std::int64_t units) {
    free_[index] += units - total_[index];
    total_[index] = units;
    if (index != gpu_index_) return;
    gpus_.clear();
    std::uint32_t id = 0;
    for (std::int64_t left = units; left > 0; left -= kGpuUnits)
      gpus_.add(id++, std::min(left, kGpuUnits));
  }

  [[nodiscard]] const std::string& name(std::size_t index) const { return names_[index]; }

 private:
  std::vector<std::string> names_;
};

/// Whether `a` and `b` both ask for a resource of which `amounts` lack what `a` needs.
inline bool compete(const ResourceAmounts& amounts, const ResourceRequest& a,
                    const ResourceRequest& b) {
  for (const auto& [index, units] : a) {
    if (!amounts.lacks(index, units)) continue;
    for (const auto& entry : b) {
      if (entry.first == index) return true;
    }
  }
  return false;
}

/// CPU units in `request`.
inline std::int64_t cpu_units(const ResourceRequest& request) {
  return !request.empty() && request.front().first == kCpuIndex ? request.front().second : 0;
}

}  // namespace haz
