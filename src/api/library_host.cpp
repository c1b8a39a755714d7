#include "api/library_host.h"

#include <dlfcn.h>

#include <exception>
#include <memory>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "api/accepted_headers.h"
#include "api/current_engine.h"
#include "api/fork_guard.h"
#include "api/python_worker.h"
#include "api/registry.h"
#include "api/task_output.h"
#include "base/units.h"
#include "haz/detail/export.h"

namespace haz {

namespace {

using Object = std::shared_ptr<void>;

struct FreeArguments {
  void operator()(std::byte* memory) const {
    ::operator delete(memory, std::align_val_t{kCacheLine});
  }
};

/// A null `self` stands for none.
struct ObjectOf {
  explicit ObjectOf(void* self) : own(self == nullptr ? none : *static_cast<Object*>(self)) {}

  Object none;
  Object& own;
};

class Host final : public LibraryHost {
 public:
  void list(const char* library, void* context, FunctionReceiver receiver) noexcept override {
    for (const detail::remote_function* function : functions_of(library)) {
      const std::string signature = signature_of(*function);
      const std::string parameters = parameters_of(*function);
      const std::string name = unique_name_of(*function);
      receiver(context, {function, name.c_str(), signature.c_str(), parameters.c_str(),
                         function->kind, function->num_parameters});
    }
  }
  void explain(const char* library, void* context, TextReceiver receiver) noexcept override {
    const std::string text = refused_headers_of(library);
    if (!text.empty()) receiver(context, text.c_str());
  }
  void use_engine(detail::engine* engine, Arena* arena) noexcept override {
    guard_in_forked_children(arena);
    name_output_by_task();
    note_python_workers();
    if (engine != nullptr) {
      set_current_engine(*engine);
    } else {
      clear_current_engine();
    }
  }
  bool run(const detail::remote_function& function, const char* task_name,
           const TaskCommand& command, void* self, Arena& arena, detail::engine& engine,
           void* context, OutcomeReceiver receiver) noexcept override {
    set_output_task(task_name);
    run_call(function, task_name, command, ObjectOf(self).own, arena, engine,
             [&](const CallOutcome& outcome) { receiver(context, outcome); });
    return take_task_output();
  }
  std::byte* new_arguments(std::size_t size) noexcept override {
    return static_cast<std::byte*>(
        ::operator new(size, std::align_val_t{kCacheLine}, std::nothrow));
  }
  void call(const detail::remote_function& function, const char* task_name, std::byte* arguments,
            std::size_t size, std::size_t count, void* self, void* context,
            LocalReceiver receiver) noexcept override {
    const std::shared_ptr<const std::byte> kept(arguments, FreeArguments{});
    call_here(function, task_name, LocalArguments{kept, size, count}, ObjectOf(self).own,
              [&](const detail::encoded* value, std::span<const std::byte> error) {
                receiver(context, {value, error.empty() ? nullptr : error.data(), error.size()});
              });
  }
  void* new_object() noexcept override { return new (std::nothrow) Object; }
  void drop_object(void* self) noexcept override { delete static_cast<Object*>(self); }
};

}  // namespace

}  // namespace haz

/// See kLibraryHostSymbol.
extern "C" HAZ_API haz::LibraryHost* haz_library_host(std::uint32_t version) noexcept {
  static haz::Host host;
  return version == haz::kLibraryHostVersion ? &host : nullptr;
}
