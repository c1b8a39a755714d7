#include "os/private_copy.h"

#include <gtest/gtest.h>

#include <cstring>

#include "os/memory.h"

namespace haz {
namespace {

TEST(PrivateCopy, StaysAsItWasWhenTheFileChanges) {
  const std::size_t page = page_size();
  auto file = create_memory_file("copied", 8 * page);
  ASSERT_TRUE(file.ok());
  auto writer = map_file(file->fd.get(), 8 * page, Access::kReadWrite);
  auto reader = map_file(file->fd.get(), 8 * page, Access::kRead);
  ASSERT_TRUE(writer.ok());
  ASSERT_TRUE(reader.ok());
  std::memset(*writer, 'a', 8 * page);
  ASSERT_TRUE(make_private_copy(*reader + page + 100, 2 * page).ok());
  std::memset(*writer, 'b', 8 * page);
  for (std::size_t i = 0; i < 8; ++i) {
    const bool is_copy = i >= 1 && i <= 3;
    EXPECT_EQ((*reader)[i * page], std::byte(is_copy ? 'a' : 'b')) << i;
  }
  ASSERT_TRUE(make_private_copy(*reader + page, page).ok()) << "a copy of a copy";
  EXPECT_EQ((*reader)[page], std::byte{'a'});
  unmap(*reader, 8 * page);
  unmap(*writer, 8 * page);
}

}  // namespace
}  // namespace haz
