#pragma once

#include "candidates/candidate_abi.h"

namespace ringproof {

/// Calls field(name, reference) for every field of the structs that travels under its own name; pointers, arrays and
/// reserved ones are left out. The names are those of the messages (candidates/protocol.md).
template <class Arithmetic, class Field>
void for_each_arithmetic_field(Arithmetic& a, const Field& field) {
  field("operand_dtype", a.operand_dtype);
  field("score_dtype", a.score_dtype);
  field("p_dtype", a.p_dtype);
  field("accumulator_dtype", a.accumulator_dtype);
  field("partial_dtype", a.partial_dtype);
  field("gradient_partial_dtype", a.gradient_partial_dtype);
  field("p_is_normalised", a.p_is_normalised);
  field("l_sums_cast_p", a.l_sums_cast_p);
  field("merge_is_lerp", a.merge_is_lerp);
  field("key_order", a.key_order);
  field("mma_block", a.mma_block);
  field("accumulator_fraction_bits", a.accumulator_fraction_bits);
  field("accumulation_depth", a.accumulation_depth);
  field("tile_kv", a.tile_kv);
  field("merges", a.merges);
  field("gradient_partials", a.gradient_partials);
  field("exp_error_relative", a.exp_error_relative);
  field("tanh_error_relative", a.tanh_error_relative);
  field("p_scale", a.p_scale);
}

template <class Description, class Field>
void for_each_description_field(Description& d, const Field& field) {
  field("abi_version", d.abi_version);
  field("dtypes", d.dtypes);
  field("masks", d.masks);
  field("directions", d.directions);
  field("features", d.features);
  field("schedules", d.schedules);
  field("head_dim_multiple", d.head_dim_multiple);
  field("head_dim_max", d.head_dim_max);
  field("seqlen_max", d.seqlen_max);
}

template <class Problem, class Field>
void for_each_problem_field(Problem& p, const Field& field) {
  field("abi_version", p.abi_version);
  field("mask", p.mask);
  field("batch", p.batch);
  field("heads_q", p.heads_q);
  field("heads_kv", p.heads_kv);
  field("seqlen_q", p.seqlen_q);
  field("seqlen_kv", p.seqlen_kv);
  field("head_dim_qk", p.head_dim_qk);
  field("head_dim_v", p.head_dim_v);
  field("window_left", p.window_left);
  field("window_right", p.window_right);
  field("softmax_scale", p.softmax_scale);
  field("softcap", p.softcap);
  field("documents", p.documents);
  field("document_causal", p.document_causal);
  field("block_q", p.block_q);
  field("block_kv", p.block_kv);
  field("descale_q", p.descale_q);
  field("descale_k", p.descale_k);
  field("descale_v", p.descale_v);
  field("rank", p.rank);
  field("rank_count", p.rank_count);
  field("schedule", p.schedule);
  field("head_split_ranks", p.head_split_ranks);
}

}  // namespace ringproof
