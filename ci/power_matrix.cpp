#include "ci/power_matrix.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace ringproof {
namespace {

// Checks by their fixed names, and the letter of their column.
struct Column {
  const char* check;
  char letter;
};
constexpr std::array kColumns{Column{"structure", 'S'},
                              Column{"out by value", 'V'},
                              Column{"bound of out", 'O'},
                              Column{"bound of lse", 'L'},
                              Column{"probabilistic bound of out", 'P'},
                              Column{"probabilistic bound of lse", 'Q'},
                              Column{"noise figure of out", 'N'},
                              Column{"bias of out", 'B'},
                              Column{"determinism", 'D'},
                              Column{"traffic", 'T'},
                              Column{"property", 'M'},
                              Column{"pooled noise figure of out", 'n'},
                              Column{"pooled bias of out", 'b'},
                              Column{"failed call", 'F'}};

std::size_t place_of(const std::string& check) {
  const auto found =
      std::find_if(kColumns.begin(), kColumns.end(), [&](const Column& column) { return check == column.check; });
  return static_cast<std::size_t>(found - kColumns.begin());
}

char letter_of(const std::string& check) {
  const std::size_t place = place_of(check);
  return place < kColumns.size() ? kColumns[place].letter : '?';
}

std::string marks_of(const PowerMatrix& matrix, const PowerRow& row) {
  std::string marks;
  for (const std::string& check : matrix.checks) marks += row.checks.contains(check) ? letter_of(check) : '.';
  marks += " | ";
  for (std::size_t at = 0; at < matrix.rules.size(); ++at) {
    const auto found = row.rules.find(matrix.rules[at].name);
    marks += found != row.rules.end() && found->second > 0 ? static_cast<char>('1' + at) : '.';
  }
  return marks;
}

void print_rows(const PowerMatrix& matrix, PowerRow::Kind kind, std::size_t width) {
  for (const PowerRow* row : matrix.of(kind)) {
    const std::string& said = kind == PowerRow::Kind::kMutant ? row->first_case : row->reason;
    fmt::print("  {:<{}}  {} | {:>3} of {:>3}  {}{}\n", row->name, width, marks_of(matrix, *row), row->cases_as_wanted,
               row->cases_run, row->is_as_wanted() ? "" : "SURPRISE ", said);
  }
}

void print_legend(const PowerMatrix& matrix) {
  fmt::print("\nchecks:");
  for (const std::string& check : matrix.checks) fmt::print(" {} {};", letter_of(check), check);
  fmt::print("\npublished rules:");
  for (std::size_t at = 0; at < matrix.rules.size(); ++at) fmt::print(" {} {};", at + 1, matrix.rules[at].name);
  fmt::print("\n");
}

void print_totals(const PowerMatrix& matrix) {
  const auto mutants = static_cast<std::int64_t>(matrix.of(PowerRow::Kind::kMutant).size());
  const auto correct = static_cast<std::int64_t>(matrix.of(PowerRow::Kind::kCorrect).size());
  fmt::print("\n{:<28} {:>14} {:>12}\n", "check", "mutants killed", "by it alone");
  for (const std::string& check : matrix.checks) {
    fmt::print("{:<28} {:>14} {:>12}\n", check, matrix.killed_by(check), matrix.killed_by_alone(check));
  }
  std::int64_t killed = 0, accepted = 0;
  for (const PowerRow* row : matrix.of(PowerRow::Kind::kMutant)) killed += row->is_as_wanted();
  for (const PowerRow* row : matrix.of(PowerRow::Kind::kCorrect)) accepted += row->is_as_wanted();
  fmt::print("\n{:<28} {:>14} {:>23} {:>19} {:>20}\n", "judge", "mutants caught", "correct kernels refused",
             "faulty runs refused", "correct runs refused");
  const auto line = [&](const std::string& name, std::int64_t caught, std::int64_t refused, const std::string& key) {
    const auto count = [&](const RunCount& runs) {
      const auto found = runs.refused.find(key);
      return fmt::format("{} of {}", found == runs.refused.end() ? 0 : found->second, runs.runs);
    };
    fmt::print("{:<28} {:>14} {:>23} {:>19} {:>20}\n", name, fmt::format("{} of {}", caught, mutants),
               fmt::format("{} of {}", refused, correct), count(matrix.faulty), count(matrix.correct));
  };
  line("ringproof", killed, correct - accepted, "ours");
  for (const PublishedRule& rule : matrix.rules) {
    line(rule.name, matrix.caught_by_rule(rule.name), matrix.correct_refused_by_rule(rule.name), rule.name);
  }
}

}  // namespace

std::vector<const PowerRow*> PowerMatrix::of(PowerRow::Kind kind) const {
  std::vector<const PowerRow*> found;
  for (const PowerRow& row : rows) {
    if (row.kind == kind) found.push_back(&row);
  }
  return found;
}

std::vector<const PowerRow*> PowerMatrix::surprises() const {
  std::vector<const PowerRow*> found;
  for (const PowerRow& row : rows) {
    if (!row.is_as_wanted()) found.push_back(&row);
  }
  return found;
}

std::int64_t PowerMatrix::killed_by(const std::string& check) const {
  const std::vector<const PowerRow*> mutants = of(PowerRow::Kind::kMutant);
  return std::count_if(mutants.begin(), mutants.end(),
                       [&](const PowerRow* row) { return row->checks.contains(check); });
}

std::int64_t PowerMatrix::killed_by_alone(const std::string& check) const {
  const std::vector<const PowerRow*> mutants = of(PowerRow::Kind::kMutant);
  return std::count_if(mutants.begin(), mutants.end(),
                       [&](const PowerRow* row) { return row->checks.contains(check) && row->checks.size() == 1; });
}

std::int64_t PowerMatrix::caught_by_rule(const std::string& rule) const {
  std::int64_t count = 0;
  for (const PowerRow* row : of(PowerRow::Kind::kMutant)) count += row->rules.contains(rule);
  return count;
}

std::int64_t PowerMatrix::correct_refused_by_rule(const std::string& rule) const {
  std::int64_t count = 0;
  for (const PowerRow* row : of(PowerRow::Kind::kCorrect)) count += row->rules.contains(rule);
  return count;
}

std::vector<std::string> in_order_of_judgement(std::vector<std::string> checks) {
  std::stable_sort(checks.begin(), checks.end(),
                   [](const std::string& one, const std::string& other) { return place_of(one) < place_of(other); });
  return checks;
}

void print_matrix(const PowerMatrix& matrix) {
  std::size_t width = 0;
  for (const PowerRow& row : matrix.rows) width = std::max(width, row.name.size());
  fmt::print("\nmutants: failing checks | refusing rules | Cases rejected of those run, the first\n");
  print_rows(matrix, PowerRow::Kind::kMutant, width);
  if (!matrix.of(PowerRow::Kind::kCorrect).empty()) {
    fmt::print("\ncorrect kernels: failing checks | refusing rules | Cases accepted of those run\n");
    print_rows(matrix, PowerRow::Kind::kCorrect, width);
  }
  if (!matrix.of(PowerRow::Kind::kLooselyDeclared).empty()) {
    fmt::print("\ndeclared too loosely to be judged: Cases inconclusive of those run\n");
    print_rows(matrix, PowerRow::Kind::kLooselyDeclared, width);
  }
  print_legend(matrix);
  print_totals(matrix);
}

}  // namespace ringproof
