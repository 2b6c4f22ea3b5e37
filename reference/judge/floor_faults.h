#pragma once

#include <array>
#include <string>

#include "reference/judge/altered_rows.h"

namespace ringproof {

/// Faults that a judgement must be able to see: the least of them every published kernel has had at some time.
enum class FloorFault {
  kLastKeyDropped,  ///< the last key that any row sees is missing
  kKeyDoubled,      ///< a key in the middle counts twice
  kMaskEdgeMoved,   ///< every row with a mask edge sees the first key beyond it
  kKvHeadsRotated,  ///< every query head reads the next kv head
  kRescaleSkipped,  ///< one tile of keys keeps the weights of the maximum before it rose
};

inline constexpr std::array kFloorFaults{FloorFault::kLastKeyDropped, FloorFault::kKeyDoubled,
                                         FloorFault::kMaskEdgeMoved, FloorFault::kKvHeadsRotated,
                                         FloorFault::kRescaleSkipped};

/// "last key dropped", "a key doubled", "mask edge moved", "kv heads rotated", "a rescale skipped".
const char* to_string(FloorFault fault);

/// The oracle's answer with a fault in it, rounded to the dtypes of O and lse: it stands in for a candidate's.
struct FaultyAnswer {
  bool applies = false;       ///< false where no kernel can have this fault ("one kv head")
  std::string why_unchanged;  ///< why the answer is right all the same; "" where it differs
  Got got;                    ///< only where it differs
};

/// Puts the fault into the rows of a rows. No candidate is called.
FaultyAnswer with_fault(const AlteredRows& rows, FloorFault fault);

/// The key in the middle of those that any row sees: the one that is doubled, and whose weight the judge measures how
/// far it may be off. -1 where no row sees a key.
std::int64_t middle_key(const Visibility& visibility, std::int64_t seqlen_kv);

}  // namespace ringproof
