// Every neighbour is smaller in one measure and no larger in the others (rank count, heads, lengths, dims, documents,
// rank of mask, memory and recipe in a fixed order of simplicity), so a chain of them cannot return. Kv heads alone
// may grow, and only to the number of q heads.

#include "reference/judge/shrink.h"

#include <algorithm>
#include <cstdint>
#include <functional>

#include "reference/spec/error.h"

namespace ringproof {
namespace {

// Keeps a neighbour when it differs from the Case and makes sense.
void offer(std::vector<Case>& neighbours, const Case& c, const std::function<void(Case&)>& edit) {
  Case neighbour = c;
  edit(neighbour);
  if (neighbour == c) return;
  try {
    validate(neighbour);
    require_judgeable(neighbour, UINT64_MAX);
  } catch (const InputError&) {
    return;
  }
  neighbours.push_back(neighbour);
}

// Half, and one less: the first finds the size fast, the second the exact one.
void offer_smaller(std::vector<Case>& neighbours, const Case& c, std::int64_t least, std::int64_t Problem::*field) {
  const std::int64_t size = c.problem.*field;
  if (size / 2 >= least) offer(neighbours, c, [&](Case& n) { n.problem.*field = size / 2; });
  if (size - 1 >= least) offer(neighbours, c, [&](Case& n) { n.problem.*field = size - 1; });
}

// Without one of the documents, its rows and its keys; with half of its rows or keys; with one less.
void offer_fewer_documents(std::vector<Case>& neighbours, const Case& c) {
  const Mask& mask = c.problem.mask;
  const auto documents = static_cast<std::int64_t>(mask.document_lengths_q.size());
  for (std::int64_t d = 0; d < documents; ++d) {
    const auto at = static_cast<std::size_t>(d);
    const auto shorten = [&](std::int64_t rows, std::int64_t keys) {
      offer(neighbours, c, [&](Case& n) {
        n.problem.mask.document_lengths_q[at] -= rows;
        n.problem.mask.document_lengths_kv[at] -= keys;
        n.problem.seqlen_q -= rows;
        n.problem.seqlen_kv -= keys;
      });
    };
    const std::int64_t rows = mask.document_lengths_q[at], keys = mask.document_lengths_kv[at];
    offer(neighbours, c, [&](Case& n) {
      n.problem.mask.document_lengths_q.erase(n.problem.mask.document_lengths_q.begin() + d);
      n.problem.mask.document_lengths_kv.erase(n.problem.mask.document_lengths_kv.begin() + d);
      n.problem.seqlen_q -= rows;
      n.problem.seqlen_kv -= keys;
    });
    for (const auto& [fewer_rows, fewer_keys] :
         {std::pair{rows - rows / 2, keys - keys / 2}, std::pair{std::min<std::int64_t>(rows, 1), std::int64_t{0}},
          std::pair{std::int64_t{0}, std::min<std::int64_t>(keys, 1)}}) {
      shorten(fewer_rows, fewer_keys);
    }
  }
}

}  // namespace

std::vector<Case> shrink_candidates(const Case& c) {
  std::vector<Case> neighbours;
  const Problem& p = c.problem;
  const bool real = c.inputs.kind == RecipeKind::kReal;
  offer(neighbours, c, [](Case& n) { n.problem.topology = {Schedule::kSingle}; });
  if (p.topology.rank_count > 2) {
    offer(neighbours, c, [](Case& n) { --n.problem.topology.rank_count; });
    offer(neighbours, c, [](Case& n) { n.problem.topology.rank_count = 2; });
  }
  offer(neighbours, c, [](Case& n) { n.problem.batch = 1; });
  offer(neighbours, c, [](Case& n) { n.problem.heads_q = n.problem.heads_kv = 1; });
  offer(neighbours, c, [](Case& n) { n.problem.heads_kv = n.problem.heads_q; });
  offer(neighbours, c, [](Case& n) { n.memory = {}; });
  offer(neighbours, c, [](Case& n) { n.problem.softcap = 0; });
  offer(neighbours, c, [](Case& n) { n.problem.has_sink = false; });
  offer(neighbours, c, [](Case& n) { n.problem.descale_q = n.problem.descale_k = n.problem.descale_v = 1; });
  if (p.mask.kind != MaskKind::kFull) offer(neighbours, c, [](Case& n) { n.problem.mask = Mask{MaskKind::kFull}; });
  if (p.mask.kind == MaskKind::kWindow) {
    offer(neighbours, c, [](Case& n) { n.problem.mask = Mask{MaskKind::kCausalBottomRight}; });
  }
  if (p.mask.kind == MaskKind::kDocument) {
    offer(neighbours, c, [](Case& n) { n.problem.mask.document_causal = false; });
    offer_fewer_documents(neighbours, c);
  }
  if (p.mask.kind == MaskKind::kBlockSparse) offer(neighbours, c, [](Case& n) { n.problem.mask.block_seed = 0; });
  const std::int64_t length = std::min(p.seqlen_q, p.seqlen_kv);
  offer(neighbours, c, [&](Case& n) { n.problem.seqlen_q = n.problem.seqlen_kv = length; });
  offer_smaller(neighbours, c, 1, &Problem::seqlen_q);
  offer_smaller(neighbours, c, 1, &Problem::seqlen_kv);
  if (!real) {
    offer_smaller(neighbours, c, 1, &Problem::head_dim_qk);
    offer_smaller(neighbours, c, 1, &Problem::head_dim_v);
    offer(neighbours, c, [](Case& n) { n.inputs = {RecipeKind::kUniformProbe, 0, "", n.inputs.seed}; });
    if (c.inputs.kind != RecipeKind::kUniformProbe) {
      offer(neighbours, c, [](Case& n) { n.inputs = {RecipeKind::kGauss, 0, "", n.inputs.seed}; });
    }
  }
  offer(neighbours, c, [](Case& n) { n.inputs.seed = 0; });
  return neighbours;
}

Case shrink(const Case& c, const std::function<bool(const Case&)>& still_fails) {
  Case smallest = c;
  for (bool found = true; found;) {
    found = false;
    for (const Case& neighbour : shrink_candidates(smallest)) {
      if (!still_fails(neighbour)) continue;
      smallest = neighbour;
      found = true;
      break;
    }
  }
  return smallest;
}

}  // namespace ringproof
