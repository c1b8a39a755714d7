#include "api/node_joining.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>
#include <utility>
#include <vector>

#include "base/build_id.h"
#include "base/units.h"
#include "os/fd.h"
#include "os/machine.h"
#include "os/socket.h"

namespace haz {

namespace {

/// As in haz._core.node_address.
constexpr const char* kDefaultName = "default";
constexpr std::size_t kMostMessageBytes = 64 * kKiB;
/// How long the server may take to answer.
constexpr std::int64_t kAnswerNs = 10 * kSecondNs;
/// How long a thread that waits for the node spins before it sleeps.
constexpr std::int64_t kReplySpinNs = 200 * kMicrosecondNs;

bool is_name(const std::string& name) {
  return !name.empty() && name.front() != '.' &&
         std::all_of(name.begin(), name.end(), [](unsigned char one) {
           return std::isalnum(one) != 0 || one == '-' || one == '_' || one == '.' || one >= 0x80;
         });
}

/// The folder of this user's nodes, which only that user can enter.
Result<std::string> runtime_folder() {
  const char* const base = std::getenv("XDG_RUNTIME_DIR");
  const std::string folder = base != nullptr && *base != '\0'
                                 ? std::string(base) + "/haz"
                                 : "/tmp/haz-" + std::to_string(::getuid());
  struct stat status{};
  if (::lstat(folder.c_str(), &status) != 0) return folder;
  if (!S_ISDIR(status.st_mode) || status.st_uid != ::getuid() || (status.st_mode & 077) != 0) {
    return Error{ErrorKind::kInvalid,
                 folder +
                     " must be a folder that only this user can enter (chmod 700): sockets of "
                     "haz nodes are kept there. Set XDG_RUNTIME_DIR to use another one"};
  }
  return folder;
}

Result<std::string> socket_path(const std::string& address) {
  if (address.find('/') != std::string::npos) return address;
  const std::string name = address.empty() || address == "auto" ? kDefaultName : address;
  if (!is_name(name)) {
    return Error{ErrorKind::kInvalid,
                 "the name of a node is made of letters, digits, '-', '_' and "
                 "'.', and '" +
                     name + "' is not"};
  }
  auto folder = runtime_folder();
  if (!folder) return folder;
  return *folder + "/" + name + ".sock";
}

Error no_node(const std::string& address, const std::string& path, const std::string& why) {
  const bool is_default = address.empty() || address == "auto" || address == kDefaultName ||
                          address.find('/') != std::string::npos;
  return Error{ErrorKind::kNodeDied,
               "there is no haz node at " + path + " (" + why + "): start one by `haz start" +
                   (is_default ? "" : " --name " + address) +
                   "`, see `haz status`, or leave the address out to run without a server"};
}

/// As a string of JSON.
std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20 || byte >= 0x7F) {
      std::array<char, 8> escape{};
      std::snprintf(escape.data(), escape.size(), "\\u%04x", byte);
      out += escape.data();
    } else {
      out += c;
    }
  }
  return out + "\"";
}

std::string greeting(const std::string& program) {
  const char* const folds = std::getenv("HAZ_DEDUP_LOGS");
  const bool fold = folds == nullptr || std::string_view(folds) != "0";
  return R"({"op": "join", "language": "C++", "core": )" + quoted(build_id()) + R"(, "argv": [)" +
         quoted(program) + R"(], "fold_output": )" + (fold ? "true" : "false") + "}";
}

struct Answer {
  unsigned slot = 0;
  unsigned process = 0;
  UniqueFd arena;
};

/// The server answers a program of C++ in words: "joined SLOT PROCESS", or why not.
Result<Answer> read_answer(int socket, const std::string& path) {
  const auto refused = [&path](const std::string& why) {
    return Error{ErrorKind::kInvalid, "the haz node at " + path + " can't be joined: " + why};
  };
  std::vector<std::byte> buffer(kMostMessageBytes);
  std::size_t size = 0;
  std::vector<UniqueFd> fds;
  const SocketOutcome outcome = receive_message(socket, buffer, size, fds, true);
  if (outcome == SocketOutcome::kWouldBlock) return refused("its server does not answer");
  const std::string text(reinterpret_cast<const char*>(buffer.data()), size);
  if (outcome != SocketOutcome::kDone || text.empty()) {
    return refused("it has just ended; see `haz status`, or start one by `haz start`");
  }
  Answer answer;
  // NOLINTNEXTLINE(cert-err34-c): what is no answer of that form is an error
  if (std::sscanf(text.c_str(), "joined %u %u", &answer.slot, &answer.process) != 2 ||
      fds.size() != 1) {
    return refused(text);
  }
  answer.arena = std::move(fds.front());
  return answer;
}

/// A message of the server: for each line a byte that says whether it was written to standard
/// error, the size in four bytes, and the line.
void read_lines(std::span<const std::byte> message, const OnLine& on_line) {
  std::uint32_t size = 0;
  constexpr std::size_t kHead = 1 + sizeof size;
  while (message.size() >= kHead) {
    std::memcpy(&size, message.data() + 1, sizeof size);
    const bool is_stderr = message.front() != std::byte{0};
    message = message.subspan(kHead);
    if (size > message.size()) return;
    on_line(is_stderr, {reinterpret_cast<const char*>(message.data()), size});
    message = message.subspan(size);
  }
}

}  // namespace

Result<JoinedNode> join_node(const std::string& address, const std::string& program,
                             OnLine on_line) {
  auto path = socket_path(address);
  if (!path) return path.error();
  auto socket = connect_to_socket(*path, kAnswerNs);
  if (!socket) {
    const bool is_gone = socket.error().kind == ErrorKind::kLost;
    return is_gone ? no_node(address, *path, socket.error().message) : socket.error();
  }
  const std::string hello = greeting(program);
  if (send_message(socket->get(), std::as_bytes(std::span(hello))) != SocketOutcome::kDone) {
    return no_node(address, *path, "it has just ended");
  }
  auto answer = read_answer(socket->get(), *path);
  if (!answer) return answer.error();
  auto ring = RingClient::join(std::move(answer->arena), answer->slot, ProcessId{answer->process});
  if (!ring) return ring.error();
  // The server spins, and so does the worker.
  if (usable_cpus() > 2) (*ring)->spin_for_replies(kReplySpinNs);
  auto link = DriverLink::start(std::move(*socket), **ring,
                                [on_line = std::move(on_line)](std::span<const std::byte> message) {
                                  if (on_line) read_lines(message, on_line);
                                });
  if (!link) return link.error();
  return JoinedNode{std::move(*ring), std::move(*link)};
}

}  // namespace haz
