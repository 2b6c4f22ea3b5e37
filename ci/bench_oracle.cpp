// Contenders run by turns, round after round, and medians are compared within the run: a shared machine changes its
// speed by the minute. Shares of the peak count the flops of O and lse alone, 4 rows keys d, whatever else is formed.

#include "ci/bench_oracle.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <thread>
#include <vector>

#include "reference/judge/compare.h"
#include "reference/judge/reference.h"
#include "reference/oracle/fast/fast_forward.h"
#include "reference/oracle/fast/fma_peak.h"
#include "reference/oracle/parallel.h"
#include "reference/spec/error.h"

namespace ringproof {
namespace {

struct Seconds {
  double wall = 0, processor = 0;
};

Seconds timed(const std::function<void()>& work) {
  const std::clock_t processor = std::clock();
  const auto start = std::chrono::steady_clock::now();
  work();
  return {std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(),
          static_cast<double>(std::clock() - processor) / CLOCKS_PER_SEC};
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// bench_numpy.py, one process for all its answers; killed by the end of its input.
class Python {
 public:
  Python(const std::string& interpreter, const std::string& library, const std::string& core) {
    // Closed in every child, or one would keep another's input open.
    int to[2], from[2];
    if (pipe2(to, O_CLOEXEC) != 0 || pipe2(from, O_CLOEXEC) != 0) throw Error("no pipe for the benchmark's Python");
    child_ = fork();
    if (child_ == 0) {
      dup2(to[0], 0);
      dup2(from[1], 1);
      if (!core.empty()) setenv("OPENBLAS_CORETYPE", core.c_str(), 1);
      execlp(interpreter.c_str(), interpreter.c_str(), RINGPROOF_BENCH_NUMPY, library.c_str(), nullptr);
      _exit(127);
    }
    close(to[0]);
    close(from[1]);
    ask_ = fdopen(to[1], "w");
    answer_ = fdopen(from[0], "r");
    is_ready_ = line() == "ready";
  }
  ~Python() {
    std::fclose(ask_);
    std::fclose(answer_);
    waitpid(child_, nullptr, 0);
  }
  Python(const Python&) = delete;
  Python& operator=(const Python&) = delete;

  bool is_ready() const { return is_ready_; }
  Seconds attention(const std::string& file, const Problem& p) {
    fmt::print(ask_, "{} {} {} {} {}\n", file, p.heads_q, p.seqlen_q, p.seqlen_kv, p.head_dim_qk);
    std::fflush(ask_);
    Seconds seconds;
    const std::string got = line();
    if (std::sscanf(got.c_str(), "%lf %lf", &seconds.wall, &seconds.processor) != 2) {
      throw Error("the benchmark's Python gave no time");
    }
    return seconds;
  }

 private:
  std::string line() {
    std::string text;
    for (int letter; (letter = std::fgetc(answer_)) != EOF && letter != '\n';) text += static_cast<char>(letter);
    return text;
  }

  pid_t child_;
  std::FILE *ask_, *answer_;
  bool is_ready_ = false;
};

struct Contender {
  std::string name;
  bool once;  // a round of it costs too much
  std::function<Seconds()> run;
  std::vector<double> wall{}, processor{};
};

struct Workload {
  std::string name, line;
  bool with_plain, with_peers;
};

std::vector<Workload> workloads(bool is_short) {
  if (is_short) {
    return {{"n 256, d 64", "fwd/fp32/b1.hq1.hkv1.sq256.skv256.dqk64.dv64/full/scale0.125/gauss:1/bhsd/single", true,
             true}};
  }
  std::vector<Workload> all;
  for (const int n : {1024, 4096}) {
    for (const int d : {64, 128}) {
      for (const int heads : {1, 8}) {
        all.push_back(
            {fmt::format("n {}, d {}, {} head{}", n, d, heads, heads > 1 ? "s" : ""),
             fmt::format("fwd/fp32/b1.hq{0}.hkv{0}.sq{1}.skv{1}.dqk{2}.dv{2}/full/scale{3}/gauss:1/bhsd/single", heads,
                         n, d, d == 64 ? "0.125" : "0.088388346"),
             n == 1024 && heads == 1, heads == 1 || n == 1024});
      }
    }
  }
  all.push_back({"256 rows x 1,048,576 keys, d 128",
                 "fwd/bf16/b1.hq1.hkv1.sq256.skv1048576.dqk128.dv128/full/scale0.088388346/gauss:1/bhsd/single", false,
                 false});
  return all;
}

class Bench {
 public:
  explicit Bench(const BenchOracleOptions& options) : options_(options) {
    threads_ =
        options.threads > 0 ? options.threads : static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
    if (options.python.empty()) {
      not_run_.emplace_back("NumPy, PyTorch: no --python given");
      return;
    }
    for (const char* core : {"", "SkylakeX", "Cooperlake", "Zen", "Haswell"}) {
      const std::string name = *core == 0 ? "NumPy as installed" : fmt::format("NumPy, OpenBLAS as {}", core);
      add_peer(name, "numpy", core);
    }
    add_peer("PyTorch float64", "torch", "");
  }

  void run() {
    for (const Workload& workload : workloads(options_.is_short)) one(workload);
    for (const std::string& what : not_run_) fmt::print("not run: {}\n", what);
    if (options_.json.empty()) return;
    std::ofstream file(options_.json);
    file << nlohmann::ordered_json{{"threads", threads_},
                                   {"rounds", options_.rounds},
                                   {"workloads", json_},
                                   {"not_run", not_run_}}
                .dump(1)
         << "\n";
    if (!file.flush()) throw InputError("the file '" + options_.json + "' cannot be written; give --json another one");
  }

 private:
  struct Peer {
    std::string name;
    std::unique_ptr<Python> python;
  };

  void add_peer(const std::string& name, const std::string& library, const std::string& core) {
    auto python = std::make_unique<Python>(options_.python, library, core);
    if (python->is_ready()) {
      peers_.push_back({name, std::move(python)});
    } else {
      not_run_.push_back(name + ": not installed for " + options_.python);
    }
  }

  // q, k, v as float64, for the peers.
  static std::string write_inputs(const Inputs& inputs) {
    std::string name = (std::filesystem::temp_directory_path() / "ringproof_bench.XXXXXX").string();
    const int file = mkstemp(name.data());
    if (file < 0) throw Error("no temporary file for the benchmark's inputs");
    std::FILE* const out = fdopen(file, "wb");
    for (const Tensor* tensor : {&inputs.q, &inputs.k, &inputs.v}) {
      const auto* const values = reinterpret_cast<const float*>(tensor->bytes().data());
      const auto count = static_cast<std::size_t>(element_count(tensor->shape()));
      const std::vector<double> wide(values, values + count);
      std::fwrite(wide.data(), sizeof(double), count, out);
    }
    std::fclose(out);
    return name;
  }

  double peak_flops(Seconds& seconds) const {
    double flops = 0;
    seconds = timed([&] {
      std::vector<double> done(static_cast<std::size_t>(threads_));
      parallel_for(threads_, threads_,
                   [&](std::int64_t i) { done[static_cast<std::size_t>(i)] = multiply_add_flops(2'000'000); });
      for (const double one : done) flops += one;
    });
    return flops;
  }

  void one(const Workload& workload) {
    const Case c = parse_case(workload.line);
    const Inputs inputs = make_inputs(c.problem, c.inputs, c.memory);
    const TensorView q = inputs.q.view(), k = inputs.k.view(), v = inputs.v.view();
    std::vector<Contender> contenders;
    const auto fast = [&](bool with_statistics) {
      return timed([&] { fast_attention_forward_of(c.problem, q, k, v, {}, with_statistics, threads_); });
    };
    contenders.push_back({"fast oracle", false, [&] { return fast(false); }});
    contenders.push_back({"fast oracle, all statistics", false, [&] { return fast(true); }});
    contenders.push_back({"reference, bounds and comparison", false, [&] { return judged(c, inputs); }});
    if (workload.with_plain) {
      contenders.push_back(
          {"plain oracle", true, [&] { return timed([&] { attention_forward(c.problem, q, k, v, threads_); }); }});
    }
    const std::string file = workload.with_peers && !peers_.empty() ? write_inputs(inputs) : "";
    for (Peer& peer : peers_) {
      if (!file.empty())
        contenders.push_back({peer.name, false, [&] { return peer.python->attention(file, c.problem); }});
    }
    std::vector<double> peaks_wall, peaks_processor;
    for (int round = 0; round < options_.rounds; ++round) {
      Seconds of_peak;
      const double flops = peak_flops(of_peak);
      peaks_wall.push_back(flops / of_peak.wall);
      peaks_processor.push_back(flops / of_peak.processor * threads_);
      for (Contender& contender : contenders) {
        if (contender.once && round > 0) continue;
        const Seconds seconds = contender.run();
        contender.wall.push_back(seconds.wall);
        contender.processor.push_back(seconds.processor);
      }
    }
    if (!file.empty()) std::remove(file.c_str());
    show(workload, c.problem, contenders, median(peaks_wall), median(peaks_processor));
  }

  // What judging one candidate costs once the inputs are there.
  Seconds judged(const Case& c, const Inputs& inputs) const {
    Reference reference{c, inputs, {}, 0};
    Got got{CallStatus::kReturned,
            "",
            Tensor(dtype_of_out(c.problem.dtype), c.problem.shape_out()),
            Tensor(dtype_of_lse(c.problem.dtype), c.problem.shape_lse()),
            true,
            {},
            0};
    const Seconds oracle = timed([&] {
      reference.want =
          fast_attention_forward_of(c.problem, inputs.q.view(), inputs.k.view(), inputs.v.view(), {}, true, threads_);
    });
    for (std::size_t at = 0; at < reference.want.out.value.size(); ++at) {
      const auto columns = static_cast<std::size_t>(c.problem.head_dim_v);
      const auto row = static_cast<std::int64_t>(at / columns), n = c.problem.seqlen_q;
      got.out.view().store(0, row / n, row % n, static_cast<std::int64_t>(at % columns), reference.want.out.value[at]);
      if (at % columns == 0) got.lse.view().store(0, row / n, row % n, 0, reference.want.lse.value[at / columns]);
    }
    const Seconds rest = timed([&] { compare("none", reference, resolve({}, c.problem.dtype), got); });
    return {oracle.wall + rest.wall, oracle.processor + rest.processor};
  }

  void show(const Workload& workload, const Problem& p, const std::vector<Contender>& contenders, double peak_wall,
            double peak_processor) {
    const double flops =
        4.0 * static_cast<double>(p.heads_q * p.seqlen_q * p.head_dim_qk) * static_cast<double>(p.seqlen_kv);
    fmt::print("{}: multiply-add peak {:.0f} GFLOP/s by the wall, {:.0f} by processor time, {} threads\n",
               workload.name, peak_wall / 1e9, peak_processor / 1e9, threads_);
    fmt::print("  {:<34}{:>10}{:>13}{:>10}{:>16}{:>15}\n", "", "wall s", "processor s", "of peak", "of peak, proc.",
               "/ fast oracle");
    nlohmann::ordered_json rows = nlohmann::ordered_json::array();
    for (const Contender& one : contenders) {
      const double wall = median(one.wall), processor = median(one.processor);
      const double share = flops / wall / peak_wall, of_processor = flops * threads_ / processor / peak_processor;
      const double ratio = wall / median(contenders.front().wall);
      fmt::print("  {:<34}{:>10.3f}{:>13.3f}{:>10.2f}{:>16.2f}{:>15.2f}\n", one.name, wall, processor, share,
                 of_processor, ratio);
      rows.push_back({{"name", one.name},
                      {"wall_s", one.wall},
                      {"processor_s", one.processor},
                      {"share_of_peak", share},
                      {"share_of_peak_processor", of_processor},
                      {"time_over_fast", ratio}});
    }
    json_.push_back({{"name", workload.name},
                     {"case", workload.line},
                     {"peak_flops", peak_wall},
                     {"peak_flops_processor", peak_processor},
                     {"contenders", rows}});
    std::fflush(stdout);
  }

  BenchOracleOptions options_;
  int threads_ = 1;
  std::vector<Peer> peers_;
  std::vector<std::string> not_run_;
  nlohmann::ordered_json json_ = nlohmann::ordered_json::array();
};

}  // namespace

ExitCode run_bench_oracle(const BenchOracleOptions& options) {
  Bench(options).run();
  return ExitCode::kAccepted;
}

}  // namespace ringproof
