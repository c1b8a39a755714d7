#include "base/declaration.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstddef>

namespace haz {

namespace {

bool is_word(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }

/// The place of the bracket that closes the one which `text` begins with, or its end.
std::size_t closing(std::string_view text) {
  int depth = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    depth += c == '(' || c == '<' || c == '[' || c == '{' ? 1 : 0;
    // Not the one of an arrow.
    const bool closes =
        c == ')' || c == ']' || c == '}' || (c == '>' && (i == 0 || text[i - 1] != '-'));
    depth -= closes ? 1 : 0;
    if (depth == 0) return i;
  }
  return text.size();
}

/// Its words outside of brackets; one with "::" or "<...>" behind it counts as one with that.
std::vector<std::string_view> words_of(std::string_view declaration) {
  std::vector<std::string_view> words;
  for (std::size_t i = 0; i < declaration.size();) {
    if (!is_word(declaration[i]) && declaration[i] != ':') {
      const bool opens = std::string_view("<([{").find(declaration[i]) != std::string_view::npos;
      i += opens ? closing(declaration.substr(i)) + 1 : 1;
      continue;
    }
    const std::size_t begin = i;
    while (i < declaration.size() && (is_word(declaration[i]) || declaration[i] == ':'))
      ++i;
    const std::string_view word = declaration.substr(begin, i - begin);
    if (word.starts_with("::") && !words.empty()) continue;  // std::vector<int>::size_type
    words.push_back(word);
  }
  return words;
}

/// Words that are types, or parts of such, but never names.
bool is_type_word(std::string_view word) {
  constexpr std::array<std::string_view, 11> kWords = {"unsigned", "signed", "long",   "short",
                                                       "int",      "char",   "double", "float",
                                                       "bool",     "auto",   "wchar_t"};
  return std::find(kWords.begin(), kWords.end(), word) != kWords.end();
}
bool is_qualifier(std::string_view word) {
  constexpr std::array<std::string_view, 6> kWords = {"const", "volatile", "struct",
                                                      "class", "enum",     "typename"};
  return std::find(kWords.begin(), kWords.end(), word) != kWords.end();
}

/// The name in "const type& name"; empty: there is none.
std::string_view name_of(std::string_view declaration) {
  std::vector<std::string_view> words = words_of(declaration);
  std::erase_if(words, is_qualifier);
  if (words.size() < 2 || is_type_word(words.back())) return {};
  return words.back().find(':') == std::string_view::npos ? words.back() : std::string_view();
}

}  // namespace

std::string_view in_brackets(std::string_view text) {
  const std::size_t end = closing(text);
  return end == 0 ? std::string_view() : text.substr(1, end - 1);
}

std::vector<std::string_view> split_list(std::string_view list) {
  std::vector<std::string_view> parts;
  std::size_t begin = 0;
  for (std::size_t i = 0; i <= list.size(); ++i) {
    if (i < list.size() && std::string_view("<([{").find(list[i]) != std::string_view::npos)
      i = std::min(i + closing(list.substr(i)), list.size());
    if (i < list.size() && list[i] != ',') continue;
    std::string_view part = list.substr(begin, i - begin);
    while (part.starts_with(' '))
      part.remove_prefix(1);
    while (part.ends_with(' '))
      part.remove_suffix(1);
    if (!part.empty()) parts.push_back(part);
    begin = i + 1;
  }
  return parts;
}

std::string with_names(const std::string& signature, std::string_view names) {
  const std::string_view text = signature;
  const std::size_t end = closing(text);
  if (names.empty() || end == text.size()) return signature;
  const std::vector<std::string_view> types = split_list(in_brackets(text));
  const std::vector<std::string_view> all = split_list(names);
  if (types.size() != all.size()) return signature;
  std::string named = "(";
  for (std::size_t i = 0; i < types.size(); ++i) {
    named += i == 0 ? "" : ", ";
    named += types[i];
    named += ' ';
    named += all[i];
  }
  named += text.substr(end);
  return named;
}

std::string names_in(std::string_view declaration) {
  const std::size_t begin = declaration.find('(');
  if (begin == std::string_view::npos) return "";
  std::string names;
  for (const std::string_view parameter : split_list(in_brackets(declaration.substr(begin)))) {
    const std::string_view name = name_of(parameter);
    if (name.empty()) return "";
    names += names.empty() ? "" : ", ";
    names += name;
  }
  return names;
}

}  // namespace haz
