# The extension module haz._native, its stub, and where they go.
file(GLOB haz_binding_sources CONFIGURE_DEPENDS bindings/*.cpp)
if(NOT haz_binding_sources)
  message(STATUS "haz: no bindings/*.cpp yet, no extension module")
  return()
endif()

find_package(Python 3.10 REQUIRED COMPONENTS Interpreter Development.Module)
execute_process(COMMAND "${Python_EXECUTABLE}" -m nanobind --cmake_dir
                OUTPUT_VARIABLE nanobind_ROOT OUTPUT_STRIP_TRAILING_WHITESPACE
                COMMAND_ERROR_IS_FATAL ANY)
find_package(nanobind CONFIG REQUIRED)

# The module has a folder of its own, so that the stub generator, which puts that folder on
# sys.path, sees no file of the package that shadows the standard library.
set(haz_module_dir "${CMAKE_CURRENT_BINARY_DIR}/module")
# Functions of C++ libraries use the engine of the worker that has loaded them.
nanobind_add_module(_native NB_STATIC NOMINSIZE NB_SUPPRESS_WARNINGS ${haz_binding_sources}
                    src/api/client_engine.cpp src/api/completions.cpp src/api/program.cpp)
target_link_libraries(_native PRIVATE haz_core haz_warnings)
haz_precompile(_native <Python.h>)
# The shared libstdc++ takes longer to load than this module, in the driver and in the zygote.
# libgcc stays shared: threads that the interpreter ends unwind through it.
include(CheckLinkerFlag)
check_linker_flag(CXX -static-libstdc++ HAZ_HAS_STATIC_LIBSTDCXX)
if(HAZ_HAS_STATIC_LIBSTDCXX AND NOT HAZ_SANITIZE)
  target_link_options(_native PRIVATE -static-libstdc++ "LINKER:--exclude-libs,ALL"
                                      "LINKER:--gc-sections")
endif()
set_target_properties(_native PROPERTIES LIBRARY_OUTPUT_DIRECTORY "${haz_module_dir}")
add_dependencies(extension _native)
install(TARGETS _native LIBRARY DESTINATION haz)

# A sanitized module cannot be imported by a plain interpreter, so it has no stub.
if(NOT HAZ_SANITIZE)
  nanobind_add_stub(_native_stub MODULE _native OUTPUT "${haz_module_dir}/_native.pyi"
                    PYTHON_PATH "${haz_module_dir}" DEPENDS _native)
  install(FILES "${haz_module_dir}/_native.pyi" DESTINATION haz)
endif()

if(HAZ_INPLACE)
  # Copy under another name, then rename: a process that has mapped the old module keeps it.
  set(package_dir "${CMAKE_CURRENT_SOURCE_DIR}/python/haz")
  add_custom_command(
    TARGET _native POST_BUILD
    COMMAND "${CMAKE_COMMAND}" -E copy "$<TARGET_FILE:_native>"
            "${package_dir}/.$<TARGET_FILE_NAME:_native>.tmp"
    COMMAND "${CMAKE_COMMAND}" -E rename "${package_dir}/.$<TARGET_FILE_NAME:_native>.tmp"
            "${package_dir}/$<TARGET_FILE_NAME:_native>"
    VERBATIM)
  if(TARGET _native_stub)
    add_custom_command(
      OUTPUT "${haz_module_dir}/stub.copied"
      COMMAND "${CMAKE_COMMAND}" -E copy_if_different "${haz_module_dir}/_native.pyi"
              "${package_dir}/_native.pyi"
      COMMAND "${CMAKE_COMMAND}" -E touch "${haz_module_dir}/stub.copied"
      DEPENDS "${haz_module_dir}/_native.pyi"
      VERBATIM)
    add_custom_target(_native_stub_in_place ALL DEPENDS "${haz_module_dir}/stub.copied")
    add_dependencies(extension _native_stub_in_place)
  endif()
endif()
