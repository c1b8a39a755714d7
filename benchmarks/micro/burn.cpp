// Keeps COUNT cores busy until killed: the "both cores busy" of the synchronous-call rows.
// usage: burn COUNT
#include <cstdlib>

#include "probe.h"

int main(int argc, char** argv) {
  const int count = argc > 1 ? std::atoi(argv[1]) : 1;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  for (int i = 1; i < count; ++i) {
    if (probe::fork_child() == 0) break;
  }
  volatile std::uint64_t spins = 0;
  for (;;)
    spins = spins + 1;
}
