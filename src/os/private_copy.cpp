#include "os/private_copy.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstring>

#include "base/units.h"
#include "os/memory.h"

namespace haz {

Status make_private_copy(const std::byte* address, std::size_t size_bytes) {
  const std::size_t before = reinterpret_cast<std::uintptr_t>(address) & (page_size() - 1);
  void* place = const_cast<std::byte*>(address) - before;
  const std::size_t span = align_up(before + size_bytes, page_size());
  void* copy = mmap(nullptr, span, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (copy == MAP_FAILED) return Error{ErrorKind::kOverloaded, "no memory for copies of views"};
  std::memcpy(copy, place, span);
  // The exchange is one step for those who read.
  const bool moved = mprotect(copy, span, PROT_READ) == 0 &&
                     mremap(copy, span, span, MREMAP_MAYMOVE | MREMAP_FIXED, place) != MAP_FAILED;
  if (moved) return Ok{};
  munmap(copy, span);
  return Error{ErrorKind::kOverloaded, "no memory for copies of views"};
}

}  // namespace haz
