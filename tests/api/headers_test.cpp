// Headers of another version than the library's are refused, and not worked with.
#include <gtest/gtest.h>
#include <haz/haz.h>

#include <string>

namespace {

using haz::detail::abi_version;

constexpr std::uint32_t kOther = abi_version + 1;

int lone(int x) { return x; }

haz::detail::remote_function described() {
  using traits = decltype(haz::detail::traits_of<&lone>(&lone));
  return {"lone",
          haz::detail::function_kind::function,
          haz::detail::key_of_function(&lone),
          1,
          &traits::invoke,
          &traits::signature,
          ""};
}

void expect_both_versions(const haz::usage_error& error) {
  const std::string text = error.what();
  EXPECT_NE(text.find("headers of haz 9.8.7 (interface " + std::to_string(kOther) + ")"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find(std::string("is of haz ") + haz::library_version() + " (interface " +
                      std::to_string(abi_version) + ")"),
            std::string::npos)
      << text;
}

TEST(Headers, LibraryIsOfTheirVersion) { EXPECT_STREQ(haz::library_version(), HAZ_VERSION); }

TEST(Headers, InitNamesBothVersions) {
  EXPECT_NO_THROW(haz::detail::check_headers());
  try {
    haz::detail::check_headers<kOther>("9.8.7");
    FAIL() << "other headers were accepted";
  } catch (const haz::usage_error& error) {
    expect_both_versions(error);
  }
}

TEST(Headers, EngineIsNotGivenToOthers) {
  try {
    haz::detail::current_engine(kOther, "9.8.7");
    FAIL() << "other headers were accepted";
  } catch (const haz::usage_error& error) {
    expect_both_versions(error);
  }
  const std::uint32_t generation = haz::detail::current_generation();
  EXPECT_NE(haz::detail::engine_of(generation), nullptr);
  EXPECT_EQ(haz::detail::engine_of<kOther>(generation), nullptr);
}

TEST(Headers, FunctionsOfOthersAreNotRegistered) {
  {
    const haz::detail::registration_with<kOther> refused(described(), "9.8.7");
    EXPECT_THROW(haz::task(lone), haz::usage_error);
  }
  {
    const haz::detail::registration entered(described());
    EXPECT_NO_THROW(haz::task(lone));
  }
  EXPECT_THROW(haz::task(lone), haz::usage_error);
}

}  // namespace
