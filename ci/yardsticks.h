#pragma once

#include <string>
#include <vector>

namespace ringproof {

/// What this machine can do at the moment; the name ends in its unit.
struct Yardstick {
  std::string name;
  double value;
};

/// The best of a few tries, in about a tenth of a second: fused multiply-adds in double on `threads` threads and
/// memory copied by one (bytes read and written). The first is left out where Highway is missing.
std::vector<Yardstick> measure_yardsticks(int threads);

}  // namespace ringproof
