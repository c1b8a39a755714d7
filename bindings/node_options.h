/// @file
/// What a node that a program starts for itself and one that others join have in common.
#pragma once

#include <nanobind/nanobind.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "node/node.h"
#include "session.h"

namespace haz::py {

/// Throws RuntimeError where this process has a node. With the GIL.
inline void check_no_session() {
  if (!current_session()) return;
  PyErr_SetString(PyExc_RuntimeError, "a node runs already");
  throw nanobind::python_error();
}

/// Options of a node, from Python's.
inline NodeOptions node_options_of(double num_cpus, const nanobind::dict& resources,
                                   std::uint64_t object_store_bytes,
                                   std::vector<std::string> zygote_argv,
                                   const nanobind::bytes& zygote_setup) {
  NodeOptions options;
  options.num_cpus = num_cpus;
  for (const auto& [name, amount] : resources) {
    options.resources.emplace_back(nanobind::cast<std::string>(name),
                                   nanobind::cast<double>(amount));
  }
  options.object_store_bytes = object_store_bytes;
  options.zygote_argv = std::move(zygote_argv);
  options.zygote_setup.assign(zygote_setup.c_str(), zygote_setup.size());
  return options;
}

/// Calls `take` with a list of what `item_of(line, text)` makes of each line and its text.
template <typename ItemOf>
void hand_over_lines(const nanobind::callable& take, const std::vector<LogLine>& lines,
                     const ItemOf& item_of) {
  const nanobind::gil_scoped_acquire gil;
  try {
    nanobind::list items;
    for (const LogLine& line : lines) {
      const std::string text = shown(line);
      items.append(item_of(
          line, nanobind::steal(PyUnicode_DecodeUTF8(
                    text.data(), static_cast<Py_ssize_t>(text.size()), "backslashreplace"))));
    }
    take(items);
  } catch (nanobind::python_error& error) {
    error.discard_as_unraisable(take);
  }
}

}  // namespace haz::py
