/// @file
/// _native.map_privately: memory of the store that can be written to, for Python.
#include <nanobind/nanobind.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>

#include "codec.h"
#include "os/memory.h"
#include "private_memory.h"
#include "sched/list.h"
#include "session.h"

namespace nb = nanobind;

namespace haz::py {
namespace {

/// What views of a private mapping keep: its pages that were not written to are the source's.
struct PrivateMemory {
  PrivateMemory(std::unique_ptr<ArenaMapping> made, nb::object from, std::uint32_t session);
  PrivateMemory(const PrivateMemory&) = delete;
  PrivateMemory& operator=(const PrivateMemory&) = delete;
  ~PrivateMemory();

  std::unique_ptr<ArenaMapping> mapping;
  nb::object source;
  std::uint32_t generation;
  Link<PrivateMemory> link;
};

/// All that there are; with the GIL.
List<PrivateMemory, &PrivateMemory::link> all_private;

PrivateMemory::PrivateMemory(std::unique_ptr<ArenaMapping> made, nb::object from,
                             std::uint32_t session)
    : mapping(std::move(made)), source(std::move(from)), generation(session) {
  all_private.push_back(this);
}

PrivateMemory::~PrivateMemory() { all_private.remove(this); }

nb::object map_privately(std::uintptr_t address, std::size_t size_bytes, nb::object source) {
  const std::shared_ptr<Session> session = current_session();
  if (!session) return nb::none();
  const Arena& arena = session->client().arena();
  const std::uint64_t offset = address - reinterpret_cast<std::uintptr_t>(arena.at(0));
  auto mapping = arena.map_privately(offset, size_bytes);
  if (!mapping) return nb::none();
  const std::byte* const begin = (*mapping)->base() + address % page_size();
  auto kept = std::make_unique<PrivateMemory>(std::move(*mapping), std::move(source),
                                              session->generation());
  const nb::object owner = nb::cast(kept.release(), nb::rv_policy::take_ownership);
  nb::object view = nb::steal(make_view(owner.ptr(), {begin, size_bytes}, true));
  if (!view.is_valid()) throw nb::python_error();
  return view;
}

}  // namespace

std::size_t keep_private_memory(std::uint32_t generation) {
  std::size_t left = 0;
  for (const PrivateMemory* memory = all_private.front(); memory != nullptr;
       memory = List<PrivateMemory, &PrivateMemory::link>::next(memory)) {
    if (memory->generation != generation) continue;
    const ArenaMapping& mapping = *memory->mapping;
    if (!populate_for_writing(mapping.base(), mapping.size_bytes())) ++left;
  }
  return left;
}

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
