# Writes a source file that names the core's build: a hash of its sources. Run with -P.
# SOURCES: files, with spaces; OUTPUT: where to.
separate_arguments(SOURCES)
set(hashes "${VERSION}")
foreach(source IN LISTS SOURCES)
  file(SHA256 "${source}" hash)
  string(APPEND hashes "${hash}")
endforeach()
string(SHA256 hash "${hashes}")
string(SUBSTRING "${hash}" 0 16 hash)
file(WRITE "${OUTPUT}" "#include \"base/build_id.h\"

namespace haz {

const char* build_id() noexcept { return \"${VERSION}-${hash}\"; }

}  // namespace haz
")
