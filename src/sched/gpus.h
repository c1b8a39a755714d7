/// @file
/// Which GPU is whose: GPUs are told apart by their number, which other resources are not.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace haz {

/// Of GPUs, the units of one.
inline constexpr std::int64_t kGpuUnits = 10'000;
/// No task takes more GPUs.
inline constexpr std::int64_t kMaxGpusOfTask = 24;

/// What one holder has of GPUs: several whole ones, or a part of one.
struct GpuShare {
  std::vector<std::uint32_t> ids{};
  std::int64_t units_each = 0;
};

/// Whether so many units are whole GPUs, or a part of one: what a task may ask for.
inline bool is_gpu_amount(std::int64_t units) {
  return units <= kGpuUnits || units % kGpuUnits == 0;
}

/// GPUs, or parts of them, and how much of each is free. Not thread-safe.
class GpuTable {
 public:
  /// Adds `units` of the GPU `id`, which is not in the table.
  void add(std::uint32_t id, std::int64_t units) { slots_.push_back({id, units, units}); }
  void clear() { slots_.clear(); }
  /// Takes back all that was taken.
  void reset() {
    for (Slot& slot : slots_)
      slot.free = slot.total;
  }

  /// Whether `times` shares of `units` each can be had now. Precondition: is_gpu_amount(units).
  [[nodiscard]] bool fits(std::int64_t units, std::int64_t times = 1) const {
    if (units <= 0) return true;
    std::int64_t count = 0;
    for (const Slot& slot : slots_)
      count += slot.free / std::min(units, kGpuUnits);
    return count / std::max<std::int64_t>(units / kGpuUnits, 1) >= times;
  }

  /// Takes a share. Of a part, from the GPU of which least is left, so that others stay whole.
  /// Precondition: fits(units).
  GpuShare take(std::int64_t units) {
    GpuShare share;
    share.units_each = std::min(units, kGpuUnits);
    if (units <= 0) return share;
    std::size_t count = static_cast<std::size_t>(std::max<std::int64_t>(units / kGpuUnits, 1));
    for (; count > 0; --count) {
      Slot* best = nullptr;
      for (Slot& slot : slots_) {
        if (slot.free < share.units_each) continue;
        if (best == nullptr || slot.free < best->free) best = &slot;
      }
      if (best == nullptr) break;
      best->free -= share.units_each;
      share.ids.push_back(best->id);
    }
    return share;
  }

  /// Gives back what take() gave, and leaves `share` empty.
  void give_back(GpuShare& share) {
    for (const std::uint32_t id : share.ids) {
      const auto slot = std::find_if(slots_.begin(), slots_.end(),
                                     [id](const Slot& candidate) { return candidate.id == id; });
      if (slot != slots_.end()) slot->free += share.units_each;
    }
    share = {};
  }

  /// What is free of all.
  [[nodiscard]] std::int64_t free() const {
    std::int64_t units = 0;
    for (const Slot& slot : slots_)
      units += slot.free;
    return units;
  }

 private:
  struct Slot {
    std::uint32_t id;
    std::int64_t total;
    std::int64_t free;
  };
  std::vector<Slot> slots_;
};

}  // namespace haz
