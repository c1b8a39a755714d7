/// @file
/// _native.map_privately: memory of the store that can be written to, for Python.
#include <nanobind/nanobind.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>

#include "codec.h"
#include "session.h"

namespace nb = nanobind;

namespace haz::py {
namespace {

/// What views of a private mapping keep: its pages that were not written to are the source's.
struct PrivateMemory {
  std::unique_ptr<ArenaMapping> mapping;
  nb::object source;
};

nb::object map_privately(std::uintptr_t address, std::size_t size_bytes, nb::object source) {
  const std::shared_ptr<Session> session = current_session();
  if (!session) return nb::none();
  const Arena& arena = session->client().arena();
  const std::uint64_t offset = address - reinterpret_cast<std::uintptr_t>(arena.at(0));
  auto mapping = arena.map_privately(offset, size_bytes);
  if (!mapping) return nb::none();
  const std::byte* const begin = (*mapping)->base() + address % page_size();
  const nb::object owner = nb::cast(PrivateMemory{std::move(*mapping), std::move(source)});
  nb::object view = nb::steal(make_view(owner.ptr(), {begin, size_bytes}, true));
  if (!view.is_valid()) throw nb::python_error();
  return view;
}

}  // namespace

void bind_memory(nb::module_& m) {
  const nb::class_<PrivateMemory> keeper(m, "PrivateMemory",
                                         "What views of a private mapping keep.");
  m.def(
      "map_privately", map_privately, nb::arg("address"), nb::arg("size"), nb::arg("source"),
      nb::sig("def map_privately(address: int, size: int, source: object) -> memoryview | None"),
      "Map `size` bytes of the store at `address` once more, to be written to without anybody else "
      "seeing it: nothing is copied before. The view keeps `source`, which keeps the bytes there "
      "as they are. None where they are not in this process' store, or it can't be mapped again.");
}

}  // namespace haz::py
