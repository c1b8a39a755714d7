/// @file
/// Which types can be passed between processes, and how.
///
/// | C++ | Python |
/// |---|---|
/// | `bool`, integers, enumerations, `float`, `double`, `std::complex` | the same; complex: bytes |
/// | `std::string` (`std::string_view` and `const char*` as arguments) | str; bytes if not UTF-8 |
/// | `std::vector<std::byte>`, `std::vector<char>` | bytes |
/// | `std::vector` and `std::array` of numbers | 1-D array |
/// | `haz::view<T, N>`, `haz::owned_array<T, N>`; `std::span`, `haz::array` as parameters | array |
/// | `std::vector`, `deque`, `list`, `array`, `set`, `unordered_set` of others | list |
/// | `std::map`, `unordered_map` | dict |
/// | `std::pair`, `std::tuple`, types with `haz_fields` | tuple |
/// | `std::optional` | the value or None |
/// | `haz::ref<T>` | ObjectRef |
/// | other trivially copyable types | bytes |
///
/// A type of your own takes part with one function in its namespace, which names what to pass:
///
///     struct particle { double x, y; std::string name; };
///     auto haz_fields(particle& p) { return std::tie(p.x, p.y, p.name); }
///
/// It must be default-constructible. Without that function a trivially copyable type travels as its
/// bytes: between programs that agree on its layout.
#pragma once

#include <array>
#include <complex>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "haz/detail/reader.h"
#include "haz/detail/writer.h"
#include "haz/view.h"

namespace haz {

template <class T>
class ref;

namespace detail {

template <class T>
concept has_fields = requires(T& value) { haz_fields(value); };

template <class T>
concept map_like = requires(T& map) {
  typename T::key_type;
  typename T::mapped_type;
  map.emplace(std::declval<typename T::key_type>(), std::declval<typename T::mapped_type>());
  map.size();
};
template <class T>
concept set_like = !map_like<T> && requires(T& set) {
  typename T::key_type;
  set.emplace(std::declval<typename T::key_type>());
  set.size();
};
template <class T>
concept list_like = !requires { typename T::key_type; } && requires(T& list) {
  typename T::value_type;
  list.push_back(std::declval<typename T::value_type>());
  list.size();
};

template <class T>
struct is_ref : std::false_type {};
template <class T>
struct is_ref<ref<T>> : std::true_type {};

/// Of what is passed as an array: its element, number of axes; of other types none.
struct no_array {
  static constexpr element items = element::none;
  static constexpr int dimensions = 0;
};
template <class T, int Dimensions>
struct some_array {
  static constexpr element items = element_of<std::remove_const_t<T>>();
  static constexpr int dimensions = Dimensions;
};
template <class T>
struct array_traits : no_array {};
template <class T, class Allocator>
struct array_traits<std::vector<T, Allocator>> : some_array<T, 1> {};
template <class Allocator>
struct array_traits<std::vector<bool, Allocator>> : no_array {};
template <class T, std::size_t N>
struct array_traits<std::array<T, N>> : some_array<T, 1> {};
template <class T, std::size_t N>
struct array_traits<std::span<T, N>> : some_array<T, 1> {};
template <class T, int Dimensions>
struct array_traits<view<T, Dimensions>> : some_array<T, Dimensions> {};
template <class T, int Dimensions>
struct array_traits<owned_array<T, Dimensions>> : some_array<T, Dimensions> {};
template <class T, int Dimensions, class Layout>
struct array_traits<array<T, Dimensions, Layout>> : some_array<T, Dimensions> {};
template <class T>
concept passed_as_array = array_traits<T>::items != element::none;

template <class T>
inline constexpr bool is_byte = std::is_same_v<T, std::byte> || std::is_same_v<T, char>;

/// The type in which a parameter's or a result's value is kept: without const and references; what
/// owns nothing becomes what does.
template <class T>
struct kept {
  using type = T;
};
template <>
struct kept<std::string_view> {
  using type = std::string;
};
template <>
struct kept<const char*> {
  using type = std::string;
};
template <>
struct kept<char*> {
  using type = std::string;
};
template <class T, std::size_t N>
struct kept<std::span<const T, N>> {
  using type = view<T, 1>;
};
template <class T, int Dimensions, class Layout>
struct kept<array<const T, Dimensions, Layout>> {
  using type = view<T, Dimensions>;
};
template <class T>
using kept_t = typename kept<std::remove_cvref_t<T>>::type;

constexpr const char* element_name(element items) {
  constexpr const char* names[] = {"bool",
                                   "std::int8_t",
                                   "std::uint8_t",
                                   "std::int16_t",
                                   "std::uint16_t",
                                   "std::int32_t",
                                   "std::uint32_t",
                                   "std::int64_t",
                                   "std::uint64_t",
                                   "float16",
                                   "float",
                                   "double",
                                   "std::complex<float>",
                                   "std::complex<double>"};
  return names[static_cast<std::size_t>(items)];
}

template <class T>
inline constexpr bool is_never = false;

/// How one type is passed. `write` and `read`; `name` is for messages.
template <class T>
struct codec {
  static_assert(is_never<T>,
                "haz can't pass values of this type to another process. Give it a function "
                "`auto haz_fields(Type& value) { return std::tie(value.member, ...); }` in its "
                "namespace; see haz/codec.h for what can be passed");
};

template <>
struct codec<bool> {
  static std::string name() { return "bool"; }
  static void write(writer& out, bool value) { out.boolean(value); }
  static bool read(reader& in) {
    const value_item item = in.next();
    if (item.kind == item_kind::boolean) return item.boolean;
    if (item.kind == item_kind::array && item.dimensions == 0 && item.items == element::bool_)
      return *item.data != std::byte{0};
    throw_mismatch(name(), item);
  }
};

/// The number in an array without axes, as numpy.float64(1) is; of a type that T can hold.
template <class T>
bool read_array_scalar(const value_item& item, T& value) {
  if (item.kind != item_kind::array || item.dimensions != 0 || item.items != element_of<T>())
    return false;
  std::memcpy(&value, item.data, sizeof value);
  return true;
}

template <class T>
  requires std::is_integral_v<T>
struct codec<T> {
  static std::string name() {
    constexpr element items = element_of<T>();
    if constexpr (items == element::none) {
      return "char";
    } else if constexpr (std::is_same_v<T, int>) {
      return "int";
    } else {
      return element_name(items);
    }
  }
  static void write(writer& out, T value) {
    if constexpr (std::is_unsigned_v<T>) {
      out.unsigned_integer(value);
    } else {
      out.integer(value);
    }
  }
  static T read(reader& in) {
    const value_item item = in.next();
    T value{};
    if (item.kind == item_kind::integer) {
      if (!std::in_range<number>(item.integer)) out_of_range(std::to_string(item.integer));
      return static_cast<T>(item.integer);
    }
    if (read_array_scalar(item, value)) return value;
    if (item.kind != item_kind::big_integer) throw_mismatch(name(), item);
    if (!std::is_unsigned_v<T> || sizeof(T) != sizeof(std::uint64_t) ||
        item.size != sizeof value + 1 || item.data[sizeof value] != std::byte{0})
      out_of_range("an integer of " + std::to_string(item.size) + " bytes");
    std::memcpy(&value, item.data, sizeof value);
    return value;
  }

 private:
  // std::in_range takes no character types.
  using number =
      std::conditional_t<std::is_signed_v<T>, std::make_signed_t<T>, std::make_unsigned_t<T>>;
  [[noreturn]] static void out_of_range(const std::string& found) {
    throw value_error("%s does not fit into %s", found.c_str(), name().c_str());
  }
};

template <class T>
  requires std::is_enum_v<T> && (!std::is_same_v<T, std::byte>)
struct codec<T> {
  using number = std::underlying_type_t<T>;
  static std::string name() { return codec<number>::name(); }
  static void write(writer& out, T value) { codec<number>::write(out, static_cast<number>(value)); }
  static T read(reader& in) { return static_cast<T>(codec<number>::read(in)); }
};

template <class T>
  requires std::is_floating_point_v<T>
struct codec<T> {
  static_assert(!std::is_same_v<T, long double>, "haz passes double and float, not long double");
  static std::string name() { return std::is_same_v<T, float> ? "float" : "double"; }
  static void write(writer& out, T value) { out.number(static_cast<double>(value)); }
  static T read(reader& in) {
    const value_item item = in.next();
    if (item.kind == item_kind::number) return static_cast<T>(item.number);
    if (item.kind == item_kind::integer) return static_cast<T>(item.integer);
    double wide = 0;
    float narrow = 0;
    if (read_array_scalar(item, wide)) return static_cast<T>(wide);
    if (read_array_scalar(item, narrow)) return static_cast<T>(narrow);
    throw_mismatch(name(), item);
  }
};

template <>
struct codec<std::string> {
  static std::string name() { return "std::string"; }
  static void write(writer& out, std::string_view value) { out.text(value); }
  static std::string read(reader& in) {
    const value_item item = in.next();
    if (item.kind != item_kind::text && item.kind != item_kind::bytes) throw_mismatch(name(), item);
    return std::string(item.text());
  }
};

/// Bytes of one object of T.
template <class T>
struct raw_codec {
  static std::string name() { return std::to_string(sizeof(T)) + " bytes"; }
  static void write(writer& out, const T& value) { out.bytes(&value, sizeof value); }
  static T read(reader& in) {
    static_assert(std::is_default_constructible_v<T>,
                  "haz makes a value of this type before it fills it: give it a default "
                  "constructor");
    const value_item item = in.next();
    if (item.kind != item_kind::bytes || item.size != sizeof(T)) throw_mismatch(name(), item);
    T value;
    std::memcpy(static_cast<void*>(&value), item.data, sizeof value);
    return value;
  }
};

template <class T>
  requires(!has_fields<T> && std::is_trivially_copyable_v<T> && std::is_copy_constructible_v<T> &&
           std::is_class_v<T> && !passed_as_array<T> && !list_like<T> && !map_like<T> &&
           !set_like<T>)
struct codec<T> : raw_codec<T> {};
template <class T>
struct codec<std::complex<T>> : raw_codec<std::complex<T>> {};

template <class T>
struct codec<std::optional<T>> {
  static std::string name() { return "std::optional<" + codec<T>::name() + ">"; }
  static void write(writer& out, const std::optional<T>& value) {
    if (value) {
      codec<T>::write(out, *value);
    } else {
      out.none();
    }
  }
  static std::optional<T> read(reader& in) {
    if (in.take_none()) return std::nullopt;
    return codec<T>::read(in);
  }
};

/// Names of types, with commas.
template <class... T>
std::string joined_names() {
  std::string joined;
  ((joined += (joined.empty() ? "" : ", ") + codec<T>::name()), ...);
  return joined;
}

/// Reads the head of a tuple or list of `count` items.
template <class T>
void read_tuple_head(reader& in, std::size_t count) {
  const value_item item = in.next();
  if ((item.kind != item_kind::tuple && item.kind != item_kind::list) || item.count != count)
    throw_mismatch(codec<T>::name(), item);
}

template <class... T>
struct codec<std::tuple<T...>> {
  static std::string name() { return "std::tuple<" + joined_names<T...>() + ">"; }
  static void write(writer& out, const std::tuple<T...>& value) {
    out.begin_tuple(sizeof...(T));
    std::apply([&](const T&... items) { (codec<T>::write(out, items), ...); }, value);
  }
  static std::tuple<T...> read(reader& in) {
    read_tuple_head<std::tuple<T...>>(in, sizeof...(T));
    return std::tuple<T...>{codec<T>::read(in)...};  // in order, since in braces
  }
};

template <class A, class B>
struct codec<std::pair<A, B>> {
  static std::string name() { return "std::pair<" + joined_names<A, B>() + ">"; }
  static void write(writer& out, const std::pair<A, B>& value) {
    out.begin_tuple(2);
    codec<A>::write(out, value.first);
    codec<B>::write(out, value.second);
  }
  static std::pair<A, B> read(reader& in) {
    read_tuple_head<std::pair<A, B>>(in, 2);
    return std::pair<A, B>{codec<A>::read(in), codec<B>::read(in)};
  }
};

/// A user's type.
template <has_fields T>
struct codec<T> {
  static std::string name() {
    using fields = decltype(haz_fields(std::declval<T&>()));
    // A type may hold values of its own kind, as that of a tree's nodes does.
    thread_local bool is_being_named = false;
    if (is_being_named) return "...";
    is_being_named = true;
    std::string text = names(static_cast<fields*>(nullptr));
    is_being_named = false;
    return text;
  }
  static void write(writer& out, const T& value) {
    // Only read; one function serves both directions.
    std::apply(
        [&out](auto&... fields) {
          out.begin_tuple(sizeof...(fields));
          (codec<std::remove_cvref_t<decltype(fields)>>::write(out, fields), ...);
        },
        haz_fields(const_cast<T&>(value)));
  }
  static T read(reader& in) {
    static_assert(std::is_default_constructible_v<T>,
                  "haz makes a value of this type before it fills its haz_fields: give it a "
                  "default constructor");
    T value{};
    std::apply(
        [&in](auto&... fields) {
          read_tuple_head<T>(in, sizeof...(fields));
          ((fields = codec<std::remove_cvref_t<decltype(fields)>>::read(in)), ...);
        },
        haz_fields(value));
    return value;
  }

 private:
  template <class... Fields>
  static std::string names(std::tuple<Fields...>* /*type*/) {
    return "(" + joined_names<std::remove_cvref_t<Fields>...>() + ")";
  }
};

template <map_like T>
struct codec<T> {
  using key = typename T::key_type;
  using mapped = typename T::mapped_type;
  static std::string name() { return "std::map<" + joined_names<key, mapped>() + ">"; }
  static void write(writer& out, const T& value) {
    out.begin_dict(value.size());
    for (const auto& [k, v] : value) {
      codec<key>::write(out, k);
      codec<mapped>::write(out, v);
    }
  }
  static T read(reader& in) {
    const value_item item = in.next();
    if (item.kind != item_kind::dict) throw_mismatch(name(), item);
    T value;
    for (std::uint32_t i = 0; i < item.count; ++i) {
      key k = codec<key>::read(in);
      value.emplace(std::move(k), codec<mapped>::read(in));
    }
    return value;
  }
};

template <set_like T>
struct codec<T> {
  using key = typename T::key_type;
  static std::string name() { return "std::set<" + codec<key>::name() + ">"; }
  static void write(writer& out, const T& value) {
    out.begin_list(value.size());
    for (const key& item : value)
      codec<key>::write(out, item);
  }
  static T read(reader& in) {
    const value_item item = in.next();
    if (item.kind != item_kind::list && item.kind != item_kind::tuple) throw_mismatch(name(), item);
    T value;
    for (std::uint32_t i = 0; i < item.count; ++i)
      value.emplace(codec<key>::read(in));
    return value;
  }
};

template <class T>
std::string array_name() {
  constexpr int dimensions = array_traits<T>::dimensions;
  const std::string items = element_name(array_traits<T>::items);
  return dimensions == 1 ? "haz::view<" + items + ">"
                         : "haz::view<" + items + ", " + std::to_string(dimensions) + ">";
}

/// Whether the item is an array of the type and the axes that T is passed as.
template <class T>
bool is_array_of(const value_item& item) {
  return item.kind == item_kind::array && item.items == array_traits<T>::items &&
         item.dimensions == array_traits<T>::dimensions;
}

template <class T>
void copy_items(const value_item& item, T* to) {
  if (item.is_fortran && item.dimensions > 1) {
    copy_transposed(item, sizeof(T), to);
  } else if (item.size != 0) {
    std::memcpy(to, item.data, item.size);
  }
}

template <class T, int Dimensions, class Array>
void write_array(writer& out, const Array& value) {
  std::int64_t shape[Dimensions];
  for (int axis = 0; axis < Dimensions; ++axis)
    shape[axis] = value.shape(axis);
  out.array(element_of<T>(), shape, Dimensions, value.data(),
            static_cast<std::size_t>(value.size()) * sizeof(T));
}

/// The next item, which has to be such an array; its extents go to `shape`.
template <class Array>
value_item next_array(reader& in, std::int64_t* shape) {
  const value_item item = in.next();
  if (!is_array_of<Array>(item)) throw_mismatch(array_name<Array>(), item);
  for (int axis = 0; axis < item.dimensions; ++axis)
    shape[axis] = item.extent(axis);
  return item;
}

template <class T, int Dimensions>
struct codec<view<T, Dimensions>> {
  using type = view<T, Dimensions>;
  static std::string name() { return array_name<type>(); }
  static void write(writer& out, const type& value) { write_array<T, Dimensions>(out, value); }
  static type read(reader& in) {
    std::int64_t shape[Dimensions];
    const value_item item = next_array<type>(in, shape);
    const bool can_stay = in.can_keep() && !item.is_near && !(item.is_fortran && Dimensions > 1);
    if (can_stay) return type(in.keep(), reinterpret_cast<const T*>(item.data), shape);
    const std::shared_ptr<T[]> copy(new T[item.size / sizeof(T)]);
    copy_items(item, copy.get());
    return type(copy, copy.get(), shape);
  }
};

template <class T, int Dimensions>
struct codec<owned_array<T, Dimensions>> {
  using type = owned_array<T, Dimensions>;
  static_assert(element_of<T>() != element::none, "haz passes arrays of numbers");
  static std::string name() { return array_name<type>(); }
  static void write(writer& out, const type& value) { write_array<T, Dimensions>(out, value); }
  static type read(reader& in) {
    std::int64_t shape[Dimensions];
    const value_item item = next_array<type>(in, shape);
    type value = type::make(shape, false);
    copy_items(item, value.data());
    return value;
  }
};

template <list_like T>
struct codec<T> {
  using item_type = typename T::value_type;
  static std::string name() {
    if constexpr (is_byte<item_type>) {
      return "bytes";
    } else if constexpr (passed_as_array<T>) {
      return "std::vector<" + std::string(element_name(array_traits<T>::items)) + ">";
    } else {
      return "std::vector<" + codec<item_type>::name() + ">";
    }
  }
  static void write(writer& out, const T& value) {
    if constexpr (is_byte<item_type> && std::contiguous_iterator<typename T::iterator>) {
      out.bytes(value.data(), value.size());
    } else if constexpr (passed_as_array<T>) {
      const std::int64_t shape[] = {static_cast<std::int64_t>(value.size())};
      out.array(element_of<item_type>(), shape, 1, value.data(), value.size() * sizeof(item_type));
    } else {
      out.begin_list(value.size());
      for (const auto& item : value)
        codec<item_type>::write(out, item);
    }
  }
  static T read(reader& in) {
    const value_item item = in.next();
    T value;
    if constexpr (is_byte<item_type> && std::contiguous_iterator<typename T::iterator>) {
      if (item.kind != item_kind::bytes) throw_mismatch(name(), item);
      value.resize(item.size);
      if (item.size != 0) std::memcpy(value.data(), item.data, item.size);
      return value;
    } else {
      if constexpr (passed_as_array<T>) {
        if (is_array_of<T>(item)) {
          value.resize(item.size / sizeof(item_type));
          copy_items(item, value.data());
          return value;
        }
      }
      if (item.kind != item_kind::list && item.kind != item_kind::tuple)
        throw_mismatch(name(), item);
      for (std::uint32_t i = 0; i < item.count; ++i)
        value.push_back(codec<item_type>::read(in));
      return value;
    }
  }
};

template <class T, std::size_t N>
struct codec<std::array<T, N>> {
  using type = std::array<T, N>;
  static std::string name() {
    return "std::array<" + codec<T>::name() + ", " + std::to_string(N) + ">";
  }
  static void write(writer& out, const type& value) {
    if constexpr (passed_as_array<type>) {
      const std::int64_t shape[] = {static_cast<std::int64_t>(N)};
      out.array(element_of<T>(), shape, 1, value.data(), N * sizeof(T));
    } else {
      out.begin_list(N);
      for (const T& item : value)
        codec<T>::write(out, item);
    }
  }
  static type read(reader& in) {
    const value_item item = in.next();
    type value{};
    if constexpr (passed_as_array<type>) {
      if (is_array_of<type>(item) && item.size == N * sizeof(T)) {
        copy_items(item, value.data());
        return value;
      }
    }
    if ((item.kind != item_kind::list && item.kind != item_kind::tuple) || item.count != N)
      throw_mismatch(name(), item);
    for (T& place : value)
      place = codec<T>::read(in);
    return value;
  }
};

}  // namespace detail
}  // namespace haz
