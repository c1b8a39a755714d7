#include "os/shared_library.h"

#include <dlfcn.h>
#include <link.h>

#include <algorithm>
#include <array>
#include <mutex>
#include <string_view>
#include <vector>

namespace haz {

namespace {

/// Some take a wider integer, which gets the same value.
using SetNumThreads = void (*)(long);

struct Setter {
  SetNumThreads set;
  bool is_blas;
};

/// The libraries with threads of this process. They stay loaded: each one found is opened once
/// more.
struct ThreadedLibraries {
  std::mutex mutex;
  unsigned long long num_loads = 0;  ///< Of all libraries ever, when these were looked for.
  std::vector<Setter> setters;
};

/// A library that has threads, by a part of its name, and what sets their number.
struct Known {
  std::string_view name;
  const char* setter;
  bool is_blas;
};

constexpr std::array kKnown = {
    Known{"libgomp", "omp_set_num_threads", false},
    Known{"libomp", "omp_set_num_threads", false},
    Known{"libiomp5", "omp_set_num_threads", false},
    Known{"openblas", "openblas_set_num_threads", true},
    Known{"openblas", "openblas_set_num_threads64_", true},
    Known{"openblas", "scipy_openblas_set_num_threads", true},
    Known{"openblas", "scipy_openblas_set_num_threads64_", true},
    Known{"libmkl_rt", "MKL_Set_Num_Threads", true},
    Known{"libblis", "bli_thread_set_num_threads", true},
};

/// Packages bring copies of their own: libgomp-a34b3233.so.1.0.0, libscipy_openblas64_-fdde5778.so
bool is_library(std::string_view path, std::string_view known) {
  const std::string_view name = path.substr(path.rfind('/') + 1);
  return name.starts_with("lib") && name.find(known) != std::string_view::npos &&
         name.find(".so") != std::string_view::npos;
}

bool is_threaded(std::string_view path) {
  return std::ranges::any_of(kKnown,
                             [&](const Known& known) { return is_library(path, known.name); });
}

struct Search {
  unsigned long long num_loads = 0;
  unsigned long long known_loads = 0;
  std::vector<std::string> found;
};

int visit(dl_phdr_info* info, std::size_t /*size*/, void* argument) {
  auto& search = *static_cast<Search*>(argument);
  search.num_loads = info->dlpi_adds;
  if (search.num_loads == search.known_loads) return 1;
  if (info->dlpi_name != nullptr && is_threaded(info->dlpi_name)) {
    search.found.emplace_back(info->dlpi_name);
  }
  return 0;
}

void refresh(ThreadedLibraries& libraries) {
  Search search;
  search.known_loads = libraries.num_loads;
  dl_iterate_phdr(visit, &search);
  if (search.num_loads == libraries.num_loads) return;
  libraries.num_loads = search.num_loads;
  libraries.setters.clear();
  for (const std::string& name : search.found) {
    void* library = dlopen(name.c_str(), RTLD_LAZY | RTLD_NOLOAD);
    if (library == nullptr) continue;
    for (const Known& known : kKnown) {
      if (!is_library(name, known.name)) continue;
      void* setter = dlsym(library, known.setter);
      if (setter == nullptr) continue;
      libraries.setters.push_back({reinterpret_cast<SetNumThreads>(setter), known.is_blas});
    }
  }
}

}  // namespace

LoadedLibrary load_library(const char* path) {
  void* const handle = ::dlopen(path, RTLD_NOW | RTLD_LOCAL);
  link_map* map = nullptr;
  return handle != nullptr && ::dlinfo(handle, RTLD_DI_LINKMAP, static_cast<void*>(&map)) == 0
             ? map
             : nullptr;
}

LoadedLibrary library_at(const void* place) {
  Dl_info info{};
  link_map* map = nullptr;
  const int found =
      ::dladdr1(place, &info, reinterpret_cast<void**>(&map), static_cast<int>(RTLD_DL_LINKMAP));
  return found != 0 ? map : nullptr;
}

std::string path_of(LoadedLibrary library) {
  return library != nullptr ? static_cast<const link_map*>(library)->l_name : "";
}

Result<const void*> load_symbol(const std::string& path, const char* symbol) {
  void* library = dlopen(path.empty() ? nullptr : path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library != nullptr) {
    const void* address = dlsym(library, symbol);
    if (address != nullptr) return address;
  }
  const char* message = dlerror();
  return Error{ErrorKind::kInvalid, message != nullptr ? message : path + " lacks " + symbol};
}

void set_library_threads(int num_threads, bool with_blas) {
  // Never destroyed: threads may run until the process ends.
  static auto& libraries = *new ThreadedLibraries();
  std::vector<Setter> setters;
  {
    const std::scoped_lock lock(libraries.mutex);
    refresh(libraries);
    setters = libraries.setters;
  }
  for (const Setter& setter : setters) {
    if (with_blas || !setter.is_blas) setter.set(num_threads);
  }
}

}  // namespace haz
