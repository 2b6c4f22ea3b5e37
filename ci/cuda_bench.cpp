// ringproof_cuda_bench [--peers COMMAND] CASE...: times the CUDA kernels that cover each Case, on the Case's inputs,
// and cuDNN's attention where it is, and judges the output of a timed launch. One JSON line per kernel and Case; a
// timing stands in it only beside an accepted verdict, with what makes it suspicious and its speed over that of others.
// How times are taken: DeviceRunner::time, and read: gpu/timing.h. Exit code: 0 all of ours accepted or no device, 1 a
// rejection, 2 a Case that cannot be read, 3 a failed CUDA call.
// COMMAND (gpu_sdpa.py) times other libraries on the same inputs, which it finds as files in the folder it is given,
// and leaves their outputs there: they are judged like ours. What it cannot run it says in a line.

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "gpu/cudnn/attention.h"
#include "gpu/device/run.h"
#include "gpu/flash_problem.h"
#include "gpu/kernels.h"
#include "gpu/timing.h"
#include "reference/judge/reference.h"
#include "reference/judge/verify.h"
#include "reference/spec/error.h"

namespace {

using namespace ringproof;
using nlohmann::json;

constexpr int kWarmUp = 15, kSamples = 30;
/// Rows judged of a Case too large to be judged in full.
constexpr SamplingRule kRule{2e11, 512};

/// One party on one Case: its line, and its timing where its output was accepted.
struct Timed {
  json line;
  TimingSummary timing{};
  double tflops = 0;  ///< 0: no timing counts
  bool is_ours = false, is_cudnn = false;
};

void enter_timing(Timed& timed, const TimingSummary& timing, double flop) {
  constexpr double kMsToTera = 1e-9;
  json& line = timed.line;
  timed.timing = timing;
  line["event_ms"] = timing.event_ms;
  line["launches_dropped"] = timing.dropped_count;
  if (timing.event_ms.empty()) {
    line["sentence"] = "no launch ran at 75 % of the default clock";
    return;
  }
  timed.tflops = flop / timing.ms_median * kMsToTera;
  line["event_ms_min"] = timing.ms_min;
  line["event_ms_quartiles"] = {timing.ms_quartile_1, timing.ms_median, timing.ms_quartile_3};
  line["tflops"] = timed.tflops;
}

Timed time_and_judge(const FlashKernel& kernel, const Reference& reference, const ClockWatch& clock) {
  const Problem& problem = reference.c.problem;
  Got got{CallStatus::kReturned,
          "",
          Tensor(dtype_of_out(problem.dtype), problem.shape_out()),
          Tensor(dtype_of_lse(problem.dtype), problem.shape_lse()),
          true,
          {},
          0};
  const TensorView q = reference.inputs.q.view(), k = reference.inputs.k.view(), v = reference.inputs.v.view(),
                   out = got.out.view(), lse = got.lse.view();
  DeviceRunner runner;
  const DeviceTiming timing =
      runner.time(kernel, make_flash_params(problem, q, k, v, out, &lse), kWarmUp, kSamples, clock);
  got.description = kernel.describe();
  const Arithmetic arithmetic = resolve(got.description.arithmetic, problem.dtype);
  const CaseVerdict verdict = verify_case(compare(kernel.name, reference, arithmetic, got));
  Timed timed;
  timed.line = {{"kernel", kernel.name}, {"case", to_string(reference.c)}, {"outcome", to_string(verdict.outcome)}};
  if (verdict.outcome != Outcome::kAccepted) {
    timed.line["sentence"] = verdict.reason;
    return timed;
  }
  timed.line["rows_judged"] = reference.rows_judged().judged;
  timed.line["wall_ms"] = timing.wall_ms;
  timed.line["warm_up_launches"] = timing.warm_up_count;
  timed.line["default_clock_mhz"] = timing.default_clock_mhz;
  if (!timing.clock_sentence.empty()) timed.line["clock"] = timing.clock_sentence;
  json& clocks = timed.line["clock_mhz"] = json::array();
  for (const TimedLaunch& launch : timing.launches) clocks.push_back(launch.sm_clock_mhz);
  enter_timing(timed, summarise(timing), reference_work_flop(problem));
  return timed;
}

Timed time_cudnn(const Reference& reference, const ClockWatch& clock) {
  const Problem& problem = reference.c.problem;
  Timed timed;
  if (problem.dtype != Dtype::kBf16 && problem.dtype != Dtype::kF16) {
    timed.line = {{"outcome", "not run"}, {"sentence", "cuDNN is not asked storage that is not of 16 bits"}};
  } else if (const CudnnAttention cudnn = cudnn_attention(problem.dtype); !cudnn.missing_reason.empty()) {
    timed.line = {{"outcome", "not run"}, {"sentence", cudnn.missing_reason}};
  } else {
    try {
      timed = time_and_judge(cudnn.kernel, reference, clock);
      timed.is_cudnn = true;
    } catch (const Error& error) {
      timed.line = {{"outcome", "not run"}, {"sentence", error.what()}};
    }
    timed.line["version"] = cudnn.version;
  }
  timed.line["kernel"] = "cudnn";
  timed.line["case"] = to_string(reference.c);
  timed.line["peer"] = true;
  return timed;
}

void write_file(const std::string& path, const Tensor& tensor) {
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(tensor.bytes().data()), static_cast<std::streamsize>(tensor.bytes().size()));
}

/// Runs `command FOLDER` and returns its lines.
std::vector<std::string> lines_of(const std::string& command) {
  std::vector<std::string> lines;
  FILE* const pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) return lines;
  std::string text;
  for (int c = std::fgetc(pipe); c != EOF; c = std::fgetc(pipe)) text += static_cast<char>(c);
  pclose(pipe);
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

/// A peer's line with the verdict on the output it left.
Timed judge_peer(json line, const Reference& reference) {
  const Problem& p = reference.c.problem;
  line["case"] = to_string(reference.c);
  line["peer"] = true;
  Timed timed{line};
  if (!line.contains("out")) return timed;
  timed.is_cudnn = line.value("kernel", "").find("CUDNN") != std::string::npos;
  Got got{CallStatus::kReturned, "", Tensor(dtype_of_out(p.dtype), p.shape_out()), {}, false, {}, 0};
  std::ifstream file(line["out"].get<std::string>(), std::ios::binary);
  file.read(static_cast<char*>(got.out.view().data), static_cast<std::streamsize>(got.out.bytes().size()));
  const bool is_whole = file.gcount() == static_cast<std::streamsize>(got.out.bytes().size());
  const CaseVerdict verdict = verify_case(compare(line["kernel"], reference, resolve(Arithmetic{}, p.dtype), got));
  timed.line.erase("out");
  timed.line.erase("event_ms");
  timed.line["outcome"] = is_whole ? to_string(verdict.outcome) : "inconclusive";
  if (!is_whole || verdict.outcome != Outcome::kAccepted) {
    timed.line["sentence"] = is_whole ? verdict.reason : "its output was cut short";
    return timed;
  }
  DeviceTiming timing;
  for (const json& ms : line["event_ms"]) timing.launches.push_back({ms.get<double>(), 0});
  timed.line["clock"] = "not watched by the peer";
  enter_timing(timed, summarise(timing), reference_work_flop(p));
  return timed;
}

/// What `peers` made of the Case's inputs.
void time_peers(const std::string& peers, const Reference& reference, std::vector<Timed>& all) {
  const Problem& p = reference.c.problem;
  const std::filesystem::path folder =
      std::filesystem::temp_directory_path() / ("ringproof_peers_" + std::to_string(getpid()));
  std::filesystem::create_directories(folder);
  const Inputs& inputs = reference.inputs;
  write_file(folder / "q.bin", inputs.q);
  write_file(folder / "k.bin", inputs.k);
  write_file(folder / "v.bin", inputs.v);
  std::ofstream(folder / "problem.json") << json{{"dtype", to_string(p.dtype)}, {"mask", to_string(p.mask.kind)},
                                                 {"shape_q", p.shape_q()},      {"shape_k", p.shape_k()},
                                                 {"shape_v", p.shape_v()},      {"softmax_scale", p.softmax_scale},
                                                 {"warm_up", kWarmUp},          {"samples", kSamples}};
  for (const std::string& text : lines_of(peers + " " + folder.string())) {
    const json line = json::parse(text, nullptr, false);
    if (line.is_object()) all.push_back(judge_peer(line, reference));
  }
  std::filesystem::remove_all(folder);
}

/// What only the timings of all parties on one Case say together, and the lines.
void print_lines(std::vector<Timed>& all, double roofline) {
  double cudnn_tflops = 0;
  for (const Timed& timed : all) {
    if (timed.is_cudnn) cudnn_tflops = std::max(cudnn_tflops, timed.tflops);
  }
  for (Timed& timed : all) {
    if (timed.is_ours && timed.tflops > 0) {
      timed.line["roofline_tflops"] = roofline;
      timed.line["suspicious"] = suspicions(timed.timing, timed.tflops, roofline, cudnn_tflops);
      json& ratios = timed.line["speed_over"] = json::object();
      for (const Timed& other : all) {
        if (!other.is_ours && other.tflops > 0) ratios[other.line["kernel"]] = timed.tflops / other.tflops;
      }
    }
    std::printf("%s\n", timed.line.dump().c_str());
    std::fflush(stdout);
  }
}

/// False where a kernel of ours is not accepted.
bool run_case(const std::string& text, const std::string& peers, const ClockWatch& clock, double roofline) {
  const Case c = parse_case(text);
  const Reference reference = prepare(c, kRule, static_cast<int>(std::thread::hardware_concurrency()));
  std::vector<Timed> all;
  bool is_accepted = true;
  for (const FlashKernel& kernel : flash_kernels()) {
    if (kernel.dtype != c.problem.dtype || !unsupported_reason(kernel.describe(), c.problem).empty()) continue;
    all.push_back(time_and_judge(kernel, reference, clock));
    all.back().is_ours = true;
    is_accepted = is_accepted && all.back().line["outcome"] == "accepted";
  }
  all.push_back(time_cudnn(reference, clock));
  if (!peers.empty()) time_peers(peers, reference, all);
  print_lines(all, roofline);
  return is_accepted;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string missing = device_missing_reason();
  if (!missing.empty()) {
    std::printf("%s\n", json{{"outcome", "not run"}, {"sentence", missing}}.dump().c_str());
    return 0;
  }
  const std::string peers = argc > 2 && std::string(argv[1]) == "--peers" ? argv[2] : "";
  bool is_accepted = true;
  try {
    const ClockWatch clock;
    const double roofline = roofline_tflops(device_facts());
    for (int i = peers.empty() ? 1 : 3; i < argc; ++i) {
      is_accepted = run_case(argv[i], peers, clock, roofline) && is_accepted;
    }
  } catch (const InputError& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 2;
  } catch (const Error& error) {
    std::printf("%s\n", json{{"outcome", "failed"}, {"sentence", error.what()}}.dump().c_str());
    return 3;
  }
  return is_accepted ? 0 : 1;
}
