/// @file
/// What HAZ_ACTOR makes.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <typeinfo>
#include <utility>

#include "haz/detail/call.h"
#include "haz/detail/export.h"
#include "haz/detail/registry.h"
#include "haz/task_options.h"

namespace haz::detail {

/// As options of the constructor's task.
template <class Options>
task_options creation_options(const Options& options) {
  task_options made;
  made.num_cpus = options.num_cpus.value_or(1);
  made.resources = options.resources;
  made.max_retries = 0;
  return made;
}

/// As options of the task that calls a method. @throws usage_error
template <class Options>
task_options method_options(const Options& options) {
  task_options made;
  made.max_retries = options.max_retries;
  made.timeout_s = options.timeout_s;
  made.priority = options.priority;
  made.retry_exceptions = options.retry_exceptions;
  check_options(made);
  return made;
}

/// The constructor of the class, with default options. @throws usage_error
HAZ_API std::shared_ptr<binding> find_constructor(const std::type_info& type);
/// One handle of the actor of that name. @throws object_lost_error, type_error
HAZ_API std::uint64_t find_actor(const std::string& name, const std::type_info& type);
/// The same, of a class of Python.
HAZ_API std::uint64_t find_python_actor(const std::string& name);

/// Arguments read in order, and kept while the function runs.
template <class... Parameters>
struct parameter_list {
  static constexpr std::size_t num_parameters = sizeof...(Parameters);

  static std::string names() { return "(" + joined_names<kept_t<Parameters>...>() + ")"; }

  template <class... Arguments>
  static void add_arguments(call_writer& call, Arguments&&... arguments) {
    if constexpr (sizeof...(Arguments) == sizeof...(Parameters))
      (call.template add<Parameters>(std::forward<Arguments>(arguments)), ...);
  }
  /// Calls `function` with the arguments that `in` has.
  template <class Function>
  static decltype(auto) apply(call_arguments& in, Function&& function) {
    (check_parameter<Parameters>(), ...);
    return apply(in, function, std::index_sequence_for<Parameters...>{});
  }

 private:
  template <class Function, std::size_t... I>
  static decltype(auto) apply([[maybe_unused]] call_arguments& in, Function& function,
                              std::index_sequence<I...> /*numbers*/) {
    [[maybe_unused]] std::tuple<kept_t<Parameters>...> kept{
        read_argument<kept_t<Parameters>>(in, I)...};
    return function(as_parameter<Parameters>(std::get<I>(kept))...);
  }
};

template <class Constructor>
struct constructor_of;
template <class T, class... Parameters>
struct constructor_of<T(Parameters...)> : parameter_list<Parameters...> {
  using type = T;
  using parameters = parameter_list<Parameters...>;

  static std::string signature() { return parameters::names(); }
  static void invoke(call_arguments& in, writer& out, std::shared_ptr<void>& self) {
    self = parameters::apply(in, [](auto&&... arguments) {
      return std::make_shared<T>(std::forward<decltype(arguments)>(arguments)...);
    });
    out.none();
  }
};

template <class T, class Result, class... Parameters>
struct method_traits : parameter_list<Parameters...> {
  using class_type = T;
  using result = Result;
  using parameters = parameter_list<Parameters...>;

  static std::string signature() {
    return parameters::names() + " -> " + codec<value_of<kept_t<Result>>>::name();
  }
  template <auto Method>
  static void invoke(call_arguments& in, writer& out, std::shared_ptr<void>& self) {
    T& object = *static_cast<T*>(self.get());
    const auto call = [&object](auto&&... arguments) -> Result {
      return (object.*Method)(std::forward<decltype(arguments)>(arguments)...);
    };
    if constexpr (std::is_void_v<Result>) {
      parameters::apply(in, call);
      out.none();
    } else {
      static_assert(!std::is_pointer_v<Result> && !std::is_lvalue_reference_v<Result>,
                    "haz: an actor's method returns a value, no pointer and no reference");
      write_result<kept_t<Result>>(out, parameters::apply(in, call));
    }
  }
};

template <class T, class R, class... P>
method_traits<T, R, P...> method_traits_of(R (T::*)(P...));
template <class T, class R, class... P>
method_traits<T, R, P...> method_traits_of(R (T::*)(P...) const);
template <class T, class R, class... P>
method_traits<T, R, P...> method_traits_of(R (T::*)(P...) noexcept);
template <class T, class R, class... P>
method_traits<T, R, P...> method_traits_of(R (T::*)(P...) const noexcept);

/// The names of the parameters in "name(type first, type second)", with commas between them; empty
/// if not all have one.
HAZ_API std::string names_in_declaration(std::string_view declaration);

template <auto Method, std::size_t NumNames>
parameter_names name_parameters(const char* names) {
  using traits = decltype(method_traits_of(Method));
  static_assert(NumNames == traits::num_parameters,
                "haz: HAZ_PARAMETERS(class::method, names...) names all parameters of the method");
  return {key_of(Method), names};
}

/// The item number `index` of a list as the preprocessor shows it, without what says where.
HAZ_API std::string name_in_list(std::string_view list, std::size_t index);

template <auto Method>
registration make_method_registration(std::string_view list, std::size_t index) {
  using traits = decltype(method_traits_of(Method));
  return registration({name_in_list(list, index), function_kind::method, key_of(Method),
                       traits::num_parameters, &traits::template invoke<Method>, &traits::signature,
                       ""});
}

template <std::size_t Count>
struct actor_registration {
  registration constructor;
  std::array<registration, Count> methods;
};
template <>
struct actor_registration<0> {
  registration constructor;
};

/// What a constructor is found by.
HAZ_API function_key constructor_key(const std::type_info& type) noexcept;

template <class Constructor, auto... Methods, std::size_t... I>
actor_registration<sizeof...(Methods)> register_actor(std::string_view constructor,
                                                      std::string_view methods,
                                                      std::index_sequence<I...> /*numbers*/) {
  using traits = constructor_of<Constructor>;
  const auto made = [&] {
    return registration({std::string(constructor.substr(0, constructor.find('('))),
                         function_kind::constructor, constructor_key(typeid(typename traits::type)),
                         traits::num_parameters, &traits::invoke, &traits::signature,
                         names_in_declaration(constructor)});
  };
  if constexpr (sizeof...(Methods) == 0) {
    (void)methods;
    return {made()};
  } else {
    return {made(), {make_method_registration<Methods>(methods, I)...}};
  }
}
template <class Constructor, auto... Methods>
actor_registration<sizeof...(Methods)> register_actor(std::string_view constructor,
                                                      std::string_view methods) {
  return register_actor<Constructor, Methods...>(constructor, methods,
                                                 std::make_index_sequence<sizeof...(Methods)>{});
}

}  // namespace haz::detail
