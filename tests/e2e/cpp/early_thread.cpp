// A static object that starts a thread: no copy of this program can be a zygote.
#include <haz/haz.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <thread>

namespace {

std::atomic<bool> ended = false;
std::jthread early([] {
  while (!ended)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
});

int twice(int x) { return 2 * x; }
HAZ_REMOTE(twice);

}  // namespace

int main(int argc, char** argv) {
  {
    const auto runtime = haz::init(argc, argv);
    std::printf("%d\n", haz::get(haz::task(twice).remote(21)));
  }
  ended = true;
}
