/// @file
/// The functions that a program or a library has registered.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <tuple>
#include <type_traits>
#include <typeinfo>
#include <utility>

#include "haz/codec.h"
#include "haz/detail/abi.h"
#include "haz/detail/export.h"
#include "haz/ref.h"

namespace haz::detail {

/// The arguments of a call as they have come.
class HAZ_API call_arguments {
 public:
  call_arguments() = default;
  call_arguments(const call_arguments&) = delete;
  call_arguments& operator=(const call_arguments&) = delete;
  /// Where the next one is read.
  virtual reader& next() = 0;

 protected:
  ~call_arguments() = default;
};

/// What the program knows a function by: the bytes of its pointer, and for methods their type.
struct function_key {
  std::uint64_t words[3] = {0, 0, 0};
  friend bool operator==(const function_key&, const function_key&) = default;
};

template <class Function>
function_key key_of(Function function) noexcept {
  static_assert(sizeof function <= 2 * sizeof(std::uint64_t));
  function_key key;
  std::memcpy(key.words, &function, sizeof function);
  if constexpr (std::is_member_function_pointer_v<Function>)
    key.words[2] = typeid(Function).hash_code();
  return key;
}

/// As key_of(), of a function that is called as a task: a method of an actor is another one.
template <class Function>
function_key key_of_function(Function function) noexcept {
  function_key key = key_of(function);
  if constexpr (std::is_member_function_pointer_v<Function>) key.words[2] ^= 1;
  return key;
}

/// `python`: one of a module, named by both with a zero byte between them; nothing else of it is
/// there. `python_method`: the same of an actor, without a module.
enum class function_kind : std::uint8_t { function, constructor, method, python, python_method };

/// How many there are in a list with commas between them.
constexpr std::size_t count_names(const char* list) noexcept {
  if (*list == '\0') return 0;
  std::size_t count = 1;
  for (; *list != '\0'; ++list)
    count += *list == ',' ? 1U : 0U;
  return count;
}

/// A function, a constructor of actors or a method that can be called by its name.
struct remote_function {
  std::string name{};
  function_kind kind = function_kind::function;
  function_key key{};
  std::size_t num_parameters = 0;
  /// Reads the arguments, calls, writes the result. Throws whatever comes. `self` is the actor of
  /// this process: a constructor makes it.
  void (*invoke)(call_arguments& in, writer& out, std::shared_ptr<void>& self) = nullptr;
  std::string (*signature)() = nullptr;  ///< For messages.
  /// Names of the parameters, with commas between them; empty: they were not registered.
  std::string parameters{};
};

/// Thrown by invoke() for an argument that is not what the function takes.
class HAZ_API argument_mismatch : public type_error {
 public:
  using type_error::type_error;
};
[[noreturn]] HAZ_API void throw_argument_mismatch(std::size_t index, const char* what);

/// Reads the argument number `index`, from 0.
template <class T>
T read_argument(call_arguments& in, std::size_t index) {
  try {
    return codec<T>::read(in.next());
  } catch (const error& mismatch) {
    throw_argument_mismatch(index, mismatch.what());
  }
}

template <class Parameter>
constexpr void check_parameter() {
  static_assert(
      !std::is_lvalue_reference_v<Parameter> || std::is_const_v<std::remove_reference_t<Parameter>>,
      "haz: a remote function can't take a reference to something that it changes: its "
      "arguments are copies, in another process. Return the result instead");
  static_assert(!std::is_pointer_v<Parameter> || std::is_same_v<Parameter, const char*>,
                "haz: a remote function can't take a pointer: it means nothing in another process");
}

/// The parameter made of what is kept.
template <class Parameter, class Kept>
decltype(auto) as_parameter(Kept& kept) {
  if constexpr (std::is_same_v<std::remove_cv_t<Parameter>, const char*>) {
    return kept.c_str();
  } else {
    return std::move(kept);
  }
}

/// Writes a result; `out` keeps what its stream points to.
template <class T>
void write_result(writer& out, T value) {
  if constexpr (std::is_arithmetic_v<T> || std::is_enum_v<T>) {
    codec<T>::write(out, value);
  } else {
    const auto kept = std::make_shared<const T>(std::move(value));
    codec<T>::write(out, *kept);
    out.keep(kept);
  }
}

template <auto Function, class Result, class... Parameters>
struct function_traits {
  static constexpr std::size_t num_parameters = sizeof...(Parameters);

  static std::string signature() {
    return "(" + joined_names<kept_t<Parameters>...>() + ") -> " +
           codec<value_of<kept_t<Result>>>::name();
  }
  static void invoke(call_arguments& in, writer& out, std::shared_ptr<void>& /*self*/) {
    (check_parameter<Parameters>(), ...);
    invoke(in, out, std::index_sequence_for<Parameters...>{});
  }

 private:
  template <std::size_t... I>
  static void invoke(call_arguments& in, writer& out, std::index_sequence<I...> /*numbers*/) {
    // In braces: read in order.
    [[maybe_unused]] std::tuple<kept_t<Parameters>...> kept{
        read_argument<kept_t<Parameters>>(in, I)...};
    if constexpr (std::is_void_v<Result>) {
      Function(as_parameter<Parameters>(std::get<I>(kept))...);
      out.none();
    } else {
      static_assert(!std::is_pointer_v<Result> && !std::is_reference_v<Result>,
                    "haz: a remote function returns a value, no pointer and no reference");
      write_result<kept_t<Result>>(out, Function(as_parameter<Parameters>(std::get<I>(kept))...));
    }
  }
};

template <auto Function, class Result, class... Parameters>
function_traits<Function, Result, Parameters...> traits_of(Result (*)(Parameters...));
template <auto Function, class Result, class... Parameters>
function_traits<Function, Result, Parameters...> traits_of(Result (*)(Parameters...) noexcept);

/// Of a member function, with the object as the first parameter.
template <auto Method, class T, class Result, class... Parameters>
struct member_traits {
  static Result call(T object, Parameters... arguments) {
    return (object.*Method)(std::forward<Parameters>(arguments)...);
  }
  using type = function_traits<&call, Result, T, Parameters...>;
};
template <auto Method, class T, class Result, class... Parameters>
typename member_traits<Method, T, Result, Parameters...>::type traits_of(
    Result (T::*)(Parameters...));
template <auto Method, class T, class Result, class... Parameters>
typename member_traits<Method, T, Result, Parameters...>::type traits_of(
    Result (T::*)(Parameters...) const);

/// Enters the function into the registry. `place` lies in its library, and names it.
HAZ_API void enter_function(const remote_function& function, const void* place);
HAZ_API void leave_function(const remote_function& function, const void* place) noexcept;
/// Says how a method's parameters are called.
HAZ_API void enter_parameters(const function_key& key, const char* names);

/// Enters a function into the registry, for as long as its library is loaded; not if that was
/// compiled with headers that don't fit.
template <std::uint32_t Abi>
class registration_with {
 public:
  explicit registration_with(remote_function function, const char* version = HAZ_VERSION)
      : function_(std::move(function)), is_entered_(haz_accepts_headers(Abi, version, this)) {
    if (is_entered_) enter_function(function_, this);
  }
  ~registration_with() {
    if (is_entered_) leave_function(function_, this);
  }
  registration_with(const registration_with&) = delete;
  registration_with& operator=(const registration_with&) = delete;

 private:
  const remote_function function_;
  const bool is_entered_;
};
using registration = registration_with<abi_version>;

template <auto Function, std::size_t NumNames>
registration make_registration(const char* name, const char* parameters) {
  using traits = decltype(traits_of<Function>(Function));
  constexpr bool is_member = std::is_member_function_pointer_v<decltype(Function)>;
  static_assert(NumNames == 0 || NumNames + (is_member ? 1 : 0) == traits::num_parameters,
                "haz: HAZ_REMOTE(function, names...) names all parameters of the function");
  const std::string object = is_member && NumNames != 0 ? "self, " : "";
  return registration({name, function_kind::function, key_of_function(Function),
                       traits::num_parameters, &traits::invoke, &traits::signature,
                       object + parameters});
}

/// Names the parameters of a method that a HAZ_ACTOR registers.
template <std::uint32_t Abi>
struct parameter_names_with {
  parameter_names_with(const function_key& key, const char* names) {
    if (haz_accepts_headers(Abi, HAZ_VERSION, this)) enter_parameters(key, names);
  }
};
using parameter_names = parameter_names_with<abi_version>;

}  // namespace haz::detail
