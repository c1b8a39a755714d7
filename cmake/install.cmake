# What a program of C++ needs: headers, library, the files of find_package(haz) and pkg-config. In
# the wheel all of it lies in the package, haz/.
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

if(SKBUILD)
  set(haz_prefix "haz/")
  set(haz_lib_dir "haz/lib")
else()
  set(haz_prefix "")
  set(haz_lib_dir "${CMAKE_INSTALL_LIBDIR}")
endif()
set(haz_cmake_dir "${haz_lib_dir}/cmake/haz")

install(DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}/include/haz" DESTINATION "${haz_prefix}include"
        COMPONENT cpp FILES_MATCHING PATTERN "*.h")
set(haz_namelink NAMELINK_COMPONENT cpp)
if(SKBUILD AND NOT HAZ_STATIC)
  # What -lhaz finds, instead of a symbolic link.
  set(haz_namelink NAMELINK_SKIP)
  set(haz_linker_script "${CMAKE_CURRENT_BINARY_DIR}/linker_script/libhaz.so")
  file(WRITE "${haz_linker_script}" "INPUT(libhaz.so.${haz_soversion})\n")
  install(FILES "${haz_linker_script}" DESTINATION "${haz_lib_dir}" COMPONENT cpp)
endif()
install(TARGETS haz EXPORT hazTargets
        LIBRARY DESTINATION "${haz_lib_dir}" COMPONENT cpp ${haz_namelink}
        ARCHIVE DESTINATION "${haz_lib_dir}" COMPONENT cpp
        INCLUDES DESTINATION "${haz_prefix}include")
install(EXPORT hazTargets NAMESPACE haz:: DESTINATION "${haz_cmake_dir}" COMPONENT cpp)

configure_package_config_file(cmake/hazConfig.cmake.in "${CMAKE_CURRENT_BINARY_DIR}/hazConfig.cmake"
                              INSTALL_DESTINATION "${haz_cmake_dir}")
write_basic_package_version_file("${CMAKE_CURRENT_BINARY_DIR}/hazConfigVersion.cmake"
                                 COMPATIBILITY SameMinorVersion)
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/hazConfig.cmake"
              "${CMAKE_CURRENT_BINARY_DIR}/hazConfigVersion.cmake"
        DESTINATION "${haz_cmake_dir}" COMPONENT cpp)

# The folders are found from the place of the file, so that the whole can be moved.
file(RELATIVE_PATH haz_pc_root "/${haz_lib_dir}/pkgconfig" "/${haz_prefix}")
file(RELATIVE_PATH haz_pc_lib "/${haz_prefix}" "/${haz_lib_dir}")
configure_file(cmake/haz.pc.in "${CMAKE_CURRENT_BINARY_DIR}/haz.pc" @ONLY)
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/haz.pc" DESTINATION "${haz_lib_dir}/pkgconfig"
        COMPONENT cpp)
