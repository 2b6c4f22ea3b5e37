// A family of Cases per fault class, along which its measure falls towards nothing while all else stays:
//
//   rescaling      the scale falls, scores close up, r goes to 1; the mass before a rise stays large. This is the worse
//                  way to lose mass: behind a steep slope the fault is 1 / r - 1 > 1 - r per unit of mass
//   (rows of 1,024 keys, the longest that coverage counts)
//   mask edge      rows grow longer: one key weighs about 1 / n
//   grouped heads  fewer kv heads
//   merge weights  the scale falls: two equal shards weigh more and more alike
//   negligible     the scale falls from one-hot rows, where the other shard's weight vanishes, to ordinary ones

#include "property_tests/coverage_floor.h"

#include <cmath>

#include "property_tests/mutants/mutants.h"
#include "reference/judge/compare.h"
#include "reference/spec/error.h"
#include "reference/spec/text.h"

namespace ringproof {
namespace {

constexpr std::int64_t kSpecimenTileKv = 16;

const Candidate& mutant_named(const std::string& name) {
  static const std::vector<Mutant> all = mutants();
  for (const Mutant& mutant : all) {
    if (mutant.name == name) return mutant.candidate;
  }
  assert_that(false, "a fault class names a mutant that exists");
  return all.front().candidate;
}

// Mutants of the host specimen exist in storage of 16 bits too.
const Candidate& mutant_of(FaultClass fault) {
  const bool on_host =
      fault == FaultClass::kRescaleOfO || fault == FaultClass::kRescaleOfL || fault == FaultClass::kGroupMap;
  return mutant_named(facts_of(fault).mutant + (on_host ? "_on_host" : ""));
}

}  // namespace

std::vector<Dtype> dtypes_of(FaultClass fault) {
  if (fault == FaultClass::kMergeOfNegligible) return {Dtype::kF32};
  if (fault == FaultClass::kMergeWeights) return {Dtype::kF64, Dtype::kF32, Dtype::kF16, Dtype::kBf16};
  return {Dtype::kF32, Dtype::kF16, Dtype::kBf16};
}

Case case_of_family(FaultClass fault, Dtype storage, int level, int seed) {
  const double factor = std::exp2(-level / 2.0);
  std::string shape, mask = "full", topology = "single";
  double scale = 0.25;
  switch (fault) {
    case FaultClass::kRescaleOfO:
    case FaultClass::kRescaleOfL:
      shape = "b1.hq1.hkv1.sq8.skv1024.dqk16.dv16";
      scale *= factor;
      break;
    case FaultClass::kMaskEdge:
      shape = "b1.hq1.hkv1.sq4.skv" + std::to_string(static_cast<int>(32 / factor)) + ".dqk16.dv16";
      mask = "window(-1,0)";
      break;
    case FaultClass::kGroupMap:
      shape = std::string("b1.hq8.hkv") + (level == 0 ? "4" : level == 1 ? "2" : "1") + ".sq4.skv64.dqk16.dv16";
      break;
    case FaultClass::kMergeWeights:
      shape = "b1.hq1.hkv1.sq8.skv1024.dqk16.dv16";
      topology = "contiguous2";
      scale *= factor;
      break;
    case FaultClass::kMergeOfNegligible:
      shape = "b1.hq4.hkv4.sq256.skv32.dqk16.dv128";
      topology = "contiguous2";
      scale = 8 * factor;
      break;
  }
  return parse_case("fwd/" + std::string(to_string(storage)) + "/" + shape + "/" + mask + "/scale" + shortest(scale) +
                    "/gauss:" + std::to_string(seed) + "/bhsd/" + topology);
}

CoverageLevel level_of_family(FaultClass fault, Dtype storage, int level) {
  const Candidate& mutant = mutant_of(fault);
  CoverageLevel found{0, 0};
  for (int seed = 0; seed < 100; ++seed) {
    const Reference reference = prepare(case_of_family(fault, storage, level, seed), 1);
    Buffers buffers;
    const Got got = run(mutant, reference, buffers);
    assert_that(got.status == CallStatus::kReturned, "the mutant of a fault class returns on its family");
    const Evidence evidence = compare(mutant.name, reference, resolve({}, storage), got);
    found.rejected += evidence.tensors.front().count_outside > 0 || evidence.by_value.count_outside > 0;
    found.measure_mean += measure_of(coverage_of(reference, kSpecimenTileKv), fault) / 100;
  }
  return found;
}

}  // namespace ringproof
