#pragma once

#include <cstdint>

namespace ringproof {

/// Does `count` rounds of twelve independent fused multiply-adds in double on the widest vectors of this processor, on
/// this thread; returns the flops done (2 each). What is left after dividing by the time is what no product can exceed.
double multiply_add_flops(std::int64_t count);

}  // namespace ringproof
