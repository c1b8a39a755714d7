#include "api/program.h"

#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string_view>

#include "os/process.h"

namespace haz {

namespace {

constexpr std::string_view kProgramMark = "haz-exec";

void add(std::string& text, std::string_view part) {
  text += part;
  text += '\0';
}

}  // namespace

Result<std::string> describe_program(int argc, char** argv, const std::string& name_space) {
  auto file = own_program_file();
  if (!file) return file.error();
  std::string text;
  add(text, name_space);
  add(text, file->path);
  add(text, file->identity);
  add(text, working_folder());
  add(text, std::to_string(argc > 1 ? argc - 1 : 0));
  for (int i = 1; i < argc; ++i)
    add(text, argv[i]);
  for (char** one = environ; *one != nullptr; ++one)
    add(text, *one);
  return text;
}

std::string namespace_of_program(const std::string& program) {
  return program.substr(0, program.find('\0'));
}

std::vector<std::byte> with_program(const std::string& program, std::span<const std::byte> code) {
  const auto size = static_cast<std::uint32_t>(program.size());
  std::vector<std::byte> bytes(kProgramMark.size() + sizeof size + size + code.size());
  std::byte* to = bytes.data();
  const auto append = [&to](const void* from, std::size_t count) {
    if (count != 0) std::memcpy(to, from, count);
    to += count;
  };
  append(kProgramMark.data(), kProgramMark.size());
  append(&size, sizeof size);
  append(program.data(), size);
  append(code.data(), code.size());
  return bytes;
}

ProgramCode split_program(std::span<const std::byte> bytes) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  std::uint32_t size = 0;
  const std::size_t head = kProgramMark.size() + sizeof size;
  if (text.size() < head || !text.starts_with(kProgramMark)) return {{}, bytes};
  std::memcpy(&size, text.data() + kProgramMark.size(), sizeof size);
  if (size > text.size() - head) return {{}, bytes};
  return {std::string(text.substr(head, size)), bytes.subspan(head + size)};
}

std::optional<WorkerPlace> read_worker_place(const char* argument) {
  unsigned slot = 0;
  unsigned process = 0;
  int fd = -1;
  // NOLINTNEXTLINE(cert-err34-c): what does not fit is no place
  if (std::sscanf(argument, "%u:%u:%d", &slot, &process, &fd) != 3) return std::nullopt;
  return WorkerPlace{slot, ProcessId{process}, UniqueFd(fd)};
}

}  // namespace haz
