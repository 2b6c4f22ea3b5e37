// ringproof_cuda_bench [--peers COMMAND] CASE...: times the CUDA kernels that cover each Case, on the Case's inputs,
// and judges the output of a timed launch. One JSON line per kernel and Case; a timing stands in it only beside an
// accepted verdict. Times are of CUDA events, L2 flushed before each launch (DeviceRunner::time). Exit code: 0 all
// accepted or no device, 1 a rejection, 2 a Case that cannot be read, 3 a failed CUDA call.
// COMMAND (gpu_sdpa.py) times other libraries on the same inputs, which it finds as files in the folder it is given,
// and leaves their outputs there: they are judged like ours, and the ratio of the medians is printed. What it cannot
// run it says in a line.

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

#include "gpu/device/run.h"
#include "gpu/flash_problem.h"
#include "gpu/kernels.h"
#include "reference/judge/reference.h"
#include "reference/judge/verify.h"
#include "reference/spec/error.h"

namespace {

using namespace ringproof;
using nlohmann::json;

constexpr int kWarmUp = 15, kSamples = 30;
/// Rows judged of a Case too large to be judged in full.
constexpr SamplingRule kRule{2e11, 512};
/// H200 and H100 SXM, dense bf16: nothing that computes is above it.
constexpr double kRooflineTflops = 989;

double quantile(std::vector<double> values, double share) {
  std::sort(values.begin(), values.end());
  return values[static_cast<std::size_t>(share * static_cast<double>(values.size() - 1))];
}

json time_and_judge(const FlashKernel& kernel, const Reference& reference) {
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
  const DeviceTiming timing = runner.time(kernel, make_flash_params(problem, q, k, v, out, &lse), kWarmUp, kSamples);
  got.description = kernel.describe();
  const Arithmetic arithmetic = resolve(got.description.arithmetic, problem.dtype);
  const CaseVerdict verdict = verify_case(compare(kernel.name, reference, arithmetic, got));
  json line{{"kernel", kernel.name}, {"case", to_string(reference.c)}, {"outcome", to_string(verdict.outcome)}};
  if (verdict.outcome != Outcome::kAccepted) {
    line["sentence"] = verdict.reason;
    return line;
  }
  const double median = quantile(timing.event_ms, 0.5), tflops = reference_work_flop(problem) / median / 1e9;
  const double wall = quantile(timing.wall_ms, 0);
  line["rows_judged"] = reference.rows_judged().judged;
  line["event_ms"] = timing.event_ms;
  line["wall_ms"] = timing.wall_ms;
  line["event_ms_min"] = quantile(timing.event_ms, 0);
  line["event_ms_quartiles"] = {quantile(timing.event_ms, 0.25), median, quantile(timing.event_ms, 0.75)};
  line["tflops"] = tflops;
  // Work on a side stream shows on the host's clock only.
  line["wall_over_event"] = wall / median;
  line["is_suspicious"] = tflops > kRooflineTflops || wall < quantile(timing.event_ms, 0) / 2;
  return line;
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

/// What `peers` made of the Case's inputs, judged, each beside our fastest accepted median (0: none).
void time_peers(const std::string& peers, const Reference& reference, double our_median_ms) {
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
    json line = json::parse(text, nullptr, false);
    if (!line.is_object()) continue;
    line["case"] = to_string(reference.c);
    if (line.contains("out")) {
      Got got{CallStatus::kReturned, "", Tensor(dtype_of_out(p.dtype), p.shape_out()), {}, false, {}, 0};
      std::ifstream file(line["out"].get<std::string>(), std::ios::binary);
      file.read(static_cast<char*>(got.out.view().data), static_cast<std::streamsize>(got.out.bytes().size()));
      const bool is_whole = file.gcount() == static_cast<std::streamsize>(got.out.bytes().size());
      const CaseVerdict verdict = verify_case(compare(line["kernel"], reference, resolve(Arithmetic{}, p.dtype), got));
      const bool is_accepted = is_whole && verdict.outcome == Outcome::kAccepted;
      line["outcome"] = is_whole ? to_string(verdict.outcome) : "inconclusive";
      if (!is_accepted) {
        line["sentence"] = is_whole ? verdict.reason : "its output was cut short";
        line.erase("event_ms");
      } else {
        const double median = quantile(line["event_ms"].get<std::vector<double>>(), 0.5);
        line["tflops"] = reference_work_flop(p) / median / 1e9;
        if (our_median_ms > 0) line["our_speed_over_its"] = median / our_median_ms;
      }
      line.erase("out");
    }
    std::printf("%s\n", line.dump().c_str());
    std::fflush(stdout);
  }
  std::filesystem::remove_all(folder);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string missing = device_missing_reason();
  if (!missing.empty()) {
    std::printf("%s\n", json{{"outcome", "not run"}, {"sentence", missing}}.dump().c_str());
    return 0;
  }
  const std::string peers = argc > 2 && std::string(argv[1]) == "--peers" ? argv[2] : "";
  int code = 0;
  try {
    for (int i = peers.empty() ? 1 : 3; i < argc; ++i) {
      const Case c = parse_case(argv[i]);
      const Reference reference = prepare(c, kRule, static_cast<int>(std::thread::hardware_concurrency()));
      double fastest_ms = 0;
      for (const FlashKernel& kernel : flash_kernels()) {
        if (kernel.dtype != c.problem.dtype || !unsupported_reason(kernel.describe(), c.problem).empty()) continue;
        const json line = time_and_judge(kernel, reference);
        if (line["outcome"] != "accepted") {
          code = 1;
        } else {
          const double median = line["event_ms_quartiles"][1];
          if (fastest_ms == 0 || median < fastest_ms) fastest_ms = median;
        }
        std::printf("%s\n", line.dump().c_str());
        std::fflush(stdout);
      }
      if (!peers.empty()) time_peers(peers, reference, fastest_ms);
    }
  } catch (const InputError& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 2;
  } catch (const Error& error) {
    std::printf("%s\n", json{{"outcome", "failed"}, {"sentence", error.what()}}.dump().c_str());
    return 3;
  }
  return code;
}
