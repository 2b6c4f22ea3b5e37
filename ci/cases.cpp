#include "ci/cases.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <set>

#include "reference/spec/error.h"

namespace ringproof {
namespace {

std::string read_text(const std::string& path) {
  if (path == "-") return {std::istreambuf_iterator<char>(std::cin), {}};
  std::error_code failed;
  std::ifstream file(path, std::ios::binary);
  if (std::filesystem::is_directory(path, failed) || !file) {
    throw InputError("the case file " + path + " cannot be read; give a file of Case lines, or - for standard input");
  }
  std::string text{std::istreambuf_iterator<char>(file), {}};
  if (file.bad()) throw InputError("the case file " + path + " could not be read to its end; restore it");
  return text;
}

// Beside the executable's folder when installed, else in the source tree.
std::string shipped_file(const std::string& name, const std::string& source_folder) {
  std::error_code failed;
  const auto executable = std::filesystem::read_symlink("/proc/self/exe", failed);
  const auto installed = executable.parent_path() / "../share/ringproof/cases" / name;
  if (!failed && std::filesystem::exists(installed, failed)) return installed.lexically_normal().string();
  return source_folder + "/" + name;
}

// A Case that failed once is asked again as it was: the seed does not move it.
void append_regressions(std::vector<Case>& cases) {
  const std::string file = shipped_file("regressions.txt", RINGPROOF_SOURCE_REGRESSIONS);
  for (Case& c : parse_cases(read_text(file), file)) {
    if (std::find(cases.begin(), cases.end(), c) == cases.end()) cases.push_back(std::move(c));
  }
}

std::vector<Case> cases_of_tier(const std::string& tier, std::uint64_t seed) {
  // Every tier holds the ones before it.
  std::vector<Case> cases;
  for (const char* name : {"fast", "full", "nightly"}) {
    const std::string file = shipped_file(std::string(name) + ".txt", RINGPROOF_SOURCE_CASES);
    for (Case& c : parse_cases(read_text(file), file)) {
      if (c.inputs.kind != RecipeKind::kReal) c.inputs.seed += seed;
      cases.push_back(c);
    }
    if (tier != name) continue;
    append_regressions(cases);
    return cases;
  }
  throw InputError("there is no tier '" + tier + "'; give fast, full or nightly");
}

// A fixed permutation per seed: by the hash of each line, so that one Case more or less moves no other.
void shuffle_by_seed(std::vector<Case>& cases, std::uint64_t seed) {
  const auto rank = [seed](const Case& c) {
    std::uint64_t hash = hashed_bits(seed, TensorRole::kSink, 0, 0);
    for (const char letter : to_string(c)) {
      hash = hashed_bits(hash, TensorRole::kSink, static_cast<unsigned char>(letter), 0);
    }
    return hash;
  };
  std::stable_sort(cases.begin(), cases.end(),
                   [&](const Case& one, const Case& other) { return rank(one) < rank(other); });
}

}  // namespace

std::vector<Case> choose_cases(const CaseChoice& choice) {
  std::vector<Case> cases;
  for (const std::string& line : choice.lines) cases.push_back(parse_case(line));
  for (const std::string& file : choice.files) {
    const std::string source = file == "-" ? "standard input" : file;
    std::vector<Case> found = parse_cases(read_text(file), source);
    if (found.empty()) throw InputError(source + " holds no Case; give Case lines, one a line");
    for (Case& c : found) cases.push_back(std::move(c));
  }
  if (!choice.tier.empty()) {
    for (Case& c : cases_of_tier(choice.tier, choice.seed)) cases.push_back(std::move(c));
  }
  for (Case& c : cases) {
    if (choice.topology) c.problem.topology = *choice.topology;
    require_judgeable(c, choice.sampling, choice.memory_bytes_max);
  }
  if (choice.in_order) return cases;
  std::set<std::string> seen;
  std::erase_if(cases, [&](const Case& c) { return !seen.insert(to_string(c)).second; });
  shuffle_by_seed(cases, choice.seed);
  return cases;
}

}  // namespace ringproof
