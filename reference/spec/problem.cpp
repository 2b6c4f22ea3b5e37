#include "reference/spec/problem.h"

#include <algorithm>
#include <cmath>

#include "reference/spec/error.h"

namespace ringproof {
namespace {

constexpr std::int64_t kBatchTimesHeadsMax = std::int64_t{1} << 24;

void require(bool condition, const std::string& sentence) {
  if (!condition) throw InputError(sentence);
}

void require_at_least(std::int64_t least, std::int64_t value, const char* field) {
  require(value >= least,
          std::string(field) + " is " + std::to_string(value) + "; give at least " + std::to_string(least));
}

void require_countable(const Shape& shape, const char* tensor) {
  std::int64_t count = 8;  // bytes of the widest element
  for (const std::int64_t extent : shape) {
    require(!__builtin_mul_overflow(count, std::max<std::int64_t>(extent, 1), &count),
            std::string(tensor) + " has more bytes than 64 bits can count; give smaller sizes");
  }
}

void validate_mask(const Problem& problem) {
  const Mask& mask = problem.mask;
  if (mask.kind == MaskKind::kWindow) {
    require(mask.window_left >= -1 && mask.window_right >= -1,
            "the window's ends are " + std::to_string(mask.window_left) + " and " + std::to_string(mask.window_right) +
                "; give -1 (unbounded) or a count of keys");
  }
  if (mask.kind == MaskKind::kDocument) {
    require(!mask.document_lengths_q.empty() && mask.document_lengths_q.size() == mask.document_lengths_kv.size(),
            "document() needs two lists of equal, positive count: lengths of q, then of kv");
    const auto sum = [](const std::vector<std::int64_t>& lengths) {
      std::int64_t total = 0;
      for (const std::int64_t length : lengths) {
        require(length >= 0 && !__builtin_add_overflow(total, length, &total),
                "a document length is negative or too large");
      }
      return total;
    };
    require(sum(mask.document_lengths_q) <= problem.seqlen_q && sum(mask.document_lengths_kv) <= problem.seqlen_kv,
            "the documents are longer than the sequence; lower their lengths or raise sq and skv");
  }
  if (mask.kind == MaskKind::kBlockSparse) {
    require(mask.block_q > 0 && mask.block_kv > 0, "block_sparse() needs tiles of at least one row and one key");
    require(mask.block_share_kept >= 0 && mask.block_share_kept <= 1, "block_sparse() keeps a share between 0 and 1");
  }
}

}  // namespace

bool is_fp8(Dtype dtype) { return dtype == Dtype::kF8E4m3 || dtype == Dtype::kF8E5m2; }

Dtype dtype_of_out(Dtype storage) { return is_fp8(storage) ? Dtype::kBf16 : storage; }

Dtype dtype_of_lse(Dtype storage) { return storage == Dtype::kF64 ? Dtype::kF64 : Dtype::kF32; }

void validate(const Problem& problem) {
  require_at_least(1, problem.batch, "b (batch)");
  require_at_least(1, problem.heads_q, "hq (heads_q)");
  require_at_least(1, problem.heads_kv, "hkv (heads_kv)");
  require_at_least(0, problem.seqlen_q, "sq (seqlen_q)");
  require_at_least(0, problem.seqlen_kv, "skv (seqlen_kv)");
  require_at_least(1, problem.head_dim_qk, "dqk (head_dim_qk)");
  require_at_least(1, problem.head_dim_v, "dv (head_dim_v)");
  require(problem.heads_q % problem.heads_kv == 0,
          "hq (" + std::to_string(problem.heads_q) + ") is not a multiple of hkv (" + std::to_string(problem.heads_kv) +
              "); grouped heads share a kv head evenly");
  std::int64_t heads = 0;
  const bool countable =
      !__builtin_mul_overflow(problem.batch, problem.heads_q, &heads) && heads <= kBatchTimesHeadsMax;
  require(countable, "b times hq is more than 2^24; give fewer batches or heads");
  for (const auto& [shape, name] : {std::pair{problem.shape_q(), "q"}, std::pair{problem.shape_k(), "k"},
                                    std::pair{problem.shape_v(), "v"}, std::pair{problem.shape_out(), "out"}}) {
    require_countable(shape, name);
  }
  require(problem.seqlen_q < kUnbounded && problem.seqlen_kv < kUnbounded, "a sequence is longer than 2^61 tokens");
  require(std::isfinite(problem.softmax_scale), "the scale is not a finite number");
  require(std::isfinite(problem.softcap) && problem.softcap >= 0,
          "softcap must be a positive number; leave it out for none");
  for (const double descale : {problem.descale_q, problem.descale_k, problem.descale_v}) {
    require(std::isfinite(descale) && descale > 0, "a descale factor must be a positive number");
  }
  validate_mask(problem);
  const Topology& topology = problem.topology;
  require(topology.rank_count >= 1 && topology.head_split_ranks >= 1 &&
              topology.rank_count % topology.head_split_ranks == 0,
          "the topology's rank count must be positive");
  require(topology.schedule != Schedule::kSingle || topology.rank_count == 1, "single has one rank");
}

void require_built(const Problem& problem) {
  const bool is_descaled = problem.descale_q != 1 || problem.descale_k != 1 || problem.descale_v != 1;
  if (is_descaled && !is_fp8(problem.dtype)) {
    throw InputError("descale factors belong to fp8 storage; leave them out");
  }
}

}  // namespace ringproof
