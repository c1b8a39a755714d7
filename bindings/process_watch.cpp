#include "process_watch.h"

#include <algorithm>
#include <clocale>
#include <cstring>

namespace haz::py {

namespace {

constexpr std::array<const char*, 5> kWatchedNames = {"path", "argv", "stdin", "stdout", "stderr"};
constexpr std::size_t kNumLists = 2;  ///< The first ones.

#if PY_VERSION_HEX >= 0x030C0000
std::uint64_t dictionary_changes = 0;

int count_change(PyDict_WatchEvent /*event*/, PyObject* /*dict*/, PyObject* /*key*/,
                 PyObject* /*value*/) {
  ++dictionary_changes;
  return 0;
}

bool watch_dictionary(PyObject* dictionary) {
  const int watcher = PyDict_AddWatcher(count_change);
  return watcher >= 0 && PyDict_Watch(watcher, dictionary) == 0;
}

std::uint64_t version_of(PyObject* /*dictionary*/) { return dictionary_changes; }
#else
bool watch_dictionary(PyObject* /*dictionary*/) { return true; }

std::uint64_t version_of(PyObject* dictionary) {
  return reinterpret_cast<PyDictObject*>(dictionary)->ma_version_tag;
}
#endif

/// Borrowed; null without an error where there is no such entry.
PyObject* entry(PyObject* dictionary, PyObject* name) {
  PyObject* value = PyDict_GetItemWithError(dictionary, name);
  if (value == nullptr) PyErr_Clear();
  return value;
}

void assign(PyObject*& to, PyObject* value) {
  Py_XINCREF(value);
  Py_XSETREF(to, value);
}

/// A tuple of what `list` holds; null where it is no list.
PyObject* items_of(PyObject* list) {
  if (list == nullptr || !PyList_Check(list)) return nullptr;
  PyObject* items = PyList_AsTuple(list);
  if (items == nullptr) PyErr_Clear();
  return items;
}

/// Whether `list` holds the very objects of `items`.
bool holds(PyObject* list, PyObject* items) {
  if (list == nullptr || !PyList_Check(list)) return items == nullptr;
  if (items == nullptr || PyList_GET_SIZE(list) != PyTuple_GET_SIZE(items)) return false;
  PyObject** first = PySequence_Fast_ITEMS(list);
  return std::equal(first, first + PyList_GET_SIZE(list), PySequence_Fast_ITEMS(items));
}

}  // namespace

bool ProcessWatch::noted_ = false;

bool ProcessWatch::start() {
  PyObject* module = PyImport_ImportModule("sys");
  if (module == nullptr) return false;
  sys_ = PyModule_GetDict(module);
  Py_DECREF(module);  // which is never gone
  modules_ = PyImport_GetModuleDict();
  for (std::size_t i = 0; i < kNumWatched; ++i) {
    names_[i] = PyUnicode_InternFromString(kWatchedNames[i]);
    if (names_[i] == nullptr) return false;
  }
  filters_name_ = PyUnicode_InternFromString("filters");
  if (filters_name_ == nullptr || !watch_dictionary(sys_)) return false;
  num_modules_ = PyDict_GET_SIZE(modules_);
  accept();
  return true;
}

void ProcessWatch::accept() {
  sys_version_ = version_of(sys_);
  for (std::size_t i = 0; i < kNumWatched; ++i)
    assign(values_[i], entry(sys_, names_[i]));
  for (std::size_t i = 0; i < kNumLists; ++i)
    Py_XSETREF(items_[i], items_of(values_[i]));
  if (warnings_ == nullptr) {
    PyObject* module = PyDict_GetItemString(modules_, "warnings");
    if (module != nullptr && PyModule_Check(module)) {
      Py_INCREF(module);  // for ever
      warnings_ = PyModule_GetDict(module);
    }
  }
  if (warnings_ != nullptr) {
    assign(filters_, entry(warnings_, filters_name_));
    Py_XSETREF(filter_items_, items_of(filters_));
  }
  recursion_limit_ = Py_GetRecursionLimit();
  collects_garbage_ = PyGC_IsEnabled();
  locale_ = std::setlocale(LC_ALL, nullptr);
  noted_ = false;
}

bool ProcessWatch::changed() {
  return noted_ || lists_differ() || values_differ() || filters_differ() ||
         Py_GetRecursionLimit() != recursion_limit_ || PyGC_IsEnabled() != collects_garbage_ ||
         std::strcmp(std::setlocale(LC_ALL, nullptr), locale_.c_str()) != 0;
}

bool ProcessWatch::lists_differ() const {
  return !holds(values_[0], items_[0]) || !holds(values_[1], items_[1]);
}

bool ProcessWatch::values_differ() {
  const std::uint64_t version = version_of(sys_);
  if (version == sys_version_) return false;
  for (std::size_t i = 0; i < kNumWatched; ++i) {
    if (entry(sys_, names_[i]) != values_[i]) return true;
  }
  sys_version_ = version;
  return false;
}

bool ProcessWatch::filters_differ() {
  if (warnings_ == nullptr) return false;
  return entry(warnings_, filters_name_) != filters_ || !holds(filters_, filter_items_);
}

bool ProcessWatch::take_imports() {
  const Py_ssize_t before = num_modules_;
  num_modules_ = PyDict_GET_SIZE(modules_);
  return num_modules_ != before;
}

// ---- context variables -------------------------------------------------------------------------

bool TaskContext::start() {
  own_ = PyContext_CopyCurrent();
  if (own_ == nullptr) return false;
  has_variables_ = PyMapping_Size(own_) != 0;
  current_ = enter_nested();
  return true;
}

bool TaskContext::changed() const {
  return current_ != nullptr && (has_variables_ || PyMapping_Size(current_) != 0);
}

void TaskContext::renew(bool keep) {
  if (keep) {
    PyObject* now = PyContext_CopyCurrent();
    if (now == nullptr) PyErr_Clear();
    if (now != nullptr) Py_SETREF(own_, now);
    has_variables_ = PyMapping_Size(own_) != 0;
  }
  leave_nested(current_);
  current_ = enter_nested();
}

namespace {

/// decimal's context is an object that its variable shares with all copies of `context`, so the
/// one that is entered gets its own.
void copy_decimal_context(PyObject* context) {
  PyObject* items = PyMapping_Items(context);
  for (Py_ssize_t i = 0; items != nullptr && i < PyList_GET_SIZE(items); ++i) {
    PyObject* pair = PyList_GET_ITEM(items, i);
    PyObject* value = PyTuple_GET_ITEM(pair, 1);
    if (std::strcmp(Py_TYPE(value)->tp_name, "decimal.Context") != 0) continue;
    PyObject* copy = PyObject_CallMethod(value, "copy", nullptr);
    if (copy != nullptr) Py_XDECREF(PyContextVar_Set(PyTuple_GET_ITEM(pair, 0), copy));
    Py_XDECREF(copy);
  }
  Py_XDECREF(items);
  PyErr_Clear();
}

}  // namespace

PyObject* TaskContext::enter_nested() {
  PyObject* entered = PyContext_Copy(own_);
  if (entered != nullptr && PyContext_Enter(entered) != 0) Py_CLEAR(entered);
  if (entered == nullptr) PyErr_Clear();
  if (entered != nullptr && has_variables_) copy_decimal_context(entered);
  return entered;
}

void TaskContext::leave_nested(PyObject* entered) {
  if (entered == nullptr) return;
  if (PyContext_Exit(entered) != 0) PyErr_Clear();  // the task has entered another one for good
  Py_DECREF(entered);
}

}  // namespace haz::py
