#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "gpu/conformance/finding.h"
#include "gpu/conformance/probes.h"

namespace ringproof {

/// Runs `probe` on `trials` inputs that stand behind one another, as many words as its shape says, and returns what it
/// wrote.
using ProbeRun =
    std::function<std::vector<std::uint32_t>(Probe probe, const std::vector<std::uint32_t>& in, int trials)>;

/// On the host runtime, mma in the numerics of Hopper's tensor cores.
std::vector<std::uint32_t> run_probe_on_host(Probe probe, const std::vector<std::uint32_t>& in, int trials);
/// On CUDA device 0. Throws Error.
std::vector<std::uint32_t> run_probe_on_device(Probe probe, const std::vector<std::uint32_t>& in, int trials);

/// Inputs for `trials` calls of a probe, a pure function of the seed: a third of them random bits (NaN and infinity
/// among them), a third ordinary numbers, a third spread over many binades.
std::vector<std::uint32_t> probe_inputs(Probe probe, int trials, std::uint64_t seed);

/// Inputs of an mma of 16-bit numbers whose sums are small integers, exact in whatever way a device adds.
std::vector<std::uint32_t> exact_mma_inputs(Probe probe, int trials, std::uint64_t seed);

/// Every probe on both sides, bit for bit; where the words are numbers, any NaN is equal to any. An mma of 16-bit
/// numbers twice: on exact sums, which shows wrong layouts on every device, and on probe_inputs(), judged only where
/// `is_hopper` says that the device adds as the host's numerics of Hopper do.
std::vector<Finding> compare_probes(const ProbeRun& on_host, const ProbeRun& on_device, int trials, std::uint64_t seed,
                                    bool is_hopper);

/// What a tensor core keeps of small addends, for bf16: fraction bits below the largest term, how they are cut, how the
/// sum is rounded to fp32, how many products are added at once. Agrees where the device does what Hopper's numerics on
/// the host do; judged where it is a Hopper.
Finding compare_truncation(const ProbeRun& on_host, const ProbeRun& on_device, bool is_hopper);

}  // namespace ringproof
