// Goal: the bound holds nothing that nobody needs. Method: without one of its terms, some simulated kernel leaves it,
// among the drawn ones or where the search ends; what none leaves is listed as unreached, with a number.

#include "property_tests/bounds/deleted_terms.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <iostream>
#include <limits>
#include <map>

namespace ringproof {
namespace {

constexpr std::uint64_t kDraws = 6'000;

constexpr std::size_t kStarts = 12;
constexpr int kSteps = 1500;
constexpr double kShareOfStart = 0.1;  // of some element's bound: less decides nothing

// What came to light of one term.
struct Found {
  double used = 0;   // the larger of both ratios without it
  double close = 0;  // the same among the elements where it makes a difference
  std::string where;
  double share = 0;                             // the most it makes of a bound
  std::multimap<double, std::uint64_t> starts;  // where a kernel comes closest to a bound that needs it, by ratio
};

void keep(Found& found, const BoundsUsed& used, const std::string& where) {
  const double larger = std::max(used.out, used.lse);
  if (larger <= found.used) return;
  found.used = larger;
  found.where = where;
}

double share_of(const std::vector<double>& whole, const std::vector<double>& without) {
  double share = 0;
  for (std::size_t at = 0; at < whole.size(); ++at) {
    const bool is_judged = std::isfinite(whole[at]) && whole[at] > 0;
    if (is_judged) share = std::max(share, 1 - without[at] / whole[at]);
  }
  return share;
}

// Whether a climb may start there: small, and with errors of full size.
bool is_start(const SimulatedDraw& draw) {
  const std::int64_t pairs = draw.c.problem.seqlen_q * draw.c.problem.seqlen_kv;
  return draw.kernel.adversarial && 0 < pairs && pairs <= 80;
}

// The bound without the term where that makes a difference, and no promise elsewhere: what a climb is to leave.
Bounds where_needed(const DeletedTerm& term, const Case& c, const Arithmetic& arithmetic, const ForwardAnswer& want) {
  const Bounds whole = bound_forward(c, arithmetic, want);
  Bounds without = term.bound(c, arithmetic, want);
  const auto keep_needed = [](const std::vector<double>& all, std::vector<double>& rest) {
    for (std::size_t at = 0; at < all.size(); ++at) {
      if (!(rest[at] <= (1 - kShareOfStart) * all[at])) rest[at] = std::numeric_limits<double>::infinity();
    }
  };
  keep_needed(whole.out, without.out);
  keep_needed(whole.lse, without.lse);
  return without;
}

std::map<std::string, Found> search_draws(const std::vector<DeletedTerm>& terms) {
  std::map<std::string, Found> all;
  for (std::uint64_t number = 0; number < kDraws; ++number) {
    const SimulatedDraw draw = simulated_draw(number);
    const Reference reference = prepare(draw.c, 1);
    const SimulatedAnswer got = simulate(draw.kernel, reference);
    const Bounds whole = bound_forward(draw.c, draw.kernel.arithmetic, reference.want);
    for (const DeletedTerm& term : terms) {
      Found& found = all[term.name];
      if (1 < found.used) continue;
      const Bounds without = term.bound(draw.c, draw.kernel.arithmetic, reference.want);
      const BoundsUsed used = bounds_used(got, reference.want, without);
      keep(found, used, "draw " + std::to_string(number));
      const double share = std::max(share_of(whole.out, without.out), share_of(whole.lse, without.lse));
      found.share = std::max(found.share, share);
      if (!is_start(draw) || share < kShareOfStart) continue;
      const Bounds needed = where_needed(term, draw.c, draw.kernel.arithmetic, reference.want);
      const BoundsUsed close = bounds_used(got, reference.want, needed);
      found.close = std::max({found.close, close.out, close.lse});
      found.starts.emplace(std::max(close.out, close.lse), number);
      if (found.starts.size() > kStarts) found.starts.erase(found.starts.begin());
    }
  }
  return all;
}

std::map<std::string, Found> search(const std::vector<DeletedTerm>& terms) {
  std::map<std::string, Found> all = search_draws(terms);
  for (const DeletedTerm& term : terms) {
    Found& found = all[term.name];
    for (const auto& [used, number] : found.starts) {
      if (1 < found.used) break;
      const SimulatedDraw start = simulated_draw(number);
      const WorstFound worst = search_worst(
          start, number, kSteps, [&](const Case& c, const Arithmetic& arithmetic, const ForwardAnswer& want) {
            return where_needed(term, c, arithmetic, want);
          });
      keep(found, worst.used, "climbed from draw " + std::to_string(number));
      found.close = std::max({found.close, worst.used.out, worst.used.lse});
    }
  }
  return all;
}

TEST(EveryTermOfTheBound, IsNeededBySomeKernelOrListedAsUnreached) {
  const std::vector<DeletedTerm> terms = deleted_terms();
  const std::map<std::string, Found> all = search(terms);
  for (const DeletedTerm& term : terms) {
    const Found& violation = all.at(term.name);
    std::cout << term.name << ": " << violation.used << " bounds without it, " << violation.where << "; it makes up to "
              << violation.share << " of a bound, and where it makes a tenth kernels reach " << violation.close
              << " of the rest\n";
    if (term.unreached.empty()) {
      EXPECT_LT(1, violation.used) << term.name << " (" << term.counts << ") is not needed by any simulated kernel";
    } else {
      EXPECT_LE(violation.used, 1) << term.name << " is listed as unreached, and is reached: " << violation.where;
    }
  }
}

}  // namespace
}  // namespace ringproof
