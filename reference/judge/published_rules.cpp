// Rules as their sources state them, with e = |got - want| per element:
//
//   allclose 1e-2        e <= 1e-2 + 1e-2 |want|                     (as numpy.allclose and torch.allclose)
//   torch.testing        e <= a + r |want|, a and r by dtype         (torch.testing.assert_close, its defaults)
//   FlashAttention 2x    max |got - ref| <= 2 max |baseline - ref| + 2 max |ref + 0.3 - 0.3 - ref|
//                        ref = want in the storage dtype, in which ref + 0.3 - 0.3 is rounded twice
//                        (flash-attention, tests/test_flash_attn.py; baseline: the same attention, every result in
//                        the storage dtype)
//   fixed x              e <= x
//   cosine x             got . want >= x |got| |want|, over the whole tensor
//
// The constants are theirs: nothing here takes part in a verdict of ours.

#include "reference/judge/published_rules.h"

#include <algorithm>
#include <cmath>

namespace ringproof {
namespace {

double distance(double one, double other) { return one == other ? 0 : std::fabs(one - other); }

// Every element within absolute + relative |want|. NaN lies outside by form.
bool all_within(const RuleInput& input, double absolute, double relative) {
  for (std::size_t at = 0; at < input.want.size(); ++at) {
    const double want = input.want[at], got = input.got[at];
    const bool inside = got == want || std::fabs(got - want) <= absolute + relative * std::fabs(want);
    if (!inside) return false;
  }
  return true;
}

struct Defaults {
  double relative, absolute;
};

// The table of torch.testing.assert_close. fp8 has no entry there; its outputs are bf16.
Defaults torch_defaults(Dtype storage) {
  switch (storage) {
    case Dtype::kF64: return {1e-7, 1e-7};
    case Dtype::kF32: return {1.3e-6, 1e-5};
    case Dtype::kF16: return {1e-3, 1e-5};
    default: return {1.6e-2, 1e-5};
  }
}

// The larger of both, NaN if either is: as torch.max.
double larger(double one, double other) { return std::isnan(one) || other <= one ? one : other; }

bool twice_the_baseline(const RuleInput& input) {
  const Dtype storage =
      input.storage == Dtype::kF8E4m3 || input.storage == Dtype::kF8E5m2 ? Dtype::kBf16 : input.storage;
  const double shift = round_to(storage, 0.3);
  double of_got = 0, of_baseline = 0, of_shift = 0;
  for (std::size_t at = 0; at < input.want.size(); ++at) {
    const double reference = round_to(storage, input.want[at]);
    const double moved = round_to(storage, round_to(storage, reference + shift) - shift);
    of_got = larger(of_got, distance(input.got[at], reference));
    of_baseline = larger(of_baseline, distance(input.baseline[at], reference));
    of_shift = larger(of_shift, distance(moved, reference));
  }
  return of_got <= 2 * of_baseline + 2 * of_shift;
}

bool cosine_reaches(const RuleInput& input, double least) {
  double product = 0, of_got = 0, of_want = 0;
  for (std::size_t at = 0; at < input.want.size(); ++at) {
    product += input.got[at] * input.want[at];
    of_got += input.got[at] * input.got[at];
    of_want += input.want[at] * input.want[at];
  }
  return product >= least * std::sqrt(of_got) * std::sqrt(of_want);
}

}  // namespace

std::vector<PublishedRule> published_rules() {
  const auto within = [](double absolute, double relative) {
    return [=](const RuleInput& input) { return all_within(input, absolute, relative); };
  };
  const auto cosine = [](double least) { return [=](const RuleInput& input) { return cosine_reaches(input, least); }; };
  const auto torch = [](const RuleInput& input) {
    const Defaults defaults = torch_defaults(input.storage);
    return all_within(input, defaults.absolute, defaults.relative);
  };
  return {{"allclose 1e-2", "numpy.allclose, torch.allclose with 1e-2 for both", within(1e-2, 1e-2)},
          {"torch.testing", "torch.testing.assert_close, defaults per dtype", torch},
          {"FlashAttention 2x", "flash-attention, tests/test_flash_attn.py", twice_the_baseline},
          {"fixed 2.5e-2", "a fixed largest error", within(2.5e-2, 0)},
          {"fixed 0.1", "a fixed largest error", within(0.1, 0)},
          {"cosine 0.99", "a cosine similarity of whole tensors", cosine(0.99)},
          {"cosine 0.999", "a cosine similarity of whole tensors", cosine(0.999)}};
}

}  // namespace ringproof
