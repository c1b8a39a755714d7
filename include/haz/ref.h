/// @file
/// Refs, and what can be done with them: get, get_for, wait, put, cancel.
///
/// All of this may be called from any thread, and in tasks as well as in the program. Values are
/// copied out of the object store, but for haz::view, which stays there.
#pragma once

#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "haz/codec.h"
#include "haz/detail/engine.h"
#include "haz/task_error.h"

namespace haz {

namespace detail {

/// Whether a value that was written as From can be read as To.
template <class From, class To>
constexpr bool can_be_read_as() {
  if constexpr (std::is_same_v<From, To>) {
    return true;
  } else if constexpr (passed_as_array<From> && passed_as_array<To>) {
    return array_traits<From>::items == array_traits<To>::items &&
           array_traits<From>::dimensions == array_traits<To>::dimensions;
  } else if constexpr (std::is_floating_point_v<To>) {
    return std::is_arithmetic_v<From> && !std::is_same_v<From, bool>;
  } else {
    return std::is_integral_v<From> && std::is_integral_v<To> && !std::is_same_v<From, bool> &&
           !std::is_same_v<To, bool>;
  }
}

}  // namespace detail

/// Stands for a value that is, or will be, in the object store: the result of a task, or what put()
/// was given. The value is freed when nothing refers to it any more.
///
/// Cheap to copy and to move. One ref is not to be changed by several threads at a time, as a
/// std::shared_ptr; different copies may. A ref that outlives the runtime does no harm and no good.
template <class T>
class ref {
 public:
  using value_type = T;  ///< What get() returns.

  /// Of nothing.
  ref() noexcept = default;
  ref(const ref& other) noexcept : id_(other.id_), generation_(other.generation_) { add(); }
  ref(ref&& other) noexcept : id_(std::exchange(other.id_, 0)), generation_(other.generation_) {}
  /// Of the same object, read as another type: a vector as a view, for example.
  template <class U>
    requires(!std::same_as<T, U> && detail::can_be_read_as<U, T>())
  ref(const ref<U>& other) noexcept  // NOLINT(google-explicit-constructor)
      : id_(other.id()), generation_(other.generation()) {
    add();
  }
  /// Stands for what `other` does from now on, and no longer for what it did.
  ref& operator=(ref other) noexcept {
    std::swap(id_, other.id_);
    std::swap(generation_, other.generation_);
    return *this;
  }
  ~ref() {
    if (id_ == 0) return;
    if (detail::engine* const engine = detail::engine_of(generation_)) engine->drop_reference(id_);
  }

  /// Whether it stands for an object.
  explicit operator bool() const noexcept { return id_ != 0; }
  /// Number of the object within its node; 0: none.
  [[nodiscard]] std::uint64_t id() const noexcept { return id_; }
  /// Of the same object.
  friend bool operator==(const ref&, const ref&) noexcept = default;

  /// For the implementation: takes over one reference of the object.
  static ref adopt(std::uint64_t id,
                   std::uint32_t generation = detail::current_generation()) noexcept {
    ref made;
    made.id_ = id;
    made.generation_ = generation;
    return made;
  }
  /// For the implementation: the run of haz that the object is of.
  [[nodiscard]] std::uint32_t generation() const noexcept { return generation_; }

 private:
  void add() const noexcept {
    if (id_ == 0) return;
    if (detail::engine* const engine = detail::engine_of(generation_)) engine->add_reference(id_);
  }

  std::uint64_t id_ = 0;
  std::uint32_t generation_ = 0;
};

namespace detail {

template <class T>
struct codec<ref<T>> {
  static std::string name() { return "haz::ref"; }
  static void write(writer& out, const ref<T>& value) {
    check_ref(value.id(), value.generation());
    out.ref(value.id());
  }
  static ref<T> read(reader& in) {
    const value_item item = in.next();
    if (item.kind != item_kind::ref) throw_mismatch(name(), item);
    current_engine().add_reference(item.ref);
    return ref<T>::adopt(item.ref);
  }
  /// @throws object_lost_error if it stands for nothing, or for an object of an earlier runtime.
  static void check_ref(std::uint64_t id, std::uint32_t generation) {
    if (id == 0) throw object_lost_error("a haz::ref stands for no object");
    if (generation != current_generation())
      throw object_lost_error("a haz::ref is of a run of haz that has ended");
  }
};

/// The number of nanoseconds of a timeout.
template <class Rep, class Period>
std::int64_t nanoseconds(std::chrono::duration<Rep, Period> timeout) {
  constexpr double longest_ns = 9e18;
  const double ns = std::chrono::duration<double, std::nano>(timeout).count();
  if (!(ns > 0)) return 0;
  return static_cast<std::int64_t>(ns < longest_ns ? ns : longest_ns);
}

/// What reads the values of refs that were waited for.
template <class... T>
class value_receiver {
 public:
  static_assert(sizeof...(T) <= fetched_at_once, "haz: get() of too many refs; use a vector");

  /// The values, when receive() was called.
  std::tuple<std::optional<T>...> values;

  static void receive(void* context, const fetched* values, std::size_t count) noexcept {
    auto& self = *static_cast<value_receiver*>(context);
    try {
      throw_first_error(values, count);
      read_all(self, values, std::index_sequence_for<T...>{});
    } catch (...) {
      self.failure_ = std::current_exception();
    }
    drop_pins(values, count);
  }
  void rethrow() const {
    if (failure_) std::rethrow_exception(failure_);
  }

  static void throw_first_error(const fetched* values, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
      if (values[i].is_error) throw_error_value(values[i].data, values[i].size);
    }
  }
  static void drop_pins(const fetched* values, std::size_t count) noexcept {
    for (std::size_t i = 0; i < count; ++i) {
      if (values[i].is_pinned) current_engine().drop_reference(values[i].id);
    }
  }
  template <class V>
  static V read_one(const fetched& value) {
    reader in(value.data, value.size, value.is_pinned ? value.id : 0);
    return codec<V>::read(in);
  }

 private:
  template <std::size_t... I>
  static void read_all(value_receiver& self, const fetched* values,
                       std::index_sequence<I...> /*numbers*/) {
    ((std::get<I>(self.values).emplace(read_one<T>(values[I]))), ...);
  }

  std::exception_ptr failure_;
};

struct nothing {
  static nothing read() { return {}; }
};
/// Results of a function that returns void.
template <>
struct codec<nothing> {
  static std::string name() { return "void"; }
  static void write(writer& out, nothing /*value*/) { out.none(); }
  static nothing read(reader& in) {
    (void)in.next();
    return {};
  }
};
template <class T>
using value_of = std::conditional_t<std::is_void_v<T>, nothing, T>;

inline void check_timeout(bool done, const failure& why) {
  if (!done) throw_failure(why);
}

template <class T>
value_of<T> get_one(const ref<T>& object, std::int64_t timeout_ns) {
  codec<ref<T>>::check_ref(object.id(), object.generation());
  value_receiver<value_of<T>> receiver;
  const std::uint64_t id = object.id();
  failure why;
  if (!current_engine().get(&id, 1, timeout_ns, &receiver.receive, &receiver, why))
    throw_failure(why);
  receiver.rethrow();
  return std::move(*std::get<0>(receiver.values));
}

/// As value_receiver, of any number of values of one type.
template <class T>
class list_receiver {
 public:
  std::vector<T> values;

  static void receive(void* context, const fetched* values, std::size_t count) noexcept {
    auto& self = *static_cast<list_receiver*>(context);
    try {
      value_receiver<T>::throw_first_error(values, count);
      if constexpr (std::is_same_v<T, nothing>) {
        self.values.resize(self.values.size() + count);
      } else if (!self.failure_) {
        for (std::size_t i = 0; i < count; ++i)
          self.values.push_back(value_receiver<T>::template read_one<T>(values[i]));
      }
    } catch (...) {
      self.failure_ = std::current_exception();
    }
    value_receiver<T>::drop_pins(values, count);
  }
  void rethrow() const {
    if (failure_) std::rethrow_exception(failure_);
  }

 private:
  std::exception_ptr failure_;
};

template <class T>
std::vector<std::uint64_t> ids_of(std::span<const ref<T>> refs) {
  std::vector<std::uint64_t> ids;
  ids.reserve(refs.size());
  for (const ref<T>& one : refs) {
    codec<ref<T>>::check_ref(one.id(), one.generation());
    ids.push_back(one.id());
  }
  return ids;
}

template <class T>
std::vector<value_of<T>> get_list(std::span<const ref<T>> refs, std::int64_t timeout_ns) {
  list_receiver<value_of<T>> receiver;
  receiver.values.reserve(refs.size());
  const std::vector<std::uint64_t> ids = ids_of(refs);
  failure why;
  if (!current_engine().get(ids.data(), ids.size(), timeout_ns, &receiver.receive, &receiver, why))
    throw_failure(why);
  receiver.rethrow();
  return std::move(receiver.values);
}

}  // namespace detail

/// Waits for the value and returns a copy of it; of a haz::view no copy.
///
/// @throws what the task has failed of: task_error, worker_crashed_error, task_cancelled_error,
/// task_timeout_error and so on; object_lost_error, type_error for a value of another type,
/// not_running_error.
template <class T>
T get(const ref<T>& object) {
  if constexpr (std::is_void_v<T>) {
    (void)detail::get_one(object, -1);
  } else {
    return detail::get_one(object, -1);
  }
}

/// The values of all, in order. As soon as one has failed: throws that.
template <class T>
  requires(!std::is_void_v<T>)
std::vector<T> get(const std::vector<ref<T>>& objects) {
  return detail::get_list(std::span<const ref<T>>(objects), -1);
}
/// Waits for all. @throws what the first one that failed has failed of.
inline void get(const std::vector<ref<void>>& objects) {
  (void)detail::get_list(std::span<const ref<void>>(objects), -1);
}

/// The values of refs of several types. @throws as get() of one.
template <class First, class Second, class... Others>
  requires(!std::is_void_v<First> && !std::is_void_v<Second> && (!std::is_void_v<Others> && ...))
std::tuple<First, Second, Others...> get(const ref<First>& first, const ref<Second>& second,
                                         const ref<Others>&... others) {
  using namespace detail;
  (codec<ref<First>>::check_ref(first.id(), first.generation()));
  (codec<ref<Second>>::check_ref(second.id(), second.generation()));
  (codec<ref<Others>>::check_ref(others.id(), others.generation()), ...);
  value_receiver<First, Second, Others...> receiver;
  const std::uint64_t ids[] = {first.id(), second.id(), others.id()...};
  failure why;
  if (!current_engine().get(ids, sizeof...(Others) + 2, -1, &receiver.receive, &receiver, why))
    throw_failure(why);
  receiver.rethrow();
  return std::apply(
      [](auto&... values) { return std::tuple<First, Second, Others...>(std::move(*values)...); },
      receiver.values);
}

/// As get(), but waits no longer than `timeout`. @throws get_timeout_error then; the task goes on.
template <class T, class Rep, class Period>
T get_for(const ref<T>& object, std::chrono::duration<Rep, Period> timeout) {
  if constexpr (std::is_void_v<T>) {
    (void)detail::get_one(object, detail::nanoseconds(timeout));
  } else {
    return detail::get_one(object, detail::nanoseconds(timeout));
  }
}

/// What wait() has found; together the refs that it was given, each in their order.
template <class T>
struct wait_result {
  std::vector<ref<T>> ready;    ///< Whose values, or errors, are there; at most `count`.
  std::vector<ref<T>> pending;  ///< The others.
};

/// Waits until `count` of the refs are ready, or for `timeout`. A failed task is ready, too.
///
/// `ready` has at most `count` refs, as in Python: those that come first in `objects`.
/// @throws usage_error if there are fewer than `count`.
template <class T, class Rep = std::int64_t, class Period = std::ratio<1>>
wait_result<T> wait(const std::vector<ref<T>>& objects, std::size_t count = 1,
                    std::optional<std::chrono::duration<Rep, Period>> timeout = std::nullopt) {
  if (count > objects.size()) {
    throw usage_error("wait() for " + std::to_string(count) + " of " +
                      std::to_string(objects.size()) + " refs would never end");
  }
  const std::vector<std::uint64_t> ids = detail::ids_of(std::span<const ref<T>>(objects));
  const std::unique_ptr<bool[]> ready(new bool[ids.size() + 1]());
  detail::failure why;
  if (!detail::current_engine().wait(ids.data(), ids.size(), count,
                                     timeout ? detail::nanoseconds(*timeout) : -1, ready.get(),
                                     why))
    detail::throw_failure(why);
  wait_result<T> result;
  for (std::size_t i = 0; i < objects.size(); ++i) {
    auto& list = ready[i] && result.ready.size() < count ? result.ready : result.pending;
    list.push_back(objects[i]);
  }
  return result;
}
/// As above.
template <class T, class Rep, class Period>
wait_result<T> wait(const std::vector<ref<T>>& objects, std::size_t count,
                    std::chrono::duration<Rep, Period> timeout) {
  return wait(objects, count, std::optional(timeout));
}

/// Puts a copy of `value` into the object store, for any number of tasks to use.
/// @throws object_store_full_error, not_running_error.
template <class V>
ref<detail::kept_t<std::decay_t<V>>> put(const V& value) {
  using type = detail::kept_t<std::decay_t<V>>;
  static_assert(!detail::is_ref<type>::value, "haz::put() of a ref: the value is there already");
  detail::writer out;
  detail::codec<type>::write(out, value);
  std::uint64_t id = 0;
  detail::failure why;
  if (!detail::current_engine().put(out.value(), &id, why)) detail::throw_failure(why);
  return ref<type>::adopt(id);
}

/// How cancel() does it.
struct cancel_options {
  /// Ends the process of a task that runs and does not heed should_stop().
  bool force = false;
  /// Also what the task has submitted.
  bool recursive = true;
};

/// Cancels the task whose result `object` is: one that has not begun never runs; of one that runs
/// should_stop() becomes true, and get() there throws. Does nothing to one that has ended. Whoever
/// waits for a cancelled task gets a task_cancelled_error.
template <class T>
void cancel(const ref<T>& object, cancel_options options = {}) {
  detail::codec<ref<T>>::check_ref(object.id(), object.generation());
  detail::current_engine().cancel(object.id(), options.force, options.recursive);
}

/// In a task: whether it was cancelled or has run longer than its `timeout_s`, so that it should
/// return. Costs a few nanoseconds. Elsewhere false.
inline bool should_stop() {
  detail::engine* const engine = detail::engine_of(detail::current_generation());
  return engine != nullptr && engine->is_interrupted();
}

}  // namespace haz
