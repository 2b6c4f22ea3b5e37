#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "reference/spec/dtype.h"

namespace ringproof {

/// One tensor O before a rule: the answer in double, what a kernel returned, and what a naive kernel of the same dtype
/// returns (eager_baseline.h). All three of one length, in one order.
struct RuleInput {
  Dtype storage;
  std::span<const double> want, got, baseline;
};

/// An acceptance rule that others publish, with the constants they publish. They stand beside our checks in the kill
/// matrix, on the same numbers, and never decide a verdict.
struct PublishedRule {
  std::string name;    ///< "allclose 1e-2"
  std::string source;  ///< where it is used
  std::function<bool(const RuleInput&)> accepts;
};

/// allclose 1e-2, torch.testing's defaults, FlashAttention's 2x rule, fixed 2.5e-2 and 0.1, cosine 0.99 and 0.999. In
/// every one of them a NaN in `got` is refused and equal infinities are equal.
std::vector<PublishedRule> published_rules();

}  // namespace ringproof
