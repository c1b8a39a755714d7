#include "os/shared_library.h"

#include <dlfcn.h>
#include <link.h>

#include <mutex>
#include <string_view>
#include <vector>

namespace haz {

namespace {

using SetNumThreads = void (*)(int);

/// The OpenMP libraries of this process. They stay loaded: each one found is opened once more.
struct OpenMpLibraries {
  std::mutex mutex;
  unsigned long long num_loads = 0;  ///< Of all libraries ever, when these were looked for.
  std::vector<SetNumThreads> setters;
};

/// Packages bring copies of their own: libgomp-a34b3233.so.1.0.0
bool is_openmp(std::string_view path) {
  const std::string_view name = path.substr(path.rfind('/') + 1);
  for (const std::string_view known : {"libgomp", "libomp", "libiomp5"}) {
    if (name.starts_with(known) && name.find(".so") != std::string_view::npos) return true;
  }
  return false;
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
  if (info->dlpi_name != nullptr && is_openmp(info->dlpi_name)) {
    search.found.emplace_back(info->dlpi_name);
  }
  return 0;
}

void refresh(OpenMpLibraries& libraries) {
  Search search;
  search.known_loads = libraries.num_loads;
  dl_iterate_phdr(visit, &search);
  if (search.num_loads == libraries.num_loads) return;
  libraries.num_loads = search.num_loads;
  libraries.setters.clear();
  for (const std::string& name : search.found) {
    void* library = dlopen(name.c_str(), RTLD_LAZY | RTLD_NOLOAD);
    if (library == nullptr) continue;
    void* setter = dlsym(library, "omp_set_num_threads");
    if (setter != nullptr) libraries.setters.push_back(reinterpret_cast<SetNumThreads>(setter));
  }
}

}  // namespace

Result<const void*> load_symbol(const std::string& path, const char* symbol) {
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library != nullptr) {
    const void* address = dlsym(library, symbol);
    if (address != nullptr) return address;
  }
  const char* message = dlerror();
  return Error{ErrorKind::kInvalid, message != nullptr ? message : path + " lacks " + symbol};
}

void set_openmp_threads(int num_threads) {
  // Never destroyed: threads may run until the process ends.
  static auto& libraries = *new OpenMpLibraries();
  std::vector<SetNumThreads> setters;
  {
    const std::scoped_lock lock(libraries.mutex);
    refresh(libraries);
    setters = libraries.setters;
  }
  for (const SetNumThreads set : setters)
    set(num_threads);
}

}  // namespace haz
