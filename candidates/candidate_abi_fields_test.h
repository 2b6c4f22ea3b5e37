#pragma once

/* Every field of the ABI's structs in order, and the size of every struct: for a table in C and one in C++. */
#define RP_EVERY_FIELD(FIELD, WHOLE)              \
  FIELD(rp_tensor, data)                          \
  FIELD(rp_tensor, dtype)                         \
  FIELD(rp_tensor, device)                        \
  FIELD(rp_tensor, shape)                         \
  FIELD(rp_tensor, stride)                        \
  WHOLE(rp_tensor)                                \
  FIELD(rp_problem, abi_version)                  \
  FIELD(rp_problem, mask)                         \
  FIELD(rp_problem, batch)                        \
  FIELD(rp_problem, heads_q)                      \
  FIELD(rp_problem, heads_kv)                     \
  FIELD(rp_problem, seqlen_q)                     \
  FIELD(rp_problem, seqlen_kv)                    \
  FIELD(rp_problem, head_dim_qk)                  \
  FIELD(rp_problem, head_dim_v)                   \
  FIELD(rp_problem, window_left)                  \
  FIELD(rp_problem, window_right)                 \
  FIELD(rp_problem, softmax_scale)                \
  FIELD(rp_problem, softcap)                      \
  FIELD(rp_problem, sink)                         \
  FIELD(rp_problem, documents)                    \
  FIELD(rp_problem, cu_seqlens_q)                 \
  FIELD(rp_problem, cu_seqlens_kv)                \
  FIELD(rp_problem, document_causal)              \
  FIELD(rp_problem, reserved)                     \
  FIELD(rp_problem, block_q)                      \
  FIELD(rp_problem, block_kv)                     \
  FIELD(rp_problem, block_mask)                   \
  FIELD(rp_problem, descale_q)                    \
  FIELD(rp_problem, descale_k)                    \
  FIELD(rp_problem, descale_v)                    \
  FIELD(rp_problem, rank)                         \
  FIELD(rp_problem, rank_count)                   \
  FIELD(rp_problem, schedule)                     \
  FIELD(rp_problem, head_split_ranks)             \
  FIELD(rp_problem, reserved_2)                   \
  WHOLE(rp_problem)                               \
  FIELD(rp_arithmetic, operand_dtype)             \
  FIELD(rp_arithmetic, score_dtype)               \
  FIELD(rp_arithmetic, p_dtype)                   \
  FIELD(rp_arithmetic, accumulator_dtype)         \
  FIELD(rp_arithmetic, partial_dtype)             \
  FIELD(rp_arithmetic, gradient_partial_dtype)    \
  FIELD(rp_arithmetic, p_is_normalised)           \
  FIELD(rp_arithmetic, l_sums_cast_p)             \
  FIELD(rp_arithmetic, merge_is_lerp)             \
  FIELD(rp_arithmetic, key_order)                 \
  FIELD(rp_arithmetic, mma_block)                 \
  FIELD(rp_arithmetic, accumulator_fraction_bits) \
  FIELD(rp_arithmetic, accumulation_depth)        \
  FIELD(rp_arithmetic, tile_kv)                   \
  FIELD(rp_arithmetic, merges)                    \
  FIELD(rp_arithmetic, gradient_partials)         \
  FIELD(rp_arithmetic, exp_error_relative)        \
  FIELD(rp_arithmetic, tanh_error_relative)       \
  FIELD(rp_arithmetic, p_scale)                   \
  FIELD(rp_arithmetic, reserved)                  \
  WHOLE(rp_arithmetic)                            \
  FIELD(rp_description, abi_version)              \
  FIELD(rp_description, dtype_asked)              \
  FIELD(rp_description, direction_asked)          \
  FIELD(rp_description, reserved)                 \
  FIELD(rp_description, name)                     \
  FIELD(rp_description, dtypes)                   \
  FIELD(rp_description, masks)                    \
  FIELD(rp_description, directions)               \
  FIELD(rp_description, features)                 \
  FIELD(rp_description, schedules)                \
  FIELD(rp_description, head_dim_multiple)        \
  FIELD(rp_description, head_dim_max)             \
  FIELD(rp_description, seqlen_max)               \
  FIELD(rp_description, arithmetic)               \
  WHOLE(rp_description)
