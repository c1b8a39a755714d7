#include "api/registry.h"

#include <algorithm>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "haz/detail/call.h"
#include "haz/task_error.h"

namespace haz {

namespace {

using detail::binding;
using detail::remote_function;

struct Registry {
  std::shared_mutex mutex;
  std::vector<const remote_function*> functions;  ///< In the order of their registration.
  std::unordered_map<const void*, std::shared_ptr<binding>> bindings;  ///< By address.
};

Registry& registry() {
  // Never destroyed: static objects register and unregister in any order.
  static auto* all = new Registry;
  return *all;
}

}  // namespace

const remote_function* find_function(std::string_view name) {
  Registry& all = registry();
  const std::shared_lock lock(all.mutex);
  const auto found = std::find_if(all.functions.begin(), all.functions.end(),
                                  [&](const remote_function* one) { return name == one->name; });
  return found != all.functions.end() ? *found : nullptr;
}

namespace detail {

registration::registration(const remote_function& function) : function_(function) {
  Registry& all = registry();
  const std::unique_lock lock(all.mutex);
  all.functions.push_back(&function);
  all.bindings.emplace(function.address, std::make_shared<binding>(&function));
}

registration::~registration() {
  Registry& all = registry();
  const std::unique_lock lock(all.mutex);
  std::erase(all.functions, &function_);
  const auto found = all.bindings.find(function_.address);
  if (found != all.bindings.end() && found->second->function == &function_) {
    all.bindings.erase(found);
  }
}

std::shared_ptr<binding> find_binding(const void* address) {
  Registry& all = registry();
  const std::shared_lock lock(all.mutex);
  const auto found = all.bindings.find(address);
  if (found != all.bindings.end()) return found->second;
  throw usage_error(
      "haz::task() of a function that is not registered: write HAZ_REMOTE(function) after it, at "
      "namespace scope");
}

void throw_argument_mismatch(const std::string& signature, std::size_t index, const char* what) {
  throw argument_mismatch("argument " + std::to_string(index + 1) + " of a function " + signature +
                          ": " + what);
}

}  // namespace detail
}  // namespace haz
