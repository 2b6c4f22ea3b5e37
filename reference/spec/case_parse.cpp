// Reads a Case line, part by part, in the order it is written:
//   direction/dtype/shape/mask/scale[,softcap][,sink][,descale(q,k,v)]/inputs:seed/memory/topology

#include <algorithm>

#include "reference/spec/case.h"
#include "reference/spec/error.h"
#include "reference/spec/text.h"
#include "reference/spec/text_cursor.h"

namespace ringproof {
namespace {

Direction parse_direction(TextCursor& cursor) {
  // The longer name first: the shorter is its beginning.
  if (cursor.take("bwd_coupled")) return Direction::kBackwardCoupled;
  if (cursor.take("fwd")) return Direction::kForward;
  if (cursor.take("bwd")) return Direction::kBackward;
  cursor.refuse("a direction (fwd, bwd, bwd_coupled)");
}

Dtype parse_storage(TextCursor& cursor) {
  static constexpr Dtype kStorage[]{Dtype::kF64,  Dtype::kF32,    Dtype::kF16,
                                    Dtype::kBf16, Dtype::kF8E4m3, Dtype::kF8E5m2};
  for (const Dtype dtype : kStorage) {
    if (cursor.take(to_string(dtype))) return dtype;
  }
  cursor.refuse("a dtype (fp64, fp32, fp16, bf16, fp8_e4m3, fp8_e5m2)");
}

void parse_shape(TextCursor& cursor, Problem& problem) {
  const auto part = [&cursor](const char* name) {
    cursor.want(name);
    return cursor.want_integer("a whole number");
  };
  problem.batch = part("b");
  problem.heads_q = part(".hq");
  problem.heads_kv = part(".hkv");
  problem.seqlen_q = part(".sq");
  problem.seqlen_kv = part(".skv");
  problem.head_dim_qk = part(".dqk");
  problem.head_dim_v = part(".dv");
}

std::vector<std::int64_t> parse_lengths(TextCursor& cursor) {
  std::vector<std::int64_t> lengths;
  do {
    lengths.push_back(cursor.want_integer("a document length"));
  } while (cursor.take("+"));
  return lengths;
}

Mask parse_mask(TextCursor& cursor) {
  Mask mask{MaskKind::kFull};
  if (cursor.take("full")) return mask;
  if (cursor.take("causal_top_left")) return Mask{MaskKind::kCausalTopLeft};
  if (cursor.take("causal_bottom_right")) return Mask{MaskKind::kCausalBottomRight};
  if (cursor.take("window(")) {
    mask.kind = MaskKind::kWindow;
    mask.window_left = cursor.want_integer("the window's left end (-1 for unbounded)");
    cursor.want(",");
    mask.window_right = cursor.want_integer("the window's right end (-1 for unbounded)");
    cursor.want(")");
    return mask;
  }
  if (cursor.take("document(")) {
    mask.kind = MaskKind::kDocument;
    mask.document_lengths_q = parse_lengths(cursor);
    cursor.want(",");
    mask.document_lengths_kv = parse_lengths(cursor);
    cursor.want(")");
    mask.document_causal = cursor.take("+causal");
    return mask;
  }
  if (cursor.take("block_sparse(")) {
    mask.kind = MaskKind::kBlockSparse;
    mask.block_q = cursor.want_integer("the rows of a tile");
    cursor.want("x");
    mask.block_kv = cursor.want_integer("the keys of a tile");
    cursor.want(",keep");
    mask.block_share_kept = cursor.want_number("the share of tiles kept");
    cursor.want(":");
    mask.block_seed = cursor.want_unsigned("a seed");
    cursor.want(")");
    return mask;
  }
  cursor.refuse("a mask (full, causal_top_left, causal_bottom_right, window(l,r), document(..), block_sparse(..))");
}

void parse_scalars(TextCursor& cursor, Problem& problem) {
  const auto scalar = [&](const char* what) {
    const double value = cursor.want_number(what);
    if (problem.dtype == Dtype::kF64) return value;
    const double narrow = static_cast<float>(value);
    if (narrow == 0 && value != 0) {
      throw InputError(shortest(value) + " is 0 in fp32, which scalars are rounded to; give a larger number");
    }
    return narrow;
  };
  cursor.want("scale");
  problem.softmax_scale = scalar("the scale, a number");
  while (cursor.take(",")) {
    if (cursor.take("softcap")) {
      problem.softcap = scalar("the softcap, a number");
    } else if (cursor.take("sink")) {
      problem.has_sink = true;
    } else if (cursor.take("descale(")) {
      problem.descale_q = scalar("descale of q");
      cursor.want(",");
      problem.descale_k = scalar("descale of k");
      cursor.want(",");
      problem.descale_v = scalar("descale of v");
      cursor.want(")");
    } else {
      cursor.refuse("softcap, sink or descale(q,k,v)");
    }
  }
}

InputRecipe parse_recipe(TextCursor& cursor) {
  InputRecipe recipe{RecipeKind::kGauss, 0, "", 0};
  if (cursor.take("large_offset(")) {
    recipe.kind = RecipeKind::kLargeOffset;
    recipe.offset = cursor.want_number("a logit offset");
    cursor.want(")");
  } else if (cursor.take("real(")) {
    recipe.kind = RecipeKind::kReal;
    recipe.real_name = cursor.want_until(')', "the name of stored activations");
    cursor.want(")");
    if (recipe.real_name.find('/') != std::string::npos || recipe.real_name.find("..") != std::string::npos) {
      throw InputError("real(" + recipe.real_name + ") is a name, not a path; give for instance real(minilm.0)");
    }
  } else {
    const std::string_view name = cursor.want_name("an input recipe");
    bool known = false;
    for (int kind = 0; kind <= static_cast<int>(RecipeKind::kSpecial); ++kind) {
      recipe.kind = static_cast<RecipeKind>(kind);
      if (recipe.kind != RecipeKind::kLargeOffset && to_string(recipe) == name) {
        known = true;
        break;
      }
    }
    if (!known) throw InputError("'" + std::string(name) + "' is no input recipe; ringproof list recipes shows them");
  }
  cursor.want(":");
  recipe.seed = cursor.want_unsigned("a seed");
  return recipe;
}

Memory parse_memory(TextCursor& cursor) {
  Memory memory;
  if (cursor.take("bshd")) {
    memory.order = AxisOrder::kBshd;
  } else if (cursor.take("thd")) {
    memory.order = AxisOrder::kThd;
  } else {
    if (!cursor.take("bhsd")) cursor.refuse("a memory (bhsd, bshd, thd)");
  }
  while (cursor.take("+")) {
    if (cursor.take("gap"))
      memory.gap = cursor.want_integer("the elements of the gap");
    else if (cursor.take("broadcast_kv"))
      memory.broadcast_kv = true;
    else if (cursor.take("dim2"))
      memory.dim2 = true;
    else if (cursor.take("huge_batch"))
      memory.huge_batch = true;
    else if (cursor.take("huge_seq"))
      memory.huge_seq = true;
    else if (cursor.take("page_end"))
      memory.page_end = true;
    else if (cursor.take("mixed"))
      memory.mixed = true;
    else if (cursor.take("alias"))
      memory.alias = true;
    else if (cursor.take("v_in_k"))
      memory.v_in_k = true;
    else if (cursor.take("nan1"))
      memory.nan_level = 1;
    else if (cursor.take("nan2"))
      memory.nan_level = 2;
    else
      cursor.refuse("gapN, broadcast_kv, dim2, huge_batch, huge_seq, page_end, mixed, alias, v_in_k, nan1 or nan2");
  }
  return memory;
}

std::int32_t want_ranks(TextCursor& cursor) {
  const std::int64_t ranks = cursor.want_integer("a rank count");
  if (ranks < 1 || ranks > 1 << 20)
    throw InputError("a rank count must be between 1 and 2^20, not " + std::to_string(ranks));
  return static_cast<std::int32_t>(ranks);
}

Topology parse_topology_at(TextCursor& cursor) {
  if (cursor.take("single")) return {Schedule::kSingle};
  Topology topology{Schedule::kSingle};
  const bool hybrid = cursor.take("hybrid");
  if (hybrid) {
    topology.head_split_ranks = want_ranks(cursor);
    cursor.want("x");
  }
  for (const Schedule schedule :
       {Schedule::kContiguous, Schedule::kStriped, Schedule::kZigzag, Schedule::kHeadSplit, Schedule::kAllGather}) {
    const bool in_hybrid = schedule != Schedule::kHeadSplit && schedule != Schedule::kAllGather;
    if ((hybrid && !in_hybrid) || !cursor.take(to_string(schedule))) continue;
    topology.schedule = schedule;
    const std::int64_t ranks = std::int64_t{want_ranks(cursor)} * topology.head_split_ranks;
    if (ranks > 1 << 20) throw InputError("the topology has more than 2^20 ranks; give fewer");
    topology.rank_count = static_cast<std::int32_t>(ranks);
    return topology;
  }
  cursor.refuse("a topology (single, contiguousN, stripedN, zigzagN, head_splitN, all_gatherN, hybridMxzigzagN)");
}

}  // namespace

Topology parse_topology(std::string_view text) {
  TextCursor cursor(text);
  const Topology topology = parse_topology_at(cursor);
  if (!cursor.at_end()) cursor.refuse("the end of the topology");
  return topology;
}

Case parse_case(std::string_view line) {
  TextCursor cursor(line);
  Case c{};
  c.direction = parse_direction(cursor);
  cursor.want("/");
  c.problem.dtype = parse_storage(cursor);
  cursor.want("/");
  parse_shape(cursor, c.problem);
  cursor.want("/");
  c.problem.mask = parse_mask(cursor);
  cursor.want("/");
  parse_scalars(cursor, c.problem);
  cursor.want("/");
  c.inputs = parse_recipe(cursor);
  cursor.want("/");
  c.memory = parse_memory(cursor);
  cursor.want("/");
  c.problem.topology = parse_topology_at(cursor);
  if (!cursor.at_end()) cursor.refuse("the end of the line");
  validate(c);
  return c;
}

std::vector<Case> parse_cases(std::string_view text, std::string_view source) {
  std::vector<Case> cases;
  int number = 0;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    ++number;
    while (!line.empty() && (line.back() == ' ' || line.back() == '\r' || line.back() == '\t')) line.remove_suffix(1);
    while (!line.empty() && (line.front() == ' ' || line.front() == '\t')) line.remove_prefix(1);
    if (line.empty() || line.front() == '#') continue;
    try {
      cases.push_back(parse_case(line));
    } catch (const InputError& error) {
      throw InputError(std::string(source) + ", line " + std::to_string(number) + ": " + error.what());
    }
  }
  return cases;
}

}  // namespace ringproof
