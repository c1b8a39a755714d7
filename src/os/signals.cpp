#include "os/signals.h"

#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>

namespace haz {

ScopedSignalBlock::ScopedSignalBlock() noexcept {
  sigset_t blocked;
  sigfillset(&blocked);
  for (const int kept : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS}) {
    sigdelset(&blocked, kept);
  }
  pthread_sigmask(SIG_SETMASK, &blocked, &previous_);
}

ScopedSignalBlock::~ScopedSignalBlock() { pthread_sigmask(SIG_SETMASK, &previous_, nullptr); }

void unblock_all_signals() noexcept {
  sigset_t none;
  sigemptyset(&none);
  pthread_sigmask(SIG_SETMASK, &none, nullptr);
}

void handle_signal(int signal_number, void (*handler)(int)) noexcept {
  struct sigaction action{};
  action.sa_handler = handler != nullptr ? handler : SIG_DFL;
  action.sa_flags = SA_RESTART;
  ::sigaction(signal_number, &action, nullptr);
}

UniqueFd open_child_signal_fd() noexcept {
  sigset_t wanted;
  sigemptyset(&wanted);
  sigaddset(&wanted, SIGCHLD);
  return UniqueFd(::signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK));
}

void drain_signal_fd(int fd) noexcept {
  signalfd_siginfo pending[8];
  while (::read(fd, pending, sizeof pending) > 0 || errno == EINTR) {
    errno = 0;
  }
}

}  // namespace haz
