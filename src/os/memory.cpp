#include "os/memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <limits>
#include <string>
#include <utility>

#include "base/units.h"
#include "os/system_error.h"

namespace haz {
namespace {

// Missing from the headers of older systems; the numbers are the kernel's and never change.
constexpr unsigned kNoExecSeal = 0x0008;  // MFD_NOEXEC_SEAL
constexpr int kPopulateWrite = 23;        // MADV_POPULATE_WRITE

/// A signal makes tmpfs undo a whole fallocate call; pieces keep what was done before.
constexpr std::size_t kReservePieceBytes = 8 * kMiB;
constexpr std::size_t kSmallestReservePieceBytes = 64 * kKiB;

/// system_error(), with the kinds that matter where a file's pages are concerned.
Error memory_error(const char* operation, int error_number) {
  Error error = system_error(operation, error_number);
  switch (error_number) {
    case EOPNOTSUPP:
    case ENODEV:
    case EROFS:
      error.kind = ErrorKind::kUnavailable;
      break;
    case EBADF:
      error.kind = ErrorKind::kLost;
      break;
    case EDQUOT:
    case EFAULT:     // populate: where touching the page would raise SIGBUS
    case EHWPOISON:  // likewise
      error.kind = ErrorKind::kOverloaded;
      break;
    default:
      break;
  }
  return error;
}

Status status_of(int result, const char* operation) {
  if (result == 0) return Ok{};
  return memory_error(operation, errno);
}

Result<MemoryFile> sized(MemoryFile file, std::size_t size_bytes) {
  rlimit limit{};
  if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && size_bytes > limit.rlim_cur) {
    // ftruncate would raise SIGXFSZ.
    return Error{ErrorKind::kInvalid, "a file may have at most " + std::to_string(limit.rlim_cur) +
                                          " bytes (RLIMIT_FSIZE, ulimit -f), not " +
                                          std::to_string(size_bytes)};
  }
  if (ftruncate(file.fd.get(), static_cast<off_t>(size_bytes)) != 0) {
    return memory_error("cannot set the size of a memory file", errno);
  }
  return file;
}

bool is_possible_size(std::size_t size_bytes) {
  return size_bytes != 0 &&
         size_bytes <= static_cast<std::size_t>(std::numeric_limits<off_t>::max());
}

Error bad_size(std::size_t size_bytes) {
  return Error{ErrorKind::kInvalid,
               "a memory file can't have " + std::to_string(size_bytes) + " bytes"};
}

UniqueFd open_memfd(const char* name) {
  const int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | kNoExecSeal);
  if (fd >= 0 || errno != EINVAL) return UniqueFd(fd);
  return UniqueFd(memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));  // before Linux 6.3
}

/// Address of the page that holds `address`.
std::byte* page_of(std::byte* address) {
  return address - (reinterpret_cast<std::uintptr_t>(address) & (page_size() - 1));
}

void touch_pages(std::byte* begin, const std::byte* end) {
  for (std::byte* page = begin; page < end; page += page_size()) {
    // Swapping a value for itself dirties the page and keeps what it holds, also while others write
    // to it; unlike an addition of zero, no compiler may turn it into a load.
    std::atomic_ref<unsigned char> byte(*reinterpret_cast<unsigned char*>(page));
    unsigned char value = byte.load(std::memory_order_relaxed);
    byte.compare_exchange_strong(value, value, std::memory_order_relaxed);
  }
}

Result<std::byte*> map_with(int fd, std::size_t size_bytes, int protection, int flags,
                            std::uint64_t offset_bytes) {
  void* address =
      mmap(nullptr, size_bytes, protection, flags, fd, static_cast<off_t>(offset_bytes));
  if (address != MAP_FAILED) return static_cast<std::byte*>(address);
  const int error_number = errno;
  Error error = memory_error("cannot map a file", error_number);
  rlimit limit{};
  if (error_number == ENOMEM && getrlimit(RLIMIT_AS, &limit) == 0 &&
      limit.rlim_cur != RLIM_INFINITY) {
    error.message = "cannot map " + std::to_string(size_bytes) +
                    " bytes: this process may have at most " + std::to_string(limit.rlim_cur) +
                    " bytes of address space in all (RLIMIT_AS, ulimit -v)";
  }
  return error;
}

}  // namespace

std::size_t page_size() {
  static const auto kSize = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  return kSize;
}

Result<MemoryFile> create_memory_file(const char* name, std::size_t size_bytes) {
  if (!is_possible_size(size_bytes)) return bad_size(size_bytes);
  UniqueFd fd = open_memfd(name);
  if (fd) {
    auto file = sized(MemoryFile{std::move(fd), true, false}, size_bytes);
    if (file) {
      file->size_sealed =
          fcntl(file->fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0;
    }
    return file;
  }
  Error memfd_error = memory_error("cannot create a memfd", errno);
  if (memfd_error.kind == ErrorKind::kOverloaded) return memfd_error;
  for (const char* directory : {"/dev/shm", "/tmp"}) {
    auto file = create_unlinked_file(directory, size_bytes);
    if (file) return file;
    memfd_error.message += "; " + file.error().message;
  }
  memfd_error.kind = ErrorKind::kUnavailable;
  return memfd_error;
}

Result<MemoryFile> create_unlinked_file(const char* directory, std::size_t size_bytes) {
  if (!is_possible_size(size_bytes)) return bad_size(size_bytes);
  UniqueFd fd(open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (!fd && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL)) {
    // The pid, so that one may see whose file it is that a kill has left between these two calls.
    std::string path = std::string(directory) + "/haz-" + std::to_string(getpid()) + "-XXXXXX";
    fd.reset(mkostemp(path.data(), O_CLOEXEC));
    if (fd) unlink(path.c_str());
  }
  if (!fd) {
    const int error_number = errno;
    const std::string operation = std::string("cannot create a file in ") + directory;
    return memory_error(operation.c_str(), error_number);
  }
  return sized(MemoryFile{std::move(fd), false, false}, size_bytes);
}

Result<FileIdentity> identify_file(int fd) {
  struct stat status{};
  if (fstat(fd, &status) != 0) return memory_error("cannot examine a file", errno);
  return FileIdentity{status.st_dev, status.st_ino, static_cast<std::size_t>(status.st_size)};
}

std::uint64_t mapping_limit() {
  std::uint64_t lowest = std::numeric_limits<std::uint64_t>::max();
  for (const auto resource : {RLIMIT_AS, RLIMIT_FSIZE}) {
    rlimit limit{};
    if (getrlimit(resource, &limit) == 0) lowest = std::min<std::uint64_t>(lowest, limit.rlim_cur);
  }
  return lowest;
}

Result<std::byte*> map_file(int fd, std::size_t size_bytes, Access access,
                            std::uint64_t offset_bytes) {
  const int protection = access == Access::kRead ? PROT_READ : PROT_READ | PROT_WRITE;
  return map_with(fd, size_bytes, protection, MAP_SHARED | MAP_NORESERVE, offset_bytes);
}

Result<std::byte*> map_file_privately(int fd, std::size_t size_bytes, std::uint64_t offset_bytes) {
  return map_with(fd, size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE, offset_bytes);
}

void unmap(std::byte* address, std::size_t size_bytes) { munmap(address, size_bytes); }

Status protect_range(std::byte* address, std::size_t size_bytes, Access access) {
  const int protection = access == Access::kRead ? PROT_READ : PROT_READ | PROT_WRITE;
  return status_of(mprotect(address, size_bytes, protection),
                   "cannot change the protection of pages");
}

bool protect_after_fork(std::byte* address, std::size_t size_bytes) noexcept {
  return mprotect(address, size_bytes, PROT_READ) == 0;
}

Status reserve_range(int fd, std::size_t offset, std::size_t size_bytes) {
  std::size_t piece_limit = kReservePieceBytes;
  while (size_bytes > 0) {
    const std::size_t piece = std::min(size_bytes, piece_limit);
    if (fallocate(fd, 0, static_cast<off_t>(offset), static_cast<off_t>(piece)) == 0) {
      offset += piece;
      size_bytes -= piece;
    } else if (errno == EINTR) {
      piece_limit = std::max(piece_limit / 2, kSmallestReservePieceBytes);
    } else {
      return memory_error("cannot reserve memory (fallocate)", errno);
    }
  }
  return Ok{};
}

Status punch_mapped_range(std::byte* address, std::size_t size_bytes) {
  int result = 0;
  do {
    result = madvise(address, size_bytes, MADV_REMOVE);
  } while (result != 0 && (errno == EINTR || errno == EAGAIN));
  return status_of(result, "cannot punch a hole (MADV_REMOVE)");
}

Status exclude_from_fork(std::byte* address, std::size_t size_bytes) {
  return status_of(madvise(address, size_bytes, MADV_DONTFORK), "madvise(MADV_DONTFORK) failed");
}

Status exclude_from_core_dump(std::byte* address, std::size_t size_bytes) {
  return status_of(madvise(address, size_bytes, MADV_DONTDUMP), "madvise(MADV_DONTDUMP) failed");
}

bool can_populate() {
  // An advice the kernel knows succeeds on an empty range; another is EINVAL.
  static const bool kWorks = [] {
    alignas(64) static std::byte anchor[64];
    return madvise(page_of(anchor), 0, kPopulateWrite) == 0;
  }();
  return kWorks;
}

Status populate_for_writing(std::byte* address, std::size_t size_bytes) {
  std::byte* begin = page_of(address);
  std::byte* end = address + size_bytes;
  if (!can_populate()) {
    touch_pages(begin, end);
    return Ok{};
  }
  const std::size_t span = align_up(static_cast<std::uint64_t>(end - begin), page_size());
  while (madvise(begin, span, kPopulateWrite) != 0) {
    if (errno == EINTR || errno == EAGAIN) continue;
    return memory_error("cannot populate pages", errno);
  }
  return Ok{};
}

}  // namespace haz
