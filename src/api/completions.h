/// @file
/// Tells who does not wait when objects are ready.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <thread>
#include <unordered_map>

#include "base/result.h"
#include "client/client.h"
#include "haz/detail/engine.h"
#include "os/event_fd.h"

namespace haz {

/// One thread, started by the first who asks. All members may be called from any thread.
class Completions {
 public:
  /// `client` outlives end().
  explicit Completions(Client& client) : client_(client) {}
  /// As detail::engine::notify(): whether the object is ready, and `resume` is not called.
  Result<bool> notify(ObjectId id, detail::ready_callback resume, void* context);
  /// Ends the thread, then calls what is left. Idempotent.
  void end() noexcept;

 private:
  struct Waiting {
    detail::ready_callback resume;
    void* context;
  };

  Status start();
  void run();
  void tell(std::uint64_t token);

  Client& client_;
  std::mutex mutex_;  ///< Guards what follows.
  std::unordered_map<std::uint64_t, Waiting> waiting_;
  std::uint64_t next_token_ = 1;
  std::thread thread_;
  bool ended_ = false;
  std::unique_ptr<EventFd> wake_;
  std::atomic<bool> stopping_{false};
};

}  // namespace haz
