/// @file
/// From a function's type to its `kernel_function`; included by what haz.cpp.compile generates.
#pragma once

#include <concepts>
#include <cstdint>
#include <cstring>
#include <exception>
#include <type_traits>
#include <typeinfo>
#include <utility>

#ifdef _OPENMP
#include <omp.h>
#endif

#include "haz/array.h"
#include "haz/detail/kernel_abi.h"
#include "haz/detail/loop.h"

namespace haz::detail {

template <class T>
inline constexpr bool always_false = false;

/// std::complex, whose header is not included unless the user's code does.
template <class T>
concept complex_number = requires(const T& number) {
  typename T::value_type;
  { number.real() } -> std::same_as<typename T::value_type>;
  { number.imag() } -> std::same_as<typename T::value_type>;
} && std::floating_point<typename T::value_type> && sizeof(T) == 2 * sizeof(typename T::value_type);

/// What NumPy has a type for that haz passes: no characters and no long double.
template <class T>
concept number = std::same_as<T, bool> || std::same_as<T, float> || std::same_as<T, double> ||
                 (std::integral<T> && !std::same_as<T, wchar_t> && !std::same_as<T, char8_t> &&
                  !std::same_as<T, char16_t> && !std::same_as<T, char32_t>) ||
                 (complex_number<T> && sizeof(T) <= 16);

template <number T>
constexpr char number_code() {
  if constexpr (std::same_as<T, bool>) {
    return 'b';
  } else if constexpr (std::floating_point<T>) {
    return 'f';
  } else if constexpr (std::integral<T>) {
    return std::is_signed_v<T> ? 'i' : 'u';
  } else {
    return 'c';
  }
}

/// How values of type T cross: `type`, `load` for arguments, `store` for results.
template <class T>
struct transfer {
  static_assert(always_false<T>,
                "arguments and results of a kernel are numbers, bool, haz::array<T, N> and, as "
                "results, haz::owned_array<T, N> or a tuple of these");
};

template <number T>
struct transfer<T> {
  static constexpr value_type type = {
      value_kind::scalar, number_code<T>(), sizeof(T), 0, false, false};
  static T load(const kernel_value& value) {
    if constexpr (std::floating_point<T>) {
      return static_cast<T>(value.real);
    } else if constexpr (complex_number<T>) {
      using real = typename T::value_type;
      return T(static_cast<real>(value.complex[0]), static_cast<real>(value.complex[1]));
    } else if constexpr (std::is_signed_v<T> || std::same_as<T, bool>) {
      return static_cast<T>(value.integer);
    } else {
      return static_cast<T>(value.unsigned_integer);
    }
  }
  static void store(T number, kernel_value& value) {
    if constexpr (std::floating_point<T>) {
      value.real = static_cast<double>(number);
    } else if constexpr (complex_number<T>) {
      value.complex[0] = static_cast<double>(number.real());
      value.complex[1] = static_cast<double>(number.imag());
    } else if constexpr (std::is_signed_v<T> || std::same_as<T, bool>) {
      value.integer = static_cast<std::int64_t>(number);
    } else {
      value.unsigned_integer = static_cast<std::uint64_t>(number);
    }
  }
};

template <class T, int Dimensions, class Layout>
struct transfer<array<T, Dimensions, Layout>> {
  static_assert(number<std::remove_const_t<T>>, "items of a kernel's arrays are numbers or bool");
  static constexpr value_type type = {value_kind::array,   number_code<std::remove_const_t<T>>(),
                                      sizeof(T),           Dimensions,
                                      !std::is_const_v<T>, std::same_as<Layout, contiguous>};
  static array<T, Dimensions, Layout> load(const kernel_value& value) {
    return {static_cast<T*>(value.array.data), value.array.shape, value.array.strides};
  }
};

template <class T, int Dimensions>
struct transfer<owned_array<T, Dimensions>> {
  static_assert(number<T>, "items of a kernel's arrays are numbers or bool");
  static constexpr value_type type = {
      value_kind::array, number_code<T>(), sizeof(T), Dimensions, true, true};
  static void store(owned_array<T, Dimensions>&& made, kernel_value& value) {
    for (int axis = 0; axis < Dimensions; ++axis) {
      value.array.shape[axis] = made.shape(axis);
      value.array.strides[axis] = made.stride(axis);
    }
    value.array.release = std::free;
    value.array.data = std::move(made).release();
  }
};

template <class Argument>
struct argument_transfer : transfer<std::remove_cvref_t<Argument>> {
  static_assert(!std::is_lvalue_reference_v<Argument> ||
                    std::is_const_v<std::remove_reference_t<Argument>>,
                "a kernel can't change its argument through a reference: return the value, or take "
                "a haz::array<T> by value and write its items");
};

template <class T>
concept tuple_like = requires { std::tuple_size<T>::value; };

template <class Result>
struct results_of {
  static constexpr std::uint32_t count = 1;
  static constexpr value_type types[] = {transfer<Result>::type};
  static void store(Result&& result, kernel_value* values) {
    transfer<Result>::store(std::move(result), values[0]);
  }
};

template <>
struct results_of<void> {
  static constexpr std::uint32_t count = 0;
  static constexpr value_type types[] = {{value_kind::scalar, 'b', 1, 0, false, false}};
};

template <tuple_like Result>
  requires(!number<Result>)
struct results_of<Result> {
  static constexpr std::uint32_t count = std::tuple_size<Result>::value;
  static_assert(count >= 1 && count <= max_kernel_results, "a kernel has 1 to 8 results");
  template <std::size_t... I>
  static constexpr auto make_types(std::index_sequence<I...>) {
    struct list {
      value_type items[count];
    };
    return list{{transfer<std::tuple_element_t<I, Result>>::type...}};
  }
  static constexpr auto list = make_types(std::make_index_sequence<count>());
  static constexpr const value_type (&types)[count] = list.items;
  static void store(Result&& result, kernel_value* values) {
    [&]<std::size_t... I>(std::index_sequence<I...>) {
      using std::get;
      (transfer<std::tuple_element_t<I, Result>>::store(get<I>(std::move(result)), values[I]), ...);
    }(std::make_index_sequence<count>());
  }
};

inline void set_failure(kernel_failure& failure, const char* type, const char* text) {
  failure.type = type;
  std::strncpy(failure.text, text, sizeof failure.text - 1);
  failure.text[sizeof failure.text - 1] = '\0';
}

template <std::size_t I, class... Types>
struct nth_type;
template <std::size_t I, class First, class... Rest>
struct nth_type<I, First, Rest...> : nth_type<I - 1, Rest...> {};
template <class First, class... Rest>
struct nth_type<0, First, Rest...> {
  using type = First;
};

/// `Call` calls the function by its name, so that default arguments are seen.
template <class Call, class Signature>
struct kernel_of {
  static_assert(always_false<Call>, "this is no plain function");
};

template <class Call, class Result, class... Arguments>
struct kernel_of<Call, Result (*)(Arguments...)> {
  static constexpr std::size_t count = sizeof...(Arguments);
  static_assert(count <= max_kernel_arguments, "a kernel has at most 32 arguments");
  static_assert(!std::is_reference_v<Result>, "a kernel returns values, no references");
  using result_type = std::remove_cv_t<Result>;
  using results = results_of<result_type>;

  template <std::size_t I>
  using type_at = typename nth_type<I, Arguments...>::type;

  static constexpr value_type types[count + 1] = {argument_transfer<Arguments>::type...};

  template <std::size_t... I>
  static void call_first(const kernel_value* values, kernel_value* stored,
                         std::index_sequence<I...>) {
    if constexpr (std::is_void_v<Result>) {
      Call()(argument_transfer<type_at<I>>::load(values[I])...);
    } else {
      results::store(result_type(Call()(argument_transfer<type_at<I>>::load(values[I])...)),
                     stored);
    }
  }

  template <std::size_t... I>
  static constexpr bool takes(std::index_sequence<I...>) {
    return std::invocable<Call, type_at<I>...>;
  }
  static constexpr std::uint32_t required() {
    std::uint32_t least = count;
    [&]<std::size_t... I>(std::index_sequence<I...>) {
      ((takes(std::make_index_sequence<I>()) && I < least ? void(least = I) : void()), ...);
    }(std::make_index_sequence<count>());
    return least;
  }

  template <std::size_t Given>
  static void dispatch(const kernel_value* values, std::uint32_t given, kernel_value* stored) {
    if constexpr (Given > required()) {
      if (given < Given) return dispatch<Given - 1>(values, given, stored);
    }
    call_first(values, stored, std::make_index_sequence<Given>());
  }

  static bool call(const kernel_value* values, std::uint32_t given, kernel_value* stored,
                   kernel_failure* failure) {
    try {
      dispatch<count>(values, given, stored);
      return true;
    } catch (const std::exception& error) {
      set_failure(*failure, typeid(error).name(), error.what());
    } catch (...) {
      set_failure(*failure, nullptr, "");
    }
    return false;
  }

  static constexpr kernel_function describe(const char* name, const char* parameters) {
    return {name,       parameters,     count,
            required(), results::count, tuple_like<result_type> && !number<result_type>,
            types,      results::types, call};
  }
};

template <class Call, class Result, class... Arguments>
struct kernel_of<Call, Result (*)(Arguments...) noexcept>
    : kernel_of<Call, Result (*)(Arguments...)> {};

#ifdef _OPENMP
/// omp_pause_resource_all itself, so that kernels on the same library have the same address.
inline const auto pause_threads = reinterpret_cast<int (*)(int)>(omp_pause_resource_all);
#else
inline constexpr int (*pause_threads)(int) = nullptr;
#endif

inline void set_interrupt_check(bool (*check)()) { interrupt_check = check; }

}  // namespace haz::detail

/// Defines what calls the function `name`, for HAZ_KERNEL_ENTRY.
#define HAZ_KERNEL_CALL(name)                                                                     \
  namespace {                                                                                     \
  struct haz_call_##name {                                                                        \
    template <class... Given>                                                                     \
    auto operator()(Given&&... given) const -> decltype(::name(static_cast<Given&&>(given)...)) { \
      return ::name(static_cast<Given&&>(given)...);                                              \
    }                                                                                             \
  };                                                                                              \
  }
/// Describes the function and its parameters, for HAZ_KERNEL_TABLE.
#define HAZ_KERNEL_ENTRY(name, parameters) \
  haz::detail::kernel_of<haz_call_##name, decltype(&::name)>::describe(#name, parameters)
/// Defines what the extension module looks for in the library: an array of HAZ_KERNEL_ENTRY.
#define HAZ_KERNEL_TABLE(entries)                                                                \
  extern "C" [[gnu::visibility("default")]] const haz::detail::kernel_table haz_kernel_table = { \
      haz::detail::kernel_abi_version, sizeof(entries) / sizeof((entries)[0]), entries,          \
      haz::detail::pause_threads, haz::detail::set_interrupt_check};
