#include "property_tests/expect.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

namespace ringproof {
namespace {

std::string name_of_test() {
  const testing::TestInfo* test = testing::UnitTest::GetInstance()->current_test_info();
  return std::string(test->test_suite_name()) + "." + test->name();
}

std::uint64_t number_from(const char* variable, std::uint64_t otherwise) {
  const char* text = std::getenv(variable);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

std::vector<Case> regressions() {
  std::ifstream file(RINGPROOF_REGRESSIONS);
  EXPECT_TRUE(file.good()) << RINGPROOF_REGRESSIONS << " cannot be read";
  std::stringstream text;
  text << file.rdbuf();
  return parse_cases(text.str(), RINGPROOF_REGRESSIONS);
}

// An exception is a failure like another: it must shrink, too.
std::string sentence_of(const PropertyOfCase& property, const Case& c) {
  try {
    return property(c);
  } catch (const std::exception& error) {
    return std::string("ended with an exception: ") + error.what();
  }
}

std::string failure_text(const Case& c, const std::string& sentence) {
  return sentence + "\n  Case: '" + to_string(c) + "'\n  again: RINGPROOF_CASE='" + to_string(c) +
         "' build/bin/ringproof_properties_tests --gtest_filter='" + name_of_test() + "'";
}

void expect_one(const PropertyOfCase& property, const Case& c) {
  const std::string sentence = sentence_of(property, c);
  if (!sentence.empty()) ADD_FAILURE() << failure_text(c, sentence);
}

}  // namespace

void expect_property(const CaseSpace& space, int draws, const PropertyOfCase& property) {
  if (std::getenv("RINGPROOF_CASE") == nullptr) {
    for (const Case& c : regressions()) {
      if (lies_in(space, c)) expect_one(property, c);
    }
  }
  expect_property(cases_of(space), draws, property);
}

void expect_property(const rc::Gen<Case>& cases, int draws, const PropertyOfCase& property) {
  if (const char* line = std::getenv("RINGPROOF_CASE")) {
    expect_one(property, parse_case(line));
    return;
  }
  std::string failure;  // the last one seen while shrinking is that of the simplest Case
  const auto holds = [&] {
    const Case c = *cases;
    const std::string sentence = sentence_of(property, c);
    if (sentence.empty()) return;
    failure = failure_text(c, sentence);
    RC_FAIL(sentence);
  };
  rc::detail::TestParams params;
  params.seed = number_from("RINGPROOF_SEED", 1);
  // rapidcheck's own configuration would print a random seed that nothing uses.
  setenv("RC_PARAMS", ("seed=" + std::to_string(params.seed)).c_str(), 1);
  params.maxSuccess = static_cast<int>(number_from("RINGPROOF_DRAWS", static_cast<std::uint64_t>(draws)));
  const rc::detail::TestMetadata metadata{name_of_test(), name_of_test()};
  const auto result = rc::detail::checkTestable(holds, metadata, params);
  if (result.template is<rc::detail::SuccessResult>()) return;
  std::ostringstream message;
  rc::detail::printResultMessage(result, message);
  ADD_FAILURE() << failure << "\n  seed " << params.seed << "; keep the Case in regressions.txt\n" << message.str();
}

}  // namespace ringproof
