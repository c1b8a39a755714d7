// A program that joins the long-lived node of HAZ_ADDRESS, in the ways that its first argument
// names.
#include <haz/haz.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <ranges>
#include <string>
#include <thread>
#include <vector>

#include "ledger.h"

namespace {

using namespace std::chrono_literals;

int initialised = 0;
struct counting {
  counting() { ++initialised; }
} count_once;

int initialisations() { return initialised; }
HAZ_REMOTE(initialisations);

int twice(int x) { return 2 * x; }
HAZ_REMOTE(twice);

int nested(int x) { return haz::get(haz::task(twice).remote(x)) + 1; }
HAZ_REMOTE(nested);

int said(const std::string& text) {
  std::cout << text << "\n";
  std::cerr << text << " again\n";
  return 0;
}
HAZ_REMOTE(said);

std::string surroundings(const std::string& variable) {
  const char* const value = std::getenv(variable.c_str());
  char folder[4096];
  return std::string(value != nullptr ? value : "none") + " " + ::getcwd(folder, sizeof folder);
}
HAZ_REMOTE(surroundings);

int crash() { std::abort(); }
HAZ_REMOTE(crash);

int crash_at(int x) { return x == 2 ? crash() : x; }
HAZ_REMOTE(crash_at);

void sleep_for_ever() { std::this_thread::sleep_for(1h); }
HAZ_REMOTE(sleep_for_ever);

int count_notes(const haz::py_actor& notes) { return haz::get(notes.call<int>("count")); }
HAZ_REMOTE(count_notes);

double root(double x) {
  return haz::get(haz::py_function<double(double)>("math", "sqrt").remote(x));
}
HAZ_REMOTE(root);

class tally {
 public:
  int add(int amount) { return sum_ += amount; }
  int pid() { return ::getpid(); }

 private:
  int sum_ = 0;
};
HAZ_ACTOR(tally(), &tally::add, &tally::pid);
HAZ_PARAMETERS(tally::add, amount);

haz::actor<tally> shared_tally() {
  return haz::actor_of<tally>()
      .options({.name = "tally", .get_if_exists = true, .max_restarts = 1, .detached = true})
      .remote();
}

// A file of the same path that is another one.
void replace_this_program() {
  char path[4096];
  const ssize_t size = ::readlink("/proc/self/exe", path, sizeof path - 1);
  const std::string own(path, static_cast<std::size_t>(size));
  const std::string copy =
      "cp '" + own + "' '" + own + ".new' && mv '" + own + ".new' '" + own + "'";
  if (std::system(copy.c_str()) != 0) std::abort();
}

int run(const std::string& way) {
  if (way == "tasks") {
    std::vector<haz::ref<int>> refs;
    for (int i = 0; i < 500; ++i)
      refs.push_back(haz::task(twice).remote(i));
    int sum = 0;
    for (const int one : haz::get(refs))
      sum += one;
    std::printf("%d %d %d\n", sum, haz::get(haz::task(nested).remote(20)),
                haz::get(haz::task(initialisations).remote()));
  } else if (way == "map") {
    int sum = 0;
    for (const int one : haz::get(haz::task(twice).map(std::views::iota(0, 3000))))
      sum += one;
    const auto some = haz::task(nested).options({.chunksize = 3}).map(std::views::iota(0, 10));
    std::printf("%d %d\n", sum, haz::get(some).back());
    haz::get(haz::task(crash_at)
                 .options({.max_retries = 0, .chunksize = 2})
                 .map(std::views::iota(0, 4)));
  } else if (way == "arrays") {
    const haz::ref<std::vector<double>> lent = haz::put(std::vector<double>(100'000, 1.5));
    const haz::view<double> view = haz::get(haz::ref<haz::view<double>>(lent));
    std::printf("%g\n", view[99'999]);
  } else if (way == "output") {
    haz::get(haz::task(said).remote("told"));
  } else if (way == "surroundings") {
    std::printf("%s\n", haz::get(haz::task(surroundings).remote("JOINED_TEST")).c_str());
  } else if (way == "add") {
    std::printf("%d\n", haz::get(shared_tally().call(&tally::add, 1)));
  } else if (way == "kill-process") {
    const haz::actor<tally> one = shared_tally();
    ::kill(haz::get(one.call(&tally::pid)), SIGKILL);
    for (;;) {
      try {
        std::printf("%d\n", haz::get(one.call(&tally::add, 1)));
        return 0;
      } catch (const haz::actor_unavailable_error&) {
        // The call had begun when the process died.
      }
    }
  } else if (way == "kill") {
    haz::kill(haz::get_actor<tally>("tally"));
  } else if (way == "ledger") {  // a program of Python has made it, of a class of C++
    const auto shared = haz::get_actor<ledger>("ledger");
    const std::vector<double> amounts(100'000, 0.5);
    std::printf("%g\n", haz::get(shared.call(&ledger::add, amounts)));
    haz::get(shared.call(&ledger::fail));
  } else if (way == "python-actor") {  // of a class of Python
    const haz::py_actor notes = haz::get_py_actor("notes");
    std::printf("%s\n", haz::get(notes.call<std::string>("add", "from C++", 3)).c_str());
    std::printf("%d\n", haz::get(haz::task(count_notes).remote(notes)));
    haz::get(notes.call<int>("add", "of another type", 3));
  } else if (way == "python") {
    const auto hypot = haz::py_function<double(double, double)>("math", "hypot");
    std::printf("%g %g\n", haz::get(hypot.remote(3.0, 4.0)), haz::get(haz::task(root).remote(49)));
    const std::vector<double> cathetus = {3, 6, 9};
    std::printf("%g\n", haz::get(hypot.map(cathetus, std::vector{4.0, 8.0})).back());
  } else if (way == "own-module") {
    const auto add_to = haz::py_function<int(std::string, int)>("own_module", "add_to");
    const auto variable = haz::py_function<std::string(std::string)>("own_module", "variable");
    std::printf("%d\n", haz::get(add_to.remote("tally", 5)));
    std::printf("%s\n", haz::get(variable.remote("JOINED_TEST")).c_str());
  } else if (way == "crash") {
    haz::get(haz::task(crash).options({.max_retries = 0}).remote());
  } else if (way == "wait") {
    const haz::ref<void> never = haz::task(sleep_for_ever).remote();
    std::printf("waiting\n");
    std::fflush(stdout);
    haz::get(never);
  } else if (way == "replaced") {
    replace_this_program();
    haz::get(haz::task(twice).remote(1));
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string way = argc > 1 ? argv[1] : "tasks";
  try {
    haz::runtime_options options{.address = "auto", .name_space = "tests"};
    if (way == "own-options") options.num_cpus = 2;
    const auto runtime = haz::init(argc, argv, options);
    return run(way);
  } catch (const haz::node_died_error& error) {
    std::printf("node died: %s\n", error.what());
    return 2;
  } catch (const haz::error& error) {
    std::printf("%s\n", error.what());
    return 1;
  }
}
