// Counts what published acceptance rules and the checks of this suite see of known faults: the table of numerics.md
// 10.4, 19 faults x 53 trials from n = 64 to 4,096, with 5 clean runs beside each. Minutes, in full.

#include <CLI/CLI.hpp>
#include <cstdio>
#include <set>
#include <thread>

#include "property_tests/published/trials.h"
#include "reference/judge/published_rules.h"

namespace ringproof {
namespace {

struct Length {
  std::int64_t n;
  int trials;
};
constexpr Length kLengths[] = {{64, 10}, {128, 10}, {256, 10}, {512, 10}, {1024, 6}, {2048, 4}, {4096, 3}};

void print_row(const PublishedData& data, const Detections& d) {
  std::printf("\n%s: %lld faulty runs, %lld correct ones\n", data.name.c_str(), static_cast<long long>(d.count_faulty),
              static_cast<long long>(d.count_clean));
  const auto line = [&](const std::string& name) {
    const auto count = [&](const std::map<std::string, std::int64_t>& counts) {
      const auto found = counts.find(name);
      return static_cast<long long>(found == counts.end() ? 0 : found->second);
    };
    std::printf("  %-32s %5lld seen, %3lld false alarms\n", name.c_str(), count(d.faulty), count(d.clean));
  };
  std::set<std::string> rules;
  for (const PublishedRule& rule : published_rules()) {
    rules.insert(rule.name);
    line(rule.name);
  }
  std::set<std::string> ours;
  for (const auto* counts : {&d.faulty, &d.clean}) {
    for (const auto& [name, count] : *counts) {
      if (rules.count(name) == 0 && name != "any of ours") ours.insert(name);
    }
  }
  for (const std::string& name : ours) line(name);
  line("any of ours");
  for (const auto& [name, count] : d.missed) {
    std::printf("  not seen by ours: %s (%lld times)\n", name.c_str(), static_cast<long long>(count));
  }
  for (const auto& [name, said] : d.false_alarms)
    std::printf("  FALSE ALARM: %s: %s\n", name.c_str(), said.front().c_str());
}

int run(int argc, char** argv) {
  CLI::App app{"What published rules and our checks see of 19 known faults (numerics.md 10.4)."};
  std::string only;
  std::int64_t n_max = 4096;
  std::uint64_t seed = 7;
  int threads = static_cast<int>(std::thread::hardware_concurrency());
  app.add_option("--data", only, "one of the four data sets, as it is printed; all by default");
  app.add_option("--n-max", n_max, "longest sequence (default 4096; 512 takes seconds)");
  app.add_option("--seed", seed, "of inputs and faults' places");
  app.add_option("--threads", threads, "of the oracle");
  CLI11_PARSE(app, argc, argv);
  bool alarmed = false;
  for (const PublishedData& data : published_data()) {
    if (!only.empty() && data.name != only) continue;
    Detections detections;
    for (const Length& length : kLengths) {
      if (length.n > n_max) continue;
      std::fprintf(stderr, "%s: n %lld\n", data.name.c_str(), static_cast<long long>(length.n));
      for (int trial = 0; trial < length.trials; ++trial) {
        run_trial(data, length.n, seed * 1000 + static_cast<std::uint64_t>(length.n + trial), threads, detections);
      }
    }
    print_row(data, detections);
    alarmed = alarmed || !detections.false_alarms.empty();
  }
  return alarmed ? 1 : 0;
}

}  // namespace
}  // namespace ringproof

int main(int argc, char** argv) { return ringproof::run(argc, argv); }
