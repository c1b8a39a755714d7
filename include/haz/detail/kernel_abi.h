/// @file
/// What a compiled kernel says about its functions, and how they are called: the contract between
/// code that a user's compiler makes and haz, in plain data.
#pragma once

#include <cstdint>

namespace haz::detail {

/// Changes with anything below.
inline constexpr std::uint32_t kernel_abi_version = 2;
/// Most dimensions of an array, arguments of a function, results of a function.
inline constexpr int max_dimensions = 4;
inline constexpr int max_kernel_arguments = 32;
inline constexpr int max_kernel_results = 8;

enum class value_kind : std::uint8_t { scalar, array };

/// The type of an argument or a result.
struct value_type {
  value_kind kind;
  char number;             ///< 'b' bool, 'i' signed, 'u' unsigned, 'f' floating-point, 'c' complex.
  std::uint8_t item_size;  ///< In bytes.
  std::uint8_t dimensions;
  bool is_written;     ///< Items can be changed through it.
  bool is_contiguous;  ///< Items must lie one after the other, the last index first.
};

struct array_value {
  void* data;
  std::int64_t shape[max_dimensions];
  std::int64_t strides[max_dimensions];  ///< In items.
  void (*release)(void* data);           ///< Of a result: frees `data`.
};

/// An argument or a result; which member, its type says.
union kernel_value {
  std::int64_t integer;            ///< And bool.
  std::uint64_t unsigned_integer;  ///< Where `number` is 'u'.
  double real;
  double complex[2];
  array_value array;
};

/// What a function threw.
struct kernel_failure {
  const char* type;  ///< As std::type_info::name() gives it; null: no std::exception.
  char text[512];
};

struct kernel_function {
  const char* name;
  const char* parameters;  ///< Their names, with commas; an empty one is not known.
  std::uint32_t num_arguments;
  std::uint32_t num_required;  ///< The others have defaults.
  std::uint32_t num_results;
  bool is_tuple;  ///< Several results, or one, as a tuple.
  const value_type* arguments;
  const value_type* results;
  /// Returns false, and sets `failure`, if the function threw. Needs no GIL.
  bool (*call)(const kernel_value* arguments, std::uint32_t num_arguments, kernel_value* results,
               kernel_failure* failure);
};

struct kernel_table {
  std::uint32_t version;
  std::uint32_t num_functions;
  const kernel_function* functions;
  /// omp_pause_resource_all of the library that the kernel runs on; null without.
  int (*pause_threads)(int kind);
  /// Gives the loops of the kernel interrupt_check of loop.h.
  void (*set_interrupt_check)(bool (*check)());
};

}  // namespace haz::detail
