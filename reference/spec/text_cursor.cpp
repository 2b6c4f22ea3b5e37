#include "reference/spec/text_cursor.h"

#include <cctype>
#include <charconv>

#include "reference/spec/error.h"

namespace ringproof {
namespace {

// Reads a number with from_chars and says how many characters it took; 0 when there is none or it does not
// fit.
template <class Number>
std::size_t read_number(std::string_view text, Number& value) {
  const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
  return result.ec == std::errc() ? static_cast<std::size_t>(result.ptr - text.data()) : 0;
}

}  // namespace

bool TextCursor::take(std::string_view text) {
  if (rest().substr(0, text.size()) != text) return false;
  position_ += text.size();
  return true;
}

void TextCursor::want(std::string_view text) {
  if (!take(text)) refuse("'" + std::string(text) + "'");
}

std::string_view TextCursor::want_name(std::string_view what) {
  std::size_t length = 0;
  while (length < rest().size()) {
    const auto letter = static_cast<unsigned char>(rest()[length]);
    const bool belongs = std::isalpha(letter) || letter == '_' || (length > 0 && std::isdigit(letter));
    if (!belongs) break;
    ++length;
  }
  if (length == 0) refuse(what);
  const std::string_view name = rest().substr(0, length);
  position_ += length;
  return name;
}

template <class Number>
Number TextCursor::want_any(std::string_view what) {
  Number value = 0;
  const std::size_t length = read_number(rest(), value);
  if (length == 0) refuse(what);
  position_ += length;
  return value;
}

std::int64_t TextCursor::want_integer(std::string_view what) { return want_any<std::int64_t>(what); }
std::uint64_t TextCursor::want_unsigned(std::string_view what) { return want_any<std::uint64_t>(what); }
double TextCursor::want_number(std::string_view what) { return want_any<double>(what); }

std::string_view TextCursor::want_until(char stop, std::string_view what) {
  const std::size_t length = rest().find(stop);
  if (length == 0 || length == std::string_view::npos) refuse(what);
  const std::string_view text = rest().substr(0, length);
  position_ += length;
  return text;
}

void TextCursor::refuse(std::string_view what) const {
  const std::string_view found = rest().substr(0, 24);
  throw InputError("Case line, position " + std::to_string(position_ + 1) + ": wanted " + std::string(what) +
                   ", found " + (found.empty() ? "the end of the line" : "'" + std::string(found) + "'"));
}

}  // namespace ringproof
