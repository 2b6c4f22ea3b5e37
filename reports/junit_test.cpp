#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <stdexcept>

#include "reference/spec/error.h"
#include "reports/results.h"

namespace ringproof {
namespace {

namespace fs = std::filesystem;

struct Element {
  std::string name;
  std::map<std::string, std::string> attributes;  // as written, escapes included
  std::string text;
};

// Reads the subset of XML that JUnit needs and throws at the first thing that is not well-formed; elements
// come in document order.
class XmlReader {
 public:
  explicit XmlReader(const std::string& xml) : xml_(xml) {}

  std::vector<Element> elements() {
    take("<?xml version=\"1.0\" encoding=\"UTF-8\"?>");
    spaces();
    element();
    spaces();
    if (at_ != xml_.size()) fail("one root");
    return found_;
  }

 private:
  [[noreturn]] void fail(const std::string& wanted) const {
    throw std::runtime_error("wanted " + wanted + " at " + xml_.substr(at_, 40));
  }
  bool sees(const std::string& text) const { return xml_.compare(at_, text.size(), text) == 0; }
  void take(const std::string& text) {
    if (!sees(text)) fail(text);
    at_ += text.size();
  }
  void spaces() {
    while (at_ < xml_.size() && (xml_[at_] == ' ' || xml_[at_] == '\n')) ++at_;
  }
  std::string name() {
    const std::size_t begin = at_;
    while (at_ < xml_.size() && std::isalpha(static_cast<unsigned char>(xml_[at_]))) ++at_;
    if (at_ == begin) fail("a name");
    return xml_.substr(begin, at_ - begin);
  }
  std::string text_until(char stop) {
    std::string text;
    for (; at_ < xml_.size() && xml_[at_] != stop; ++at_) {
      const char c = xml_[at_];
      if (c == '<' || (static_cast<unsigned char>(c) < 0x20 && c != '\n')) fail("escaped text");
      const auto entities = {"&amp;", "&lt;", "&gt;", "&quot;", "&#9;", "&#10;", "&#13;"};
      if (c == '&' && std::none_of(entities.begin(), entities.end(), [&](const char* e) { return sees(e); })) {
        fail("an entity");
      }
      text += c;
    }
    return text;
  }
  void element() {
    take("<");
    const std::size_t mine = found_.size();
    found_.push_back({name(), {}, ""});
    const std::string opened = found_[mine].name;
    for (spaces(); !sees(">") && !sees("/>"); spaces()) {
      const std::string key = name();
      take("=\"");
      if (!found_[mine].attributes.emplace(key, text_until('"')).second) fail("each attribute once");
      take("\"");
    }
    if (sees("/>")) return take("/>");
    take(">");
    found_[mine].text = text_until('<');
    while (!sees("</")) {
      element();
      text_until('<');
    }
    take("</" + opened + ">");
  }

  const std::string& xml_;
  std::size_t at_ = 0;
  std::vector<Element> found_;
};

class JunitTest : public testing::Test {
 protected:
  void SetUp() override {
    const std::string name = testing::UnitTest::GetInstance()->current_test_info()->name();
    folder_ = fs::path(testing::TempDir()) / ("ringproof_junit_" + name);
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string written(const std::vector<Verdict>& verdicts) const {
    write_junit(folder_.string(), verdicts);
    std::ifstream file(folder_ / "junit.xml", std::ios::binary);
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
  }

  fs::path folder_;
};

Verdict verdict_with(const std::string& candidate, const std::string& reason) {
  Verdict verdict{candidate, Outcome::kRejected, "fp32", "reference contract"};
  verdict.count_cases = 5;
  verdict.count_accepted = verdict.count_rejected = verdict.count_inconclusive = 1;
  verdict.count_unsupported = verdict.count_refused = 1;
  verdict.time_ms = 1500;
  verdict.cases = {{"line 1", Outcome::kAccepted, ""},
                   {"line 2", Outcome::kUnsupported, reason},
                   {"line 3", Outcome::kUnsupported, reason},
                   {"line 4", Outcome::kInconclusive, reason},
                   {"line 5", Outcome::kRejected, reason}};
  return verdict;
}

TEST_F(JunitTest, EveryOutcomeHasItsElementAndTheCountsAddUp) {
  const std::string xml = written({verdict_with("one", "why"), verdict_with("two", "why")});
  std::map<std::string, int> count;
  const std::vector<Element> elements = XmlReader(xml).elements();
  for (const Element& element : elements) ++count[element.name];
  EXPECT_EQ(count,
            (std::map<std::string, int>{
                {"testsuites", 1}, {"testsuite", 2}, {"testcase", 10}, {"skipped", 4}, {"error", 2}, {"failure", 2}}));
  EXPECT_EQ(elements[0].attributes, (std::map<std::string, std::string>{{"name", "ringproof"},
                                                                        {"tests", "10"},
                                                                        {"failures", "2"},
                                                                        {"errors", "2"},
                                                                        {"skipped", "4"},
                                                                        {"time", "3.000000"}}));
  EXPECT_EQ(elements[1].attributes, (std::map<std::string, std::string>{{"name", "one"},
                                                                        {"tests", "5"},
                                                                        {"failures", "1"},
                                                                        {"errors", "1"},
                                                                        {"skipped", "2"},
                                                                        {"time", "1.500000"}}));
}

TEST_F(JunitTest, AFailureSaysWhyAndHowToRunItAgain) {
  const std::string xml = written({verdict_with("one", "1 of 2 elements")});
  const Element last = XmlReader(xml).elements().back();
  EXPECT_EQ(last.name, "failure");
  EXPECT_EQ(last.attributes.at("message"), "1 of 2 elements");
  EXPECT_EQ(last.text, "ringproof gate --candidate one --case 'line 5'");
}

TEST_F(JunitTest, AFailureNamesThePlaceAndTheSmallestCase) {
  Verdict verdict = verdict_with("one", "why");
  verdict.cases[4].smallest_case = "line 0";
  verdict.cases[4].attribution = "residual lies in head 1 only";
  const Element last = XmlReader(written({verdict})).elements().back();
  EXPECT_EQ(last.text,
            "residual lies in head 1 only&#10;ringproof gate --candidate one --case 'line 5'&#10;"
            "the smallest Case found that still fails: ringproof gate --candidate one --case 'line 0'");
}

TEST_F(JunitTest, WhatAllCasesTogetherShowFailsAsACaseOfItsOwn) {
  Verdict verdict = verdict_with("one", "why");
  verdict.failing_checks = {"pooled bias of out"};
  verdict.reason = "out is 0.1 % too small";
  const std::vector<Element> elements = XmlReader(written({verdict})).elements();
  EXPECT_EQ(elements.back().attributes.at("message"), "out is 0.1 % too small");
  EXPECT_EQ(elements[0].attributes.at("tests"), "6");
  EXPECT_EQ(elements[0].attributes.at("failures"), "2");
}

TEST_F(JunitTest, AnyTextIsEscapedAndTheFileStaysWellFormed) {
  const std::string xml =
      written({verdict_with("a<b>&\"c\"", "<script> & \"quotes\"\nline\ttab \x1b[31m \xFF \xEF\xBF\xBF")});
  const Element last = XmlReader(xml).elements().back();
  EXPECT_EQ(last.attributes.at("message"),
            "&lt;script&gt; &amp; &quot;quotes&quot;&#10;line&#9;tab \\u001b[31m "
            "\xEF\xBF\xBD \\uffff");
  EXPECT_NE(xml.find("<testsuite name=\"a&lt;b&gt;&amp;&quot;c&quot;\""), std::string::npos) << xml;
}

TEST_F(JunitTest, ARunWithoutVerdictsIsAWellFormedEmptyFile) {
  EXPECT_EQ(XmlReader(written({})).elements().size(), 1U);
}

TEST_F(JunitTest, AFileThatCannotBeWrittenIsRefusedByNameAndNothingIsLeft) {
  const std::string missing = (folder_ / "missing").string();
  fs::create_directories(folder_ / "taken" / "junit.xml" / "inside");
  for (const std::string& folder : {missing, (folder_ / "taken").string()}) {
    try {
      write_junit(folder, {});
      FAIL() << folder;
    } catch (const InputError& error) {
      EXPECT_NE(std::string(error.what()).find("'" + folder + "/junit.xml'"), std::string::npos) << error.what();
    }
  }
  EXPECT_FALSE(fs::exists(missing));
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_ / "taken"), fs::directory_iterator()), 1);
}

TEST_F(JunitTest, ANewFileReplacesTheOldOneAndWhatAKilledRunLeft) {
  std::ofstream(folder_ / "junit.xml.unfinished") << "<half";
  EXPECT_EQ(XmlReader(written({verdict_with("one", "why")})).elements().size(), 11U);
  const std::string xml = written({});
  EXPECT_EQ(XmlReader(xml).elements().size(), 1U);
}

}  // namespace
}  // namespace ringproof
