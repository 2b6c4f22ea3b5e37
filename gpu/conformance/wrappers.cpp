// Random bits reach what a chosen input does not: every lane, every exponent, NaN. Equality is of bits, because both
// sides claim to do the same rounding, not nearly the same.

#include "gpu/conformance/wrappers.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <random>
#include <string>

#include "gpu/simt/float16.h"
#include "gpu/simt/runtime.h"

namespace ringproof {
namespace {

using Words = std::vector<std::uint32_t>;

/// How the words of a probe are to be read: words from `numbers_from` on are floats (doubles for the f64 probe), before
/// it plain bits. Inputs `halves_to` and below are pairs of 16-bit numbers with `exponent_bits`.
struct Reading {
  int numbers_from, halves_to, exponent_bits;
};
constexpr int kNever = 1000;

Reading reading_of(Probe probe) {
  switch (probe) {
    case Probe::kMmaBf16: return {0, 6, 8};
    case Probe::kMmaFp16: return {0, 6, 5};
    case Probe::kMmaF64: return {0, 0, 11};
    case Probe::kConversions: return {2, 0, 8};
    default: return {kNever, 0, 8};
  }
}

/// A number with a random sign and fraction whose exponent lies within `spread` binades of 1.
std::uint32_t number(std::mt19937_64& random, int bits, int exponent_bits, int spread) {
  const int fraction_bits = bits - 1 - exponent_bits, bias = (1 << (exponent_bits - 1)) - 1;
  const int reach = std::min(spread, bias - 1);
  const int exponent = bias + static_cast<int>(random() % static_cast<unsigned>(2 * reach + 1)) - reach;
  const std::uint32_t sign = random() % 2 ? 1u << (bits - 1) : 0u;
  return sign | static_cast<std::uint32_t>(exponent) << fraction_bits |
         static_cast<std::uint32_t>(random() & ((1u << fraction_bits) - 1));
}

bool both_nan(const Words& one, const Words& other, std::size_t at, bool is_double) {
  if (!is_double) return std::isnan(std::bit_cast<float>(one[at])) && std::isnan(std::bit_cast<float>(other[at]));
  double a = 0, b = 0;
  std::memcpy(&a, &one[at / 2 * 2], sizeof(a));
  std::memcpy(&b, &other[at / 2 * 2], sizeof(b));
  return std::isnan(a) && std::isnan(b);
}

std::string hex(std::uint32_t word) {
  char text[16];
  std::snprintf(text, sizeof(text), "%08x", word);
  return text;
}

Finding compare_probe(Probe probe, const ProbeRun& on_host, const ProbeRun& on_device, const Words& in, int trials) {
  const ProbeShape shape = shape_of(probe);
  const Words host = on_host(probe, in, trials), device = on_device(probe, in, trials);
  const Reading reading = reading_of(probe);
  std::int64_t different = 0;
  std::string first;
  for (std::size_t i = 0; i < host.size(); ++i) {
    const int word = static_cast<int>(i) % shape.words_out;
    if (host[i] == device[i]) continue;
    if (word >= reading.numbers_from && both_nan(host, device, i, probe == Probe::kMmaF64)) continue;
    if (different++ == 0) {
      const auto per_trial = static_cast<std::size_t>(shape.words_out * shape.threads);
      first = "; the first in trial " + std::to_string(i / per_trial) + ", thread " +
              std::to_string(i % per_trial / static_cast<std::size_t>(shape.words_out)) + ", word " +
              std::to_string(word) + ": host " + hex(host[i]) + ", device " + hex(device[i]);
    }
  }
  const std::string sentence =
      different == 0 ? std::to_string(host.size()) + " words equal"
                     : std::to_string(different) + " of " + std::to_string(host.size()) + " words differ" + first;
  return {shape.name,
          different == 0 && host.size() == device.size() && !host.empty(),
          sentence,
          {{"words", static_cast<double>(host.size())}, {"words_different", static_cast<double>(different)}}};
}

/// D[0][0] of c + sum of products, in one mma of bf16 numbers; the other elements are 0.
class Summer {
 public:
  explicit Summer(const ProbeRun& run) : run_(run) {}

  /// products[k] = a b with a = products[k].first.
  float operator()(float c, const std::vector<std::pair<int, float>>& products) const {
    Words in(32 * 10);
    for (const auto& [k, value] : products) {
      const auto lane = static_cast<std::size_t>(k % 8 / 2);
      const int shift = k % 2 * 16;
      in[lane * 10 + (k >= 8 ? 2 : 0)] |= (std::bit_cast<std::uint32_t>(value) >> 16) << shift;
      in[lane * 10 + 4 + (k >= 8 ? 1 : 0)] |= (std::bit_cast<std::uint32_t>(1.0f) >> 16) << shift;
    }
    in[6] = std::bit_cast<std::uint32_t>(c);
    return std::bit_cast<float>(run_(Probe::kMmaBf16, in, 1)[0]);
  }

 private:
  const ProbeRun& run_;
};

/// The facts of compare_truncation on one side.
std::vector<std::pair<std::string, double>> truncation_of(const ProbeRun& run) {
  const Summer sum(run);
  const auto bits_kept = [&](const auto& with) {
    int kept = 0;
    for (int f = 1; f <= 60; ++f) {
      if (with(std::ldexp(1.0f, -f)) == std::ldexp(1.0f, -f)) kept = f;
    }
    return kept;
  };
  const int of_products = bits_kept([&](float x) { return sum(0, {{0, 1.0f}, {1, x}, {2, -1.0f}}); });
  const int of_accumulator = bits_kept([&](float x) { return sum(1.0f, {{0, x}, {1, -1.0f}}); });
  const float last = std::ldexp(1.0f, -of_products);
  // An addend of one and a half times the last bit kept, and its negative.
  const float up = sum(0, {{0, 1.0f}, {1, 1.5f * last}, {2, -1.0f}});
  const float down = sum(0, {{0, 1.0f}, {1, -1.5f * last}, {2, -1.0f}});
  // 1 + 3/4 of the last bit of fp32, and its negative.
  const float rounded = sum(0, {{0, 1.0f}, {1, 0x1.8p-24f}}), rounded_down = sum(0, {{0, -1.0f}, {1, -0x1.8p-24f}});
  const auto seen_beside_one = [&](int k) { return sum(0, {{0, 1.0f}, {1, -1.0f}, {k, 0x1p-60f}}) == 0; };
  int added_at_once = 3;
  while (added_at_once < 16 && seen_beside_one(added_at_once)) ++added_at_once;
  return {{"fraction_bits_of_products", of_products},
          {"fraction_bits_with_accumulator", of_accumulator},
          {"last_bits_of_one_and_a_half", up / last},
          {"last_bits_of_minus_one_and_a_half", down / last},
          {"fp32_last_bits_of_three_quarters", (rounded - 1.0f) * 0x1p23f},
          {"fp32_last_bits_of_minus_three_quarters", (rounded_down + 1.0f) * 0x1p23f},
          {"products_added_at_once", added_at_once}};
}

}  // namespace

Words run_probe_on_host(Probe probe, const Words& in, int trials) {
  const ProbeShape shape = shape_of(probe);
  const auto count_in = static_cast<std::size_t>(shape.words_in * shape.threads),
             count_out = static_cast<std::size_t>(shape.words_out * shape.threads);
  // cp.async wants its source aligned to 16 bytes; so do the trials behind one another, since 32 threads are.
  Words out(count_out * static_cast<std::size_t>(trials));
  simt::host::LaunchOptions options;
  options.mma = simt::host::MmaNumerics::kHopper;
  for (std::size_t t = 0; t < static_cast<std::size_t>(trials); ++t) {
    on_host::launch_probe(probe, in.data() + t * count_in, out.data() + t * count_out, &options);
  }
  return out;
}

Words probe_inputs(Probe probe, int trials, std::uint64_t seed) {
  constexpr int kOrdinary = 3, kWide = 30;
  const ProbeShape shape = shape_of(probe);
  const Reading reading = reading_of(probe);
  std::mt19937_64 random(seed + static_cast<std::uint64_t>(probe));
  Words in(static_cast<std::size_t>(shape.words_in * shape.threads * trials));
  const std::size_t per_trial = in.size() / static_cast<std::size_t>(trials);
  for (std::size_t i = 0; i < in.size(); ++i) {
    const int word = static_cast<int>(i) % shape.words_in;
    const std::size_t kind = i / per_trial % 3;
    if (kind == 0 || reading.numbers_from == kNever) {
      in[i] = static_cast<std::uint32_t>(random());
      continue;
    }
    const int spread = kind == 1 ? kOrdinary : kWide;
    if (probe == Probe::kMmaF64) {  // the upper word holds the exponent
      in[i] = word % 2 == 0 ? static_cast<std::uint32_t>(random()) : number(random, 32, 11, spread);
    } else if (word < reading.halves_to) {
      const std::uint32_t low = number(random, 16, reading.exponent_bits, spread);
      in[i] = number(random, 16, reading.exponent_bits, spread) << 16 | low;
    } else {
      in[i] = number(random, 32, 8, spread);
    }
  }
  return in;
}

Words exact_mma_inputs(Probe probe, int trials, std::uint64_t seed) {
  constexpr int kFactorMax = 8, kAddendMax = 1000;
  const ProbeShape shape = shape_of(probe);
  std::mt19937_64 random(seed + static_cast<std::uint64_t>(probe));
  const auto integer = [&](int max) {
    return static_cast<float>(static_cast<int>(random() % static_cast<unsigned>(2 * max + 1)) - max);
  };
  const auto half = [&] {
    const float value = integer(kFactorMax);
    return std::uint32_t{probe == Probe::kMmaBf16
                             ? std::bit_cast<std::uint16_t>(simt::host::from_float<simt::host::bf16>(value))
                             : std::bit_cast<std::uint16_t>(simt::host::from_float<simt::host::fp16>(value))};
  };
  Words in(static_cast<std::size_t>(shape.words_in * shape.threads * trials));
  for (std::size_t i = 0; i < in.size(); ++i) {
    const bool is_factor = static_cast<int>(i) % shape.words_in < reading_of(probe).halves_to;
    in[i] = is_factor ? half() << 16 | half() : std::bit_cast<std::uint32_t>(integer(kAddendMax));
  }
  return in;
}

std::vector<Finding> compare_probes(const ProbeRun& on_host, const ProbeRun& on_device, int trials, std::uint64_t seed,
                                    bool is_hopper) {
  std::vector<Finding> findings;
  for (int i = 0; i < kProbeCount; ++i) {
    const Probe probe = static_cast<Probe>(i);
    const bool is_mma = probe == Probe::kMmaBf16 || probe == Probe::kMmaFp16;
    findings.push_back(compare_probe(probe, on_host, on_device, probe_inputs(probe, trials, seed), trials));
    findings.back().is_judged = !is_mma || is_hopper;
    if (!is_mma) continue;
    findings.push_back(compare_probe(probe, on_host, on_device, exact_mma_inputs(probe, trials, seed), trials));
    findings.back().check += ", exact sums";
  }
  return findings;
}

Finding compare_truncation(const ProbeRun& on_host, const ProbeRun& on_device, bool is_hopper) {
  const auto host = truncation_of(on_host), device = truncation_of(on_device);
  Finding finding{"truncation in tensor cores", host == device, "", device, is_hopper};
  for (std::size_t i = 0; i < host.size(); ++i) {
    if (host[i] == device[i]) continue;
    finding.sentence += (finding.sentence.empty() ? "" : "; ") + host[i].first + ": host " +
                        std::to_string(host[i].second) + ", device " + std::to_string(device[i].second);
  }
  if (finding.sentence.empty()) finding.sentence = "as Hopper's numerics on the host";
  return finding;
}

}  // namespace ringproof
