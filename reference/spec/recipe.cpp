// Names of the input recipes, and which of them fit which problem.

#include <algorithm>
#include <array>
#include <cmath>

#include "reference/spec/error.h"
#include "reference/spec/inputs.h"
#include "reference/spec/real_inputs.h"
#include "reference/spec/text.h"

namespace ringproof {
namespace {

const char* name_of(RecipeKind kind) {
  static constexpr std::array kNames{
      "gauss", "uniform_probe", "walsh_probe", "head_coded", "exact",      "peaked",       "ascending", "descending",
      "sink",  "outlier",       "near_ties",   "duplicated", "cancelling", "large_offset", "special",   "real"};
  return kNames.at(static_cast<std::size_t>(kind));
}

bool refuses_shared_memory(RecipeKind kind) {
  return kind == RecipeKind::kUniformProbe || kind == RecipeKind::kWalshProbe || kind == RecipeKind::kHeadCoded ||
         kind == RecipeKind::kExact || kind == RecipeKind::kReal;
}

// Recipes that divide by the scale must stay finite in storage.
double largest_written(const InputRecipe& recipe, const Problem& problem) {
  const double scale = std::fabs(problem.score_scale());
  switch (recipe.kind) {
    case RecipeKind::kLargeOffset: return std::fabs(recipe.offset) / (16 * scale);
    case RecipeKind::kPeaked: return 6 / (2 * scale);
    case RecipeKind::kAscending:
    case RecipeKind::kDescending: return 2 / (2 * scale);
    case RecipeKind::kSink: return (0.7 * 64 + 2) / (2 * scale);
    case RecipeKind::kExact: return 80 / (2 * scale);
    default: return 0;
  }
}

}  // namespace

std::string to_string(const InputRecipe& recipe) {
  const std::string name = name_of(recipe.kind);
  if (recipe.kind == RecipeKind::kLargeOffset) return name + "(" + shortest(recipe.offset) + ")";
  if (recipe.kind == RecipeKind::kReal) return name + "(" + recipe.real_name + ")";
  return name;
}

void validate(const InputRecipe& recipe, const Problem& problem, const Memory& memory) {
  const std::string name = to_string(recipe);
  if (refuses_shared_memory(recipe.kind) && (memory.alias || memory.v_in_k || memory.broadcast_kv)) {
    throw InputError("the input recipe " + name +
                     " needs K and V of its own; leave out alias, v_in_k and broadcast_kv");
  }
  // Products of two such numbers must not overflow the accumulators either: half their exponents.
  const bool wide = problem.dtype == Dtype::kF64;
  const double largest = std::min(format_facts(problem.dtype).finite_max, wide ? 0x1p500 : 0x1p60);
  // Beyond this, scores have no fraction left in the accumulators, and nothing could be judged.
  const double offset_max = wide ? 0x1p53 : 0x1p24;
  if (recipe.kind == RecipeKind::kLargeOffset && !(std::fabs(recipe.offset) <= offset_max)) {
    throw InputError("the offset of " + name + " leaves no fraction of a score; give at most 2^24 (2^53 in fp64)");
  }
  if (!(largest_written(recipe, problem) <= largest)) {
    throw InputError("the input recipe " + name + " would overflow " + std::string(to_string(problem.dtype)) +
                     " at this scale; give a larger scale");
  }
  if (recipe.kind == RecipeKind::kExact && problem.seqlen_kv > 1 &&
      std::ilogb(static_cast<double>(problem.seqlen_kv - 1)) + 1 > problem.head_dim_qk) {
    throw InputError("the input recipe exact needs a head dim (dqk) of at least the bits of skv; give a larger dqk");
  }
  // The power of two in q is at least this, and must not round to 0.
  const double least = 40 / (2 * static_cast<double>(problem.head_dim_qk) * std::fabs(problem.score_scale()));
  if (recipe.kind == RecipeKind::kExact && !(format_facts(problem.dtype).subnormal_min <= least)) {
    throw InputError("the input recipe exact would underflow " + std::string(to_string(problem.dtype)) +
                     " at this scale; give a smaller scale");
  }
  if (recipe.kind == RecipeKind::kReal) validate_real_inputs(problem, recipe.real_name);
}

}  // namespace ringproof
