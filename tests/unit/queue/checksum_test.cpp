#include "queue/checksum.h"

#include <gtest/gtest.h>

#include <array>
#include <random>
#include <set>
#include <vector>

namespace haz {
namespace {

TEST(Checksum, TellsEveryChangedByte) {
  std::mt19937_64 random(1);
  for (std::size_t size = 0; size <= 160; size += 8) {
    std::vector<std::uint8_t> bytes(size);
    for (std::uint8_t& byte : bytes)
      byte = static_cast<std::uint8_t>(random());
    const std::uint32_t whole = checksum(bytes.data(), size);
    EXPECT_NE(whole, checksum(bytes.data(), size, 1)) << "another seed";
    for (std::uint8_t& byte : bytes) {
      for (const unsigned mask : {1U, 0x40U, 0xFFU}) {
        byte ^= static_cast<std::uint8_t>(mask);
        EXPECT_NE(whole, checksum(bytes.data(), size)) << size;
        byte ^= static_cast<std::uint8_t>(mask);
      }
    }
    EXPECT_EQ(whole, checksum(bytes.data(), size));
  }
}

TEST(Checksum, TellsPlacesAndLengthsOfEqualWords) {
  std::set<std::uint32_t> sums;
  std::array<std::uint64_t, 16> words{};
  for (std::size_t size = 0; size <= sizeof words; size += 8)
    sums.insert(checksum(words.data(), size));
  for (std::uint64_t& word : words) {
    word = 1;
    sums.insert(checksum(words.data(), sizeof words));
    word = 0;
  }
  EXPECT_EQ(sums.size(), 17U + 16U);
}

}  // namespace
}  // namespace haz
