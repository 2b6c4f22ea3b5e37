#include "ci/list.h"

#include <fmt/format.h>

#include "ci/candidates.h"
#include "ci/cases.h"
#include "gpu/candidates.h"
#include "gpu/device.h"
#include "reference/judge/verify.h"
#include "reference/spec/error.h"

namespace ringproof {
namespace {

constexpr Dtype kStorage[]{Dtype::kF64, Dtype::kF32, Dtype::kF16, Dtype::kBf16, Dtype::kF8E4m3, Dtype::kF8E5m2};

template <class Enum>
std::string names_in(std::uint32_t set, int count) {
  std::string names;
  for (int value = 0; value < count; ++value) {
    if (set >> value & 1u) names += (names.empty() ? "" : " ") + std::string(to_string(static_cast<Enum>(value)));
  }
  return names;
}

std::string head_dims_of(const Description& all) {
  std::string dims = all.head_dim_max > 0 ? "up to " + std::to_string(all.head_dim_max) : "any";
  if (all.head_dim_multiple > 1) dims += ", multiples of " + std::to_string(all.head_dim_multiple);
  return dims;
}

void list_candidates() {
  for (const Candidate& candidate : all_candidates()) {
    const Description all = candidate.describe(Dtype::kDefault, Direction::kForward);
    fmt::print("{}\n", candidate.name);
    if (!candidate.not_run_reason.empty()) fmt::print("  not run here: {}\n", candidate.not_run_reason);
    fmt::print("  masks      {}\n  schedules  {}\n", names_in<MaskKind>(all.masks, 6),
               names_in<Schedule>(all.schedules, 6));
    if (all.head_dim_max > 0) fmt::print("  head dims  {}\n", head_dims_of(all));
    for (const Dtype dtype : kStorage) {
      if ((all.dtypes & bit_of(dtype)) == 0) continue;
      fmt::print("  {:<10} {}\n", to_string(dtype), contract_of(candidate.describe(dtype, Direction::kForward), dtype));
    }
  }
}

/// A kernel runs on the host runtime everywhere; on a CUDA device where its candidate says nothing against it.
void list_kernels() {
  const std::string device = cuda_device_name();
  for (const FlashKernel& kernel : flash_kernels()) {
    const Description all = kernel.describe();
    const Candidate on_cuda = candidate_on_cuda(kernel);
    fmt::print("{}\n  dtype      {}\n  masks      {}\n  head dims  {}\n", kernel.name, to_string(kernel.dtype),
               names_in<MaskKind>(all.masks, 6), head_dims_of(all));
    fmt::print("  runs on    host runtime; {}\n", on_cuda.not_run_reason.empty()
                                                      ? device + ", as " + on_cuda.name
                                                      : on_cuda.name + " not run here: " + on_cuda.not_run_reason);
  }
}

void list_recipes() {
  static constexpr std::pair<RecipeKind, const char*> kRecipes[]{
      {RecipeKind::kGauss, "the ordinary case"},
      {RecipeKind::kUniformProbe, "q = k = 0: every row is the mean of its visible, index-coded values"},
      {RecipeKind::kWalshProbe, "q = 0, V = +1 and -1 by the key's index bits: one wrong key shows at any length"},
      {RecipeKind::kHeadCoded, "V constant per kv head: wrong head maps"},
      {RecipeKind::kExact, "one key has all the weight and the answer is exact in 16 bits"},
      {RecipeKind::kPeaked, "the running maximum rises late and often"},
      {RecipeKind::kAscending, "scores rise gently with the key: every tile rescales what still counts"},
      {RecipeKind::kDescending, "scores fall with the key: the same for kernels that walk backwards"},
      {RecipeKind::kSink, "key 0 takes most of the mass"},
      {RecipeKind::kOutlier, "one element in a thousand is ten times larger"},
      {RecipeKind::kNearTies, "scores of a row differ by a few units of the last place"},
      {RecipeKind::kDuplicated, "four keys over and over, V positive: all roundings of P lean one way"},
      {RecipeKind::kCancelling, "O = 0 exactly, by cancellation of keys far apart"},
      {RecipeKind::kLargeOffset, "large_offset(x): every score of a row is x larger"},
      {RecipeKind::kSpecial, "subnormals, signed zeros, large values; NaN and infinity in few rows and keys"},
      {RecipeKind::kReal, "real(minilm.0 .4 .5, smollm2.0 .3 .18): activations of transformers on text"}};
  for (const auto& [kind, what] : kRecipes) fmt::print("{:<18} {}\n", to_string(InputRecipe{kind, 0, "...", 0}), what);
}

void list_memory() {
  static constexpr std::pair<const char*, const char*> kWords[]{
      {"bhsd", "axis order batch, heads, sequence, dim; one of the three orders comes first"},
      {"bshd", "axis order batch, sequence, heads, dim"},
      {"thd", "bshd with batch 1"},
      {"+gapN", "N elements between rows"},
      {"+broadcast_kv", "stride 0 over the heads of K and V"},
      {"+dim2", "the last stride is 2"},
      {"+mixed", "every tensor laid out differently"},
      {"+huge_batch", "the batch stride is beyond 2^31 elements"},
      {"+huge_seq", "the sequence stride is beyond 2^31 elements"},
      {"+page_end", "the last element ends at a page nobody may touch"},
      {"+alias", "q, k and v are one memory"},
      {"+v_in_k", "V is the first columns of K"},
      {"+nan1", "NaN in slots no row sees, instead of finite poison"},
      {"+nan2", "NaN besides in slots that some rows do not see, inside tiles they work on"}};
  for (const auto& [word, what] : kWords) fmt::print("{:<18} {}\n", word, what);
}

}  // namespace

ExitCode run_list(const std::string& what, const std::string& tier) {
  if (what == "candidates") {
    list_candidates();
  } else if (what == "kernels") {
    list_kernels();
  } else if (what == "recipes") {
    list_recipes();
  } else if (what == "masks") {
    fmt::print("full\ncausal_top_left\ncausal_bottom_right\nwindow(l,r)\n");
    fmt::print("document(lengths of q, lengths of kv)[+causal], for instance document(5+0+12,7+0+10)+causal\n");
    fmt::print("block_sparse(block_q x block_kv,keepSHARE:seed), for instance block_sparse(64x128,keep0.25:9)\n");
  } else if (what == "memory") {
    list_memory();
  } else if (what == "cases") {
    CaseChoice choice;
    choice.tier = tier;
    choice.in_order = true;
    choice.memory_bytes_max = UINT64_MAX;
    for (const Case& c : choose_cases(choice)) fmt::print("{}\n", to_string(c));
  } else {
    throw InputError("there is no list of '" + what + "'; give candidates, kernels, recipes, masks, memory or cases");
  }
  return ExitCode::kAccepted;
}

}  // namespace ringproof
