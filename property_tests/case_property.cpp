// Goal: a Case line says all there is to say. Method: lines of the whole grammar are written and read back;
// inputs of a Case are made twice, with others in between.

#include <gtest/gtest.h>

#include "property_tests/candidates.h"
#include "property_tests/expect.h"
#include "reference/judge/shrink.h"
#include "reference/spec/inputs.h"

namespace ringproof {
namespace {

std::string reads_back(const Case& c) {
  const std::string line = to_string(c);
  const Case again = parse_case(line);
  if (again == c && to_string(again) == line) return "";
  return "the line reads back as '" + to_string(again) + "'";
}

bool equal(const Inputs& a, const Inputs& b) {
  return a.q.bytes() == b.q.bytes() && a.k.bytes() == b.k.bytes() && a.v.bytes() == b.v.bytes();
}

std::string inputs_are_pure(const Case& c) {
  const Inputs first = make_inputs(c.problem, c.inputs, c.memory);
  InputRecipe other = c.inputs;
  ++other.seed;
  make_inputs(c.problem, other, c.memory);
  return equal(first, make_inputs(c.problem, c.inputs, c.memory)) ? "" : "the second time other bits came";
}

// Batches lie behind one another, so one more leaves the bytes of the others.
std::string inputs_do_not_depend_on_later_batches(const Case& c) {
  Problem larger = c.problem;
  ++larger.batch;
  const Inputs few = make_inputs(c.problem, c.inputs, c.memory), more = make_inputs(larger, c.inputs, c.memory);
  for (const auto& [a, b] : {std::pair{&few.q, &more.q}, std::pair{&few.k, &more.k}, std::pair{&few.v, &more.v}}) {
    if (!std::equal(a->bytes().begin(), a->bytes().end(), b->bytes().begin()))
      return "one more batch changed the others";
  }
  return "";
}

std::string shrinks_to_judgeable_cases(const Case& c) {
  for (const Case& simpler : shrink_candidates(c)) {
    if (simpler == c) return "the Case is its own neighbour";
    validate(simpler);
    require_judgeable(simpler, UINT64_MAX);
  }
  return "";
}

TEST(ACaseLine, ReadsBackToTheSameCase) { expect_property(cases_of_the_grammar(), 2000, reads_back); }

TEST(Inputs, AreAPureFunctionOfTheCase) { expect_property(space_of(oracle_candidate()), 200, inputs_are_pure); }

TEST(Inputs, OfABatchDoNotDependOnLaterBatches) {
  expect_property(space_of(oracle_candidate()), 200, inputs_do_not_depend_on_later_batches);
}

// Not shrunk: what is judged here is the shrinking.
TEST(AShrunkCase, IsJudgeableAndAnother) {
  const rc::Gen<Case> cases = rc::gen::noShrink(cases_of(space_of(built_in("ring:double"))));
  expect_property(cases, 300, shrinks_to_judgeable_cases);
}

}  // namespace
}  // namespace ringproof
