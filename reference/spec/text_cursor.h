#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace ringproof {

/// Reads a line from left to right; every refusal is an InputError that names the position, counted from 1,
/// and what was wanted there.
class TextCursor {
 public:
  explicit TextCursor(std::string_view line) : line_(line) {}

  /// Takes `text` if it stands here.
  bool take(std::string_view text);
  /// Takes `text` or refuses.
  void want(std::string_view text);
  /// Takes the longest run of letters, digits (not at the start) and '_'; refuses an empty one, naming
  /// `what`.
  std::string_view want_name(std::string_view what);
  /// Takes a whole number (a '-' allowed), or refuses naming `what`.
  std::int64_t want_integer(std::string_view what);
  /// Takes a whole number of 64 bits without sign, or refuses naming `what`.
  std::uint64_t want_unsigned(std::string_view what);
  /// Takes a decimal number, or refuses naming `what`.
  double want_number(std::string_view what);
  /// Everything up to (not including) `stop`, or refuses naming `what` when `stop` does not come.
  std::string_view want_until(char stop, std::string_view what);
  bool at_end() const { return position_ == line_.size(); }
  /// Refuses here: "Case line, position 17: wanted a mask, found 'causal/...'".
  [[noreturn]] void refuse(std::string_view what) const;

 private:
  template <class Number>
  Number want_any(std::string_view what);
  std::string_view rest() const { return line_.substr(position_); }

  std::string_view line_;
  std::size_t position_ = 0;
};

}  // namespace ringproof
