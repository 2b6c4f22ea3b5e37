// The traps of the device path, set for kernels that fall into them. No GPU: the CUDA runtime is the stand-in, and a
// kernel here is host code that is given to a stream as CUDA work.

#include "gpu/device/run.h"

#include <gtest/gtest.h>

#include <cstring>
#include <deque>

#include "gpu/device/memory.h"
#include "gpu/flash_forward_fp32.h"
#include "gpu/flash_problem.h"
#include "gpu/simt/cuda_check.h"
#include "gpu/stand_in/cuda_runtime.h"
#include "reference/spec/case.h"
#include "reference/spec/inputs.h"
#include "reference/spec/layout.h"

namespace ringproof {
namespace {

using simt::cuda::check;

/// Gives `work` on these parameters to `stream`, as a launch does: they are copied now and used later.
void enqueue(cudaStream_t stream, void (*work)(const FlashParams&), const FlashParams& params) {
  using Launched = std::pair<void (*)(const FlashParams&), FlashParams>;
  static std::deque<Launched> launched;  // a graph may come back to one at any time
  launched.emplace_back(work, params);
  check(cudaLaunchHostFunc(
            stream,
            [](void* data) {
              const auto* it = static_cast<Launched*>(data);
              it->first(it->second);
            },
            &launched.back()),
        "cudaLaunchHostFunc");
}

void attention(const FlashParams& params) { on_host::flash_forward_fp32(params, nullptr); }

void correct(const FlashParams& params, void* stream) { enqueue(static_cast<cudaStream_t>(stream), attention, params); }

Description describe() {
  Description description;
  description.features = kForwardDeterministic;
  return description;
}

FlashKernel kernel_of(FlashLaunch* on_cuda) {
  FlashKernel kernel{};
  kernel.name = "test kernel";
  kernel.dtype = Dtype::kF32;
  kernel.describe = describe;
  kernel.on_cuda = on_cuda;
  return kernel;
}

/// A Case's tensors as its memory lays them out, without the judge's guard zones.
struct Placed {
  Case c;
  std::vector<std::byte> q, k, v, out, lse;
  TensorView view_q, view_k, view_v, view_out, view_lse;

  explicit Placed(const std::string& line) : c(parse_case(line)) {
    const Problem& p = c.problem;
    const Inputs inputs = make_inputs(p, c.inputs, c.memory);
    view_q = place(q, TensorRole::kQ, p.shape_q(), &inputs.q);
    view_k = place(k, TensorRole::kK, p.shape_k(), &inputs.k);
    view_v = place(v, TensorRole::kV, p.shape_v(), &inputs.v);
    view_out = place(out, TensorRole::kOut, p.shape_out(), nullptr);
    view_lse = place(lse, TensorRole::kLse, p.shape_lse(), nullptr);
  }
  TensorView place(std::vector<std::byte>& memory, TensorRole role, const Shape& shape, const Tensor* from) {
    const StridedLayout layout = lay_out(c.memory, role, shape);
    memory.assign(static_cast<std::size_t>(layout.span) * sizeof(float), std::byte{0x7f});
    const TensorView view{memory.data(), Dtype::kF32, -1, shape, layout.stride};
    if (from != nullptr) copy_elements(from->view(), view);
    return view;
  }
  FlashParams params() const { return make_flash_params(c.problem, view_q, view_k, view_v, view_out, &view_lse); }
};

constexpr const char* kLine =
    "fwd/fp32/b2.hq2.hkv1.sq20.skv33.dqk16.dv8/causal_bottom_right/scale0.25/gauss:7/bhsd/single";

std::vector<std::string> faults_of(FlashLaunch* launch) {
  Placed placed(kLine);
  DeviceRunner runner;
  return runner.run(kernel_of(launch), placed.params());
}

TEST(DeviceRun, ACorrectKernelGivesTheHostsBitsInEveryLayout) {
  DeviceRunner runner;
  for (const char* memory : {"bhsd", "bshd", "bhsd+gap5", "bhsd+dim2", "bhsd+mixed", "bshd+broadcast_kv"}) {
    std::string line = kLine;
    line.replace(line.find("bhsd"), 4, memory);
    Placed device(line), host(line);
    EXPECT_EQ(runner.run(kernel_of(correct), device.params()), std::vector<std::string>{}) << memory;
    attention(host.params());
    EXPECT_EQ(device.out, host.out) << memory << ": gaps included";
    EXPECT_EQ(device.lse, host.lse) << memory;
  }
}

TEST(DeviceRun, InputsThatShareMemoryShareItOnTheDevice) {
  Placed placed("fwd/fp32/b1.hq2.hkv2.sq20.skv20.dqk16.dv8/full/scale0.25/gauss:7/bhsd/single");
  static std::ptrdiff_t apart_k, apart_v;
  TensorView values = placed.view_k;
  values.shape[3] = 8;
  FlashParams params =
      make_flash_params(placed.c.problem, placed.view_q, placed.view_k, values, placed.view_out, &placed.view_lse);
  const auto see = [](const FlashParams& p, void* stream) {
    apart_k = static_cast<const char*>(p.k) - static_cast<const char*>(p.q);
    apart_v = static_cast<const char*>(p.v) - static_cast<const char*>(p.k);
    correct(p, stream);
  };
  params.k = params.q;
  params.v = static_cast<const float*>(params.q) + 4;
  DeviceRunner runner;
  EXPECT_EQ(runner.run(kernel_of(see), params), std::vector<std::string>{});
  EXPECT_EQ(apart_k, 0);
  EXPECT_EQ(apart_v, 16);
}

TEST(DeviceRun, AKernelThatIgnoresItsStreamIsCaught) {
  const auto ignores = [](const FlashParams& params, void*) { enqueue(nullptr, attention, params); };
  Placed placed(kLine);
  const std::vector<std::byte> before = placed.out;
  DeviceRunner runner;
  const std::vector<std::string> faults = runner.run(kernel_of(ignores), placed.params());
  EXPECT_EQ(placed.out, before) << "what it wrote before its inputs had come does not count";
  ASSERT_EQ(faults.size(), 1u) << testing::PrintToString(faults);
  EXPECT_NE(faults[0].find("cannot be captured into a CUDA graph"), std::string::npos) << faults[0];
}

TEST(DeviceRun, AWriteBesideTheOutputsIsAFault) {
  const auto beyond = [](const FlashParams& params, void* stream) {
    correct(params, stream);
    enqueue(
        static_cast<cudaStream_t>(stream),
        [](const FlashParams& p) { static_cast<float*>(p.out)[p.batch * p.out_stride[0]] = 1; }, params);
  };
  const std::vector<std::string> faults = faults_of(beyond);
  ASSERT_FALSE(faults.empty());
  EXPECT_NE(faults[0].find("memory outside out was written on the device"), std::string::npos) << faults[0];
}

TEST(DeviceRun, AChangedInputIsAFault) {
  const auto changes = [](const FlashParams& params, void* stream) {
    correct(params, stream);
    enqueue(
        static_cast<cudaStream_t>(stream),
        [](const FlashParams& p) { const_cast<float*>(static_cast<const float*>(p.k))[3] += 1; }, params);
  };
  const std::vector<std::string> faults = faults_of(changes);
  ASSERT_FALSE(faults.empty());
  EXPECT_NE(faults[0].find("the input k or memory beside it was modified"), std::string::npos) << faults[0];
}

TEST(DeviceRun, AWriteOnAnotherStreamThatEndsLaterIsAFault) {
  static cudaStream_t other = nullptr;
  check(cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
  const auto late = [](const FlashParams& params, void* stream) {
    correct(params, stream);
    enqueue(
        other, [](const FlashParams& p) { static_cast<float*>(p.out)[0] += 1; }, params);
  };
  const std::vector<std::string> faults = faults_of(late);
  cudaStreamDestroy(other);
  ASSERT_FALSE(faults.empty());
  EXPECT_NE(faults[0].find("out was written on the device after its stream had finished"), std::string::npos);
}

TEST(DeviceRun, AGraphThatDoesNotComputeAnewIsAFault) {
  static int launches;
  launches = 0;
  const auto second_is_empty = [](const FlashParams& params, void* stream) {
    if (++launches != 2) correct(params, stream);  // the second launch is the captured one
  };
  const std::vector<std::string> faults = faults_of(second_is_empty);
  ASSERT_FALSE(faults.empty());
  EXPECT_NE(faults[0].find("a CUDA graph replayed on other inputs gives other bits of out"), std::string::npos);
}

TEST(DeviceRun, StridesBeyondTwoToTheThirtyOneCostLittleMemory) {
  // The host memory is what the kernel on the stand-in's device would touch: rows far apart, nothing between.
  Placed small("fwd/fp32/b1.hq2.hkv1.sq3.skv3.dqk8.dv8/full/scale0.25/gauss:7/bshd/single");
  constexpr std::int64_t kApart = (std::int64_t{1} << 31) + 24;
  constexpr std::int64_t kHeadApart = 50000, kRow = kHeadApart * 4 + 64;  // near enough to share memory
  DeviceMemory far;  // addresses without memory, as the judge maps them
  far.reserve(3 * kApart * 4, {{0, kRow}, {kApart * 4, kRow}, {2 * kApart * 4, kRow}});
  FlashParams params = small.params(), spread = params;
  spread.out = far.data();
  spread.out_stride[1] = kHeadApart;
  spread.out_stride[2] = kApart;
  for (int row = 0; row < 3; ++row) std::memset(far.data() + row * kApart * 4, 0x7f, kRow);
  const std::size_t before = stand_in::bytes_allocated();
  DeviceRunner runner;
  EXPECT_EQ(runner.run(kernel_of(correct), spread), std::vector<std::string>{});
  EXPECT_GT(stand_in::bytes_allocated() - before, std::size_t{2} * kApart * 4) << "addresses";
  attention(params);
  for (int row = 0; row < 3; ++row) {
    const std::byte* const got = far.data() + row * kApart * 4;
    EXPECT_EQ(std::memcmp(got, small.out.data() + row * 64, 32), 0) << row;
    EXPECT_EQ(std::memcmp(got + kHeadApart * 4, small.out.data() + row * 64 + 32, 32), 0) << row;
  }
}

TEST(DeviceRun, TheSameShapeComesToTheSameAddresses) {
  static std::vector<const void*> seen;
  seen.clear();
  const auto see = [](const FlashParams& params, void* stream) {
    seen.push_back(params.q);
    correct(params, stream);
  };
  Placed placed(kLine);
  DeviceRunner runner;
  runner.run(kernel_of(see), placed.params());
  runner.run(kernel_of(see), placed.params());
  ASSERT_GE(seen.size(), 2u);
  EXPECT_EQ(seen.front(), seen.back());
}

const ClockWatch& no_clock() {
  static const ClockWatch kNone("libringproof_no_such_library.so");
  return kNone;
}

TEST(DeviceRun, ATimedCallsOutputIsTheOneThatComesBack) {
  Placed timed(kLine), host(kLine);
  DeviceRunner runner;
  const DeviceTiming timing = runner.time(kernel_of(correct), timed.params(), 2, 3, no_clock());
  EXPECT_EQ(timing.launches.size(), 3u);
  EXPECT_EQ(timing.warm_up_count, 2);
  EXPECT_NE(timing.clock_sentence.find("no NVML"), std::string::npos);
  ASSERT_EQ(timing.wall_ms.size(), 5u);
  attention(host.params());
  EXPECT_EQ(timed.out, host.out);
  static int launches;
  launches = 0;
  const auto lazy = [](const FlashParams& params, void* stream) {
    if (++launches < 9) correct(params, stream);  // the later timed launches compute nothing
  };
  Placed skipped(kLine);
  runner.time(kernel_of(lazy), skipped.params(), 2, 3, no_clock());
  EXPECT_NE(skipped.out, host.out) << "what an earlier launch wrote must not stand in for the last one's";
}

TEST(DeviceRun, EachTimedLaunchReadsOtherAddressesAndOtherData) {
  static std::vector<FlashParams> seen;
  seen.clear();
  const auto noting = [](const FlashParams& params, void* stream) {
    seen.push_back(params);
    correct(params, stream);
  };
  Placed timed(kLine);
  DeviceRunner().time(kernel_of(noting), timed.params(), 2, 4, no_clock());
  ASSERT_EQ(seen.size(), 11u);
  for (std::size_t i = 1; i < 6; ++i) {
    EXPECT_NE(seen[i].q, seen[i - 1].q);
    EXPECT_NE(seen[i].out, seen[i - 1].out);
  }
}

TEST(DeviceRun, WarmUpGoesOnUntilTheClockIsSteady) {
  setenv("RINGPROOF_STAND_IN_CLOCKS", "345,345,600,1200,1700,1950,1980", 1);
  const ClockWatch rising(RINGPROOF_STAND_IN_NVML);
  Placed timed(kLine);
  const DeviceTiming timing = DeviceRunner().time(kernel_of(correct), timed.params(), 2, 3, rising);
  EXPECT_EQ(timing.warm_up_count, 9) << "the fifth of 1950 and 1980";
  EXPECT_EQ(timing.clock_sentence, "");
  EXPECT_EQ(timing.default_clock_mhz, 2000);
  EXPECT_EQ(timing.launches[0].sm_clock_mhz, 1980);
  std::string restless = "345";
  for (int i = 0; i < 300; ++i) restless += i % 2 == 0 ? ",1980" : ",1500";
  setenv("RINGPROOF_STAND_IN_CLOCKS", restless.c_str(), 1);
  const ClockWatch never(RINGPROOF_STAND_IN_NVML);
  const DeviceTiming given_up = DeviceRunner().time(kernel_of(correct), timed.params(), 2, 4, never);
  EXPECT_EQ(given_up.warm_up_count, 100);
  EXPECT_EQ(given_up.clock_sentence, "the clock did not get steady");
  EXPECT_EQ(summarise(given_up).dropped_count, 0) << "1500 of 2000 MHz are three quarters";
}

TEST(DeviceRun, TheDeviceIsDescribedForItsRoofline) {
  const DeviceFacts facts = device_facts();
  EXPECT_EQ(facts.name, "stand-in");
  EXPECT_EQ(static_cast<int>(roofline_tflops(facts)), 989);
}

TEST(DeviceRun, AFailingCallIsNamedAndNothingLeaks) {
  const std::size_t before = stand_in::bytes_allocated();
  for (const char* call : {"cudaMalloc", "cudaMemcpy", "cudaMemset", "cudaMemcpyAsync", "cudaStreamCreateWithFlags",
                           "cudaLaunchKernel", "cudaStreamSynchronize", "cudaGraphLaunch"}) {
    stand_in::fail(call, cudaErrorUnknown);
    try {
      faults_of(correct);
      ADD_FAILURE() << call << " failed and nobody said so";
    } catch (const Error& error) {
      const std::string want = std::string(call) == "cudaLaunchKernel" ? "kernel launch" : call;
      EXPECT_NE(std::string(error.what()).find(want), std::string::npos) << error.what();
    }
    stand_in::fail(call, cudaSuccess);
    cudaGetLastError();
    EXPECT_EQ(stand_in::bytes_allocated(), before) << call;
  }
  EXPECT_EQ(faults_of(correct), std::vector<std::string>{}) << "and afterwards all is well";
}

TEST(DeviceRun, NoDeviceIsAReasonAndNotAnError) {
  EXPECT_EQ(device_missing_reason(), "");
  stand_in::fail("cudaGetDeviceCount", cudaErrorNoDevice);
  EXPECT_NE(device_missing_reason().find("no CUDA device ("), std::string::npos);
  EXPECT_EQ(cudaGetLastError(), cudaSuccess) << "later calls do not see it";
  stand_in::fail("cudaGetDeviceCount", cudaSuccess);
}

}  // namespace
}  // namespace ringproof
