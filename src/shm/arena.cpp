#include "shm/arena.h"

#include <string>
#include <utility>

#include "base/units.h"

namespace haz {
namespace {

Error no_such_range() { return {ErrorKind::kInvalid, "no such range in the arena"}; }
Error descriptor_closed() { return {ErrorKind::kLost, "the arena's descriptor was closed"}; }

}  // namespace

Result<std::unique_ptr<Arena>> Arena::create(std::size_t virtual_size_bytes) {
  auto file = create_memory_file("haz-arena", align_up(virtual_size_bytes, page_size()));
  if (!file) return file.error();
  return map(std::move(file->fd), Access::kReadWrite);
}

Result<std::unique_ptr<Arena>> Arena::attach(UniqueFd fd, std::size_t expected_size_bytes) {
  auto arena = map(std::move(fd), Access::kRead);
  if (arena && expected_size_bytes != 0 && (*arena)->size() != expected_size_bytes) {
    return Error{ErrorKind::kInvalid, "the arena has " + std::to_string((*arena)->size()) +
                                          " bytes, not " + std::to_string(expected_size_bytes)};
  }
  return arena;
}

Result<std::unique_ptr<Arena>> Arena::map(UniqueFd fd, Access access) {
  auto identity = identify_file(fd.get());
  if (!identity) return identity.error();
  auto base = map_file(fd.get(), identity->size_bytes, access);
  if (!base) return base.error();
  auto mapping = std::make_shared<const ArenaMapping>(*base, identity->size_bytes);
  // A core file as large as the arena helps nobody; where it can't be asked for, no harm is done.
  static_cast<void>(exclude_from_core_dump(*base, identity->size_bytes));
  return std::unique_ptr<Arena>(new Arena(std::move(fd), *identity, std::move(mapping)));
}

Arena::Arena(UniqueFd fd, const FileIdentity& identity, std::shared_ptr<const ArenaMapping> mapping)
    : fd_(std::move(fd)),
      identity_(identity),
      mapping_(std::move(mapping)),
      base_(mapping_->base()),
      size_bytes_(mapping_->size_bytes()) {}

Arena::~Arena() {
  // Where somebody closed our descriptor, its number is not ours to close.
  if (!has_descriptor()) static_cast<void>(fd_.release());
}

bool Arena::has_descriptor() const {
  auto identity = identify_file(fd_.get());
  return identity && *identity == identity_;
}

Status Arena::make_writable(std::uint64_t offset, std::uint64_t size_bytes) {
  return set_access(offset, size_bytes, Access::kReadWrite);
}

Status Arena::make_read_only(std::uint64_t offset, std::uint64_t size_bytes) {
  return set_access(offset, size_bytes, Access::kRead);
}

Status Arena::set_access(std::uint64_t offset, std::uint64_t size_bytes, Access access) {
  if (!contains(offset, size_bytes)) {
    return Error{ErrorKind::kInvalid, "no such range in the arena: " + std::to_string(size_bytes) +
                                          " bytes at " + std::to_string(offset)};
  }
  const std::uint64_t begin = offset & ~(std::uint64_t{page_size()} - 1);
  const std::uint64_t end = align_up(offset + size_bytes, page_size());
  return protect_range(base_ + begin, end - begin, access);
}

Result<std::unique_ptr<ArenaMapping>> Arena::map_privately(std::uint64_t offset,
                                                           std::uint64_t size_bytes) const {
  if (!contains(offset, size_bytes)) return no_such_range();
  if (!has_descriptor()) return descriptor_closed();
  const std::uint64_t begin = offset & ~(std::uint64_t{page_size()} - 1);
  const std::uint64_t end = align_up(offset + size_bytes, page_size());
  auto base = map_file_privately(fd_.get(), end - begin, begin);
  if (!base) return base.error();
  return std::make_unique<ArenaMapping>(*base, end - begin);
}

bool Arena::protect_after_fork() const noexcept {
  return haz::protect_after_fork(base_, size_bytes_);
}

Status Arena::reserve(std::uint64_t offset, std::uint64_t size_bytes) {
  if (!contains(offset, size_bytes)) return no_such_range();
  Status status = descriptor_closed();
  if (has_descriptor()) {
    status = reserve_range(fd_.get(), offset, size_bytes);
    if (status || status.error().kind == ErrorKind::kOverloaded) return status;
  }
  if (!can_populate()) return status;
  return populate_for_writing(base_ + offset, size_bytes);
}

bool Arena::punch(std::uint64_t offset, std::uint64_t size_bytes) {
  return contains(offset, size_bytes) && punch_mapped_range(base_ + offset, size_bytes).ok();
}

}  // namespace haz
