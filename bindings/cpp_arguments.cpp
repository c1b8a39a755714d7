/// @file
/// What a function of C++ takes, checked where it is called.
#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <string>
#include <string_view>

#include "base/declaration.h"
#include "codec.h"
#include "codec_array.h"
#include "cpp_function.h"
#include "object_ref.h"

namespace haz::py {

namespace {

struct Element {
  std::string_view cpp;
  const char* numpy;
};
/// In the order of ArrayElement.
constexpr std::array<Element, kArrayElementCount> kElements = {{
    {"bool", "bool"},
    {"std::int8_t", "int8"},
    {"std::uint8_t", "uint8"},
    {"std::int16_t", "int16"},
    {"std::uint16_t", "uint16"},
    {"std::int32_t", "int32"},
    {"std::uint32_t", "uint32"},
    {"std::int64_t", "int64"},
    {"std::uint64_t", "uint64"},
    {"float16", "float16"},
    {"float", "float32"},
    {"double", "float64"},
    {"std::complex<float>", "complex64"},
    {"std::complex<double>", "complex128"},
}};

const char* numpy_name(ArrayElement element) {
  return kElements[static_cast<std::size_t>(element)].numpy;
}

bool find_element(std::string_view name, ArrayElement* element) {
  for (std::size_t i = 0; i < kElements.size(); ++i) {
    if (kElements[i].cpp != name) continue;
    *element = static_cast<ArrayElement>(i);
    return true;
  }
  return false;
}

/// What stands in the brackets of "name<...>"; false: it is another name.
bool inside(std::string_view type, std::string_view name, std::string_view* content) {
  if (!type.starts_with(name) || !type.ends_with('>') || type.size() <= name.size() + 1 ||
      type[name.size()] != '<') {
    return false;
  }
  *content = type.substr(name.size() + 1, type.size() - name.size() - 2);
  return true;
}

template <class T>
void take_integer(CppParameter& parameter) {
  parameter.accepts = CppParameter::kInt;
  parameter.smallest = static_cast<std::int64_t>(std::numeric_limits<T>::min());
  parameter.greatest = static_cast<std::uint64_t>(std::numeric_limits<T>::max());
}

bool parse_integer(std::string_view type, CppParameter& parameter) {
  if (type == "int") {
    take_integer<int>(parameter);
  } else if (type == "char") {
    take_integer<char>(parameter);
  } else if (type == "std::int8_t") {
    take_integer<std::int8_t>(parameter);
  } else if (type == "std::uint8_t") {
    take_integer<std::uint8_t>(parameter);
  } else if (type == "std::int16_t") {
    take_integer<std::int16_t>(parameter);
  } else if (type == "std::uint16_t") {
    take_integer<std::uint16_t>(parameter);
  } else if (type == "std::int32_t") {
    take_integer<std::int32_t>(parameter);
  } else if (type == "std::uint32_t") {
    take_integer<std::uint32_t>(parameter);
  } else if (type == "std::int64_t") {
    take_integer<std::int64_t>(parameter);
  } else if (type == "std::uint64_t") {
    take_integer<std::uint64_t>(parameter);
  } else {
    return false;
  }
  return true;
}

bool parse_array(std::string_view type, CppParameter& parameter) {
  std::string_view content;
  if (inside(type, "haz::view", &content)) {
    const std::vector<std::string_view> parts = split_list(content);
    parameter.dimensions = 1;
    if (parts.size() == 2) {
      std::from_chars(parts[1].data(), parts[1].data() + parts[1].size(), parameter.dimensions);
    }
    if (!parts.empty() && find_element(parts[0], &parameter.element)) {
      parameter.accepts = CppParameter::kArray;
    }
    return true;
  }
  if (!inside(type, "std::vector", &content) && !inside(type, "std::array", &content)) return false;
  parameter.accepts = CppParameter::kList | CppParameter::kTuple;
  parameter.dimensions = 1;
  const std::vector<std::string_view> parts = split_list(content);
  if (!parts.empty() && find_element(parts[0], &parameter.element)) {
    parameter.accepts |= CppParameter::kArray;
  }
  return true;
}

CppParameter parse(std::string_view type) {
  CppParameter parameter;
  std::string_view content;
  if (type == "bool") {
    parameter.accepts = CppParameter::kBool;
  } else if (type == "double" || type == "float") {
    parameter.accepts = CppParameter::kFloat | CppParameter::kInt;
  } else if (type == "std::string") {
    parameter.accepts = CppParameter::kStr | CppParameter::kBytes;
  } else if (type.ends_with("bytes")) {
    parameter.accepts = CppParameter::kBytes;
  } else if (inside(type, "std::optional", &content)) {
    parameter = parse(content);
    parameter.accepts |= CppParameter::kNone;
  } else if (inside(type, "std::map", &content)) {
    parameter.accepts = CppParameter::kDict;
  } else if (inside(type, "std::set", &content)) {
    parameter.accepts = CppParameter::kList | CppParameter::kTuple;
  } else if (type.starts_with('(') || inside(type, "std::tuple", &content) ||
             inside(type, "std::pair", &content)) {
    parameter.accepts = CppParameter::kTuple | CppParameter::kList;
  } else if (!parse_integer(type, parameter)) {
    (void)parse_array(type, parameter);
  }
  parameter.type = type;
  return parameter;
}

/// How a person calls the value.
std::string described(PyObject* value) {
  ArrayElement element{};
  ArrayMemory array;
  if (array_kind(value, &element) == ArrayKind::kArray && describe_array(value, &array)) {
    Py_DECREF(array.keeper);
    return std::to_string(array.dimensions) + "-D array of " + numpy_name(array.element);
  }
  return Py_TYPE(value)->tp_name;
}

/// "(int, name=str)"
std::string described(PyObject* const* args, Py_ssize_t count, PyObject* names) {
  const Py_ssize_t num_names = names != nullptr ? PyTuple_GET_SIZE(names) : 0;
  std::string given = "(";
  for (Py_ssize_t i = 0; i < count + num_names; ++i) {
    given += i == 0 ? "" : ", ";
    if (i >= count) {
      const char* const name = PyUnicode_AsUTF8(PyTuple_GET_ITEM(names, i - count));
      if (name == nullptr) PyErr_Clear();
      given += std::string(name != nullptr ? name : "?") + "=";
    }
    given += described(args[i]);
  }
  return given + ")";
}

bool refuse(const CppSignature& function, const std::string& given, const std::string& why,
            PyObject* kind = PyExc_TypeError) {
  PyErr_Format(kind, "%s%s was called with %s: %s", function.function.c_str(),
               function.text.c_str(), given.c_str(), why.c_str());
  return false;
}

bool refuse(const CppSignature& function, PyObject* const* args, Py_ssize_t count, Py_ssize_t index,
            const std::string& why, PyObject* kind = PyExc_TypeError) {
  const std::string& name = function.parameters[static_cast<std::size_t>(index)].name;
  return refuse(
      function, described(args, count, nullptr),
      "argument " + std::to_string(index + 1) + (name.empty() ? "" : " '" + name + "'") + " " + why,
      kind);
}

/// How the library can give its parameters names.
std::string how_to_name(const CppSignature& function) {
  std::string plain = function.function;
  switch (function.kind) {
    case haz::detail::function_kind::constructor:
      return "HAZ_ACTOR(" + plain + "(type name, ...), ...)";
    case haz::detail::function_kind::method:
      return "HAZ_PARAMETERS(" + plain + ", name, ...)";
    default:
      return "HAZ_REMOTE(" + plain + ", name, ...)";
  }
}

/// Arguments that were given by name, in their places.
bool arrange(const CppSignature& function, PyObject* const*& args, Py_ssize_t& count,
             PyObject* names, ReplacedArguments& replaced) {
  const std::string given = described(args, count, names);
  const std::size_t num_parameters = function.parameters.size();
  const bool has_names = num_parameters == 0 || !function.parameters.front().name.empty();
  if (!has_names) {
    return refuse(function, given,
                  "its parameters have no names for Python. Give arguments by position, or let the "
                  "library name them: " +
                      how_to_name(function));
  }
  if (static_cast<std::size_t>(count) > num_parameters)
    return refuse(function, given, "it takes " + std::to_string(num_parameters) + " arguments");
  std::vector<PyObject*> placed(args, args + count);
  placed.resize(num_parameters, nullptr);
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(names); ++i) {
    PyObject* const name = PyTuple_GET_ITEM(names, i);
    std::size_t index = 0;
    while (index < num_parameters &&
           PyUnicode_CompareWithASCIIString(name, function.parameters[index].name.c_str()) != 0)
      ++index;
    const char* const shown = PyUnicode_AsUTF8(name);
    if (shown == nullptr) return false;
    if (index == num_parameters)
      return refuse(function, given, "it has no parameter '" + std::string(shown) + "'");
    if (placed[index] != nullptr)
      return refuse(function, given, "argument '" + std::string(shown) + "' is given twice");
    placed[index] = args[count + i];
  }
  for (std::size_t i = 0; i < num_parameters; ++i) {
    if (placed[i] == nullptr)
      return refuse(function, given, "argument '" + function.parameters[i].name + "' is missing");
  }
  count = static_cast<Py_ssize_t>(num_parameters);
  replaced.set(std::move(placed));
  args = replaced.data();
  return true;
}

std::uint32_t kind_of(PyObject* value) {
  PyTypeObject* const type = Py_TYPE(value);
  if (value == Py_None) return CppParameter::kNone;
  if (type == &PyBool_Type) return CppParameter::kBool;
  if (type == &PyLong_Type) return CppParameter::kInt;
  if (type == &PyFloat_Type) return CppParameter::kFloat;
  if (type == &PyUnicode_Type) return CppParameter::kStr;
  if (type == &PyBytes_Type) return CppParameter::kBytes;
  if (type == &PyList_Type) return CppParameter::kList;
  if (type == &PyTuple_Type) return CppParameter::kTuple;
  if (type == &PyDict_Type) return CppParameter::kDict;
  return 0;
}

/// A class of haz's own; nullptr, without an error, where it can't be imported.
PyTypeObject* haz_type(PyObject*& cache, const char* module, const char* name) {
  if (cached_attribute(cache, module, name) == nullptr) PyErr_Clear();
  return reinterpret_cast<PyTypeObject*>(cache);
}

/// Other engines have refs of their own, derived from the same class.
bool is_ref_of_any_engine(PyObject* value) {
  if (is_ref(value)) return true;
  static PyObject* base = nullptr;
  PyTypeObject* const type = haz_type(base, "haz._core.refs", "ObjectRef");
  return type != nullptr && PyObject_TypeCheck(value, type) != 0;
}

bool fits(PyObject* value, const CppParameter& parameter) {
  if (parameter.smallest == INT64_MIN && parameter.greatest == UINT64_MAX) return true;
  int overflow = 0;
  const long long number = PyLong_AsLongLongAndOverflow(value, &overflow);
  if (overflow == 0) {
    return number >= parameter.smallest &&
           (number < 0 || static_cast<std::uint64_t>(number) <= parameter.greatest);
  }
  if (overflow < 0 || parameter.greatest != UINT64_MAX) return false;
  const bool fits_unsigned =
      PyLong_AsUnsignedLongLong(value) != ~0ULL || PyErr_Occurred() == nullptr;
  PyErr_Clear();
  return fits_unsigned;
}

bool is_actor_handle(PyObject* value) {
  static PyObject* type = nullptr;
  return Py_TYPE(value) == haz_type(type, "haz._core.actor", "ActorHandle");
}

/// What to do instead where an argument is, or holds, such a value; empty: there is nothing to say.
std::string advice(PyObject* value) {
  if (!is_actor_handle(value)) return "";
  return ". A handle can't leave Python: give the actor a name, pass that as a string, and find "
         "the "
         "actor with it in C++, by haz::get_py_actor(name), or haz::get_actor<Class>(name) where "
         "its "
         "class is one of C++";
}

/// What in `value` C++ can't read: an item, an item of an item and so on, or all of it. Borrowed.
PyObject* find_unreadable(PyObject* value) {
  const auto is_readable = [](PyObject* item) {
    ScopedEncoder encoder;
    const bool done = encoder->encode(item, Encoder::Pickles::kRefuse);
    PyErr_Clear();
    return done;
  };
  for (unsigned depth = 0; depth <= kMaxValueDepth; ++depth) {
    PyObject* inner = nullptr;
    if (Py_TYPE(value) == &PyDict_Type) {
      PyObject* key = nullptr;
      PyObject* item = nullptr;
      Py_ssize_t next = 0;
      while (inner == nullptr && PyDict_Next(value, &next, &key, &item) != 0)
        inner = !is_readable(key) ? key : !is_readable(item) ? item : nullptr;
    } else if (Py_TYPE(value) == &PyList_Type || Py_TYPE(value) == &PyTuple_Type) {
      for (Py_ssize_t i = 0; inner == nullptr && i < PySequence_Fast_GET_SIZE(value); ++i) {
        PyObject* const item = PySequence_Fast_GET_ITEM(value, i);
        if (!is_readable(item)) inner = item;
      }
    }
    if (inner == nullptr) break;
    value = inner;
  }
  return value;
}

/// Why C++ can't read what find_unreadable() has found.
std::string why_unreadable(PyObject* value) {
  const std::string what = Py_TYPE(value)->tp_name;
  ArrayElement element{};
  if (array_kind(value, &element) == ArrayKind::kArray) {
    return "an array with gaps, or with elements that C++ has no word for: "
           "numpy.ascontiguousarray() makes one without gaps";
  }
  if (Py_TYPE(value) == &PyUnicode_Type) return "a str with surrogates, which UTF-8 has not";
  if (kind_of(value) != 0) return "a " + what + " that is nested too deeply, or holds itself";
  if (is_ref_of_any_engine(value))
    return what + ", of the inline engine, where functions of C++ have no refs";
  return what + ", which C++ has no word for" + advice(value);
}

/// The array without gaps; nullptr with a Python error.
PyObject* without_gaps(PyObject* array) {
  static PyObject* make = nullptr;
  if (cached_attribute(make, "numpy", "ascontiguousarray") == nullptr) return nullptr;
  return PyObject_CallOneArg(make, array);
}

}  // namespace

CppSignature parse_cpp_signature(std::string_view function, std::string_view text,
                                 std::string_view names, haz::detail::function_kind kind) {
  CppSignature signature{std::string(function), std::string(text), kind, {}};
  std::vector<std::string_view> types = split_list(in_brackets(text));
  const std::vector<std::string_view> all_names = split_list(names);
  const bool has_names = types.size() == all_names.size();
  for (std::size_t i = 0; i < types.size(); ++i) {
    if (has_names) types[i].remove_suffix(std::min(all_names[i].size() + 1, types[i].size()));
    signature.parameters.push_back(parse(types[i]));
    if (has_names) signature.parameters.back().name = all_names[i];
  }
  return signature;
}

void ReplacedArguments::replace(PyObject* const*& args, Py_ssize_t count, Py_ssize_t index,
                                PyObject* object) {
  if (all_.empty()) {
    all_.assign(args, args + count);
    args = all_.data();
  }
  owned_.push_back(object);
  all_[static_cast<std::size_t>(index)] = object;
}

bool check_readable(const CppSignature& function, PyObject* const* args, Py_ssize_t count) {
  for (Py_ssize_t i = 0; i < count; ++i) {
    if (is_ref_of_any_engine(args[i])) continue;
    ScopedEncoder encoder;
    if (encoder->encode(args[i], Encoder::Pickles::kRefuse)) continue;
    return PyErr_Occurred() == nullptr && refuse_unreadable(function, args, count, i);
  }
  return true;
}

bool refuse_unreadable(const CppSignature& function, PyObject* const* args, Py_ssize_t count,
                       Py_ssize_t index) {
  PyObject* const found = find_unreadable(args[index]);
  return refuse(function, args, count, index,
                (found == args[index] ? "is " : "holds ") + why_unreadable(found));
}

bool check_cpp_arguments(const CppSignature& function, PyObject* const*& args, Py_ssize_t& count,
                         PyObject* names, ReplacedArguments& replaced) {
  const std::vector<CppParameter>& parameters = function.parameters;
  if (names != nullptr && PyTuple_GET_SIZE(names) != 0 &&
      !arrange(function, args, count, names, replaced)) {
    return false;
  }
  if (static_cast<std::size_t>(count) != parameters.size()) {
    return refuse(function, described(args, count, nullptr),
                  "it takes " + std::to_string(parameters.size()) + " arguments");
  }
  for (Py_ssize_t i = 0; i < count; ++i) {
    PyObject* value = args[i];
    const CppParameter& parameter = parameters[static_cast<std::size_t>(i)];
    const std::uint32_t kind = kind_of(value);
    if ((kind & parameter.accepts) != 0) {
      if (kind == CppParameter::kInt && (parameter.accepts & CppParameter::kFloat) == 0 &&
          !fits(value, parameter)) {
        return refuse(function, args, count, i, "does not fit into " + parameter.type,
                      PyExc_OverflowError);
      }
      continue;
    }
    const std::string wanted = "must be " + parameter.type + ", not ";
    if (kind != 0) return refuse(function, args, count, i, wanted + described(value));
    if (is_ref_of_any_engine(value)) continue;
    ArrayElement element{};
    ArrayKind array = array_kind(value, &element);
    if (array == ArrayKind::kUnknown) {
      if (!load_numpy()) return false;
      array = array_kind(value, &element);
    }
    if (array == ArrayKind::kScalar || parameter.accepts == CppParameter::kAll) continue;
    if (array != ArrayKind::kArray)
      return refuse(function, args, count, i, wanted + described(value) + advice(value));
    ArrayMemory memory;
    if (!describe_array(value, &memory)) {
      PyObject* const copy = without_gaps(value);
      if (copy == nullptr) return false;
      replaced.replace(args, count, i, copy);
      if (!describe_array(copy, &memory)) {
        return refuse(function, args, count, i,
                      wanted + "an array of elements that C++ has no word for");
      }
    }
    Py_DECREF(memory.keeper);
    if ((parameter.accepts & CppParameter::kArray) == 0)
      return refuse(function, args, count, i, wanted + described(args[i]));
    if (memory.element == parameter.element && memory.dimensions == parameter.dimensions) continue;
    std::string why = wanted + described(args[i]);
    if (memory.dimensions == parameter.dimensions) {
      why += std::string(" (convert it: .astype(\"") + numpy_name(parameter.element) + "\"))";
    }
    return refuse(function, args, count, i, why);
  }
  return true;
}

}  // namespace haz::py
