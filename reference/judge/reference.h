#pragma once

#include <optional>

#include "reference/judge/sampling.h"
#include "reference/judge/special_rows.h"
#include "reference/oracle/attention_forward.h"
#include "reference/spec/case.h"
#include "reference/spec/inputs.h"

namespace ringproof {

/// Everything about a Case that no candidate changes: one of these serves them all.
struct Reference {
  Case c;
  Inputs inputs;                ///< dense, storage dtype; 0 where the Case has NaN or infinity
  ForwardAnswer want;           ///< the oracle's answer and the row statistics, of all rows or of those in want.rows
  double time_ms;               ///< what making it took, inputs included
  std::int64_t rows_drawn = 0;  ///< of a sample: rows drawn at random
  SpecialRows special{};        ///< which answers NaN and infinity decide
  std::optional<Inputs> inputs_with_special{};  ///< the inputs as they are, where any of them is NaN or infinite

  /// What a candidate is given.
  const Inputs& inputs_asked() const { return inputs_with_special ? *inputs_with_special : inputs; }

  RowsJudged rows_judged() const {
    return {static_cast<std::int64_t>(want.row_count()), element_count(c.problem.shape_lse()), rows_drawn};
  }
};

/// Makes inputs and answer, of every row or, where `rule` says so, of a sample of rows (sample_rows). Requires a Case
/// that passed require_judgeable(); throws InputError when its data are missing.
Reference prepare(const Case& c, const SamplingRule& rule, int threads);

/// The same of every row.
Reference prepare(const Case& c, int threads);

/// The answer to `inputs` in place of the Case's own, every row. Requires inputs of its shapes, all finite.
Reference prepare(const Case& c, const Inputs& inputs, int threads);

}  // namespace ringproof
