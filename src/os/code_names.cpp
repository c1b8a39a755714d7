#include "os/code_names.h"

#include <cxxabi.h>
#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <string_view>

#include "os/fd.h"

namespace haz {

namespace {

using Header = ElfW(Ehdr);
using Section = ElfW(Shdr);
using Symbol = ElfW(Sym);

/// A file in memory, to read. Nothing in it is trusted.
class MappedFile {
 public:
  explicit MappedFile(const char* path) {
    const UniqueFd fd(::open(path, O_RDONLY | O_CLOEXEC));
    struct stat status{};
    if (!fd || ::fstat(fd.get(), &status) != 0 || status.st_size <= 0) return;
    const auto size = static_cast<std::size_t>(status.st_size);
    void* const data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd.get(), 0);
    if (data == MAP_FAILED) return;
    data_ = static_cast<const std::byte*>(data);
    size_ = size;
  }
  ~MappedFile() {
    if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
  }
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  /// `count` items at `offset`; none if the file is shorter, or they do not lie as they should.
  template <typename T>
  [[nodiscard]] std::span<const T> items(std::uint64_t offset, std::uint64_t count) const {
    if (offset > size_ || offset % alignof(T) != 0 || count > (size_ - offset) / sizeof(T)) {
      return {};
    }
    return {reinterpret_cast<const T*>(data_ + offset), count};
  }

 private:
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

/// The symbols of functions in one file.
class SymbolTable {
 public:
  explicit SymbolTable(const char* path) : file_(path) {
    const auto head = file_.items<Header>(0, 1);
    if (head.empty() || std::memcmp(head[0].e_ident, ELFMAG, SELFMAG) != 0) return;
    const auto sections = file_.items<Section>(head[0].e_shoff, head[0].e_shnum);
    // .symtab has all of them; a stripped file has .dynsym, those that others link to.
    for (const auto kind : {SHT_SYMTAB, SHT_DYNSYM}) {
      for (const Section& section : sections) {
        if (section.sh_type != static_cast<decltype(section.sh_type)>(kind)) continue;
        if (section.sh_link >= sections.size()) continue;
        const Section& names = sections[section.sh_link];
        symbols_ = file_.items<Symbol>(section.sh_offset, section.sh_size / sizeof(Symbol));
        names_ = file_.items<char>(names.sh_offset, names.sh_size);
        if (!symbols_.empty()) return;
      }
    }
  }

  /// The function that has the code at `offset`; null if none has.
  [[nodiscard]] const char* name_of(std::uint64_t offset) const {
    for (const Symbol& symbol : symbols_) {
      if ((symbol.st_info & 0xF) != STT_FUNC || symbol.st_shndx == SHN_UNDEF) continue;
      if (offset < symbol.st_value || offset - symbol.st_value >= symbol.st_size) continue;
      if (symbol.st_name >= names_.size()) continue;
      const char* const name = names_.data() + symbol.st_name;
      if (std::memchr(name, '\0', names_.size() - symbol.st_name) != nullptr) return name;
    }
    return nullptr;
  }

 private:
  MappedFile file_;
  std::span<const Symbol> symbols_;
  std::span<const char> names_;
};

std::string hexadecimal(std::uint64_t number) {
  std::array<char, 24> text{};
  std::snprintf(text.data(), text.size(), "0x%llx", static_cast<unsigned long long>(number));
  return text.data();
}

}  // namespace

std::string demangled(const char* name) {
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> readable(
      abi::__cxa_demangle(name, nullptr, nullptr, &status), &std::free);
  std::string text = status == 0 && readable ? readable.get() : name;
  for (const std::string_view part : {"__cxx11::", "__1::"}) {
    for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part))
      text.erase(at, part.size());
  }
  return text;
}

std::vector<CodePlace> name_code(std::span<void* const> addresses) {
  std::map<std::string, std::unique_ptr<SymbolTable>> tables;
  std::vector<CodePlace> places;
  for (void* const address : addresses) {
    CodePlace& place = places.emplace_back();
    // It is where the call goes on: before that is the call.
    auto* const code = static_cast<char*>(address) - 1;
    Dl_info info{};
    link_map* map = nullptr;
    if (::dladdr1(code, &info, reinterpret_cast<void**>(&map), RTLD_DL_LINKMAP) == 0) {
      place.offset = hexadecimal(reinterpret_cast<std::uintptr_t>(code));
      continue;
    }
    const bool is_program = map->l_name == nullptr || *map->l_name == '\0';
    place.file = is_program || info.dli_fname == nullptr ? "/proc/self/exe" : info.dli_fname;
    const std::uint64_t offset = reinterpret_cast<std::uintptr_t>(code) - map->l_addr;
    place.offset = hexadecimal(offset);
    auto& table = tables[place.file];
    if (!table) table = std::make_unique<SymbolTable>(place.file.c_str());
    const char* const name = table->name_of(offset);
    if (name != nullptr) {
      place.function = demangled(name);
    } else if (info.dli_sname != nullptr) {
      place.function = demangled(info.dli_sname);
    }
    if (is_program && info.dli_fname != nullptr) place.file = info.dli_fname;
  }
  return places;
}

}  // namespace haz
