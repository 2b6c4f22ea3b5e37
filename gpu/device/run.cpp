// What a kernel may not do shows only if somebody sets the trap beforehand. Inputs arrive late, behind a hold on the
// stream: a kernel that runs on another stream finds NaN. Everything around the elements is examined, after the stream
// and once more after the whole device, so that work left on another stream shows too. A captured launch is replayed on
// other data: whoever keeps a result or an address gives the old answer.

#include "gpu/device/run.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <thread>
#include <utility>

#include "gpu/device/image.h"
#include "gpu/device/stream_hold.h"
#include "gpu/simt/cuda_check.h"

namespace ringproof {
namespace {

using simt::cuda::check;
using Bytes = std::vector<std::byte>;

constexpr std::int64_t kReplayBytesMax = std::int64_t{64} << 20;
/// How long work on other streams has to come before the inputs: a launch takes a few microseconds.
constexpr std::chrono::microseconds kHeadStart{500};

class Stream {
 public:
  Stream() { check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreateWithFlags"); }
  ~Stream() { cudaStreamDestroy(stream_); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  cudaStream_t get() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

class Event {
 public:
  Event() { check(cudaEventCreate(&event_), "cudaEventCreate"); }
  ~Event() { cudaEventDestroy(event_); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  cudaEvent_t get() const { return event_; }

 private:
  cudaEvent_t event_ = nullptr;
};

/// One launch as a graph.
class Graph {
 public:
  Graph(const std::function<FlashLaunch>& launch, const FlashParams& params, cudaStream_t stream) {
    check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
    try {
      launch(params, stream);
    } catch (...) {  // a capture must be ended before the stream can be used again
      cudaStreamEndCapture(stream, &graph_);
      if (graph_ != nullptr) cudaGraphDestroy(graph_);
      cudaGetLastError();
      throw;
    }
    check(cudaStreamEndCapture(stream, &graph_), "cudaStreamEndCapture");
    check(cudaGraphInstantiate(&ready_, graph_, 0), "cudaGraphInstantiate");
  }
  ~Graph() {
    if (ready_ != nullptr) cudaGraphExecDestroy(ready_);
    if (graph_ != nullptr) cudaGraphDestroy(graph_);
  }
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;
  void replay(cudaStream_t stream) const { check(cudaGraphLaunch(ready_, stream), "cudaGraphLaunch"); }

 private:
  cudaGraph_t graph_ = nullptr;
  cudaGraphExec_t ready_ = nullptr;
};

TensorView view_of(const void* data, Dtype dtype, const Shape& shape, const std::int64_t* stride, int axes) {
  TensorView view{const_cast<void*>(data), dtype, -1, shape, {0, 0, 0, 1}};
  for (int axis = 0; axis < axes; ++axis) view.stride[static_cast<std::size_t>(axis)] = stride[axis];
  return view;
}

/// A table as a tensor of one row; formats are taken for their size.
TensorView row_of(const void* data, Dtype dtype, std::int64_t count) {
  return {const_cast<void*>(data), dtype, -1, {1, 1, 1, data == nullptr ? 0 : count}, {0, 0, 0, 1}};
}

/// Whether two views share bytes of the range from their first to their last element.
bool overlap(const TensorView& one, const TensorView& other) {
  const auto end = [](const TensorView& view) {
    const Shape& n = view.shape;
    return view.at(n[0] - 1, n[1] - 1, n[2] - 1, n[3] - 1) + size_bytes(view.dtype);
  };
  return one.data < end(other) && other.data < end(one);
}

std::int64_t count_of_blocks(const FlashParams& params) {
  if (params.block_mask == nullptr || params.seqlen_q == 0 || params.seqlen_kv == 0) return 0;
  return ((params.seqlen_q - 1) / params.block_q + 1) * ((params.seqlen_kv - 1) / params.block_kv + 1);
}

std::string count_text(std::int64_t bytes) { return " (" + std::to_string(bytes) + " bytes)"; }

}  // namespace

std::string device_missing_reason() {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status == cudaSuccess && count > 0) return "";
  cudaGetLastError();  // a missing device is an answer, not an error of later calls
  return status == cudaSuccess ? "no CUDA device" : std::string("no CUDA device (") + cudaGetErrorString(status) + ")";
}

/// What is kept between calls.
struct DeviceRunner::State {
  std::map<std::string, DeviceImage> images;
  std::uint64_t calls = 0;
};

/// One call: its images and what the kernel is given.
struct DeviceRunner::Call {
  struct Placed {
    std::string name;
    DeviceImage* image;
    bool is_output, is_scratch;
    bool is_turned = false;  ///< q, k or v: its signs are turned for other inputs
  };
  State& state;
  const FlashKernel& kernel;
  FlashParams device{};
  std::vector<Placed> placed{};
  Bytes workspace{};
  std::vector<std::string> faults{};
  Stream stream{};

  /// One image for these views.
  void place(const std::string& name, const std::vector<TensorView>& views, bool is_output, bool is_scratch = false) {
    DeviceImage& image = state.images[name];
    image.lay_out(views, state.calls);
    placed.push_back({name, &image, is_output, is_scratch});
  }

  /// The pointer on the device for the data of `view`; one image of its own, none without elements.
  template <class T>
  void place_alone(const std::string& name, const TensorView& view, T*& pointer, bool is_output,
                   bool is_scratch = false) {
    pointer = nullptr;
    if (view.data == nullptr || element_count(view.shape) == 0) return;
    place(name, {view}, is_output, is_scratch);
    pointer = reinterpret_cast<T*>(placed.back().image->at(view.data));
  }

  /// q, k and v: those that share memory on the host share it on the device.
  void place_inputs(const FlashParams& p) {
    struct Input {
      const char* name;
      TensorView view;
      const void*& pointer;
      int group;
    };
    std::array<Input, 3> inputs{{
        {"q", view_of(p.q, p.dtype, {p.batch, p.heads_q, p.seqlen_q, p.head_dim_qk}, p.q_stride, 4), device.q, 0},
        {"k", view_of(p.k, p.dtype, {p.batch, p.heads_kv, p.seqlen_kv, p.head_dim_qk}, p.k_stride, 4), device.k, 1},
        {"v", view_of(p.v, p.dtype, {p.batch, p.heads_kv, p.seqlen_kv, p.head_dim_v}, p.v_stride, 4), device.v, 2},
    }};
    for (const auto& [a, b] : {std::pair{0, 1}, {0, 2}, {1, 2}, {0, 1}}) {
      const TensorView &one = inputs[a].view, &other = inputs[b].view;
      if (element_count(one.shape) == 0 || element_count(other.shape) == 0 || !overlap(one, other)) continue;
      const int from = inputs[b].group;
      for (Input& input : inputs) {
        if (input.group == from) input.group = inputs[a].group;
      }
    }
    for (int group = 0; group < 3; ++group) {
      std::string name;
      std::vector<TensorView> views;
      for (const Input& input : inputs) {
        if (input.group != group || element_count(input.view.shape) == 0) continue;
        name += (name.empty() ? "" : " and ") + std::string(input.name);
        views.push_back(input.view);
      }
      if (views.empty()) continue;
      place(name, views, false);
      placed.back().is_turned = true;
      for (const Input& input : inputs) {
        if (input.group == group && element_count(input.view.shape) > 0) {
          input.pointer = placed.back().image->at(input.view.data);
        }
      }
    }
  }

  void place_all(const FlashParams& p) {
    device = p;
    device.q = device.k = device.v = nullptr;
    place_inputs(p);
    const Dtype lse_dtype = p.dtype == Dtype::kF64 ? Dtype::kF64 : Dtype::kF32;
    place_alone("out", view_of(p.out, p.out_dtype, {p.batch, p.heads_q, p.seqlen_q, p.head_dim_v}, p.out_stride, 4),
                device.out, true);
    place_alone("lse", view_of(p.lse, lse_dtype, {p.batch, p.heads_q, p.seqlen_q, 1}, p.lse_stride, 3), device.lse,
                true);
    place_alone("the documents of q", row_of(p.document_starts_q, Dtype::kF64, p.documents + 1),
                device.document_starts_q, false);
    place_alone("the documents of k", row_of(p.document_starts_kv, Dtype::kF64, p.documents + 1),
                device.document_starts_kv, false);
    place_alone("the block mask", row_of(p.block_mask, Dtype::kF8E4m3, count_of_blocks(p)), device.block_mask, false);
    place_alone("the sink", row_of(p.sink, Dtype::kF32, p.heads_q), device.sink, false);
    if (kernel.workspace_bytes != nullptr) workspace.resize(static_cast<std::size_t>(kernel.workspace_bytes(p)));
    place_alone("the workspace", row_of(workspace.data(), Dtype::kF8E4m3, static_cast<std::int64_t>(workspace.size())),
                device.workspace, true, true);
  }

  void send() {
    for (const Placed& each : placed) each.image->send();
    check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
  }
  /// Other inputs, or the first ones again.
  void turn_inputs() {
    for (const Placed& each : placed) {
      if (each.is_turned) each.image->turn_signs();
    }
    send();
  }
  void arrive() {
    for (const Placed& each : placed) each.image->arrive(stream.get());
  }
  std::vector<Bytes> fetch() {
    std::vector<Bytes> got;
    for (const Placed& each : placed) got.push_back(each.image->fetch(stream.get()));
    return got;
  }

  /// To the host.
  void give_back(const std::vector<Bytes>& got) const {
    for (std::size_t i = 0; i < placed.size(); ++i) {
      if (placed[i].is_output && !placed[i].is_scratch) placed[i].image->give_back(got[i]);
    }
  }

  /// The call that counts: on inputs that come late.
  std::vector<Bytes> run_late() {
    send();
    {
      StreamHold hold(stream.get());
      arrive();
      kernel.on_cuda(device, stream.get());
      std::this_thread::sleep_for(kHeadStart);
      hold.release();
    }
    check(cudaStreamSynchronize(stream.get()), (kernel.name + std::string(" (cudaStreamSynchronize)")).c_str());
    std::vector<Bytes> got = fetch();
    check(cudaDeviceSynchronize(), (kernel.name + std::string(" (cudaDeviceSynchronize)")).c_str());
    const std::vector<Bytes> later = fetch();
    for (std::size_t i = 0; i < placed.size(); ++i) {
      if (got[i] != later[i])
        faults.push_back(placed[i].name + " was written on the device after its stream had finished");
    }
    return got;
  }

  void examine(const std::vector<Bytes>& got, const std::string& when) {
    for (std::size_t i = 0; i < placed.size(); ++i) {
      const Placed& each = placed[i];
      const std::int64_t bytes = each.image->bytes_changed(got[i], !each.is_output);
      if (bytes == 0) continue;
      faults.push_back(each.is_output
                           ? "memory outside " + each.name + " was written on the device" + when + count_text(bytes)
                           : "the input " + each.name + " or memory beside it was modified on the device" + when +
                                 count_text(bytes));
    }
  }

  /// Outputs of `one` and `other` that differ in any byte.
  void compare(const std::vector<Bytes>& one, const std::vector<Bytes>& other, const std::string& what) {
    for (std::size_t i = 0; i < placed.size(); ++i) {
      if (!placed[i].is_output || placed[i].is_scratch) continue;
      std::int64_t bytes = 0;
      for (std::size_t at = 0; at < one[i].size(); ++at) bytes += one[i][at] != other[i][at];
      if (bytes) faults.push_back(what + " gives other bits of " + placed[i].name + " than a call" + count_text(bytes));
    }
  }

  /// The launch captured now, replayed on other inputs and on the first ones again.
  void replay(const std::vector<Bytes>& first) {
    std::optional<Graph> graph;
    try {
      graph.emplace(kernel.on_cuda, device, stream.get());
    } catch (const Error& error) {
      faults.push_back(std::string("its launch cannot be captured into a CUDA graph: ") + error.what());
      return;
    }
    turn_inputs();
    arrive();
    kernel.on_cuda(device, stream.get());
    const std::vector<Bytes> called = fetch();
    arrive();
    graph->replay(stream.get());
    const std::vector<Bytes> replayed = fetch();
    compare(called, replayed, "a CUDA graph replayed on other inputs");
    examine(replayed, " by a replayed graph");
    turn_inputs();
    arrive();
    graph->replay(stream.get());
    compare(first, fetch(), "a CUDA graph replayed on the first inputs");
  }
};

DeviceRunner::DeviceRunner() : state_(std::make_unique<State>()) {}
DeviceRunner::~DeviceRunner() = default;

std::vector<std::string> DeviceRunner::run(const FlashKernel& kernel, const FlashParams& params) {
  check(cudaSetDevice(0), "cudaSetDevice");
  ++state_->calls;
  Call call{*state_, kernel};
  call.place_all(params);
  const std::vector<Bytes> got = call.run_late();
  call.examine(got, "");
  std::int64_t bytes = 0;
  for (const Call::Placed& each : call.placed) bytes += each.image->bytes();
  if (bytes <= kReplayBytesMax && kernel.describe().has(kForwardDeterministic)) call.replay(got);
  call.give_back(got);
  return std::move(call.faults);
}

namespace {

int attribute(cudaDeviceAttr which) {
  int value = 0;
  check(cudaDeviceGetAttribute(&value, which, 0), "cudaDeviceGetAttribute");
  return value;
}

}  // namespace

DeviceFacts device_facts() {
  constexpr int kKhzPerMhz = 1000;
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, 0), "cudaGetDeviceProperties");
  return {properties.name, attribute(cudaDevAttrComputeCapabilityMajor), attribute(cudaDevAttrComputeCapabilityMinor),
          attribute(cudaDevAttrMultiProcessorCount), attribute(cudaDevAttrClockRate) / kKhzPerMhz};
}

/// Two calls that differ in addresses and data, launched in turn behind a flushed L2 cache.
class DeviceRunner::Timer {
 public:
  Timer(State& state, const FlashKernel& kernel, const FlashParams& params)
      : one_{state, kernel}, other_{twin_, kernel} {
    one_.place_all(params);
    one_.send();
    one_.arrive();
    other_.place_all(params);
    other_.turn_inputs();
    other_.arrive();
    check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
    if (attribute(cudaDevAttrMaxPersistingL2CacheSize) > 0) {
      check(cudaDeviceSetLimit(cudaLimitPersistingL2CacheSize, 0), "cudaDeviceSetLimit");
    }
    flush_bytes_ = std::max(std::int64_t{256} << 20, std::int64_t{2} * attribute(cudaDevAttrL2CacheSize) + (1 << 20));
    flush_.reserve(flush_bytes_, {{0, flush_bytes_}});
  }

  /// One launch between events; the clock is read while it is under way.
  TimedLaunch launch(const ClockWatch& clock) {
    const cudaStream_t stream = one_.stream.get();
    Call& call = count_ % 2 == 0 ? one_ : other_;
    check(cudaMemsetAsync(flush_.data(), count_++, static_cast<std::size_t>(flush_bytes_), stream), "cudaMemsetAsync");
    check(cudaEventRecord(begin_.get(), stream), "cudaEventRecord");
    call.kernel.on_cuda(call.device, stream);
    check(cudaEventRecord(end_.get(), stream), "cudaEventRecord");
    TimedLaunch timed;
    timed.sm_clock_mhz = clock.sm_clock_mhz();
    check(cudaEventSynchronize(end_.get()), "cudaEventSynchronize");
    float ms = 0;
    check(cudaEventElapsedTime(&ms, begin_.get(), end_.get()), "cudaEventElapsedTime");
    timed.event_ms = static_cast<double>(ms);
    return timed;
  }

  /// One launch by the host's clock. The outputs hold their pattern before: what comes back is what this launch writes.
  double launch_by_wall() {
    one_.arrive();
    check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
    const auto before = std::chrono::steady_clock::now();
    one_.kernel.on_cuda(one_.device, one_.stream.get());
    check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - before).count();
  }

  void give_back() { one_.give_back(one_.fetch()); }

 private:
  State twin_;
  Call one_, other_;
  Event begin_, end_;
  DeviceMemory flush_;
  std::int64_t flush_bytes_ = 0;
  int count_ = 0;
};

DeviceTiming DeviceRunner::time(const FlashKernel& kernel, const FlashParams& params, int warm_up_min, int samples,
                                const ClockWatch& clock) {
  constexpr int kWarmUpMax = 100, kWallSamples = 5;
  check(cudaSetDevice(0), "cudaSetDevice");
  ++state_->calls;
  Timer timer(*state_, kernel, params);
  DeviceTiming timing;
  timing.default_clock_mhz = clock.default_clock_mhz();
  timing.clock_sentence = clock.missing_reason();
  std::vector<int> clocks_mhz;
  const bool is_watched = timing.clock_sentence.empty();
  while (timing.warm_up_count < warm_up_min || (is_watched && !is_clock_steady(clocks_mhz))) {
    if (timing.warm_up_count == std::max(warm_up_min, kWarmUpMax)) {
      timing.clock_sentence = "the clock did not get steady";
      break;
    }
    clocks_mhz.push_back(timer.launch(clock).sm_clock_mhz);
    ++timing.warm_up_count;
  }
  for (int i = 0; i < samples; ++i) timing.launches.push_back(timer.launch(clock));
  for (int i = 0; i < kWallSamples; ++i) timing.wall_ms.push_back(timer.launch_by_wall());
  timer.give_back();
  return timing;
}

}  // namespace ringproof
