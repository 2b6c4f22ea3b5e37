#pragma once

#include <functional>
#include <string>
#include <vector>

#include "property_tests/generators.h"

namespace ringproof {

/// What holds for every Case of a space: "" when it holds for this one, else a sentence that says where it does
/// not.
using PropertyOfCase = std::function<std::string(const Case&)>;

/// Checks `property` inside a GoogleTest test: first on every Case of regressions.txt that lies in `space`,
/// then on `draws` Cases drawn from it. A failure is shrunk, and shown as a Case line with the command that
/// runs this test on it alone.
///
/// Read from the environment: RINGPROOF_SEED (pins every draw; 1 where not set), RINGPROOF_DRAWS (replaces
/// `draws`), RINGPROOF_CASE (a Case line: the property is checked on it alone).
void expect_property(const CaseSpace& space, int draws, const PropertyOfCase& property);

/// As above for the Cases of a generator; without regressions.
void expect_property(const rc::Gen<Case>& cases, int draws, const PropertyOfCase& property);

}  // namespace ringproof
