#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "reference/spec/layout.h"
#include "reference/spec/problem.h"
#include "reference/spec/tensor.h"

namespace ringproof {

enum class RecipeKind : std::int32_t {
  kGauss,
  kUniformProbe,
  kWalshProbe,
  kHeadCoded,
  kExact,
  kPeaked,
  kAscending,
  kDescending,
  kSink,
  kOutlier,
  kNearTies,
  kDuplicated,
  kCancelling,
  kLargeOffset,
  kSpecial,
  kReal,
};

/// Where the numbers of a Case come from. Every element is a pure function of (seed, tensor, index): integer
/// hashing and exactly rounded arithmetic only, so that every machine and language makes the same bits.
/// inputs.cpp states each recipe as a formula.
struct InputRecipe {
  RecipeKind kind;
  double offset = 0;      ///< kLargeOffset: the logit offset, in units of S
  std::string real_name;  ///< kReal: for instance "minilm.0"
  std::uint64_t seed;
  bool operator==(const InputRecipe&) const = default;
};

/// The inputs of a Case: dense, in storage dtype, already rounded.
struct Inputs {
  Tensor q, k, v;
  std::vector<float> sink{};  ///< one logit per query head where the problem has a sink, else empty
};

/// `problem` as an oracle or a candidate gets it: its pointers show what `inputs` hold beside the tensors (the sink).
/// Valid while `inputs` lives and is not assigned to.
Problem with_data(Problem problem, const Inputs& inputs);

/// Makes the inputs. Requires a Case that passed validate() and require_built(). Throws InputError when the
/// recipe does not fit the problem (a real recipe with other heads, an exact one without enough head dims) or
/// its file is missing.
Inputs make_inputs(const Problem& problem, const InputRecipe& recipe, const Memory& memory);

/// Throws InputError when `recipe` cannot serve this problem and memory; reads no file but a real recipe's
/// header.
void validate(const InputRecipe& recipe, const Problem& problem, const Memory& memory);

/// `gauss`, `large_offset(100)`, `real(minilm.0)`, without the seed.
std::string to_string(const InputRecipe& recipe);

/// Folder of the stored activations: $RINGPROOF_DATA if set, else ../share/ringproof/data beside the
/// executable's folder if it exists, else the source tree's golden/data.
std::string data_folder();

/// The 64 hashed bits of a draw. word is 0..3.
std::uint64_t hashed_bits(std::uint64_t seed, TensorRole role, std::int64_t index, int word);

/// One draw of N(0, 1): (popcount of 128 hashed bits - 64 + a uniform in (-1/2, 1/2)) / sqrt(32 + 1/12).
double gauss_draw(std::uint64_t seed, TensorRole role, std::int64_t index);

}  // namespace ringproof
