// What other processes send is read field by field with its type checked; a line that does not parse is their fault and
// never ends the reader.

#include "candidates/messages.h"

#include <cmath>
#include <concepts>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "candidates/abi_fields.h"
#include "reference/spec/error.h"

namespace ringproof {
namespace {

using Json = nlohmann::json;

// JSON has no infinity and no NaN.
Json json_of(double value) {
  if (std::isfinite(value)) return value;
  if (std::isnan(value)) return "nan";
  return value < 0 ? "-inf" : "inf";
}

template <class Integer>
Json json_of(Integer value) {
  return value;
}

[[noreturn]] void refuse(const std::string& name, const std::string& wanted) {
  throw Error("a message of the other process has no good '" + name + "': wanted " + wanted);
}

void read_value(const Json& from, const std::string& name, double& value) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  if (from.is_number()) {
    value = from.get<double>();
  } else if (from == "inf" || from == "-inf") {
    value = from == "inf" ? kInfinity : -kInfinity;
  } else if (from == "nan") {
    value = std::numeric_limits<double>::quiet_NaN();
  } else {
    refuse(name, "a number");
  }
}

void read_value(const Json& from, const std::string& name, bool& value) {
  if (!from.is_boolean()) refuse(name, "true or false");
  value = from.get<bool>();
}

void read_value(const Json& from, const std::string& name, std::string& value) {
  if (!from.is_string()) refuse(name, "text");
  value = from.get<std::string>();
}

template <std::integral Integer>
void read_value(const Json& from, const std::string& name, Integer& value) {
  if (!from.is_number_integer()) refuse(name, "a whole number");
  const bool fits = from.is_number_unsigned() ? std::in_range<Integer>(from.get<std::uint64_t>())
                                              : std::in_range<Integer>(from.get<std::int64_t>());
  if (!fits) refuse(name, "a whole number in its range");
  value = from.get<Integer>();
}

void read_value(const Json& from, const std::string& name, SentTensor& sent);

// Leaves `value` as it is where the field is missing or null.
template <class Value>
void read_field(const Json& from, const std::string& name, Value& value) {
  const auto found = from.find(name);
  if (found != from.end() && !found->is_null()) read_value(*found, name, value);
}

template <class Value>
void read_list(const Json& from, const std::string& name, std::vector<Value>& values) {
  values.clear();
  const auto found = from.find(name);
  if (found == from.end() || found->is_null()) return;
  if (!found->is_array()) refuse(name, "a list");
  for (const Json& one : *found) read_value(one, name, values.emplace_back());
}

Json parse(const std::string& line) {
  Json message = Json::parse(line, nullptr, false);
  if (!message.is_object()) throw Error("the other process sent a line that is no JSON object: " + line.substr(0, 80));
  return message;
}

Json json_of(const SentTensor& sent) {
  const rp_tensor& t = sent.tensor;
  return {{"region", sent.region}, {"offset", sent.offset}, {"dtype", t.dtype},
          {"device", t.device},    {"shape", t.shape},      {"stride", t.stride}};
}

void read_value(const Json& from, const std::string& name, SentTensor& sent) {
  if (!from.is_object()) refuse(name, "a tensor");
  sent = {};
  read_field(from, "region", sent.region);
  read_field(from, "offset", sent.offset);
  read_field(from, "dtype", sent.tensor.dtype);
  sent.tensor.device = -1;
  std::vector<std::int64_t> shape, stride;
  read_list(from, "shape", shape);
  read_list(from, "stride", stride);
  if (shape.size() != 4 || stride.size() != 4) refuse(name, "four extents and four strides");
  std::copy(shape.begin(), shape.end(), sent.tensor.shape);
  std::copy(stride.begin(), stride.end(), sent.tensor.stride);
}

void read_call(const Json& message, CallQuestion& call) {
  read_field(message, "call", call.call);
  const Json problem = message.value("problem", Json::object());
  int dtype = 0;
  read_field(problem, "dtype", dtype);
  call.dtype = static_cast<Dtype>(dtype);
  call.problem = {};
  for_each_problem_field(call.problem, [&](const char* name, auto& field) { read_field(problem, name, field); });
  std::vector<double> sink;
  read_list(problem, "sink", sink);
  call.sink.assign(sink.begin(), sink.end());
  read_list(problem, "cu_seqlens_q", call.cu_seqlens_q);
  read_list(problem, "cu_seqlens_kv", call.cu_seqlens_kv);
  std::string flags;
  read_field(problem, "block_mask", flags);
  call.block_mask.clear();
  for (const char flag : flags) call.block_mask.push_back(flag == '1');
  call.problem.sink = sink.empty() ? nullptr : call.sink.data();
  call.problem.cu_seqlens_q = call.cu_seqlens_q.empty() ? nullptr : call.cu_seqlens_q.data();
  call.problem.cu_seqlens_kv = call.cu_seqlens_kv.empty() ? nullptr : call.cu_seqlens_kv.data();
  call.problem.block_mask = flags.empty() ? nullptr : call.block_mask.data();
  read_list(message, "unmap", call.unmap);
  call.map.clear();
  for (const Json& one : message.value("map", Json::array())) {
    SentRegion& region = call.map.emplace_back();
    read_field(one, "region", region.id);
    read_field(one, "bytes", region.bytes);
    read_field(one, "bytes_open", region.bytes_open);
    read_field(one, "writable", region.is_writable);
  }
  const Json tensors = message.value("tensors", Json::object());
  read_field(tensors, "q", call.q);
  read_field(tensors, "k", call.k);
  read_field(tensors, "v", call.v);
  read_field(tensors, "out", call.out);
  call.asks_lse = tensors.contains("lse") && !tensors["lse"].is_null();
  read_field(tensors, "lse", call.lse);
}

Json json_of_problem(const CallQuestion& question) {
  Json problem{{"dtype", static_cast<int>(question.dtype)}};
  for_each_problem_field(question.problem,
                         [&](const char* name, const auto& field) { problem[name] = json_of(field); });
  const auto list = [&](const char* name, const auto& values) {
    Json& to = problem[name] = nullptr;
    if (!values.empty()) to = values;
  };
  list("cu_seqlens_q", question.cu_seqlens_q);
  list("cu_seqlens_kv", question.cu_seqlens_kv);
  Json& sink = problem["sink"] = nullptr;
  for (const float logit : question.sink) sink.push_back(json_of(static_cast<double>(logit)));
  Json& flags = problem["block_mask"] = nullptr;
  if (!question.block_mask.empty()) {
    std::string text;
    for (const std::uint8_t flag : question.block_mask) text += flag != 0 ? '1' : '0';
    flags = text;
  }
  return problem;
}

// The caller's zeros where nothing is said.
rp_description description_in(const Json& from) {
  rp_description description{};
  description.abi_version = RP_ABI_VERSION;
  for_each_description_field(description, [&](const char* name, auto& field) { read_field(from, name, field); });
  const Json arithmetic = from.value("arithmetic", Json::object());
  for_each_arithmetic_field(description.arithmetic,
                            [&](const char* name, auto& field) { read_field(arithmetic, name, field); });
  std::string name;
  read_field(from, "name", name);
  if (name.size() >= sizeof description.name) refuse("name", "at most 63 characters");
  std::memcpy(description.name, name.c_str(), name.size() + 1);
  return description;
}

}  // namespace

std::string describe_line(Dtype dtype, Direction direction) {
  return Json{{"ask", "describe"},
              {"protocol", kProtocolVersion},
              {"abi_version", RP_ABI_VERSION},
              {"dtype", static_cast<int>(dtype)},
              {"direction", static_cast<int>(direction)}}
      .dump();
}

std::string problem_text(const CallQuestion& question) {
  Json problem = json_of_problem(question);
  problem["ask"] = "forward";
  problem["lse"] = question.asks_lse;
  return problem.dump(1);
}

std::string call_line(const CallQuestion& question) {
  Json map = Json::array();
  for (const SentRegion& region : question.map) {
    map.push_back({{"region", region.id},
                   {"bytes", region.bytes},
                   {"bytes_open", region.bytes_open},
                   {"writable", region.is_writable}});
  }
  const Json tensors{{"q", json_of(question.q)},
                     {"k", json_of(question.k)},
                     {"v", json_of(question.v)},
                     {"out", json_of(question.out)},
                     {"lse", question.asks_lse ? json_of(question.lse) : Json(nullptr)}};
  return Json{{"ask", "forward"}, {"call", question.call},   {"problem", json_of_problem(question)},
              {"map", map},       {"unmap", question.unmap}, {"tensors", tensors}}
      .dump();
}

void read_question(const std::string& line, Question& question) {
  const Json message = parse(line);
  std::string ask;
  read_field(message, "ask", ask);
  question.kind = Question::Kind::kOther;
  if (ask == "describe") {
    question.kind = Question::Kind::kDescribe;
    question.dtype = question.direction = question.abi_version = 0;
    read_field(message, "dtype", question.dtype);
    read_field(message, "direction", question.direction);
    read_field(message, "abi_version", question.abi_version);
  } else if (ask == "forward") {
    question.kind = Question::Kind::kForward;
    read_call(message, question.call);
  }
}

std::string answer_line(const DescribeAnswer& answer) {
  constexpr auto kReplace = Json::error_handler_t::replace;  // a plug-in's text may be in any encoding
  if (answer.refused != Refusal::kNone) {
    return Json{{"refused", answer.refused == Refusal::kNotRun ? "not_run" : "bad_input"},
                {"sentence", answer.sentence}}
        .dump(-1, ' ', false, kReplace);
  }
  Json description{{"name", std::string(answer.description.name, strnlen(answer.description.name, 64))}}, arithmetic;
  for_each_description_field(answer.description,
                             [&](const char* name, const auto& field) { description[name] = json_of(field); });
  for_each_arithmetic_field(answer.description.arithmetic,
                            [&](const char* name, const auto& field) { arithmetic[name] = json_of(field); });
  description["arithmetic"] = arithmetic;
  return Json{{"description", description}, {"has_backward", answer.has_backward}, {"notes", answer.notes}}.dump(
      -1, ' ', false, kReplace);
}

std::string answer_line(const CallAnswer& answer) {
  Json message{{"status", answer.status}};
  if (!answer.error.empty()) message["error"] = answer.error;
  if (!answer.faults.empty()) message["faults"] = answer.faults;
  if (answer.is_spent) message["spent"] = true;
  for (const Touch& touch : answer.touched) {
    message["touched"].push_back({{"region", touch.region}, {"offset", touch.offset}});
  }
  return message.dump(-1, ' ', false, Json::error_handler_t::replace);
}

rp_description read_description(const std::string& text) { return description_in(parse(text)); }

DescribeAnswer read_describe_answer(const std::string& line) {
  const Json message = parse(line);
  DescribeAnswer answer;
  std::string refused;
  read_field(message, "refused", refused);
  read_field(message, "sentence", answer.sentence);
  read_field(message, "traceback", answer.traceback);
  if (!refused.empty()) {
    answer.refused = refused == "not_run" ? Refusal::kNotRun : Refusal::kBadInput;
    return answer;
  }
  const Json description = message.value("description", Json());
  if (!description.is_object()) refuse("description", "an object");
  answer.description = description_in(description);
  answer.has_backward = (answer.description.directions & 2u) != 0;
  read_field(message, "has_backward", answer.has_backward);
  read_list(message, "notes", answer.notes);
  return answer;
}

CallAnswer read_call_answer(const std::string& line) {
  const Json message = parse(line);
  CallAnswer answer;
  if (!message.contains("status")) refuse("status", "0, 1 or 2");
  read_field(message, "status", answer.status);
  read_field(message, "error", answer.error);
  read_field(message, "traceback", answer.traceback);
  read_list(message, "faults", answer.faults);
  read_field(message, "spent", answer.is_spent);
  for (const Json& one : message.value("touched", Json::array())) {
    Touch& touch = answer.touched.emplace_back();
    read_field(one, "region", touch.region);
    read_field(one, "offset", touch.offset);
  }
  return answer;
}

bool is_crash(const std::string& line) { return line.starts_with("{\"crash\""); }

bool read_crash(const std::string& line, Touch& place) {
  const Json message = Json::parse(line, nullptr, false);
  if (!message.is_object() || !message.contains("region") || !message.contains("offset")) return false;
  read_field(message, "region", place.region);
  read_field(message, "offset", place.offset);
  return true;
}

}  // namespace ringproof
