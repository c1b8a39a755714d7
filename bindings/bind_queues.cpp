/// @file
/// Binds `SharedQueue`: queue/shared_queue.h, with Python's values as items.
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/unique_ptr.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "codec.h"
#include "os/clock.h"
#include "os/memory.h"
#include "queue/shared_queue.h"
#include "session.h"

namespace nb = nanobind;

namespace haz::py {

namespace {

/// So often a thread that waits looks for signals.
constexpr std::int64_t kLookNs = 250 * kMillisecondNs;
/// How long a call that doesn't wait for others' items waits for others' calls.
constexpr std::int64_t kLongestCallNs = 10 * kSecondNs;
/// Copying less takes less than letting others have the GIL.
constexpr std::size_t kCopiedWithGilBytes = 32 * kKiB;
/// From here on arrays are views of the memory to which the item was copied.
constexpr std::size_t kOwnedBytes = 4 * kKiB;

[[noreturn]] void raise(const Error& error) {
  if (error.kind == ErrorKind::kOverloaded) {
    PyErr_SetString(PyExc_MemoryError, error.message.c_str());
  } else if (error.kind == ErrorKind::kInvalid || error.kind == ErrorKind::kUnavailable) {
    PyErr_SetString(PyExc_OSError, error.message.c_str());
  } else {
    PyErr_SetString(PyExc_RuntimeError, error.message.c_str());
  }
  throw nb::python_error();
}

template <typename T>
T value_or_raise(Result<T> result) {
  if (!result) raise(result.error());
  return std::move(*result);
}

/// queue.Empty or queue.Full.
[[noreturn]] void raise_of_queue(const char* name) {
  static PyObject* empty = nullptr;
  static PyObject* full = nullptr;
  PyObject* type = cached_attribute(name[0] == 'E' ? empty : full, "queue", name);
  if (type != nullptr) PyErr_SetNone(type);
  throw nb::python_error();
}

/// How long a call may wait.
class Patience {
 public:
  Patience(bool block, std::optional<double> timeout_s) {
    if (!block) {
      until_ns_ = 0;
    } else if (timeout_s) {
      until_ns_ = deadline_in(std::max(*timeout_s, 0.0));
    }
  }

  [[nodiscard]] bool is_over() const { return until_ns_ <= monotonic_ns(); }
  /// When the next look for signals is due, or the end of patience.
  [[nodiscard]] std::int64_t next_look() const {
    return std::min(until_ns_, monotonic_ns() + kLookNs);
  }
  /// The same for a wait until others' calls have ended.
  [[nodiscard]] std::int64_t next_look_at_calls() const { return monotonic_ns() + kLookNs; }
  [[nodiscard]] bool is_over_for_calls() const {
    return std::max(until_ns_, begin_ns_ + kLongestCallNs) <= monotonic_ns();
  }

 private:
  std::int64_t begin_ns_ = monotonic_ns();
  std::int64_t until_ns_ = std::numeric_limits<std::int64_t>::max();
};

void look_for_signals() {
  if (PyErr_CheckSignals() != 0) throw nb::python_error();
}

/// Runs `attempt(until_ns)`, at first with the GIL where that is `quick`, then `wait(until_ns)` and
/// both again, until the attempt is done; false: patience has ended.
template <typename Attempt, typename Wait>
bool try_patiently(const Patience& patience, bool quick, const Attempt& attempt, const Wait& wait) {
  if (quick && value_or_raise(attempt(0)) == QueueTry::kDone) return true;
  for (;;) {
    QueueTry outcome = QueueTry::kBusy;
    std::optional<Error> error;
    {
      const nb::gil_scoped_release released;
      auto tried = attempt(patience.next_look_at_calls());
      if (!tried) {
        error = tried.error();
      } else {
        outcome = *tried;
        if (outcome == QueueTry::kNotNow && !patience.is_over()) wait(patience.next_look());
      }
    }
    if (error) raise(*error);
    if (outcome == QueueTry::kDone) return true;
    look_for_signals();
    if (outcome == QueueTry::kBusy ? patience.is_over_for_calls() : patience.is_over()) {
      // Once more: what it waited for may have come with the end of the wait.
      return outcome == QueueTry::kNotNow && value_or_raise(attempt(0)) == QueueTry::kDone;
    }
  }
}

/// Large copies elsewhere have threads, which a program with nothing but a queue shall not get.
void copy_on_this_thread(void* to, const void* from, std::size_t size_bytes) {
  std::memcpy(to, from, size_bytes);
}

bool put(SharedQueue& queue, nb::handle value, nb::handle dumps, bool block,
         std::optional<double> timeout_s) {
  const Patience patience(block, timeout_s);
  ScopedEncoder encoder;
  encoder->pickle_with(dumps.ptr());
  if (!encoder->encode(value.ptr())) throw nb::python_error();
  if (!encoder->refs().empty()) return false;
  const std::size_t size = encoder->size();
  const std::function<void(std::byte*)> write = [&encoder](std::byte* to) {
    encoder->write(to, copy_on_this_thread);
  };
  const bool done = try_patiently(
      patience, size <= kCopiedWithGilBytes,
      [&](std::int64_t until_ns) { return queue.try_put(size, write, until_ns); },
      [&](std::int64_t until_ns) { queue.wait_for_room(until_ns); });
  if (!done) raise_of_queue("Full");
  return true;
}

struct FreeAligned {
  void operator()(std::byte* memory) const {
    ::operator delete[](memory, std::align_val_t{kPayloadAlignment});
  }
};
using AlignedMemory = std::unique_ptr<std::byte[], FreeAligned>;

/// An item, copied out of the queue.
class TakenItem {
 public:
  /// False: there is no memory for it.
  bool take(std::span<const std::byte> bytes) {
    size_ = bytes.size();
    if (size_ > near_.size()) {
      far_.reset(new (std::align_val_t{kPayloadAlignment}, std::nothrow) std::byte[size_]);
      if (far_ == nullptr) return false;
    }
    std::byte* to = far_ != nullptr ? far_.get() : near_.data();
    // Where that fails, the pages come with the copy.
    if (size_ >= kMiB && can_populate()) static_cast<void>(populate_for_writing(to, size_));
    std::memcpy(to, bytes.data(), size_);
    return true;
  }
  [[nodiscard]] bool is_without_memory() const { return size_ > near_.size() && far_ == nullptr; }
  [[nodiscard]] std::size_t size() const { return size_; }

  nb::object value() {
    const std::byte* const bytes = far_ != nullptr ? far_.get() : near_.data();
    nb::object owner;
    if (far_ != nullptr && size_ >= kOwnedBytes) {
      owner = nb::capsule(far_.get(), [](void* memory) noexcept {
        FreeAligned()(static_cast<std::byte*>(memory));
      });
      static_cast<void>(far_.release());
    }
    Decoder decoder(bytes, size_, owner.ptr(), Decoder::Pickles::kLoad, Decoder::Memory::kPrivate);
    nb::object decoded = nb::steal(decoder.next());
    if (!decoded.is_valid()) throw nb::python_error();
    return decoded;
  }

 private:
  std::size_t size_ = 0;
  alignas(kPayloadAlignment) std::array<std::byte, 512> near_{};
  AlignedMemory far_;
};

nb::object get(SharedQueue& queue, bool block, std::optional<double> timeout_s) {
  const Patience patience(block, timeout_s);
  TakenItem item;
  bool is_with_gil = true;
  const std::function<bool(std::span<const std::byte>)> read =
      [&](std::span<const std::byte> bytes) {
        if (is_with_gil && bytes.size() > kCopiedWithGilBytes) return false;
        return item.take(bytes);
      };
  const auto attempt = [&](std::int64_t until_ns) -> Result<QueueTry> {
    is_with_gil = until_ns == 0;
    auto outcome = queue.try_get(read, until_ns);
    if (!item.is_without_memory()) return outcome;
    return Error{ErrorKind::kOverloaded, "no memory for an item of " + std::to_string(item.size()) +
                                             " bytes, which stays in the queue"};
  };
  const bool done = try_patiently(patience, true, attempt,
                                  [&](std::int64_t until_ns) { queue.wait_for_item(until_ns); });
  if (!done) raise_of_queue("Empty");
  return item.value();
}

bool watch_for_item(SharedQueue& queue) {
  const nb::gil_scoped_release released;
  return queue.watch_for_item(monotonic_ns() + kLookNs);
}

void wait_until_done(SharedQueue& queue) {
  while (!queue.all_done()) {
    {
      const nb::gil_scoped_release released;
      queue.wait_for_all_done(monotonic_ns() + kLookNs);
    }
    look_for_signals();
  }
}

std::unique_ptr<SharedQueue> create(std::int64_t limit) {
  constexpr std::int64_t kMost = SharedQueue::kMaxItems;
  const std::int64_t items = limit <= 0 ? kMost : std::min(limit, kMost);
  return value_or_raise(SharedQueue::create(static_cast<std::uint32_t>(items)));
}

std::unique_ptr<SharedQueue> attach(int fd) {
  return value_or_raise(SharedQueue::attach(UniqueFd(fd)));
}

}  // namespace

/// Adds `SharedQueue` to `m`.
void bind_queues(nb::module_& m) {
  nb::class_<SharedQueue>(m, "SharedQueue", "A queue of values between processes.")
      .def(nb::new_(&create), nb::arg("limit"),
           "Make one in a memory file, for so many items at a time; 0: for any number.")
      .def_static("attach", &attach, nb::arg("fd"),
                  "Return that in the open file, whose descriptor it takes.")
      .def("fileno", &SharedQueue::fd, "Descriptor of the file.")
      .def("put", put, nb::arg("value").none(), nb::arg("dumps"), nb::arg("block") = true,
           nb::arg("timeout").none() = nb::none(),
           nb::sig("def put(self, value: object, dumps: object, block: bool = True,"
                   " timeout: float | None = None) -> bool"),
           "Put a value, pickled by `dumps` where it must be; raise `queue.Full`. False: nothing\n"
           "was put, since there are refs in it.")
      .def("get", get, nb::arg("block") = true, nb::arg("timeout").none() = nb::none(),
           nb::sig("def get(self, block: bool = True, timeout: float | None = None) -> typing.Any"),
           "Take the oldest value; raise `queue.Empty`.")
      .def("watch_for_item", watch_for_item,
           "Wait a moment for a value, without taking it; whether there is one.")
      .def("wake_watchers", &SharedQueue::wake_watchers, "End the waits of watch_for_item().")
      .def("qsize", &SharedQueue::size, "How many values it has.")
      .def("full", &SharedQueue::full, "Whether it has as many as it takes.")
      .def("mark_done", &SharedQueue::mark_done,
           "Mark one value as done; False: all that were put are.")
      .def("wait_until_done", wait_until_done, "Wait until all that were put are marked as done.");
}

}  // namespace haz::py
