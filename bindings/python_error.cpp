#include "python_error.h"

namespace haz::py {

#if PY_VERSION_HEX >= 0x030C0000

PyObject* take_exception() { return PyErr_GetRaisedException(); }

void restore_exception(PyObject* error) { PyErr_SetRaisedException(error); }

#else

PyObject* take_exception() {
  PyObject* type = nullptr;
  PyObject* value = nullptr;
  PyObject* traceback = nullptr;
  PyErr_Fetch(&type, &value, &traceback);
  PyErr_NormalizeException(&type, &value, &traceback);
  if (traceback != nullptr && value != nullptr) PyException_SetTraceback(value, traceback);
  Py_XDECREF(type);
  Py_XDECREF(traceback);
  return value;
}

void restore_exception(PyObject* error) {
  PyErr_Restore(Py_NewRef(reinterpret_cast<PyObject*>(Py_TYPE(error))), error,
                PyException_GetTraceback(error));
}

#endif

void raise_exception(PyObject* error) {
  PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(error)), error);
  Py_DECREF(error);
}

}  // namespace haz::py
