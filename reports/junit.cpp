// JUnit XML as CI servers read it: testsuites > testsuite (candidate) > testcase (Case) > failure | error |
// skipped.

#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <system_error>

#include "reference/spec/error.h"
#include "reports/results.h"

namespace ringproof {
namespace {

// A reason may hold whatever a candidate threw. Bytes that are no UTF-8 become U+FFFD, which nlohmann's
// writer does well.
std::string valid_utf8(const std::string& text) {
  using nlohmann::json;
  return json::parse(json(text).dump(-1, ' ', false, json::error_handler_t::replace)).get<std::string>();
}

// Text for an attribute or an element. XML 1.0 has no way to write most control characters, nor U+FFFE and
// U+FFFF; line breaks and tabs are references because attributes would turn them into spaces.
std::string xml_text(const std::string& text) {
  std::string escaped;
  const std::string valid = valid_utf8(text);
  for (std::size_t at = 0; at < valid.size(); ++at) {
    const char c = valid[at];
    const auto code = static_cast<unsigned char>(c);
    const bool is_noncharacter = valid.compare(at, 3, "\xEF\xBF\xBE") == 0 || valid.compare(at, 3, "\xEF\xBF\xBF") == 0;
    if (is_noncharacter) {
      escaped += valid[at + 2] == '\xBE' ? "\\ufffe" : "\\uffff";
      at += 2;
    } else if (c == '&') {
      escaped += "&amp;";
    } else if (c == '<') {
      escaped += "&lt;";
    } else if (c == '>') {
      escaped += "&gt;";
    } else if (c == '"') {
      escaped += "&quot;";
    } else if (c == '\n' || c == '\r' || c == '\t') {
      escaped += fmt::format("&#{};", code);
    } else if (code < 0x20) {
      escaped += fmt::format("\\u{:04x}", code);
    } else {
      escaped += c;
    }
  }
  return escaped;
}

const char* element_of(Outcome outcome) {
  switch (outcome) {
    case Outcome::kAccepted: return "";
    case Outcome::kUnsupported: return "skipped";
    case Outcome::kInconclusive: return "error";
    case Outcome::kRejected: return "failure";
  }
  assert_that(false, "an Outcome is one of its four values");
  return "";
}

// What is not accepted carries its reason, and the line that reruns it as its text.
std::string case_xml(const std::string& candidate, const CaseVerdict& one) {
  const std::string opening =
      fmt::format("    <testcase classname=\"{}\" name=\"{}\"", xml_text(candidate), xml_text(one.case_line));
  const std::string element = element_of(one.outcome);
  if (element.empty()) return opening + "/>\n";
  const auto command = [&](const std::string& line) {
    return "ringproof gate --candidate " + candidate + " --case '" + line + "'";
  };
  std::string text = command(one.case_line);
  if (!one.attribution.empty()) text = one.attribution + "\n" + text;
  if (!one.smallest_case.empty()) text += "\nthe smallest Case found that still fails: " + command(one.smallest_case);
  return fmt::format("{}><{} message=\"{}\">{}</{}></testcase>\n", opening, element, xml_text(one.reason),
                     xml_text(text), element);
}

// What all Cases together show is a failure of its own.
std::string pooled_xml(const Verdict& verdict) {
  return fmt::format(
      "    <testcase classname=\"{}\" name=\"all Cases\"><failure message=\"{}\"></failure></testcase>\n",
      xml_text(verdict.candidate), xml_text(verdict.reason));
}

std::int64_t tests_of(const Verdict& verdict) { return verdict.count_cases + (verdict.failing_checks.empty() ? 0 : 1); }
std::int64_t failures_of(const Verdict& verdict) {
  return verdict.count_rejected + (verdict.failing_checks.empty() ? 0 : 1);
}

std::string suite_xml(const Verdict& verdict) {
  const std::string candidate = xml_text(verdict.candidate);
  std::string xml = fmt::format(
      "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\" time=\"{:.6f}\">\n",
      candidate, tests_of(verdict), failures_of(verdict), verdict.count_inconclusive,
      verdict.count_unsupported + verdict.count_refused, verdict.time_ms / 1000);
  for (const CaseVerdict& one : verdict.cases) xml += case_xml(verdict.candidate, one);
  if (!verdict.failing_checks.empty()) xml += pooled_xml(verdict);
  return xml + "  </testsuite>\n";
}

std::string junit_xml(std::span<const Verdict> verdicts) {
  Verdict sum{"", Outcome::kAccepted, "", ""};
  std::string suites;
  for (const Verdict& verdict : verdicts) {
    sum.count_cases += tests_of(verdict);
    sum.count_rejected += failures_of(verdict);
    sum.count_inconclusive += verdict.count_inconclusive;
    sum.count_unsupported += verdict.count_unsupported + verdict.count_refused;
    sum.time_ms += verdict.time_ms;
    suites += suite_xml(verdict);
  }
  return fmt::format(
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
      "<testsuites name=\"ringproof\" tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\" "
      "time=\"{:.6f}\">\n{}"
      "</testsuites>\n",
      sum.count_cases, sum.count_rejected, sum.count_inconclusive, sum.count_unsupported, sum.time_ms / 1000, suites);
}

}  // namespace

void write_junit(const std::string& folder, std::span<const Verdict> verdicts) {
  const std::string path = (std::filesystem::path(folder) / "junit.xml").string();
  const std::string unfinished = path + ".unfinished";
  const std::string xml = junit_xml(verdicts);
  std::FILE* file = std::fopen(unfinished.c_str(), "w");
  bool whole = file != nullptr && std::fwrite(xml.data(), 1, xml.size(), file) == xml.size();
  if (file != nullptr) whole = std::fclose(file) == 0 && whole;
  whole = whole && std::rename(unfinished.c_str(), path.c_str()) == 0;
  if (whole) return;
  const std::string why = std::generic_category().message(errno);
  std::remove(unfinished.c_str());
  throw InputError("'" + path + "' cannot be written (" + why + "); give --out another folder");
}

}  // namespace ringproof
