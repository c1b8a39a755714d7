# haz_unit_tests, haz_model_tests, haz_ipc_tests from tests/<kind>/**/*_test.cpp.
# Each links what tests/support/ holds; helper programs of the ipc tests are
# tests/ipc/**/*_child.cpp and land beside the test executable.
find_package(GTest REQUIRED)
include(GoogleTest)

# The public headers run on OpenMP. ThreadSanitizer does not know the barriers of its library, and
# sees races where there are none: there, and without OpenMP, they run on std::thread.
if(NOT HAZ_SANITIZE MATCHES "thread")
  find_package(OpenMP COMPONENTS CXX)
endif()
if(OpenMP_CXX_FOUND)
  file(GLOB haz_openmp_sources CONFIGURE_DEPENDS tests/unit/parallel/*.cpp)
  set_source_files_properties(${haz_openmp_sources} PROPERTIES COMPILE_OPTIONS "${OpenMP_CXX_FLAGS}"
                              SKIP_PRECOMPILE_HEADERS ON)
endif()

# A watchdog against hangs, not a speed limit.
set(haz_test_timeout_s 300)
if(HAZ_SANITIZE)
  set(haz_test_timeout_s 900)
endif()

file(GLOB_RECURSE haz_support_sources CONFIGURE_DEPENDS tests/support/*.cpp)
foreach(kind unit model ipc)
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS tests/${kind}/*_test.cpp)
  if(NOT sources)
    continue()
  endif()
  set(target haz_${kind}_tests)
  add_executable(${target} ${sources} ${haz_support_sources})
  target_include_directories(${target} PRIVATE tests)
  target_link_libraries(${target} PRIVATE haz_core haz_warnings GTest::gtest GTest::gtest_main)
  haz_precompile(${target} <gtest/gtest.h>)
  if(OpenMP_CXX_FOUND AND kind STREQUAL "unit")
    target_link_libraries(${target} PRIVATE ${OpenMP_CXX_LIBRARIES})
  endif()
  gtest_discover_tests(${target} TEST_PREFIX "${kind}." DISCOVERY_MODE PRE_TEST
                       PROPERTIES LABELS ${kind} TIMEOUT ${haz_test_timeout_s})

  file(GLOB_RECURSE children CONFIGURE_DEPENDS tests/${kind}/*_child.cpp)
  foreach(child IN LISTS children)
    get_filename_component(stem "${child}" NAME_WE)
    add_executable(${stem} "${child}" ${haz_support_sources})
    target_include_directories(${stem} PRIVATE tests)
    target_link_libraries(${stem} PRIVATE haz_core haz_warnings)
    add_dependencies(${target} ${stem})
  endforeach()
endforeach()

# haz_memory_model_tests: code of src/queue compiled with atomics of a model, under its own names. Of
# the core they may link only what has no atomics.
file(GLOB sources CONFIGURE_DEPENDS tests/memory_model/*.cpp)
add_executable(haz_memory_model_tests ${sources})
target_include_directories(haz_memory_model_tests PRIVATE tests)
target_link_libraries(haz_memory_model_tests PRIVATE haz_core haz_warnings GTest::gtest
                                                     GTest::gtest_main)
haz_precompile(haz_memory_model_tests <gtest/gtest.h>)
gtest_discover_tests(haz_memory_model_tests TEST_PREFIX "memory_model." DISCOVERY_MODE PRE_TEST
                     PROPERTIES LABELS memory_model TIMEOUT ${haz_test_timeout_s})

# haz_api_tests: a program as users write them, on the library, with a main of its own.
file(GLOB sources CONFIGURE_DEPENDS tests/api/*.cpp)
add_executable(haz_api_tests ${sources})
target_include_directories(haz_api_tests PRIVATE tests)
target_link_libraries(haz_api_tests PRIVATE haz haz_warnings GTest::gtest)
haz_precompile(haz_api_tests <gtest/gtest.h>)
gtest_discover_tests(haz_api_tests TEST_PREFIX "api." DISCOVERY_MODE PRE_TEST
                     PROPERTIES LABELS api TIMEOUT ${haz_test_timeout_s})
