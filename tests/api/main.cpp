// The runtime starts first, as in every program that uses haz; then the tests share it.
#include <gtest/gtest.h>
#include <haz/haz.h>

#include <string_view>

int main(int argc, char** argv) {
  const auto runtime = haz::init(argc, argv, {.num_cpus = 2, .object_store_bytes = 64 << 20});
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
