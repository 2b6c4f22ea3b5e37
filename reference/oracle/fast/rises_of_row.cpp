// A running maximum rises only at keys that exceed all before them in their own run of kThinnedKeys keys, so those are
// kept (a fifth of random scores) and the rest is looked at once.
//
//   monotone   the rises among the kept keys are the rises among all
//   any start  the keys of a run are counted by its ascents (a chain of next-greater keys ascends at each); from the
//              next run on the chain lies within that run's own chain of kept keys, which began at -inf:
//              any <= most ascents in a run + longest chain of kept keys
//   pieces     a piece that does not reach the maximum before it rises nowhere; one that does rises at most as often
//              as from -inf

#include "reference/oracle/fast/rises_of_row.h"

#include <algorithm>
#include <limits>

namespace ringproof {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::int64_t rises_along(const float* at, std::int64_t count, std::int64_t step, float near_tie, float& largest) {
  largest = -kInfinity;
  std::int64_t rises = 0;
  for (std::int64_t i = 0; i < count; ++i, at += step) {
    rises += *at > largest - near_tie;
    largest = std::max(largest, *at);
  }
  return rises;
}

// Every key that is not hidden, kept.
ThinnedRow whole_row(const Piece& piece, float* forth, float* back) {
  ThinnedRow row;
  for (std::int64_t key = 0; key < piece.keys; ++key) {
    if (piece.scores[key] > -kInfinity) forth[row.forth++] = back[row.back++] = piece.scores[key];
  }
  return row;
}

// For each piece the rises that a start within it may see until the last piece.
std::int64_t most_rises(std::span<const PieceRises> pieces, float near_tie, std::int64_t PieceRises::*along,
                        std::int64_t PieceRises::*any, bool is_forth, std::int64_t& from_first) {
  const auto count = static_cast<std::int64_t>(pieces.size());
  const auto piece = [&](std::int64_t i) -> const PieceRises& {
    return pieces[static_cast<std::size_t>(is_forth ? i : count - 1 - i)];
  };
  std::vector<std::int64_t> after(static_cast<std::size_t>(count + 1));  // from -inf at the start of piece i
  std::int64_t most = 0;
  for (std::int64_t i = count - 1; i >= 0; --i) {
    float largest = -kInfinity;
    for (std::int64_t j = i; j < count; ++j) {
      if (!(piece(j).largest > largest - near_tie)) continue;
      after[static_cast<std::size_t>(i)] += piece(j).*along;
      largest = std::max(largest, piece(j).largest);
    }
    most = std::max(most, piece(i).*any + after[static_cast<std::size_t>(i + 1)]);
  }
  from_first = after.front();
  return most;
}

}  // namespace

std::array<PieceRises, 2> count_pieces(const PanelKernels& kernels, const std::array<Piece, 2>& pieces,
                                       RisesScratch& scratch) {
  std::array<ScoreRun, kRunsTogether> runs;
  std::array<PieceRises, 2> rises{};
  for (std::size_t i = 0; i < 2; ++i) {
    const Piece& piece = pieces[i];
    std::vector<float>&forth = scratch.kept[2 * i], &back = scratch.kept[2 * i + 1];
    // A sentinel at either end; a vector may be stored beyond what is kept.
    const auto room = static_cast<std::size_t>(piece.keys + 2 * kThinnedKeys);
    if (forth.size() < room) forth.resize(room);
    if (back.size() < room) back.resize(room);
    const ThinnedRow row = piece.keys <= kWholeKeys ? whole_row(piece, forth.data() + 1, back.data() + 1)
                                                    : kernels.thin_rises(piece.scores, piece.keys, piece.near_tie,
                                                                         forth.data() + 1, back.data() + 1);
    forth[0] = -kInfinity;
    back[static_cast<std::size_t>(row.back + 1)] = -kInfinity;
    rises[i].forth = rises_along(forth.data() + 1, row.forth, 1, piece.near_tie, rises[i].largest);
    rises[i].back = rises_along(back.data() + row.back, row.back, -1, piece.near_tie, rises[i].largest);
    runs[2 * i] = {forth.data() + row.forth, row.forth, -1, piece.near_tie};
    runs[2 * i + 1] = {back.data() + 1, row.back, 1, piece.near_tie};
    // The first key of a run counts as an ascent and is none.
    rises[i].any_forth = std::max<std::int64_t>(row.ascents_forth - 1, 0);
    rises[i].any_back = std::max<std::int64_t>(row.ascents_back - 1, 0);
  }
  const auto longest = longest_chains(runs, scratch.stack);
  for (std::size_t i = 0; i < 2; ++i) {
    const std::int64_t start = pieces[i].keys <= kWholeKeys ? 1 : 0;  // it stands in its own chain
    rises[i].any_forth = std::max<std::int64_t>(rises[i].any_forth + longest[2 * i] - start, 0);
    rises[i].any_back = std::max<std::int64_t>(rises[i].any_back + longest[2 * i + 1] - start, 0);
  }
  return rises;
}

Rises rises_of(std::span<const PieceRises> pieces, float near_tie) {
  std::int64_t forth = 0, back = 0;
  if (pieces.empty()) return {};
  const std::int64_t any_forth = most_rises(pieces, near_tie, &PieceRises::forth, &PieceRises::any_forth, true, forth);
  const std::int64_t any_back = most_rises(pieces, near_tie, &PieceRises::back, &PieceRises::any_back, false, back);
  Rises rises;
  rises.monotone = std::max<std::int64_t>(std::max(forth, back) - 1, 0);
  rises.any_split = std::max({rises.monotone, any_forth, any_back});
  return rises;
}

}  // namespace ringproof
