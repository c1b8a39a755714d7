#include "api/registry.h"

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <iterator>
#include <memory>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <string>
#include <typeinfo>
#include <unordered_map>
#include <utility>
#include <vector>

#include "api/actor_exit.h"
#include "api/function_code.h"
#include "base/declaration.h"
#include "haz/actor.h"
#include "haz/detail/actor.h"
#include "haz/detail/call.h"
#include "haz/task_error.h"
#include "os/shared_library.h"

namespace haz {

void exit_actor() {
  detail::failure why;
  if (!detail::current_engine().exit_actor(why)) detail::throw_failure(why);
  throw ActorExit();
}

namespace {

using detail::binding;
using detail::function_key;
using detail::remote_function;

struct Hash {
  std::size_t operator()(const function_key& key) const noexcept {
    constexpr std::uint64_t kMix = 0x9E3779B97F4A7C15ULL;
    return ((key.words[0] * kMix) ^ key.words[1]) * kMix ^ key.words[2];
  }
};

struct Entry {
  const remote_function* function;
  const void* place;  ///< In the library that has registered it.
};

struct Registry {
  std::shared_mutex mutex;
  std::vector<Entry> functions;  ///< In the order of their registration.
  std::unordered_map<function_key, std::shared_ptr<binding>, Hash> bindings;
  std::unordered_map<function_key, std::string, Hash> parameters;  ///< Of methods.
};

Registry& registry() {
  // Never destroyed: static objects register and unregister in any order.
  static auto* all = new Registry;
  return *all;
}

}  // namespace

std::string unique_name_of(const remote_function& function) {
  Registry& all = registry();
  const std::shared_lock lock(all.mutex);
  std::vector<const void*> places;  // of those of the same name, up to this one
  for (const Entry& entry : all.functions) {
    if (entry.function->name == function.name) places.push_back(entry.place);
    if (entry.function == &function) break;
  }
  if (places.size() <= 1) return function.name;
  const LoadedLibrary own = library_at(places.back());
  const auto number = std::count_if(places.begin(), places.end(),
                                    [&](const void* place) { return library_at(place) == own; });
  return number > 1 ? function.name + "#" + std::to_string(number) : function.name;
}

const remote_function* find_function(std::string_view name, const std::string& library) {
  std::ptrdiff_t number = 1;
  if (const std::size_t mark = name.find('#'); mark != std::string_view::npos) {
    std::from_chars(name.data() + mark + 1, name.data() + name.size(), number);
    name.remove_suffix(name.size() - mark);
  }
  std::vector<const remote_function*> found;
  if (!library.empty()) {
    for (const remote_function* function : functions_of(library.c_str())) {
      if (function->name == name) found.push_back(function);
    }
  } else {
    Registry& all = registry();
    const std::shared_lock lock(all.mutex);
    std::vector<const remote_function*> others;
    for (const Entry& entry : all.functions) {
      if (entry.function->name != name) continue;
      (path_of(library_at(entry.place)).empty() ? found : others).push_back(entry.function);
    }
    if (found.empty()) found = std::move(others);
  }
  return number > 0 && number <= std::ssize(found) ? found[static_cast<std::size_t>(number) - 1]
                                                   : nullptr;
}

std::vector<const remote_function*> functions_of(const char* library) {
  const LoadedLibrary wanted = load_library(library);
  std::vector<const remote_function*> found;
  Registry& all = registry();
  const std::shared_lock lock(all.mutex);
  for (const Entry& entry : all.functions) {
    if (wanted != nullptr && library_at(entry.place) == wanted) found.push_back(entry.function);
  }
  return found;
}

std::vector<const remote_function*> methods_of(const remote_function& constructor) {
  std::vector<const remote_function*> found;
  Registry& all = registry();
  const std::shared_lock lock(all.mutex);
  auto entry = std::find_if(all.functions.begin(), all.functions.end(),
                            [&](const Entry& one) { return one.function == &constructor; });
  if (entry == all.functions.end()) return found;
  // They are registered with it, after it.
  for (++entry; entry != all.functions.end(); ++entry) {
    if (entry->function->kind != detail::function_kind::method) break;
    found.push_back(entry->function);
  }
  return found;
}

std::string parameters_of(const remote_function& function) {
  if (function.kind != detail::function_kind::method) return function.parameters;
  Registry& all = registry();
  const std::shared_lock lock(all.mutex);
  const auto found = all.parameters.find(function.key);
  return found != all.parameters.end() ? found->second : "";
}

std::string signature_of(const remote_function& function) {
  return with_names(function.signature(), parameters_of(function));
}

std::string library_of(const remote_function& function) {
  Registry& all = registry();
  const std::shared_lock lock(all.mutex);
  const auto found = std::find_if(all.functions.begin(), all.functions.end(),
                                  [&](const Entry& one) { return one.function == &function; });
  return found != all.functions.end() ? path_of(library_at(found->place)) : "";
}

namespace detail {

void enter_function(const remote_function& function, const void* place) {
  Registry& all = registry();
  const std::unique_lock lock(all.mutex);
  all.functions.push_back({&function, place});
  task_options options;
  if (function.kind == function_kind::method) options.max_retries = 0;
  all.bindings.emplace(function.key, std::make_shared<binding>(&function, std::move(options)));
}

void leave_function(const remote_function& function, const void* place) noexcept {
  Registry& all = registry();
  const std::unique_lock lock(all.mutex);
  std::erase_if(all.functions, [place](const Entry& one) { return one.place == place; });
  const auto found = all.bindings.find(function.key);
  if (found != all.bindings.end() && found->second->function == &function) {
    all.bindings.erase(found);
  }
}

void enter_parameters(const function_key& key, const char* names) {
  Registry& all = registry();
  const std::unique_lock lock(all.mutex);
  all.parameters.insert_or_assign(key, names);
}

namespace {

/// `module`: empty for a method of an actor.
std::shared_ptr<binding> named_python(const std::string& module, const std::string& name) {
  struct Named {
    remote_function function;
    std::shared_ptr<binding> bound;
  };
  static std::mutex mutex;
  // Never destroyed, as the registry.
  static auto* all = new std::unordered_map<std::string, std::unique_ptr<Named>>;
  const std::lock_guard lock(mutex);
  std::unique_ptr<Named>& named = (*all)[module + '\0' + name];
  if (!named) {
    named = std::make_unique<Named>();
    named->function.name = module + '\0' + name;
    named->function.kind = module.empty() ? function_kind::python_method : function_kind::python;
    task_options options;
    if (module.empty()) options.max_retries = 0;
    named->bound = std::make_shared<binding>(&named->function, std::move(options));
  }
  return named->bound;
}

}  // namespace

std::shared_ptr<binding> find_python(const std::string& module, const std::string& name) {
  if (module.empty() || name.empty() || (module + name).find('\0') != std::string::npos)
    throw usage_error("haz::py_function() takes the names of a module and of its function");
  return named_python(module, name);
}

std::shared_ptr<binding> find_python_method(const std::string& name) {
  if (name.empty() || name.find('\0') != std::string::npos)
    throw usage_error("haz::py_actor::call() takes the name of a method");
  return named_python("", name);
}

std::shared_ptr<binding> find_binding(const function_key& key) {
  Registry& all = registry();
  const std::shared_lock lock(all.mutex);
  const auto found = all.bindings.find(key);
  if (found != all.bindings.end()) return found->second;
  throw usage_error(
      "haz was given a function or method that is not registered: write HAZ_REMOTE(function) after "
      "it, at namespace scope; a method stands in the HAZ_ACTOR of its class");
}

function_key constructor_key(const std::type_info& type) noexcept {
  function_key key;
  key.words[2] = type.hash_code();
  return key;
}

std::shared_ptr<binding> find_constructor(const std::type_info& type) {
  return std::make_shared<binding>(find_binding(constructor_key(type))->function);
}

namespace {

/// The actor of that name, of which the caller gets one handle, and its class; empty: it is one of
/// Python.
std::uint64_t find_named(const std::string& name, std::string& class_name) {
  std::optional<FunctionCode> found;
  const auto receive = [](void* context, const std::byte* bytes, std::size_t size) noexcept {
    *static_cast<std::optional<FunctionCode>*>(context) = decode_function_code({bytes, size});
  };
  std::uint64_t id = 0;
  failure why;
  engine& engine = current_engine();
  if (!engine.find_actor({name.c_str(), "", false}, &id, receive, &found, why)) throw_failure(why);
  class_name = found ? found->name : "";
  return id;
}

}  // namespace

std::uint64_t find_actor(const std::string& name, const std::type_info& type) {
  const std::string wanted = unique_name_of(*find_binding(constructor_key(type))->function);
  std::string found;
  const std::uint64_t id = find_named(name, found);
  if (found == wanted) return id;
  current_engine().drop_reference(id);
  throw type_error("the actor '" + name + "' is of " +
                   (found.empty() ? "a class of Python: haz::get_py_actor() finds it"
                                  : "the class " + found + ", not " + wanted));
}

std::uint64_t find_python_actor(const std::string& name) {
  std::string found;
  const std::uint64_t id = find_named(name, found);
  if (found.empty()) return id;
  current_engine().drop_reference(id);
  throw type_error("the actor '" + name + "' is of the class " + found +
                   " of C++: haz::get_actor<" + found + ">() finds it");
}

std::string names_in_declaration(std::string_view declaration) { return names_in(declaration); }

std::string name_in_list(std::string_view list, std::size_t index) {
  const std::vector<std::string_view> items = split_list(list);
  std::string name(index < items.size() ? items[index] : "");
  std::erase_if(name, [](char c) { return c == '&' || c == ' '; });
  return name;
}

void throw_argument_mismatch(std::size_t index, const char* what) {
  throw argument_mismatch("argument " + std::to_string(index + 1) + ": " + what);
}

}  // namespace detail
}  // namespace haz
