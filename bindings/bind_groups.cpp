/// @file
/// Placement groups, for Python.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "object_ref.h"
#include "placement.h"
#include "session.h"
#include "session_checks.h"
#include "wire/value.h"

namespace nb = nanobind;

namespace haz::py {

Placement placement_of(const Session& session, nb::handle given) {
  if (given.is_none()) return {};
  const auto parts = nb::cast<nb::tuple>(given);
  const nb::handle ref = parts[0];
  if (ref.is_none()) return {kNoGroup, kAnyBundle, false};
  if (!is_ref(ref.ptr()) || generation_of_ref(ref.ptr()) != session.generation()) {
    set_haz_error("ObjectLostError", "the placement group is of a run of haz that has ended");
    throw nb::python_error();
  }
  return {id_of_ref(ref.ptr()), nb::cast<std::int32_t>(parts[1]), nb::cast<bool>(parts[2])};
}

namespace {

[[noreturn]] void throw_error(const Error& error) {
  if (error.kind == ErrorKind::kInvalid) {
    set_haz_error("InfeasibleResourcesError", error.message.c_str());
  } else if (error.kind == ErrorKind::kExists) {
    PyErr_SetString(PyExc_ValueError, error.message.c_str());
  } else if (PyErr_Occurred() == nullptr) {
    set_python_error(error);
  }
  throw nb::python_error();
}

/// The value of the object of a group: a pickle of `haz.engines.native.group_of(id)`. Written here,
/// as to pickle a Python object costs more than all the rest.
std::vector<std::byte> value_of_group(ObjectId id) {
  constexpr std::string_view kBegin =
      "\x80\x02"
      "chaz.engines.native\ngroup_of\n"
      "\x8a\x08";
  constexpr std::string_view kEnd = "\x85R.";
  std::vector<std::byte> value;
  const auto add = [&value](const void* data, std::size_t size) {
    const auto* bytes = static_cast<const std::byte*>(data);
    value.insert(value.end(), bytes, bytes + size);
  };
  const auto tag = static_cast<std::uint8_t>(ValueTag::kPickle);
  const auto size = static_cast<std::uint32_t>(kBegin.size() + sizeof id.value + kEnd.size());
  constexpr std::uint32_t kBuffers = 0;
  add(&tag, sizeof tag);
  add(&size, sizeof size);
  add(&kBuffers, sizeof kBuffers);
  add(kBegin.data(), kBegin.size());
  add(&id.value, sizeof id.value);
  add(kEnd.data(), kEnd.size());
  return value;
}

nb::object create_group(const nb::list& bundles, const std::string& strategy,
                        const std::string& name, const std::string& name_space, bool is_detached) {
  const std::shared_ptr<Session> session = session_or_throw();
  GroupSpec spec;
  spec.id = ObjectId{session->client().new_ids(1)};
  spec.name = name;
  spec.name_space = name_space;
  spec.strategy = strategy;
  spec.is_detached = is_detached;
  for (const nb::handle bundle : bundles) {
    auto& amounts = spec.bundles.emplace_back();
    for (const auto& [key, amount] : nb::cast<nb::dict>(bundle))
      amounts.emplace_back(nb::cast<std::string>(key), nb::cast<double>(amount));
  }
  const std::vector<std::byte> value = value_of_group(spec.id);
  GilHooks hooks;
  const Status made = session->client().create_group(spec, NewValue{.bytes = value}, hooks);
  if (!made) throw_error(made.error());
  PyObject* ref = adopt_ref(*session, spec.id);
  if (ref == nullptr) throw nb::python_error();
  return nb::steal(ref);
}

nb::object group_ref(std::uint64_t id) {
  const std::shared_ptr<Session> session = session_or_throw();
  PyObject* ref = new_ref(*session, ObjectId{id});
  if (ref == nullptr) throw nb::python_error();
  return nb::steal(ref);
}

void remove_group(nb::handle ref) {
  const std::shared_ptr<Session> session = session_or_throw();
  if (!is_ref(ref.ptr()) || generation_of_ref(ref.ptr()) != session->generation()) return;
  session->client().remove_group(id_of_ref(ref.ptr()));
}

}  // namespace

/// Adds what concerns placement groups to `m`.
void bind_groups(nb::module_& m) {
  m.def("create_group", create_group, nb::arg("bundles"), nb::arg("strategy"), nb::arg("name"),
        nb::arg("namespace"), nb::arg("is_detached"), "Make a placement group; return its ref.",
        nb::sig("def create_group(bundles: list[dict[str, float]], strategy: str, name: str, "
                "namespace: str, is_detached: bool) -> typing.Any"));
  m.def("group_ref", group_ref, nb::arg("id"), "A ref of the placement group of that number.",
        nb::sig("def group_ref(id: int) -> typing.Any"));
  m.def("remove_group", remove_group, nb::arg("ref"),
        "Remove a placement group; without effect if that was done, or its session has ended.",
        nb::sig("def remove_group(ref: object) -> None"));
}

}  // namespace haz::py
