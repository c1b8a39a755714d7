/// @file
/// Functions and actors of Python, called by name: haz::py_function, haz::get_py_actor.
#pragma once

#include <memory>
#include <string>
#include <type_traits>
#include <utility>

#include "haz/actor.h"
#include "haz/codec.h"
#include "haz/detail/actor.h"
#include "haz/detail/call.h"
#include "haz/ref.h"
#include "haz/task.h"
#include "haz/task_options.h"

namespace haz {

namespace detail {

template <class Signature>
struct python_task {
  static_assert(is_never<Signature>,
                "haz: py_function takes what the function is as if it were one of C++: "
                "haz::py_function<double(int, std::string)>(\"module\", \"name\")");
};
template <class Result, class... Parameters>
struct python_task<Result(Parameters...)> {
  using type = remote_task<Result, Parameters...>;
};

}  // namespace detail

/// The function `name` of the Python module `module`, as a task with these types:
///
///     const auto power = haz::py_function<double(double, double)>("math", "pow");
///     haz::get(power.remote(2.0, 10.0));  // 1024
///
/// `name` may have dots, as "Class.method". It runs in a worker that is a Python interpreter: that
/// of runtime_options::python, which is started by the first such call, and imports the module as
/// it would with `python -c`: also from the folder in which the program was started. Values are
/// converted as haz/codec.h says; arrays arrive as NumPy's, where they lie. A result of another
/// type than the one that is named makes get() throw type_error, an exception of the function
/// task_error, with Python's traceback.
///
/// In a program of Python, where functions of C++ run in workers of Python, it is one of these.
/// @throws usage_error for empty names; then remote() runtime_error, where there is no interpreter
/// with haz.
template <class Signature>
typename detail::python_task<Signature>::type py_function(const std::string& module,
                                                          const std::string& name) {
  return typename detail::python_task<Signature>::type(detail::find_python(module, name));
}

namespace detail {

/// What an argument stands for: that of a ref its value.
template <class Argument>
struct given_type {
  using type = std::decay_t<Argument>;
};
template <class T>
struct given_type<ref<T>> {
  using type = T;
};

}  // namespace detail

/// A handle of an actor whose class is one of Python:
///
///     const haz::py_actor hits = haz::get_py_actor("hits");  // a class with `def add(self, n)`
///     haz::get(hits.call<int>("add", 5));
///
/// The actor lives while somebody has a handle. Cheap to copy; may be passed to tasks of C++.
/// Thread-safe as ref is.
class py_actor {
 public:
  /// Of nothing.
  py_actor() noexcept = default;

  /// Calls the method in the actor's process and returns at once. Arguments are values, or refs of
  /// such, by position; `Result` is what the method returns in C++'s eyes, another value makes
  /// get() throw type_error. Calls of one caller begin in their order.
  /// @throws actor_error where it takes no more calls now; not_running_error, usage_error.
  template <class Result, class... Arguments>
  ref<detail::kept_t<Result>> call(const std::string& method, Arguments&&... arguments) const {
    return submit<Result>(*detail::find_python_method(method),
                          std::forward<Arguments>(arguments)...);
  }
  /// The same with options. @throws usage_error for such that are out of range.
  template <class Result, class... Arguments>
  ref<detail::kept_t<Result>> call(const call_options& options, const std::string& method,
                                   Arguments&&... arguments) const {
    detail::binding bound(detail::find_python_method(method)->function,
                          detail::method_options(options));
    return submit<Result>(bound, std::forward<Arguments>(arguments)...);
  }

  /// Whether it stands for an actor, which may have ended.
  explicit operator bool() const noexcept { return static_cast<bool>(creation_); }
  /// Of the same actor.
  friend bool operator==(const py_actor&, const py_actor&) noexcept = default;

  /// For the implementation.
  explicit py_actor(ref<void> creation) noexcept : creation_(std::move(creation)) {}
  /// For the implementation: the ref that keeps the actor alive.
  [[nodiscard]] const ref<void>& creation() const noexcept { return creation_; }

 private:
  template <class Result, class... Arguments>
  ref<detail::kept_t<Result>> submit(detail::binding& bound, Arguments&&... arguments) const {
    detail::codec<ref<void>>::check_ref(creation_.id(), creation_.generation());
    detail::call_writer call(sizeof...(Arguments));
    (call.template add<typename detail::given_type<std::decay_t<Arguments>>::type>(
         std::forward<Arguments>(arguments)),
     ...);
    return ref<detail::kept_t<Result>>::adopt(call.submit(bound, creation_.id()));
  }

  ref<void> creation_;
};

/// The actor of Python of that name, in the namespace of this program. @throws object_lost_error
/// where there is none; type_error where it is one of C++, which get_actor() finds.
inline py_actor get_py_actor(const std::string& name) {
  return py_actor(ref<void>::adopt(detail::find_python_actor(name)));
}

/// As kill() of an actor of C++.
inline void kill(const py_actor& victim, kill_options options = {}) {
  detail::kill_actor(victim.creation(), options.no_restart);
}

namespace detail {

template <>
struct codec<py_actor> {
  static std::string name() { return "haz::py_actor"; }
  static void write(writer& out, const py_actor& value) {
    codec<ref<void>>::write(out, value.creation());
  }
  static py_actor read(reader& in) { return py_actor(codec<ref<void>>::read(in)); }
};

}  // namespace detail

}  // namespace haz
