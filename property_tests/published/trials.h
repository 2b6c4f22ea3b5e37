#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "reference/spec/dtype.h"

namespace ringproof {

/// Which data a table of numerics.md 10.4 is about.
struct PublishedData {
  std::string name;  ///< "bf16 gauss d=64"
  Dtype dtype;
  bool sink;  ///< key 0 is aligned with the mean query, its value is small
  std::int64_t head_dim;
};

/// bf16 gauss d=64, bf16 sink d=128, fp16 gauss d=64, fp32 gauss d=64.
std::vector<PublishedData> published_data();

/// How often each rule and each check of ours spoke against a run, over the faulty and over the clean ones.
struct Detections {
  std::int64_t count_faulty = 0, count_clean = 0;
  std::map<std::string, std::int64_t> faulty, clean;             ///< by rule or check; "any of ours" too
  std::map<std::string, std::int64_t> missed;                    ///< faults that no check of ours saw, by fault
  std::map<std::string, std::vector<std::string>> false_alarms;  ///< of ours: what was said
};

/// One trial of length n: 5 clean runs and 19 faulty ones on the same inputs.
void run_trial(const PublishedData& data, std::int64_t n, std::uint64_t seed, int threads, Detections& detections);

}  // namespace ringproof
