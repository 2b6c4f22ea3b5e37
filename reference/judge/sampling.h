#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "reference/spec/case.h"

namespace ringproof {

/// When a Case is judged on some of its query rows: what may be skipped, and how much is looked at instead.
struct SamplingRule {
  double work_flop_max;       ///< a reference that costs more is sampled; +inf: never
  std::int64_t rows_sampled;  ///< rows looked at then, at least 1
};

/// Every row of every Case.
SamplingRule all_rows();

/// Query rows that stand for all, linear in [batch, heads_q, seqlen_q], ascending, each once.
struct RowSample {
  std::vector<std::int64_t> rows;
  std::int64_t rows_drawn = 0;  ///< draws at random, one in each of as many strata of equal size
};

/// What the double reference costs in full: 2 (head_dim_qk + head_dim_v) for every visible pair of row and key.
double reference_work_flop(const Problem& problem);

/// Throws InputError as require_judgeable of the rows that `rule` has judged. Nothing is counted row by row before it
/// is known to fit.
void require_judgeable(const Case& c, const SamplingRule& rule, std::uint64_t memory_bytes_max);

/// True where `rule` wants rows of this Case sampled: it costs more and has more rows.
bool wants_sampling(const Case& c, const SamplingRule& rule);

/// At most `count` rows of the Case. An eighth of them stand at edges (first and last rows of a head, tiles of 64 and
/// 128, shards, documents, where a window or the causal diagonal begins), the rest are drawn at random, one in each
/// stratum. A pure function of its arguments; the seed is the Case's. Requires 1 <= count <= rows of the Case.
RowSample sample_rows(const Case& c, std::int64_t count);

/// The least probability that `rows_drawn` draws meet a defect that hits a share `fraction` of the rows, whichever they
/// are: 1 - (1 - fraction)^rows_drawn.
double detection_probability(double fraction, std::int64_t rows_drawn);

/// How many of a Case's rows an Evidence speaks of.
struct RowsJudged {
  std::int64_t judged = 0, total = 0;
  std::int64_t drawn = 0;  ///< at random; 0 where every row was judged
  bool is_sample() const { return judged < total; }
};

/// "256 of 1,048,576 rows sampled: a defect in 1 % of rows is seen with probability 0.91; the others are searched for
/// NaN alone"; "" where all were judged.
/// Probabilities are rounded down.
std::string sampling_sentence(const RowsJudged& rows);

}  // namespace ringproof
