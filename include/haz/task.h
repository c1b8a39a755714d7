/// @file
/// Functions as tasks: HAZ_REMOTE and haz::task.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <ranges>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "haz/codec.h"
#include "haz/detail/call.h"
#include "haz/detail/registry.h"
#include "haz/ref.h"
#include "haz/task_options.h"

/// Registers a function, by the name that is written here, so that workers find it:
///
///     double area(double radius) { return 3.14 * radius * radius; }
///     HAZ_REMOTE(area);
///
/// At namespace scope, in one source file of the program or the library. The function may stand in
/// a namespace (`HAZ_REMOTE(geometry::area)`), and must not be overloaded. It may be a member
/// function (`HAZ_REMOTE(circle::area)`), of which the task gets a copy of the object, or that of a
/// functor (`HAZ_REMOTE(scaling::operator())`). What it takes and
/// returns is copied between processes: see haz/codec.h.
///
/// `HAZ_REMOTE(area, radius)` names its parameters too, all of them: Python can then give arguments
/// by name, as `area.remote(radius=2)`, and messages say which one is wrong.
#define HAZ_REMOTE(...) HAZ_DETAIL_REMOTE(__COUNTER__, __VA_ARGS__)
#define HAZ_DETAIL_REMOTE(number, ...) HAZ_DETAIL_REMOTE_NAMED(number, __VA_ARGS__)
#define HAZ_DETAIL_REMOTE_NAMED(number, function, ...)                                       \
  [[maybe_unused]] static const ::haz::detail::registration haz_remote_##number =            \
      ::haz::detail::make_registration<&function, ::haz::detail::count_names(#__VA_ARGS__)>( \
          #function, #__VA_ARGS__)

namespace haz {

namespace detail {

/// Whether the argument is a ref of which the function gets the value.
template <class Argument, class Parameter>
inline constexpr bool is_dependency = is_ref<Argument>::value && !is_ref<kept_t<Parameter>>::value;

/// How many items the shortest of the ranges has. One at least ends.
template <class... Ranges>
std::size_t shortest(Ranges&... ranges) {
  if constexpr ((std::ranges::sized_range<Ranges> && ...)) {
    return std::min({static_cast<std::size_t>(std::ranges::size(ranges))...});
  } else {
    std::size_t count = 0;
    std::tuple at(std::ranges::begin(ranges)...);
    const auto is_left = [&ranges...](const auto&... item) {
      return ((item != std::ranges::end(ranges)) && ...);
    };
    for (; std::apply(is_left, at); ++count)
      std::apply([](auto&... item) { (++item, ...); }, at);
    return count;
  }
}

}  // namespace detail

/// What task() returns: a function that can be called in other processes. Cheap to copy; any thread
/// may use it.
template <class Result, class... Parameters>
class remote_task {
 public:
  /// For the implementation: use task() or py_function().
  explicit remote_task(std::shared_ptr<detail::binding> binding) : binding_(std::move(binding)) {}

  /// The same function with these options. @throws usage_error for options out of range.
  [[nodiscard]] remote_task options(const task_options& options) const {
    detail::check_options(options);
    return remote_task(std::make_shared<detail::binding>(binding_->function, options));
  }

  /// Calls it in another process and returns at once. An argument is a value, or a ref of one: the
  /// task then starts when that is there, and gets the value. Large arguments go through the object
  /// store; put() one that several calls use.
  /// @throws infeasible_resources_error, object_store_full_error, not_running_error, usage_error.
  template <class... Arguments>
  ref<detail::kept_t<Result>> remote(Arguments&&... arguments) const {
    static_assert(sizeof...(Arguments) == sizeof...(Parameters),
                  "haz: .remote() takes as many arguments as the function has parameters");
    if constexpr (sizeof...(Arguments) == sizeof...(Parameters)) {
      detail::call_writer call(sizeof...(Arguments));
      (call.template add<Parameters>(std::forward<Arguments>(arguments)), ...);
      return ref<detail::kept_t<Result>>::adopt(call.submit(*binding_));
    }
  }

  /// Calls it once for each item of the ranges, in other processes, and returns at once: a ref for
  /// each call, in order. Call number i gets item number i of every range; the shortest one says
  /// how many there are. An item is what remote() takes.
  ///
  /// Costs a fraction of as many calls of remote(), since several items make one task: few where
  /// there are few, up to 256, and fewer at the end, so that all processes have something to do
  /// until then; or `chunksize` of them. Each item has a value or an error of its own all the same.
  /// But what happens to a task happens to all of its items: their results are ready together, when
  /// the last one is; where its process dies all are called again, or fail; cancel() of one cancels
  /// all; a `timeout_s` is for all together.
  ///
  /// An item is a task of its own where it is a ref whose value the function takes, where
  /// `timeout_s` or `retry_exceptions` were given and `chunksize` was not, and of py_function().
  ///
  /// @throws as remote(). What was submitted by then runs, and nobody gets its results.
  template <class... Ranges>
  std::vector<ref<detail::kept_t<Result>>> map(Ranges&&... ranges) const {
    using result = ref<detail::kept_t<Result>>;
    static_assert(sizeof...(Parameters) != 0,
                  "haz: .map() calls a function once for each item, and this one takes none");
    static_assert(sizeof...(Ranges) == sizeof...(Parameters),
                  "haz: .map() takes as many ranges as the function has parameters");
    constexpr bool are_ranges = (std::ranges::forward_range<Ranges> && ...);
    static_assert(are_ranges,
                  "haz: .map() takes ranges that can be gone through twice, as vectors can");
    std::vector<result> refs;
    if constexpr (are_ranges && sizeof...(Ranges) == sizeof...(Parameters) &&
                  sizeof...(Parameters) != 0) {
      constexpr bool has_dependencies =
          (detail::is_dependency<std::ranges::range_value_t<Ranges>, Parameters> || ...);
      const std::size_t count = detail::shortest(ranges...);
      refs.reserve(count);
      const detail::chunk_plan plan(*binding_, count, has_dependencies);
      std::tuple items(std::ranges::begin(ranges)...);
      while (refs.size() < count) {
        const std::size_t size = plan.next(count - refs.size());
        detail::call_writer call(sizeof...(Parameters), size);
        for (std::size_t i = 0; i < size; ++i) {
          std::apply(
              [&call](auto&... item) {
                (call.template add<Parameters>(*item), ...);
                (++item, ...);
              },
              items);
          call.end_item();
        }
        const std::uint64_t first = call.submit(*binding_);
        const std::uint32_t generation = detail::current_generation();
        for (std::size_t i = 0; i < size; ++i)
          refs.push_back(result::adopt(first + i, generation));
      }
    }
    return refs;
  }

 private:
  std::shared_ptr<detail::binding> binding_;
};

/// The task of a function that HAZ_REMOTE registers: `haz::task(area).remote(2.0)`.
/// @throws usage_error if it is not registered.
template <class Result, class... Parameters>
remote_task<Result, Parameters...> task(Result (*function)(Parameters...)) {
  return remote_task<Result, Parameters...>(detail::find_binding(detail::key_of(function)));
}
/// As above.
template <class Result, class... Parameters>
remote_task<Result, Parameters...> task(Result (*function)(Parameters...) noexcept) {
  return task(static_cast<Result (*)(Parameters...)>(function));
}

/// The task of a member function that HAZ_REMOTE registers: its first argument is the object, or a
/// ref of one: `haz::task(&circle::area).remote(circle{2.0})`. What it changes in its copy is lost.
/// @throws usage_error if it is not registered.
template <class T, class Result, class... Parameters>
remote_task<Result, T, Parameters...> task(Result (T::*method)(Parameters...)) {
  return remote_task<Result, T, Parameters...>(
      detail::find_binding(detail::key_of_function(method)));
}
/// As above.
template <class T, class Result, class... Parameters>
remote_task<Result, T, Parameters...> task(Result (T::*method)(Parameters...) const) {
  return remote_task<Result, T, Parameters...>(
      detail::find_binding(detail::key_of_function(method)));
}

/// What task() returns for a functor: a copy of it goes with each call. Any thread may use it.
template <class Functor, class Task>
class remote_functor {
 public:
  /// For the implementation: use task().
  remote_functor(Functor functor, Task task)
      : functor_(std::move(functor)), task_(std::move(task)) {}

  /// As of remote_task.
  [[nodiscard]] remote_functor options(const task_options& options) const {
    return remote_functor(functor_, task_.options(options));
  }
  /// As of remote_task.
  template <class... Arguments>
  auto remote(Arguments&&... arguments) const {
    return task_.remote(functor_, std::forward<Arguments>(arguments)...);
  }
  /// As of remote_task.
  template <class... Ranges>
  auto map(Ranges&&... ranges) const {
    const auto same =
        std::views::iota(std::size_t{0}) |
        std::views::transform([this](std::size_t) -> const Functor& { return functor_; });
    return task_.map(same, std::forward<Ranges>(ranges)...);
  }

 private:
  Functor functor_;
  Task task_;
};

/// The task of a functor whose `operator()` HAZ_REMOTE registers:
/// `haz::task(scaling{2.0}).remote(3.0)`. The functor is a value that can be passed to another
/// process, so no lambda that captures something. @throws usage_error if it is not registered.
template <class Functor>
  requires std::is_class_v<Functor> && requires { &Functor::operator(); }
auto task(Functor functor) {
  return remote_functor(std::move(functor), task(&Functor::operator()));
}

}  // namespace haz
