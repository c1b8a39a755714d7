# haz_micro_bench from benchmarks/micro/**/*_bench.cpp.
file(GLOB_RECURSE haz_bench_sources CONFIGURE_DEPENDS benchmarks/micro/*_bench.cpp)
if(haz_bench_sources)
  find_package(benchmark REQUIRED)
  add_executable(haz_micro_bench ${haz_bench_sources})
  target_link_libraries(haz_micro_bench PRIVATE haz_core haz_warnings benchmark::benchmark_main)
endif()
