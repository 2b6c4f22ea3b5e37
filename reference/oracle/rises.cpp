// The longest chain of next-greater keys is the largest stack a scan keeps when it drops every element that
// the new one exceeds: from the new element on, the stack is its chain of ever greater successors (in the
// opposite direction).

#include "reference/oracle/rises.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace ringproof {
namespace {

template <class Iterator>
std::int64_t rises_along(Iterator begin, Iterator end, double near_tie) {
  if (begin == end) return 0;
  std::int64_t rises = 0;
  double maximum = *begin;
  for (Iterator at = std::next(begin); at != end; ++at) {
    if (*at > maximum - near_tie) ++rises;
    maximum = std::max(maximum, *at);
  }
  return rises;
}

template <class Iterator>
std::int64_t longest_chain_against(Iterator begin, Iterator end, double near_tie) {
  std::vector<double> chain;
  std::size_t longest = 0;
  for (Iterator at = begin; at != end; ++at) {
    while (!chain.empty() && chain.back() <= *at - near_tie) chain.pop_back();
    chain.push_back(*at);
    longest = std::max(longest, chain.size());
  }
  return longest == 0 ? 0 : static_cast<std::int64_t>(longest) - 1;
}

}  // namespace

double near_tie(std::int64_t head_dim, double softmax_scale, double d_max, double softcap) {
  const double products = 4 * (static_cast<double>(head_dim) + 2) * 0x1p-24 * std::fabs(softmax_scale) * d_max;
  return products > 0 ? products + 32 * 0x1p-24 * softcap : 0;
}

Rises count_rises(std::span<const double> scores, double near_tie) {
  Rises rises;
  rises.monotone = std::max(rises_along(scores.begin(), scores.end(), near_tie),
                            rises_along(scores.rbegin(), scores.rend(), near_tie));
  rises.any_split = std::max({rises.monotone, longest_chain_against(scores.begin(), scores.end(), near_tie),
                              longest_chain_against(scores.rbegin(), scores.rend(), near_tie)});
  return rises;
}

}  // namespace ringproof
