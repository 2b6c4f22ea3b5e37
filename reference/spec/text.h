#pragma once

#include <string>

namespace ringproof {

/// The shortest decimal text that reads back to exactly `value` ("0.125", "1e-06").
std::string shortest(double value);
/// The same for a float: fewer digits, and read back as a float.
std::string shortest(float value);

}  // namespace ringproof
