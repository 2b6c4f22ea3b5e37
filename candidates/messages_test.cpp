#include "candidates/messages.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "candidates/abi_fields.h"
#include "reference/spec/error.h"

namespace ringproof {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Another number in every field.
CallQuestion distinct_question() {
  CallQuestion question;
  question.call = 17;
  question.dtype = Dtype::kBf16;
  int next = 1;
  for_each_problem_field(question.problem, [&](const char*, auto& field) { field = next++; });
  question.problem.softmax_scale = 0.1;
  question.sink = {0.1f, -kInfinity, std::nanf("")};
  question.cu_seqlens_q = {0, 5, std::int64_t{1} << 40};
  question.cu_seqlens_kv = {0, 7, 9};
  question.block_mask = {0, 1, 1, 0};
  question.map = {{3, std::uint64_t{1} << 42, 4096, true}, {4, 1, 1, false}};
  question.unmap = {1, 2};
  std::uint64_t region = 10;
  for (SentTensor* tensor : {&question.q, &question.k, &question.v, &question.out, &question.lse}) {
    tensor->region = region++;
    tensor->offset = 32768;
    tensor->tensor = {nullptr, RP_BF16, -1, {2, 3, 5, 7}, {std::int64_t{1} << 33, 35, 7, 1}};
  }
  question.asks_lse = true;
  return question;
}

TEST(Messages, CarryACallThere) {
  const CallQuestion sent = distinct_question();
  Question got;
  read_question(call_line(sent), got);
  ASSERT_EQ(got.kind, Question::Kind::kForward);
  EXPECT_EQ(call_line(got.call), call_line(sent));
  EXPECT_EQ(got.call.problem.softmax_scale, 0.1);
  EXPECT_EQ(got.call.problem.cu_seqlens_q, got.call.cu_seqlens_q.data());
  EXPECT_EQ(got.call.problem.block_mask[1], 1);
  EXPECT_EQ(got.call.problem.sink[0], 0.1f);
  EXPECT_EQ(got.call.problem.sink[1], -kInfinity);
  EXPECT_TRUE(std::isnan(got.call.problem.sink[2]));
  EXPECT_EQ(got.call.k.tensor.stride[0], std::int64_t{1} << 33);
  EXPECT_EQ(got.call.map[0].bytes, std::uint64_t{1} << 42);
}

TEST(Messages, KeepTablesAtTheirAddress) {
  Question got;
  read_question(call_line(distinct_question()), got);
  const std::int64_t* const before = got.call.problem.cu_seqlens_q;
  CallQuestion other = distinct_question();
  other.cu_seqlens_q = {0, 1, 2};
  read_question(call_line(other), got);
  EXPECT_EQ(got.call.problem.cu_seqlens_q, before);
  EXPECT_EQ(before[2], 2);
}

TEST(Messages, CarryADescriptionBack) {
  DescribeAnswer answer;
  int next = 1;
  for_each_description_field(answer.description, [&](const char*, auto& field) { field = next++; });
  for_each_arithmetic_field(answer.description.arithmetic, [&](const char*, auto& field) { field = next++; });
  answer.description.arithmetic.exp_error_relative = std::numeric_limits<double>::quiet_NaN();
  std::strcpy(answer.description.name, "m\xffine");  // no UTF-8
  answer.has_backward = true;
  answer.notes = {"one", "two"};
  const DescribeAnswer got = read_describe_answer(answer_line(answer));
  EXPECT_EQ(got.refused, Refusal::kNone);
  EXPECT_EQ(answer_line(got), answer_line(answer));
  EXPECT_EQ(got.description.head_dim_max, answer.description.head_dim_max);
  EXPECT_TRUE(std::isnan(got.description.arithmetic.exp_error_relative));
  EXPECT_EQ(got.notes.size(), 2u);
}

TEST(Messages, CarryTheEndOfACallBack) {
  const CallAnswer got =
      read_call_answer(answer_line(CallAnswer{RP_ERROR, "no room", "", {{3, 4097}}, {"late"}, true}));
  EXPECT_EQ(got.faults, std::vector<std::string>{"late"});
  EXPECT_TRUE(got.is_spent);
  EXPECT_EQ(got.status, RP_ERROR);
  EXPECT_EQ(got.error, "no room");
  ASSERT_EQ(got.touched.size(), 1u);
  EXPECT_EQ(got.touched[0].offset, 4097);
  Touch place{};
  EXPECT_TRUE(is_crash("{\"crash\": \"SIGSEGV\", \"region\": 3, \"offset\": 9}"));
  EXPECT_TRUE(read_crash("{\"crash\": \"SIGSEGV\", \"region\": 3, \"offset\": 9}", place));
  EXPECT_EQ(place.region, 3u);
  EXPECT_FALSE(read_crash("{\"crash\": \"SIGSEGV\"}", place));
}

TEST(Messages, RefuseWhatIsNotAsTheProtocolHasIt) {
  for (const char* line : {"", "nonsense", "[]", "{}", "{\"status\": \"0\"}", "{\"status\": 1.5}",
                           "{\"status\": 4294967296}", "{\"status\": 0, \"error\": 7}"}) {
    EXPECT_THROW(read_call_answer(line), Error) << line;
  }
  for (const char* line : {"{}", "{\"description\": 1}", "{\"description\": {\"dtypes\": -1}}",
                           "{\"description\": {\"dtypes\": \"fp32\"}}", "{\"description\": {\"name\": 3}}"}) {
    EXPECT_THROW(read_describe_answer(line), Error) << line;
  }
}

}  // namespace
}  // namespace ringproof
