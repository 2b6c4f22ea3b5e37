#pragma once

#include <cstdint>

namespace ringproof {

/// One Case in six is called again after the next one: state shows in what is called twice (check 6).
inline constexpr std::int64_t kCasesPerRepeat = 6;

/// Of the reference: a Case that took longer is not kept for a second call.
inline constexpr double kRepeatMsMax = 2000;

}  // namespace ringproof
