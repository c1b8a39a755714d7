#include "api/accepted_headers.h"

#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "haz/detail/abi.h"
#include "haz/task_error.h"
#include "haz/version.h"
#include "os/shared_library.h"

namespace haz {

namespace {

struct Refused {
  const void* place;  ///< In the library.
  std::string text;
};

struct RefusedLibraries {
  std::mutex mutex;
  std::vector<Refused> all;
};

RefusedLibraries& refused() {
  // Never destroyed: libraries are loaded at any time.
  static auto* libraries = new RefusedLibraries;
  return *libraries;
}

/// As "0.1.0 (interface 5)".
std::string named(const char* version, std::uint32_t abi) {
  return std::string(version) + " (interface " + std::to_string(abi) + ")";
}

std::string mismatch(std::uint32_t abi, const char* version) {
  return "compiled with the headers of haz " + named(version, abi) +
         ", but the library that runs is of haz " + named(HAZ_VERSION, detail::abi_version) +
         ": compile it again with the headers of that haz, or have it find the library of its own";
}

}  // namespace

const char* library_version() noexcept { return HAZ_VERSION; }

std::string refused_headers_of(const char* library) {
  const LoadedLibrary wanted = load_library(library);
  RefusedLibraries& libraries = refused();
  const std::lock_guard lock(libraries.mutex);
  for (const Refused& one : libraries.all) {
    if (wanted != nullptr && library_at(one.place) == wanted) return one.text;
  }
  return "";
}

namespace detail {

void throw_other_headers(std::uint32_t abi, const char* version) {
  throw usage_error("haz: this program, or a library of it, was " + mismatch(abi, version));
}

}  // namespace detail
}  // namespace haz

extern "C" bool haz_accepts_headers(std::uint32_t abi, const char* version,
                                    const void* place) noexcept {
  if (abi == haz::detail::abi_version) return true;
  if (place != nullptr) {
    haz::RefusedLibraries& libraries = haz::refused();
    const std::lock_guard lock(libraries.mutex);
    libraries.all.push_back({place, "it was " + haz::mismatch(abi, version)});
  }
  return false;
}
