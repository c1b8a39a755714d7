/// @file
/// Actors: objects in processes of their own, whose methods are called from anywhere.
///
///     class counter {
///      public:
///       explicit counter(int start) : value_(start) {}
///       int add(int amount) { return value_ += amount; }
///
///      private:
///       int value_;
///     };
///     HAZ_ACTOR(counter(int), &counter::add);
///
///     const haz::actor<counter> c = haz::make_actor<counter>(10);
///     haz::get(c.call(&counter::add, 5));  // 15
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "haz/codec.h"
#include "haz/detail/actor.h"
#include "haz/detail/call.h"
#include "haz/detail/registry.h"
#include "haz/ref.h"
#include "haz/task_error.h"
#include "haz/task_options.h"

/// Registers a class whose objects can be actors: its constructor, written as a function that
/// returns it, and the methods that can be called. In the namespace of the class, in one source
/// file of the program. Where the constructor's parameters have names, as in
/// `HAZ_ACTOR(counter(int start), ...)`, Python can give its arguments by name.
#define HAZ_ACTOR(constructor, ...) \
  HAZ_DETAIL_ACTOR(__COUNTER__, constructor __VA_OPT__(, ) __VA_ARGS__)
#define HAZ_DETAIL_ACTOR(number, constructor, ...) \
  HAZ_DETAIL_ACTOR_NAMED(number, constructor __VA_OPT__(, ) __VA_ARGS__)
#define HAZ_DETAIL_ACTOR_NAMED(number, constructor, ...)                                    \
  [[maybe_unused]] inline ::haz::detail::constructor_of<constructor> haz_actor_constructor( \
      const ::haz::detail::constructor_of<constructor>::type*) {                            \
    return {};                                                                              \
  }                                                                                         \
  [[maybe_unused]] static const auto haz_actor_##number =                                   \
      ::haz::detail::register_actor<constructor __VA_OPT__(, ) __VA_ARGS__>(#constructor,   \
                                                                            #__VA_ARGS__)

/// Names the parameters of a method in a HAZ_ACTOR, all of them, so that Python can give arguments
/// by name: `HAZ_PARAMETERS(counter::add, amount);`. In the same source file.
#define HAZ_PARAMETERS(...) HAZ_DETAIL_PARAMETERS(__COUNTER__, __VA_ARGS__)
#define HAZ_DETAIL_PARAMETERS(number, ...) HAZ_DETAIL_PARAMETERS_NAMED(number, __VA_ARGS__)
#define HAZ_DETAIL_PARAMETERS_NAMED(number, method, ...)                                 \
  [[maybe_unused]] static const ::haz::detail::parameter_names haz_parameters_##number = \
      ::haz::detail::name_parameters<&method, ::haz::detail::count_names(#__VA_ARGS__)>( \
          #__VA_ARGS__)

namespace haz {

/// How an actor lives. What is not given is as said here.
struct actor_options {
  /// By which get_actor() finds it; empty: none.
  std::string name{};
  /// Gives the actor of that name, if there is one, instead of a new one.
  bool get_if_exists = false;
  /// Processors that it holds while it lives, and the threads of its OpenMP loops. Not given: none
  /// are held, and one must be free to start it.
  std::optional<double> num_cpus{};
  /// Other resources of the node that it holds.
  std::vector<std::pair<std::string, double>> resources{};
  /// How often its process is started again when it dies, with what its constructor was given; -1:
  /// without end. Its calls that have begun fail; those that have not, wait.
  int max_restarts = 0;
  /// Calls that have not ended, of which there can be so many; 0: any number.
  int max_pending_calls = 0;
  /// Calls that run at a time, each in a thread of its own: the methods have to be thread-safe
  /// then, and calls end in any order.
  int max_concurrency = 1;
  /// It lives until kill() or its own end, without handles and longer than this program: other
  /// programs of the node find it by its name. Only on a node that was joined.
  bool detached = false;
};

/// How a method is called.
struct call_options {
  /// Further starts of a call whose process has died; -1: without end.
  int max_retries = 0;
  /// Longest run of one try in seconds.
  std::optional<double> timeout_s{};
  /// Greater ones start earlier.
  int priority = 0;
  /// Whether it is also tried again, up to `max_retries` times, when it has thrown.
  bool retry_exceptions = false;
};

/// A handle of an actor of the class T. The actor ends when nobody has a handle, its destructor
/// runs then. Cheap to copy; may be passed to tasks and to other actors. Thread-safe as ref is.
///
/// Calls of one caller begin in their order, one at a time.
template <class T>
class actor {
 public:
  using value_type = T;  ///< The class.

  /// Of nothing.
  actor() noexcept = default;

  /// Calls `method` in the actor's process, and returns at once. Arguments are as those of tasks.
  /// @throws actor_error where it takes no more calls now; not_running_error, usage_error.
  template <class Method, class... Arguments>
  auto call(Method method, Arguments&&... arguments) const {
    return submit(*detail::find_binding(detail::key_of(method)), method,
                  std::forward<Arguments>(arguments)...);
  }
  /// The same with options.
  template <class Method, class... Arguments>
  auto call(const call_options& options, Method method, Arguments&&... arguments) const {
    detail::binding bound(detail::find_binding(detail::key_of(method))->function,
                          detail::method_options(options));
    return submit(bound, method, std::forward<Arguments>(arguments)...);
  }

  /// Whether it stands for an actor, which may have ended.
  explicit operator bool() const noexcept { return static_cast<bool>(creation_); }
  /// Of the same actor.
  friend bool operator==(const actor&, const actor&) noexcept = default;

  /// For the implementation.
  explicit actor(ref<void> creation) noexcept : creation_(std::move(creation)) {}
  /// For the implementation: the ref that keeps the actor alive.
  [[nodiscard]] const ref<void>& creation() const noexcept { return creation_; }

 private:
  template <class Method, class... Arguments>
  auto submit(detail::binding& bound, Method method, Arguments&&... arguments) const {
    using traits = decltype(detail::method_traits_of(method));
    static_assert(std::is_base_of_v<typename traits::class_type, T>,
                  "haz: this is a method of another class than the actor's");
    static_assert(sizeof...(Arguments) == traits::num_parameters,
                  "haz: .call() takes the method and as many arguments as it has parameters");
    detail::codec<ref<void>>::check_ref(creation_.id(), creation_.generation());
    detail::call_writer call(sizeof...(Arguments));
    traits::add_arguments(call, std::forward<Arguments>(arguments)...);
    return ref<detail::kept_t<typename traits::result>>::adopt(call.submit(bound, creation_.id()));
  }

  ref<void> creation_;
};

/// What actor_of() returns: starts actors of the class T. Cheap to copy; any thread may use it.
template <class T>
class actor_class {
 public:
  /// Unchecked: use actor_of() and options().
  explicit actor_class(actor_options options) : options_(std::move(options)) {}

  /// The same class with these options. @throws usage_error for options out of range.
  [[nodiscard]] actor_class options(actor_options options) const {
    detail::check_options(detail::creation_options(options));
    if (options.max_restarts < -1) throw usage_error("actor_options: max_restarts is -1 or more");
    if (options.max_pending_calls < 0)
      throw usage_error("actor_options: max_pending_calls is 0 (any number) or more");
    if (options.max_concurrency < 1 || options.max_concurrency > 1000)
      throw usage_error("actor_options: max_concurrency is a number of threads from 1 to 1000");
    return actor_class(std::move(options));
  }

  /// Starts an actor, and returns at once; calls wait until the constructor has returned.
  /// @throws infeasible_resources_error; usage_error where the name is taken.
  template <class... Arguments>
  actor<T> remote(Arguments&&... arguments) const {
    static_assert(
        requires(const T* object) { haz_actor_constructor(object); },
        "haz: this class can't be an actor: register it with HAZ_ACTOR, in its namespace");
    using constructor = decltype(haz_actor_constructor(static_cast<const T*>(nullptr)));
    static_assert(sizeof...(Arguments) == constructor::num_parameters,
                  "haz: an actor takes as many arguments as the constructor in its HAZ_ACTOR");
    const std::shared_ptr<detail::binding> bound = detail::find_constructor(typeid(T));
    bound->options = detail::creation_options(options_);
    bound->actor = std::make_shared<const detail::actor_settings>(detail::actor_settings{
        options_.num_cpus.value_or(0), options_.max_restarts, options_.max_pending_calls,
        options_.detached, options_.max_concurrency});
    detail::call_writer call(sizeof...(Arguments));
    constructor::add_arguments(call, std::forward<Arguments>(arguments)...);
    return actor<T>(
        ref<void>::adopt(call.create(*bound, {options_.name.c_str(), "", options_.get_if_exists})));
  }

 private:
  actor_options options_;
};

/// The class T, to start actors of: `haz::actor_of<counter>().options({...}).remote(10)`.
template <class T>
actor_class<T> actor_of() {
  return actor_class<T>({});
}

/// Starts an actor of the class T with the options' defaults. @throws as actor_class::remote().
template <class T, class... Arguments>
actor<T> make_actor(Arguments&&... arguments) {
  return actor_of<T>().remote(std::forward<Arguments>(arguments)...);
}

/// The actor of that name. @throws object_lost_error where there is none; type_error where it is of
/// another class.
template <class T>
actor<T> get_actor(const std::string& name) {
  return actor<T>(ref<void>::adopt(detail::find_actor(name, typeid(T))));
}

/// In a method: ends the actor, which is not started again. The call that runs and those that wait
/// fail with actor_died_error; the destructor runs. Does not return: the method is left by what
/// this throws, which is no std::exception and must not be kept from leaving.
/// @throws usage_error elsewhere.
[[noreturn]] HAZ_API void exit_actor();

/// How kill() does it.
struct kill_options {
  /// Also where its `max_restarts` would have it started again.
  bool no_restart = true;
};

namespace detail {

inline void kill_actor(const ref<void>& creation, bool no_restart) {
  codec<ref<void>>::check_ref(creation.id(), creation.generation());
  current_engine().kill_actor(creation.id(), no_restart);
}

}  // namespace detail

/// Ends the actor's process at once. Calls that have not ended fail. Of an actor that has ended:
/// does nothing. @throws object_lost_error for a handle of nothing; not_running_error.
template <class T>
void kill(const actor<T>& victim, kill_options options = {}) {
  detail::kill_actor(victim.creation(), options.no_restart);
}

namespace detail {

template <class T>
struct codec<actor<T>> {
  static std::string name() { return "haz::actor"; }
  static void write(writer& out, const actor<T>& value) {
    codec<ref<void>>::write(out, value.creation());
  }
  static actor<T> read(reader& in) { return actor<T>(codec<ref<void>>::read(in)); }
};

}  // namespace detail
}  // namespace haz
