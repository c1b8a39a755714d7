# Target `checkheaders`: each header of src/ and include/ compiles alone, and twice in one unit.
file(GLOB_RECURSE haz_headers CONFIGURE_DEPENDS
     RELATIVE "${CMAKE_CURRENT_SOURCE_DIR}" src/*.h include/*.h)
set(header_units "")
foreach(header IN LISTS haz_headers)
  string(REGEX REPLACE "^(src|include)/" "" included "${header}")
  string(MAKE_C_IDENTIFIER "${header}" unit)
  set(unit "${CMAKE_CURRENT_BINARY_DIR}/checkheaders/${unit}.cpp")
  file(CONFIGURE OUTPUT "${unit}"
       CONTENT "#include \"${included}\"\n#include \"${included}\"  // the guard holds\n" @ONLY)
  list(APPEND header_units "${unit}")
endforeach()
if(header_units)
  add_library(checkheaders OBJECT EXCLUDE_FROM_ALL ${header_units})
  target_link_libraries(checkheaders PRIVATE haz_core haz_warnings)
else()
  add_custom_target(checkheaders)
endif()
