#pragma once

namespace ringproof {

/// The commit this binary was built from, "-dirty" appended where the tree had changes; "unknown" outside a checkout.
const char* built_commit();

}  // namespace ringproof
