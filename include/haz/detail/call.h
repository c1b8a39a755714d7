/// @file
/// Writes the arguments of a call, and submits it.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "haz/codec.h"
#include "haz/detail/engine.h"
#include "haz/detail/export.h"
#include "haz/detail/registry.h"
#include "haz/ref.h"
#include "haz/task_options.h"

namespace haz::detail {

/// Options of actors, beside those of their constructor as a task.
struct actor_settings {
  double num_cpus = 0;  ///< Held while the actor lives.
  int max_restarts = 0;
  int max_pending_calls = 0;
  bool detached = false;
  int max_concurrency = 1;
};

/// A function with its options, and what it is called in the node.
struct binding {
  explicit binding(const remote_function* bound_function, task_options bound_options = {})
      : function(bound_function), options(std::move(bound_options)) {}

  const remote_function* function;
  task_options options;
  std::shared_ptr<const actor_settings> actor;  ///< Of a constructor.
  std::atomic<std::uint64_t> number{0};  ///< Generation of the engine, number there; 0: none yet.
};

/// With default options. @throws usage_error if there is no such function.
HAZ_API std::shared_ptr<binding> find_binding(const function_key& key);
/// That of a function of a Python module. @throws usage_error
HAZ_API std::shared_ptr<binding> find_python(const std::string& module, const std::string& name);
/// A method, whatever actor of Python has it. @throws usage_error
HAZ_API std::shared_ptr<binding> find_python_method(const std::string& name);
/// @throws usage_error for what is out of range.
HAZ_API void check_options(const task_options& options);

/// Kind of an argument that is an object; others are values of the payload.
inline constexpr std::byte from_dependency{1};
/// In the count of arguments that a payload begins with: it has those of several calls, one for
/// each result of the task. Behind the kinds of all arguments stand the ends of each call's values,
/// u32, counted from the first value of all.
inline constexpr std::uint32_t each_item = std::uint32_t{1} << 31U;

/// How many items of a map() go into each of its tasks. Any thread may use it.
class chunk_plan {
 public:
  /// `each_alone`: each waits for something of its own. @throws not_running_error
  HAZ_API chunk_plan(const binding& to, std::size_t num_items, bool each_alone);
  /// The size of the next one, where `left` items, at least 1, are not in any yet.
  [[nodiscard]] std::size_t next(std::size_t left) const noexcept {
    return std::clamp(left / parts_, std::size_t{1}, std::min(most_, left));
  }

 private:
  std::size_t most_ = 1;   ///< Items of a chunk.
  std::size_t parts_ = 1;  ///< A chunk is this part of what is left.
};

/// One call, or several with as many arguments. Arguments are given one after the other, and stay
/// as they are until add() returns.
class HAZ_API call_writer {
 public:
  explicit call_writer(std::size_t num_arguments, std::size_t num_items = 1);
  ~call_writer();
  call_writer(const call_writer&) = delete;
  call_writer& operator=(const call_writer&) = delete;

  template <class Parameter, class Argument>
  void add(const Argument& argument) {
    using kept = kept_t<Parameter>;
    if constexpr (is_ref<Argument>::value && !is_ref<kept>::value) {
      static_assert(can_be_read_as<typename Argument::value_type, kept>(),
                    "haz: this ref is of another type than the parameter of the function");
      codec<Argument>::check_ref(argument.id(), argument.generation());
      add_dependency(argument.id());
    } else {
      begin_value();
      write<Parameter, kept>(argument);
      end_value();
    }
  }
  /// Of several calls: the arguments of one are complete.
  void end_item() {
    if (num_items_ == 1) return;
    const auto end = static_cast<std::uint32_t>(out_.size() - first_value_);
    std::memcpy(out_.data() + ends_at_, &end, sizeof end);
    ends_at_ += sizeof end;
  }
  /// Returns the id of the result, or of the first of them: the others follow it. The caller gets
  /// one reference of each. `actor`: whose method it is; 0: it is none.
  std::uint64_t submit(binding& to, std::uint64_t actor = 0);
  /// Of a constructor: returns the id of the actor, of which the caller gets one handle.
  std::uint64_t create(binding& to, const actor_name& name);

 private:
  call prepare(binding& to);
  template <class Parameter, class Kept, class Argument>
  void write(const Argument& argument) {
    if constexpr (std::is_same_v<Argument, Kept> ||
                  (passed_as_array<Kept> && can_be_read_as<Argument, Kept>() &&
                   !std::is_pointer_v<Argument>)) {
      if constexpr (std::is_same_v<kept_t<Argument>, Argument>) {
        codec<Argument>::write(out_, argument);
      } else {
        write_borrowed(argument);
      }
    } else if constexpr (std::is_same_v<Kept, std::string> &&
                         std::is_convertible_v<const Argument&, std::string_view>) {
      codec<std::string>::write(out_, argument);
    } else {
      static_assert(std::is_convertible_v<const Argument&, Kept>,
                    "haz: an argument of .remote() can't be converted to the type of the "
                    "function's parameter");
      if constexpr (std::is_convertible_v<const Argument&, Kept>) {
        const Kept converted = argument;
        codec<Kept>::write(out_, converted);
      }
    }
  }
  /// A span or a haz::array, which owns nothing.
  template <class Argument>
  void write_borrowed(const Argument& argument) {
    using traits = array_traits<Argument>;
    using item = std::remove_cvref_t<decltype(*argument.data())>;
    if constexpr (traits::dimensions == 1 && requires { argument.size_bytes(); }) {
      const std::int64_t shape[] = {static_cast<std::int64_t>(argument.size())};
      out_.array(traits::items, shape, 1, argument.data(), argument.size_bytes());
    } else {
      static_assert(Argument::is_contiguous,
                    "haz: pass a haz::array with gaps as a copy, a haz::owned_array");
      std::int64_t shape[traits::dimensions];
      for (int axis = 0; axis < traits::dimensions; ++axis)
        shape[axis] = argument.shape(axis);
      out_.array(traits::items, shape, traits::dimensions, argument.data(),
                 static_cast<std::size_t>(argument.size()) * sizeof(item));
    }
  }
  void add_dependency(std::uint64_t id);
  void begin_value();
  void end_value();
  void make_object();

  writer out_;
  std::size_t num_items_;
  std::size_t ends_at_;      ///< Of several calls: where the next end goes.
  std::size_t first_value_;  ///< Where the values begin.
  std::size_t index_ = 0;
  std::size_t value_begin_ = 0;
  std::size_t refs_begin_ = 0;
  std::vector<std::uint64_t> dependencies_;
  std::vector<std::uint64_t> owned_;  ///< References that are dropped at the end.
};

}  // namespace haz::detail
