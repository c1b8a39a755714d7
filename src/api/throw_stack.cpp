#include "api/throw_stack.h"

#include <dlfcn.h>
#include <execinfo.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdlib>
#include <span>
#include <string_view>
#include <typeinfo>

#include "haz/detail/export.h"
#include "os/code_names.h"

namespace haz {

namespace {

constexpr int kMostFrames = 64;

struct Thrown {
  const void* object = nullptr;
  int count = 0;
  std::array<void*, kMostFrames> frames{};
};

/// The last ones: while one is on its way, destructors may throw and catch others.
struct Recent {
  int depth = 0;  ///< ThrowStacks that exist.
  std::size_t next = 0;
  std::array<Thrown, 4> thrown;
};
thread_local Recent recent;

/// Inline in each build: it would be a frame of the stacks.
[[gnu::always_inline]] inline void note_throw(const void* object) noexcept {
  Thrown& here = recent.thrown[recent.next++ % recent.thrown.size()];
  here.object = object;
  here.count = ::backtrace(here.frames.data(), kMostFrames);
}

/// Frames of this library, of what its headers make around the task's function, and of a sanitizer
/// around backtrace().
bool is_own(const CodePlace& place) {
  const std::string_view name = place.function;
  return name.find("haz::detail::") != std::string_view::npos || name.starts_with("__cxa_throw") ||
         name.starts_with("__interceptor_");
}

/// What is below it has called the task, such as Python's interpreter.
bool is_bottom(const CodePlace& place) {
  return place.function.starts_with("haz::run_call") ||
         place.function.starts_with("haz::(anonymous namespace)::run_items");
}

std::string shown(const CodePlace& place) {
  const std::size_t slash = place.file.rfind('/');
  const std::string file = slash == std::string::npos ? place.file : place.file.substr(slash + 1);
  return (place.function.empty() ? "?" : place.function) + " (" + file + "+" + place.offset + ")";
}

}  // namespace

ThrowStacks::ThrowStacks() noexcept { ++recent.depth; }
ThrowStacks::~ThrowStacks() { --recent.depth; }

std::vector<std::string> stack_of(const std::exception_ptr& exception) {
  // The pointer is all that it consists of.
  static_assert(sizeof exception == sizeof(void*));
  const void* const object = *reinterpret_cast<const void* const*>(&exception);
  std::vector<std::string> lines;
  // The newest first: memory of exceptions is used again.
  const Thrown* found = nullptr;
  for (std::size_t i = 1; i <= recent.thrown.size() && found == nullptr; ++i) {
    const Thrown& one = recent.thrown[(recent.next - i) % recent.thrown.size()];
    if (object != nullptr && one.object == object) found = &one;
  }
  if (found == nullptr || found->count <= 0) return lines;
  const auto places =
      name_code(std::span(found->frames).first(static_cast<std::size_t>(found->count)));
  const auto bottom = std::find_if(places.begin(), places.end(), is_bottom);
  auto begin = std::find_if_not(places.begin(), bottom, is_own);
  auto end = std::find_if(begin, bottom, is_own);
  if (begin == end && begin != places.begin()) --begin;  // all of it is in one function
  for (; begin != end; ++begin)
    lines.push_back(shown(*begin));
  return lines;
}

namespace {

using Throw = void (*)(void*, std::type_info*, void (*)(void*));

}  // namespace
}  // namespace haz

// Weak, so that it gives way where the C++ library is linked statically.
// NOLINTBEGIN(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp,readability-identifier-naming)
// The C++ library's name.
extern "C" [[noreturn]] HAZ_API __attribute__((weak)) void __cxa_throw(void* object,
                                                                       std::type_info* type,
                                                                       void (*destroy)(void*)) {
  static const auto kNext = reinterpret_cast<haz::Throw>(::dlsym(RTLD_NEXT, "__cxa_throw"));
  if (haz::recent.depth > 0) haz::note_throw(object);
  if (kNext != nullptr) kNext(object, type, destroy);
  std::abort();
}
// NOLINTEND(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp,readability-identifier-naming)
