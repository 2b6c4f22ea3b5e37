// A plug-in in its process, called through the judge's own memory.

#include "candidates/worker_candidate.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <iterator>
#include <string>

#include "reference/judge/reference.h"
#include "reference/judge/run.h"
#include "reference/spec/case.h"
#include "reference/spec/error.h"

namespace ringproof {
namespace {

const std::string kBin = RINGPROOF_TEST_BIN;  // of the command

DescribedWorker worker_of(const std::string& plugin) {
  return worker_candidate(kBin + "/../plugins/lib" + plugin + ".so", {kBin + "/ringproof", "python3", {}});
}

std::ptrdiff_t count_descriptors(const std::string& process) {
  const std::filesystem::directory_iterator files("/proc/" + process + "/fd");
  return std::distance(begin(files), end(files));
}

std::string only_child() {
  std::string pid;
  std::FILE* const file = std::fopen("/proc/thread-self/children", "r");
  char text[32] = "";
  if (file != nullptr && std::fscanf(file, "%31s", text) == 1) pid = text;
  if (file != nullptr) std::fclose(file);
  return pid;
}

TEST(WorkerCandidate, ReturnsTheBitsOfACallInThisProcess) {
  const DescribedWorker worker = worker_of("attention_c");
  const Reference reference =
      prepare(parse_case("fwd/fp32/b2.hq2.hkv1.sq9.skv13.dqk8.dv8/window(3,2)/scale0.5/gauss:1/bshd+gap3/single"), 1);
  Buffers buffers;
  const Got first = run(worker.candidate, reference, buffers), second = run(worker.candidate, reference, buffers);
  ASSERT_EQ(first.status, CallStatus::kReturned) << first.reason;
  EXPECT_TRUE(first.structure_faults.empty()) << testing::PrintToString(first.structure_faults);
  EXPECT_EQ(first.out.bytes(), second.out.bytes());
  EXPECT_EQ(first.lse.bytes(), second.lse.bytes());
}

// Beside it, for the record: what one call costs more than in the tool. RINGPROOF_TEST_CALLS=10000 for the night.
TEST(WorkerCandidate, TakesNoMoreMemoryAndFilesWithManyCalls) {
  const char* const asked = std::getenv("RINGPROOF_TEST_CALLS");
  const int calls = asked == nullptr ? 400 : std::atoi(asked);
  const DescribedWorker worker = worker_of("attention_c");
  const std::string shape = "fwd/fp32/b1.hq2.hkv1.sq9.skv13.dqk8.dv8/full/scale0.5/gauss:1/";
  const Reference usual = prepare(parse_case(shape + "bhsd/single"), 1),
                  page_end = prepare(parse_case(shape + "bhsd+page_end/single"), 1),
                  spread = prepare(parse_case(shape + "bhsd+huge_seq/single"), 1);
  Buffers buffers;
  const std::string child = only_child();
  ASSERT_NE(child, "");
  std::ptrdiff_t ours = 0, theirs = 0;
  std::uint64_t resident = 0;
  double call_ms = 0;
  for (int call = 0; call < calls; ++call) {
    const Reference& reference = call % 10 == 3 ? page_end : call % 10 == 7 ? spread : usual;
    const Got got = run(worker.candidate, reference, buffers);
    ASSERT_EQ(got.status, CallStatus::kReturned) << got.reason;
    call_ms += got.time_ms;
    if (call != 99) continue;
    ours = count_descriptors("self");
    theirs = count_descriptors(child);
    resident = resident_bytes(std::atoi(child.c_str()));
  }
  EXPECT_EQ(count_descriptors("self"), ours);
  EXPECT_EQ(count_descriptors(child), theirs);
  EXPECT_EQ(only_child(), child);  // it was never started anew
  EXPECT_LE(resident_bytes(std::atoi(child.c_str())), resident + page_bytes() * 16);
  std::printf("%d calls, %.3f ms each\n", calls, call_ms / calls);
}

TEST(WorkerCandidate, GivesTheNextCallAFreshProcess) {
  const DescribedWorker crashing = worker_of("trick_crash");
  const Reference reference =
      prepare(parse_case("fwd/fp32/b1.hq2.hkv1.sq9.skv13.dqk8.dv8/full/scale0.5/gauss:1/bhsd/single"), 1);
  Buffers buffers;
  for (int call = 0; call < 3; ++call) {
    const Got got = run(crashing.candidate, reference, buffers);
    EXPECT_EQ(got.status, CallStatus::kFailed);
    EXPECT_EQ(got.reason, "crashed with SIGSEGV");
  }
}

TEST(IsWorkerName, TakesPathsCommandsAndPython) {
  for (const char* name : {"./libmine.so", "/a/b.so", "cmd:./run {in} {out}", "python:m:f", "torch:sdpa"}) {
    EXPECT_TRUE(is_worker_name(name)) << name;
  }
  for (const char* name : {"flash_forward_fp32", "ring:double", "canary:restless", "flash_forward_fp32:cuda"}) {
    EXPECT_FALSE(is_worker_name(name)) << name;
  }
}

}  // namespace
}  // namespace ringproof
