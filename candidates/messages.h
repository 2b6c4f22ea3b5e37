#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "candidates/candidate_abi.h"
#include "reference/spec/candidate.h"

namespace ringproof {

/// The lines of candidates/protocol.md, both ways. What a reader here is given comes from another process: it throws
/// Error with one sentence where a line is not as the protocol has it.

/// The socket of a worker that was started by exec.
inline constexpr int kWorkerDescriptor = 3;
inline constexpr int kProtocolVersion = 1;

enum class Refusal { kNone, kBadInput, kNotRun };

/// What a worker says about its kernel.
struct DescribeAnswer {
  Refusal refused = Refusal::kNone;
  std::string sentence, traceback;  ///< of a refusal
  rp_description description{};
  bool has_backward = false;
  std::vector<std::string> notes{};  ///< shown with the verdict
};

/// An access behind the last element of memory that ends there.
struct Touch {
  std::uint64_t region;
  std::int64_t offset;  ///< in bytes, from the region's begin
};

/// How a call ended.
struct CallAnswer {
  int status = RP_ERROR;
  std::string error{}, traceback{};
  std::vector<Touch> touched{};
  std::vector<std::string> faults{};  ///< what else it saw the kernel do wrong, a sentence each
  bool is_spent = false;              ///< no later call of this process can succeed
};

/// A tensor of a call: where its first element lies.
struct SentTensor {
  std::uint64_t region = 0;
  std::int64_t offset = 0;  ///< in bytes
  rp_tensor tensor{};       ///< data is null
};

/// A region that comes with a call.
struct SentRegion {
  std::uint64_t id = 0, bytes = 0, bytes_open = 0;
  bool is_writable = false;
};

/// One call of rp_forward. The problem's pointers show what the vectors hold.
struct CallQuestion {
  std::uint64_t call = 0;
  Dtype dtype = Dtype::kDefault;
  rp_problem problem{};
  std::vector<float> sink{};
  std::vector<std::int64_t> cu_seqlens_q{}, cu_seqlens_kv{};
  std::vector<std::uint8_t> block_mask{};
  std::vector<SentRegion> map{};
  std::vector<std::uint64_t> unmap{};
  SentTensor q, k, v, out, lse;
  bool asks_lse = false;
};

/// What a worker is asked.
struct Question {
  enum class Kind { kDescribe, kForward, kOther } kind = Kind::kOther;
  int dtype = 0, direction = 0;  ///< of kDescribe
  int abi_version = 0;           ///< of the command
  CallQuestion call;             ///< of kForward
};

std::string describe_line(Dtype dtype, Direction direction);
std::string call_line(const CallQuestion& question);
/// The problem alone, as an object of JSON, and `lse`: whether one is asked.
std::string problem_text(const CallQuestion& question);
/// The fields of an object of JSON as a description; the others are 0, the abi version is ours.
rp_description read_description(const std::string& text);
/// Fills `question` anew, keeping the memory of its vectors, so that other tables come to the same address.
void read_question(const std::string& line, Question& question);

std::string answer_line(const DescribeAnswer& answer);
std::string answer_line(const CallAnswer& answer);
DescribeAnswer read_describe_answer(const std::string& line);
CallAnswer read_call_answer(const std::string& line);

/// Whether a line is a worker's last word before a crash.
bool is_crash(const std::string& line);

/// Where it crashed, by such a line; false where that was in no region.
bool read_crash(const std::string& line, Touch& place);

}  // namespace ringproof
