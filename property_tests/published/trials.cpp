// A trial draws q, k, v, runs the clean kernels and the faulty ones of numerics.md 10.4 on them, and asks every rule.
// Where a fault hits (tile, key, rank, hop) is drawn from the seed.

#include "property_tests/published/trials.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "property_tests/published/simulated_faults.h"
#include "reference/judge/eager_baseline.h"
#include "reference/judge/published_rules.h"
#include "reference/judge/verify.h"

namespace ringproof {
namespace {

struct NamedRun {
  std::string name;
  bool is_clean;
  SimulatedRun run;
};

// Draws that place faults; apart from those of the inputs.
class Places {
 public:
  explicit Places(std::uint64_t seed) : seed_(seed) {}
  std::int64_t below(std::int64_t end) {
    const std::uint64_t bits = hashed_bits(seed_, TensorRole::kDOut, next_++, 0);
    return static_cast<std::int64_t>(bits % static_cast<std::uint64_t>(std::max<std::int64_t>(end, 1)));
  }

 private:
  std::uint64_t seed_;
  std::int64_t next_ = 0;
};

// Key 0 along the direction of the mean query, strong; its value small.
void align_sink(const Inputs& inputs, std::uint64_t seed) {
  const TensorView q = inputs.q.view(), k = inputs.k.view(), v = inputs.v.view();
  const std::int64_t d = q.shape[3];
  std::vector<double> direction;
  for (std::int64_t c = 0; c < d; ++c) direction.push_back(gauss_draw(seed, TensorRole::kSink, c));
  const double norm = std::sqrt(std::inner_product(direction.begin(), direction.end(), direction.begin(), 0.0));
  for (std::int64_t c = 0; c < d; ++c) {
    const double unit = direction[static_cast<std::size_t>(c)] / norm;
    for (std::int64_t s = 0; s < q.shape[2]; ++s) q.store(0, 0, s, c, q.load(0, 0, s, c) + 4 * unit);
    k.store(0, 0, 0, c, unit * std::sqrt(static_cast<double>(d)) * 2.5);
  }
  for (std::int64_t c = 0; c < v.shape[3]; ++c) v.store(0, 0, 0, c, v.load(0, 0, 0, c) * 0.01);
}

Case case_of(const PublishedData& data, std::int64_t n, bool causal, std::uint64_t seed) {
  Case c{};
  c.direction = Direction::kForward;
  Problem& p = c.problem;
  p.dtype = data.dtype;
  p.mask = Mask{causal ? MaskKind::kCausalTopLeft : MaskKind::kFull};
  p.batch = p.heads_q = p.heads_kv = 1;
  p.seqlen_q = p.seqlen_kv = n;
  p.head_dim_qk = p.head_dim_v = data.head_dim;
  p.softmax_scale = static_cast<double>(static_cast<float>(1 / std::sqrt(static_cast<double>(data.head_dim))));
  c.inputs = {RecipeKind::kGauss, 0, "", seed};
  return c;
}

std::vector<NamedRun> runs_of(const Reference& full, std::uint64_t seed) {
  const Problem& p = full.c.problem;
  const std::int64_t n = p.seqlen_kv;
  const std::int64_t tile = n >= 512 ? 64 : std::max<std::int64_t>(16, n / 8);
  const int ranks = n >= 512 ? 8 : 4;
  const SimulatedRun flash{p.dtype, Dtype::kF32, false, 1, tile, static_cast<float>(p.softmax_scale), seed};
  SimulatedRun ring = flash;
  ring.ranks = ranks;
  ring.tile_kv = std::min(tile, n / ranks);
  std::vector<NamedRun> all;
  const auto clean = [&](const char* name, SimulatedRun run, bool causal, Dtype partial) {
    run.causal = causal;
    run.partial = partial;
    all.push_back({name, true, run});
  };
  clean("clean", flash, false, Dtype::kF32);
  clean("clean, causal", flash, true, Dtype::kF32);
  clean("clean ring", ring, false, Dtype::kF32);
  clean("clean ring, causal", ring, true, Dtype::kF32);
  clean("clean ring, partials in storage", ring, false, p.dtype);
  const auto faulty = [&](const char* name, SimulatedRun run, bool causal, auto edit) {
    run.causal = causal;
    edit(run.fault);
    all.push_back({name, false, run});
  };
  Places places(seed);
  const std::int64_t at_tile = 1 + places.below((n + tile - 1) / tile - 1), key = places.below(n),
                     row = places.below(n);
  const std::int64_t rank = 1 + places.below(ranks - 1), hop = 1 + places.below(rank);
  using Fault = SimulatedFault;
  faulty("O not rescaled in one tile", flash, false, [&](Fault& f) { f.rescale_of_o_missing_in_tile = at_tile; });
  faulty("l not rescaled in one tile", flash, false, [&](Fault& f) { f.rescale_of_l_missing_in_tile = at_tile; });
  faulty("causal edge one key too far", flash, true, [](Fault& f) { f.causal_shift = 1; });
  faulty("causal edge one key too short", flash, true, [](Fault& f) { f.causal_shift = -1; });
  faulty("bf16 accumulator", flash, false, [](Fault& f) { f.accumulator = Dtype::kBf16; });
  faulty("fp16 accumulator", flash, false, [](Fault& f) { f.accumulator = Dtype::kF16; });
  faulty("tail key dropped", flash, false, [&](Fault& f) { f.key_dropped = n - 1; });
  faulty("stale K tile", flash, false, [&](Fault& f) { f.stale_k_tile = at_tile; });
  faulty("stale V tile", flash, false, [&](Fault& f) { f.stale_v_tile = at_tile; });
  faulty("one key counted twice", flash, false, [&](Fault& f) { f.key_twice = key; });
  faulty("one zero pad key", flash, false, [](Fault& f) { f.zero_pad_key = true; });
  faulty("S rounded", flash, false, [&](Fault& f) { f.scores = p.dtype == Dtype::kF32 ? Dtype::kBf16 : p.dtype; });
  faulty("two V rows swapped", flash, false, [&](Fault& f) { f.swapped_v_tile = at_tile; });
  // One of the row's heaviest keys: q.k descending, an eighth of them.
  std::vector<std::pair<double, std::int64_t>> by_score;
  const TensorView q = full.inputs.q.view(), k = full.inputs.k.view();
  for (std::int64_t j = 0; j < n; ++j) {
    double score = 0;
    for (std::int64_t c = 0; c < p.head_dim_qk; ++c) score += q.load(0, 0, row, c) * k.load(0, 0, j, c);
    by_score.emplace_back(-score, j);
  }
  std::sort(by_score.begin(), by_score.end());
  const std::int64_t heavy = by_score[static_cast<std::size_t>(places.below(n / 8))].second;
  faulty("one element of P doubled", flash, false, [&](Fault& f) { f.doubled_row = row, f.doubled_key = heavy; });
  faulty("ring: one hop dropped", ring, false, [&](Fault& f) { f.hop_rank = rank, f.hop_dropped = hop; });
  faulty("ring: stale shard", ring, false, [&](Fault& f) { f.hop_rank = rank, f.hop_stale = hop; });
  faulty("ring: lse in base 2", ring, false, [](Fault& f) { f.lse_in_base_two = true; });
  faulty("ring: merges in bf16", ring, false, [](Fault& f) { f.merge_accumulator = Dtype::kBf16; });
  faulty("ring: causal edge one key too far", ring, true, [](Fault& f) { f.causal_shift = 1; });
  return all;
}

Arithmetic arithmetic_of(const SimulatedRun& run) {
  Arithmetic arithmetic;
  arithmetic.tile_kv = run.tile_kv;
  arithmetic.partial_dtype = run.partial;
  if (run.ranks > 1) {
    arithmetic.merges = run.ranks - 1;
    arithmetic.merge_is_lerp = true;
  }
  return resolve(arithmetic, run.storage);
}

Got got_of(const SimulatedOutputs& outputs, const Problem& p) {
  Got got{CallStatus::kReturned,
          "",
          Tensor(dtype_of_out(p.dtype), p.shape_out()),
          Tensor(dtype_of_lse(p.dtype), p.shape_lse()),
          true,
          {},
          0};
  const TensorView out = got.out.view(), lse = got.lse.view();
  for (std::int64_t s = 0; s < p.seqlen_q; ++s) {
    lse.store(0, 0, s, 0, outputs.lse[static_cast<std::size_t>(s)]);
    for (std::int64_t c = 0; c < p.head_dim_v; ++c) {
      out.store(0, 0, s, c, outputs.out[static_cast<std::size_t>(s * p.head_dim_v + c)]);
    }
  }
  return got;
}

void ask_all(const NamedRun& named, const Reference& reference, const std::vector<double>& baseline,
             Detections& detections) {
  const Problem& p = reference.c.problem;
  const SimulatedOutputs outputs = simulate_published(named.run, reference.inputs);
  auto& counts = named.is_clean ? detections.clean : detections.faulty;
  ++(named.is_clean ? detections.count_clean : detections.count_faulty);
  const RuleInput input{p.dtype, reference.want.out.value, outputs.out, baseline};
  for (const PublishedRule& rule : published_rules()) counts[rule.name] += !rule.accepts(input);
  const std::string name = named.name + ", n " + std::to_string(p.seqlen_kv);
  const Evidence evidence = compare(named.name, reference, arithmetic_of(named.run), got_of(outputs, p));
  const std::vector<std::string> failing = failing_checks(evidence);
  for (const std::string& check : failing) counts[check] += 1;
  counts["any of ours"] += !failing.empty();
  if (named.is_clean && !failing.empty()) detections.false_alarms[name].push_back(verify_case(evidence).reason);
  if (!named.is_clean && failing.empty()) ++detections.missed[name];
}

}  // namespace

std::vector<PublishedData> published_data() {
  return {{"bf16 gauss d=64", Dtype::kBf16, false, 64},
          {"bf16 sink d=128", Dtype::kBf16, true, 128},
          {"fp16 gauss d=64", Dtype::kF16, false, 64},
          {"fp32 gauss d=64", Dtype::kF32, false, 64}};
}

void run_trial(const PublishedData& data, std::int64_t n, std::uint64_t seed, int threads, Detections& detections) {
  std::vector<Reference> references;
  std::vector<std::vector<double>> baselines;
  for (const bool causal : {false, true}) {
    Reference reference = prepare(case_of(data, n, causal, seed), threads);
    if (data.sink) {
      align_sink(reference.inputs, seed);
      const Inputs& inputs = reference.inputs;
      reference.want =
          attention_forward(reference.c.problem, inputs.q.view(), inputs.k.view(), inputs.v.view(), threads);
    }
    baselines.push_back(eager_baseline(reference.c.problem, reference.inputs));
    references.push_back(std::move(reference));
  }
  for (const NamedRun& named : runs_of(references.front(), seed)) {
    const std::size_t which = named.run.causal ? 1 : 0;
    ask_all(named, references[which], baselines[which], detections);
  }
}

}  // namespace ringproof
