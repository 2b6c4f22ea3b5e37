#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "reference/oracle/fast/longest_chains.h"
#include "reference/oracle/fast/panel_kernels.h"
#include "reference/oracle/rises.h"

namespace ringproof {

/// What one piece of a row's keys does to a running maximum. Rises here count the first key too.
struct PieceRises {
  float largest;                     ///< -inf: no key
  std::int64_t forth, back;          ///< rises from the first key on, from the last key back
  std::int64_t any_forth, any_back;  ///< at most so many for any key to start with, that key not counted
};

/// Scratch of count_pieces, kept between calls.
struct RisesScratch {
  std::array<std::vector<float>, kRunsTogether> kept;
  std::vector<float> stack;
};

/// A piece: scores of keys in their order, padded with -inf to a multiple of kThinnedKeys; -inf elsewhere is a hidden
/// key.
struct Piece {
  const float* scores;
  std::int64_t keys;
  float near_tie;
};

/// Pieces of so many keys are counted whole: any_forth and any_back are then what count_rises says of chains.
inline constexpr std::int64_t kWholeKeys = 512;

/// Counts two pieces at once. Rises of the running maximum are those that count_rises sees; any_forth and any_back lie
/// above its chains by no more than kThinnedKeys, in longer pieces.
std::array<PieceRises, 2> count_pieces(const PanelKernels& kernels, const std::array<Piece, 2>& pieces,
                                       RisesScratch& scratch);

/// The rises of a row from its pieces in the order of the keys; exact (up to any_split) for one piece, else an upper
/// bound.
Rises rises_of(std::span<const PieceRises> pieces, float near_tie);

}  // namespace ringproof
