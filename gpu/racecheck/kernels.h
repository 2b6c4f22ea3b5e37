#pragma once

#include <span>
#include <string>
#include <vector>

#include "gpu/racecheck/check.h"
#include "reference/spec/case.h"

namespace ringproof::racecheck {

/// The kernels of gpu/, compiled with instrumentation, by the names of their candidates.
std::vector<std::string> kernel_names();

/// The Cases a kernel is checked on: lengths of 256 and smaller ones that fill no tile, every mask, head dims and
/// memory layouts, as far as the kernel takes them; the quickest first. Throws InputError for an unknown kernel.
std::vector<Case> cases_of(const std::string& kernel);

/// One call of the kernel per Case, on inputs made once. Throws InputError when the kernel does not take a Case.
std::vector<Workload> workloads_of(const std::string& kernel, std::span<const Case> cases);

}  // namespace ringproof::racecheck
