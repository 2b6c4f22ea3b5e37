#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "reference/spec/inputs.h"
#include "reference/spec/layout.h"
#include "reference/spec/problem.h"

namespace ringproof {

/// Everything a judgement depends on. One line of text (semantics.md has the grammar) says it all: benchmark
/// name, command-line argument, report row, golden key and regression entry are the same string.
struct Case {
  Direction direction;
  Problem problem;  ///< topology included
  InputRecipe inputs;
  Memory memory;
  bool operator==(const Case&) const = default;
};

/// direction/dtype/shape/mask/scale[,softcap][,sink][,descale(q,k,v)]/inputs:seed/memory/topology. Numbers
/// print in the shortest form that reads back to the same value; parse(to_string(c)) == c.
std::string to_string(const Case& c);

/// Reads a Case line. Throws InputError naming the position (counted from 1) and what was wanted there, or
/// the field that makes no sense (see validate). Accepts the whole grammar, also what require_built then
/// refuses.
Case parse_case(std::string_view line);

/// Reads a topology alone ("zigzag8"), as the command's --topology takes it. Throws InputError as parse_case
/// does.
Topology parse_topology(std::string_view text);

/// Throws InputError naming the field that makes no sense, in problem, recipe, memory or topology. parse_case
/// calls it.
void validate(const Case& c);

/// As many query rows as a Case has.
inline constexpr std::int64_t kAllRows = std::numeric_limits<std::int64_t>::max();

/// Throws InputError with one sentence when the Case asks for what this version does not judge yet, or for
/// more memory than `memory_bytes_max`, what this machine can give, when `rows_judged` of its rows are judged.
void require_judgeable(const Case& c, std::uint64_t memory_bytes_max, std::int64_t rows_judged = kAllRows);

/// Bytes a judgement of so many rows of this Case needs at its peak, an upper estimate: inputs, laid-out copies, want,
/// statistics, got. Saturates instead of overflowing.
std::uint64_t memory_bytes_needed(const Case& c, std::int64_t rows_judged = kAllRows);

/// The Case lines of a text: one a line, blank lines and lines that start with # ignored. Throws InputError
/// naming `source` and the line number.
std::vector<Case> parse_cases(std::string_view text, std::string_view source);

}  // namespace ringproof
