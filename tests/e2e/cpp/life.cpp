// A program of C++ from its start to its end, in the ways that its first argument names.
#include <haz/haz.h>
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <optional>
#include <string>
#include <thread>

namespace {

int initialised = 0;
struct counter {
  counter() { ++initialised; }
} count_once;

int count() { return initialised; }
HAZ_REMOTE(count);

int parent_pid() { return static_cast<int>(::getppid()); }
HAZ_REMOTE(parent_pid);

int print(const std::string& text) {
  std::printf("%s by printf\n", text.c_str());
  std::cout << text << " by cout\n";
  std::cerr << text << " by cerr\n";
  std::printf("unfinished");
  return 0;
}
HAZ_REMOTE(print);

int crash() {
  std::cerr << "last words\n";
  std::abort();
}
HAZ_REMOTE(crash);

int threads() { return haz::max_threads(); }
HAZ_REMOTE(threads);

haz::view<double> keep_view() {
  return haz::get(haz::ref<haz::view<double>>(haz::put(std::vector<double>(5000, 2.5))));
}

int run_output() {
  haz::get(haz::task(print).remote("one"));
  haz::get(haz::task(print).options({.name = "renamed"}).remote("two"));
  try {
    haz::get(haz::task(crash).options({.max_retries = 0}).remote());
  } catch (const haz::worker_crashed_error& error) {
    std::printf("%s\n", std::strstr(error.what(), "last words") != nullptr ? "told" : error.what());
  }
  return 0;
}

// The zygote that is started after the first one is another process of the same program.
int run_zygote_death() {
  const int zygote = haz::get(haz::task(parent_pid).remote());
  ::kill(zygote, SIGKILL);
  int other = zygote;
  while (other == zygote) {
    try {
      other = haz::get(haz::task(parent_pid).remote());
    } catch (const haz::worker_crashed_error&) {
      // It was running in a worker of the first one.
    }
  }
  std::printf("another zygote, initialised %d times\n", haz::get(haz::task(count).remote()));
  return 0;
}

int run(const std::string& way, std::optional<haz::runtime>& runtime) {
  if (way == "plain") {
    std::printf("%d\n", haz::get(haz::task(count).remote()));
  } else if (way == "output") {
    return run_output();
  } else if (way == "zygote") {
    return run_zygote_death();
  } else if (way == "threads") {
    std::printf("%d %d\n", haz::get(haz::task(threads).remote()),
                haz::get(haz::task(threads).options({.num_cpus = 3}).remote()));
  } else if (way == "python") {
    std::ifstream maps("/proc/self/maps");
    for (std::string line; std::getline(maps, line);) {
      if (line.find("libpython") != std::string::npos) std::printf("%s\n", line.c_str());
    }
  } else if (way == "outlive") {
    const haz::view<double> view = keep_view();
    const haz::ref<int> ref = haz::put(5);
    runtime.reset();
    const haz::ref<int> copy = ref;
    std::printf("%g %d\n", view[4999], haz::is_running() ? 1 : 0);
    try {
      (void)haz::get(copy);
    } catch (const haz::error& error) {
      std::printf("%s\n", error.what());
    }
  } else if (way == "exit") {
    (void)haz::task(count).remote();
    std::exit(3);
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  std::printf("before init, ");  // in the buffer when the copy is made
  std::optional<haz::runtime> runtime(haz::init(argc, argv, {.num_cpus = 3}));
  const std::string way = argc > 1 ? argv[1] : "plain";
  if (way == "again") {
    runtime.reset();
    std::thread([] {}).join();
    runtime.emplace(haz::init(argc, argv));
    std::printf("%d\n", haz::get(haz::task(count).remote()));
    return 0;
  }
  return run(way, runtime);
}
