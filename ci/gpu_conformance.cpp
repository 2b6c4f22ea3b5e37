// ringproof_gpu_conformance: whether the host runtime tells the truth about this machine's GPU. Prints one JSON line
// per comparison; how a tensor core rounds is judged on Hopper, whose numerics the host has, and measured elsewhere.
// Exit code: 0 all agree (or nothing could run: a line says so), 1 something differs, 3 a CUDA call failed.

#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "gpu/conformance/exp2_sweep.h"
#include "gpu/conformance/kernels.h"
#include "gpu/conformance/wrappers.h"
#include "gpu/device/run.h"
#include "reference/spec/error.h"

namespace {

using nlohmann::json;
using ringproof::Finding;

constexpr std::uint64_t kSeed = 20260101;
constexpr int kTrials = 1500;

const std::vector<std::string> kLines{
    "fwd/fp32/b2.hq4.hkv2.sq128.skv128.dqk64.dv64/full/scale0.125/gauss:1/bhsd/single",
    "fwd/fp32/b1.hq7.hkv1.sq63.skv190.dqk128.dv128/causal_bottom_right/scale0.09/peaked:2/bhsd/single",
    "fwd/fp32/b2.hq2.hkv1.sq100.skv90.dqk32.dv96/window(7,5)/scale0.2/gauss:4/bhsd/single",
    "fwd/fp32/b1.hq2.hkv2.sq1.skv700.dqk64.dv64/full/scale0.125/gauss:5/bhsd/single",
};

int shown(const Finding& finding) {
  json facts = json::object();
  for (const auto& [name, value] : finding.facts) facts[name] = value;
  const char* const differs = finding.is_judged ? "differs" : "measured";
  const json line{{"check", finding.check},
                  {"outcome", finding.agrees ? "agrees" : differs},
                  {"sentence", finding.sentence},
                  {"facts", facts}};
  std::printf("%s\n", line.dump().c_str());
  std::fflush(stdout);
  return finding.agrees || !finding.is_judged ? 0 : 1;
}

}  // namespace

int main() {
  using namespace ringproof;
  const std::string missing = device_missing_reason();
  if (!missing.empty()) {
    std::printf("%s\n", json{{"check", "conformance"}, {"outcome", "not run"}, {"sentence", missing}}.dump().c_str());
    return 0;
  }
  int code = 0;
  try {
    constexpr int kHopper = 9;
    const bool is_hopper = device_facts().major == kHopper;
    for (const Finding& finding : compare_probes(run_probe_on_host, run_probe_on_device, kTrials, kSeed, is_hopper)) {
      code |= shown(finding);
    }
    code |= shown(compare_truncation(run_probe_on_host, run_probe_on_device, is_hopper));
    code |= shown(sweep_exp2());
    for (const Finding& finding : compare_kernels(kLines)) code |= shown(finding);
  } catch (const Error& error) {
    std::printf("%s\n",
                json{{"check", "conformance"}, {"outcome", "failed"}, {"sentence", error.what()}}.dump().c_str());
    return 3;
  }
  return code;
}
