/// @file
/// What the parts of RingClient, ring_client*.cpp, share.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/ids.h"
#include "base/result.h"
#include "base/units.h"
#include "client/client.h"
#include "store/wait.h"
#include "wire/messages.h"

namespace haz {

/// No sleep is longer, so that a lost wake-up costs no more.
inline constexpr std::int64_t kLongestSleepNs = 100 * kMillisecondNs;
/// Spin while waiting for the host's reply: it answers at once when it is awake.
inline constexpr std::int64_t kReplySpinNs = 20 * kMicrosecondNs;
/// Spin of a worker whose tasks come seldom.
inline constexpr std::int64_t kShortSpinNs = 30 * kMicrosecondNs;

template <typename T>
std::span<const std::byte> bytes_of(const T& value) {
  return std::as_bytes(std::span(&value, 1));
}

inline std::span<const std::byte> bytes_of_ids(std::span<const ObjectId> ids) {
  return std::as_bytes(ids);
}

inline std::span<const std::byte> bytes_of_text(const std::string& text) {
  return std::as_bytes(std::span(text));
}

inline ValueEntry entry_of(const NewValue& value) {
  return ValueEntry{value.offset, value.offset != 0 ? value.size : value.bytes.size(),
                    value.is_error ? kValueIsError : 0U,
                    static_cast<std::uint32_t>(value.refs.size())};
}

inline Error node_died() {
  return Error{ErrorKind::kNodeDied,
               "the node that this program had joined has ended: see `haz status`, and start "
               "another by `haz start`"};
}

/// For calls that can't be interrupted.
class NoHooks final : public WaitHooks {};

/// For calls that come to their end in any case, in a thread that lets others run meanwhile.
class SteadyHooks final : public WaitHooks {
 public:
  explicit SteadyHooks(WaitHooks& inner) : SteadyHooks(inner, inner.may_run_tasks()) {}
  SteadyHooks(WaitHooks& inner, bool may_run_tasks)
      : inner_(inner), may_run_tasks_(may_run_tasks) {}
  void before_block() override { inner_.before_block(); }
  void after_block() override { inner_.after_block(); }
  [[nodiscard]] bool may_run_tasks() const override { return may_run_tasks_; }

 private:
  WaitHooks& inner_;
  bool may_run_tasks_;
};

}  // namespace haz
