#pragma once

#include <hwy/targets.h>

#include <cstdint>
#include <set>
#include <string>

#include "reference/oracle/fast/panel_kernels.h"

namespace ringproof {

/// Runs check(name) under every instruction set that was compiled and that this processor has, with and without pairs
/// of bf16; then all are back.
template <class Check>
void on_every_target(const Check& check) {
  const auto choose = [](std::int64_t targets) {
    hwy::SetSupportedTargetsForTest(targets);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  };
  choose(0);
  std::set<std::string> done;
  for (std::int64_t left = hwy::SupportedTargets(), least; left != 0; left -= least) {
    least = left & -left;
    choose(left);  // the best of these that was compiled
    for (const bool pairs : {true, false}) {
      allow_pairs_for_test(pairs);
      const std::string name = panel_kernels().target + std::string(panel_kernels().per_word == 2 ? ", pairs" : "");
      if (done.insert(name).second) check(name);
    }
    allow_pairs_for_test(true);
  }
  choose(0);
}

}  // namespace ringproof
