#pragma once

#include <cstdint>
#include <span>

namespace ringproof {

struct Rises {
  std::int64_t monotone = 0;   ///< larger of ascending and descending order
  std::int64_t any_split = 0;  ///< longest chain of next-greater keys, either order
};

/// How far two exact scores may lie apart and still come out in the other order, when each is wrong by at most
/// 2 (d + 2) 2^-24 |scale| max D: fp32 dot products in any order, and the tensor cores that are nearly as good, and by
/// 16 2^-24 softcap where they are capped (tanh within 2.5 ulp and what stands around it). 0 where every product is 0,
/// because such scores are exact.
double near_tie(std::int64_t head_dim, double softmax_scale, double d_max, double softcap);

/// Counts how often a running maximum over `scores` rises, key by key; this bounds the rises at every tile size.
///
/// A kernel sees rounded scores: a key that lies at the maximum, or below it by less than `near_tie`, may rise above it
/// there, so it counts (equal scores of different keys round differently). With near_tie 0 scores are exact, and only a
/// greater one counts. The first key is no rise: what stood before it is zero, and a factor times zero has no error.
Rises count_rises(std::span<const double> scores, double near_tie);

}  // namespace ringproof
