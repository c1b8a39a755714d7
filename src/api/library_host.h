/// @file
/// How a process that is no program of C++, a Python worker, runs the functions of C++ libraries:
/// what libhaz gives to the extension module. The two may be linked with different standard
/// libraries, so no exception and no ownership passes here.
#pragma once

#include <cstddef>
#include <cstdint>

#include "api/task_call.h"
#include "haz/detail/abi.h"
#include "haz/detail/engine.h"
#include "haz/detail/registry.h"
#include "wire/process_area.h"
#include "wire/task_command.h"

namespace haz {

/// Changes with anything below, and with what it is made of.
inline constexpr std::uint32_t kLibraryHostVersion =
    detail::abi_version << 16U | kLayoutVersion << 8U | 3U;
/// Of a `LibraryHost* (*)(std::uint32_t version)`, which returns null for another version.
inline constexpr const char* kLibraryHostSymbol = "haz_library_host";

/// A function of a library, as it tells of itself. Texts stay during the call that gives them.
struct LibraryFunction {
  const detail::remote_function* function;
  const char* name;
  const char* signature;   ///< "(double x, std::string y) -> bool"
  const char* parameters;  ///< "x, y"; "": not registered.
  detail::function_kind kind;
  std::size_t num_parameters;
};

/// What a call outside of a task has come to: a value or, if `error` is not null, an error value.
/// All of it stays during the call that gives it.
struct LocalOutcome {
  const detail::encoded* value;
  const std::byte* error;
  std::size_t error_size;
};

/// Any thread may call it.
class LibraryHost {
 public:
  using FunctionReceiver = void (*)(void* context, const LibraryFunction& function);
  using OutcomeReceiver = void (*)(void* context, const CallOutcome& outcome);
  using LocalReceiver = void (*)(void* context, const LocalOutcome& outcome);
  using TextReceiver = void (*)(void* context, const char* text);

  /// Tells of the functions that the library has registered, in its order. `library`: a name by
  /// which dlopen() finds it.
  virtual void list(const char* library, void* context, FunctionReceiver receiver) noexcept = 0;
  /// Tells, after list(), why the library's functions are not among what it has told of: it was
  /// compiled with headers that don't fit. Nothing if they do.
  virtual void explain(const char* library, void* context, TextReceiver receiver) noexcept = 0;
  /// The engine of functions that use haz themselves; null: haz does not run here.
  /// `arena`: that of the engine, to be left alone in forked children.
  virtual void use_engine(detail::engine* engine, Arena* arena) noexcept = 0;
  /// As run_call(). `self` is the actor's object, of whose kind new_object() makes one. Whether
  /// something was written to the standard streams of C and C++. After use_engine().
  virtual bool run(const detail::remote_function& function, const char* task_name,
                   const TaskCommand& command, void* self, Arena& arena, detail::engine& engine,
                   void* context, OutcomeReceiver receiver) noexcept = 0;
  /// Memory for the arguments of call().
  virtual std::byte* new_arguments(std::size_t size) noexcept = 0;
  /// Calls the function with the arguments, one encoded after the other in the first `size` bytes
  /// of what new_arguments() gave, which it takes.
  virtual void call(const detail::remote_function& function, const char* task_name,
                    std::byte* arguments, std::size_t size, std::size_t count, void* self,
                    void* context, LocalReceiver receiver) noexcept = 0;
  /// For an actor, which the call of a constructor makes.
  virtual void* new_object() noexcept = 0;
  virtual void drop_object(void* self) noexcept = 0;

 protected:
  LibraryHost() = default;
  ~LibraryHost() = default;
  LibraryHost(const LibraryHost&) = delete;
  LibraryHost& operator=(const LibraryHost&) = delete;
};

}  // namespace haz
