// A description is the one thing of a plug-in that is believed, so every field of it is looked at before it is.

#include "candidates/abi_twins.h"

#include <algorithm>
#include <cmath>

#include "candidates/abi_fields.h"
#include "reference/spec/error.h"

namespace ringproof {
namespace {

constexpr std::uint32_t kStorageDtypes = 0x7e;  // RP_F64 .. RP_F8_E5M2
constexpr std::uint32_t kMasks = 0x3f, kDirections = 0x3, kFeatures = 0x1ffff, kSchedules = 0x3f;

// Requires a description whose fields are being checked.
class Checker {
 public:
  explicit Checker(const std::string& who) : who_(who) {}

  void require(bool condition, const std::string& sentence) const {
    if (!condition) throw InputError(who_ + ": " + sentence);
  }
  void known_bits(const char* field, std::uint32_t bits, std::uint32_t known) const {
    const std::uint32_t rest = bits & ~known;
    if (rest == 0) return;
    int bit = 0;
    while ((rest >> bit & 1u) == 0) ++bit;
    require(false, std::string("the description's ") + field + " has bit " + std::to_string(bit) +
                       ", which abi version 1 does not know; clear it");
  }
  void enumerator(const char* field, std::int32_t value, std::int32_t first, std::int32_t last) const {
    require(value >= first && value <= last, std::string("the description's arithmetic.") + field + " is " +
                                                 std::to_string(value) + "; give " + std::to_string(first) + " to " +
                                                 std::to_string(last));
  }

 private:
  const std::string& who_;
};

void check_sets(const rp_description& d, Dtype asked, bool has_backward, const Checker& check) {
  check.require(d.dtypes != 0, "the description's dtypes is empty; set bit RP_F32 (2) for fp32, and so on");
  check.require(d.masks != 0, "the description's masks is empty; set bit RP_MASK_FULL (0) for full, and so on");
  check.known_bits("dtypes", d.dtypes, kStorageDtypes);
  check.known_bits("masks", d.masks, kMasks);
  check.known_bits("directions", d.directions, kDirections);
  check.known_bits("features", d.features, kFeatures);
  check.known_bits("schedules", d.schedules, kSchedules);
  check.require(asked == Dtype::kDefault || (d.dtypes & bit_of(asked)) != 0,
                "the description's dtypes lacks " + std::string(to_string(asked)) +
                    " when asked about it, and has it when asked what is supported; give the same both times");
  const bool says_backward = (d.directions & 2u) != 0;
  check.require(says_backward == has_backward,
                says_backward
                    ? "the description's directions has bit 1 and there is no rp_backward; export it or clear "
                      "the bit"
                    : "there is an rp_backward and the description's directions lacks bit 1; set it or leave "
                      "the function out");
  check.require(d.head_dim_multiple <= 4096, "the description's head_dim_multiple is " +
                                                 std::to_string(d.head_dim_multiple) +
                                                 "; give 0 for any, or up to 4096");
  check.require(d.head_dim_max >= 0, "the description's head_dim_max is negative; give 0 for no limit");
  check.require(d.seqlen_max >= 0, "the description's seqlen_max is negative; give 0 for no limit");
  const auto* const name_end = std::find(std::begin(d.name), std::end(d.name), '\0');
  check.require(name_end != std::end(d.name), "the description's name does not end; give at most 63 characters");
}

void check_enumerators(const rp_arithmetic& a, const Checker& check) {
  check.enumerator("operand_dtype", a.operand_dtype, RP_DTYPE_DEFAULT, RP_TF32);
  check.enumerator("score_dtype", a.score_dtype, RP_DTYPE_DEFAULT, RP_F8_E5M2);
  check.enumerator("p_dtype", a.p_dtype, RP_DTYPE_DEFAULT, RP_F8_E5M2);
  check.enumerator("accumulator_dtype", a.accumulator_dtype, RP_DTYPE_DEFAULT, RP_F8_E5M2);
  check.enumerator("partial_dtype", a.partial_dtype, RP_DTYPE_DEFAULT, RP_F8_E5M2);
  check.enumerator("gradient_partial_dtype", a.gradient_partial_dtype, RP_DTYPE_DEFAULT, RP_F8_E5M2);
  check.enumerator("p_is_normalised", a.p_is_normalised, 0, 1);
  check.enumerator("l_sums_cast_p", a.l_sums_cast_p, 0, 1);
  check.enumerator("merge_is_lerp", a.merge_is_lerp, 0, 1);
  check.enumerator("key_order", a.key_order, RP_KEYS_MONOTONE, RP_KEYS_ANY_ORDER);
}

Arithmetic twin_of(const rp_arithmetic& a) {
  Arithmetic twin;
  twin.operand_dtype = static_cast<Dtype>(a.operand_dtype);
  twin.score_dtype = static_cast<Dtype>(a.score_dtype);
  twin.p_dtype = static_cast<Dtype>(a.p_dtype);
  twin.accumulator_dtype = static_cast<Dtype>(a.accumulator_dtype);
  twin.partial_dtype = static_cast<Dtype>(a.partial_dtype);
  twin.gradient_partial_dtype = static_cast<Dtype>(a.gradient_partial_dtype);
  twin.p_is_normalised = a.p_is_normalised != 0;
  twin.l_sums_cast_p = a.l_sums_cast_p != 0;
  twin.merge_is_lerp = a.merge_is_lerp != 0;
  twin.key_order = static_cast<KeyOrder>(a.key_order);
  twin.mma_block = a.mma_block;
  twin.accumulator_fraction_bits = a.accumulator_fraction_bits;
  twin.accumulation_depth = a.accumulation_depth;
  twin.tile_kv = a.tile_kv;
  twin.merges = a.merges;
  twin.gradient_partials = a.gradient_partials;
  twin.exp_error_relative = a.exp_error_relative;
  twin.tanh_error_relative = a.tanh_error_relative;
  twin.p_scale = a.p_scale;
  return twin;
}

}  // namespace

rp_problem abi_problem(const Problem& problem) {
  rp_problem p{};
  p.abi_version = RP_ABI_VERSION;
  p.mask = static_cast<std::int32_t>(problem.mask.kind);
  p.batch = problem.batch;
  p.heads_q = problem.heads_q;
  p.heads_kv = problem.heads_kv;
  p.seqlen_q = problem.seqlen_q;
  p.seqlen_kv = problem.seqlen_kv;
  p.head_dim_qk = problem.head_dim_qk;
  p.head_dim_v = problem.head_dim_v;
  p.window_left = problem.mask.window_left;
  p.window_right = problem.mask.window_right;
  p.softmax_scale = problem.softmax_scale;
  p.softcap = problem.softcap;
  p.sink = problem.has_sink ? problem.sink : nullptr;
  p.documents = static_cast<std::int64_t>(problem.mask.document_lengths_q.size());
  p.cu_seqlens_q = problem.cu_seqlens_q;
  p.cu_seqlens_kv = problem.cu_seqlens_kv;
  p.document_causal = problem.mask.document_causal;
  p.block_q = problem.mask.block_q;
  p.block_kv = problem.mask.block_kv;
  p.block_mask = problem.block_mask;
  p.descale_q = problem.descale_q;
  p.descale_k = problem.descale_k;
  p.descale_v = problem.descale_v;
  p.rank = problem.rank;
  p.rank_count = problem.topology.rank_count;
  p.schedule = static_cast<std::int32_t>(problem.topology.schedule);
  p.head_split_ranks = problem.topology.head_split_ranks;
  return p;
}

rp_tensor abi_tensor(const TensorView& view) {
  rp_tensor tensor{view.data, static_cast<std::int32_t>(view.dtype), view.device, {}, {}};
  std::copy(view.shape.begin(), view.shape.end(), tensor.shape);
  std::copy(view.stride.begin(), view.stride.end(), tensor.stride);
  return tensor;
}

Description checked_description(const rp_description& d, Dtype asked, bool has_backward, const std::string& who) {
  const Checker check(who);
  check.require(d.abi_version == RP_ABI_VERSION,
                "it was built for abi version " + std::to_string(d.abi_version) + " and this command speaks version " +
                    std::to_string(RP_ABI_VERSION) + "; build it with the candidate_abi.h of this version");
  check_sets(d, asked, has_backward, check);
  check_enumerators(d.arithmetic, check);
  Description description;
  description.dtypes = d.dtypes;
  description.masks = d.masks;
  description.directions = d.directions == 0 ? 1 : d.directions;
  description.features = d.features;
  description.schedules = d.schedules == 0 ? bit_of(Schedule::kSingle) : d.schedules;
  description.head_dim_multiple = static_cast<std::int32_t>(d.head_dim_multiple);
  description.head_dim_max = d.head_dim_max;
  description.seqlen_max = d.seqlen_max;
  description.arithmetic = twin_of(d.arithmetic);
  try {
    if (asked != Dtype::kDefault) validate(description.arithmetic, asked);
  } catch (const InputError& error) {
    throw InputError(who + ": " + error.what());
  }
  return description;
}

}  // namespace ringproof
