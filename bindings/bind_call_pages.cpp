/// @file
/// Binds `CallPages`: what a worker of a pool has done of its batches, see queue/call_page.h.
#include <nanobind/nanobind.h>
#include <nanobind/stl/unique_ptr.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>

#include "os/memory.h"
#include "queue/call_page.h"
#include "session.h"

namespace nb = nanobind;

namespace haz::py {

namespace {

/// As many pages as a worker may have batches, so that a page is used again only when its sender
/// knows the end of the batch before.
constexpr std::uint32_t kPages = 4;
constexpr std::size_t kFileBytes = kPages * CallPage::kBytes;

template <typename T>
T value_or_throw(Result<T> result) {
  if (result) return std::move(*result);
  set_python_error(result.error());
  throw nb::python_error();
}

class CallPages {
 public:
  CallPages(std::optional<UniqueFd> fd, std::byte* memory) : fd_(std::move(fd)), memory_(memory) {}
  CallPages(const CallPages&) = delete;
  CallPages& operator=(const CallPages&) = delete;
  ~CallPages() { unmap(memory_, kFileBytes); }

  [[nodiscard]] int fd() const { return fd_ ? fd_->get() : -1; }
  [[nodiscard]] CallPage* page(std::uint32_t number) const {
    // Zeroed memory is a page of no batch, and nothing is constructed in it.
    return reinterpret_cast<CallPage*>(memory_ + (number % kPages) * CallPage::kBytes);
  }
  void close() { fd_.reset(); }
  CallPageWriter writer{nullptr};

 private:
  std::optional<UniqueFd> fd_;
  std::byte* memory_;
};

std::unique_ptr<CallPages> create() {
  MemoryFile file = value_or_throw(create_memory_file("haz-calls", kFileBytes));
  std::byte* memory = value_or_throw(map_file(file.fd.get(), kFileBytes, Access::kReadWrite));
  return std::make_unique<CallPages>(std::move(file.fd), memory);
}

std::unique_ptr<CallPages> attach(int fd) {
  if (value_or_throw(identify_file(fd)).size_bytes != kFileBytes) {
    throw nb::value_error("not a file of call pages");
  }
  return std::make_unique<CallPages>(std::nullopt,
                                     value_or_throw(map_file(fd, kFileBytes, Access::kReadWrite)));
}

void open_page(CallPages& pages, std::uint32_t number, std::uint32_t count) {
  if (number == 0 || count > CallPage::kMaxCalls) throw nb::value_error("no such batch");
  pages.writer = CallPageWriter(pages.page(number));
  pages.writer.open(number, count);
}

bool record(CallPages& pages, const nb::bytes& value) {
  return pages.writer.record({static_cast<const std::byte*>(value.data()), value.size()});
}

nb::object take_back(CallPages& pages, std::uint32_t number) {
  const auto place = CallPageReader(pages.page(number)).take_back(number);
  return place ? nb::cast(*place) : nb::none();
}

nb::object progress(CallPages& pages, std::uint32_t number) {
  const CallPageReader reader(pages.page(number));
  const auto begun = reader.begun(number);
  if (!begun) return nb::none();
  nb::list values;
  for (const auto value : reader.recorded())
    values.append(nb::bytes(value.data(), value.size()));
  return nb::make_tuple(*begun, values);
}

}  // namespace

/// Adds `CallPages` to `m`.
void bind_call_pages(nb::module_& m) {
  nb::class_<CallPages>(m, "CallPages", "Shared with one worker: how far it is with its batches.")
      .def(nb::new_(&create), "Make pages in a memory file without a name.")
      .def_static("attach", &attach, nb::arg("fd"),
                  "Map the pages of an open file; it may be closed then.")
      .def_prop_ro_static(
          "count", [](nb::handle /*type*/) { return kPages; },
          "Batches that a worker can have at a time.")
      .def("fileno", &CallPages::fd, "Descriptor of the file; -1 where it was attached, or closed.")
      .def("close", &CallPages::close, "Close the descriptor; the pages stay.")
      .def("open", open_page, nb::arg("number"), nb::arg("count"),
           "In the worker: begin a batch of so many calls.")
      .def(
          "claim", [](CallPages& pages) { return pages.writer.claim(); },
          "In the worker, after open: whether there is one more call to be run.")
      .def("record", record, nb::arg("value"),
           "In the worker: note what the claimed call returned; False: there is no room.")
      .def("take_back", take_back, nb::arg("number"),
           nb::sig("def take_back(self, number: int) -> int | None"),
           "End the batch before the first call that has not begun; return its place.")
      .def(
          "begun",
          [](CallPages& pages, std::uint32_t number) {
            return CallPageReader(pages.page(number)).begun(number).value_or(0);
          },
          nb::arg("number"), "How many calls of the batch have begun.")
      .def("progress", progress, nb::arg("number"),
           nb::sig("def progress(self, number: int) -> tuple[int, list[bytes]] | None"),
           "Return (calls begun, what the first of them returned), or None if it was not opened.");
}

}  // namespace haz::py
