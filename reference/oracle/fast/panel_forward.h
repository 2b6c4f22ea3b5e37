#pragma once

#include <cstdint>
#include <vector>

#include "reference/oracle/fast/packed_head.h"
#include "reference/oracle/fast/panel_kernels.h"
#include "reference/oracle/fast/rises_of_row.h"
#include "reference/oracle/fast_rounding.h"
#include "reference/oracle/forward_answer.h"
#include "reference/spec/schedule.h"
#include "reference/spec/visibility.h"

namespace ringproof {

/// What all panels of one kv head share.
struct PanelContext {
  const Problem& problem;
  const Visibility& visibility;
  const std::vector<std::vector<TokenRun>>& shards;  ///< keys, by rank
  PanelKernels kernels;
  PackKernels packing;
  TensorView q;
  const HeadFacts& head;
  bool with_statistics;
};

/// Blocks whose scores are kept until their rises are counted.
inline constexpr std::int64_t kSegmentBlocks = kFastSegmentBlocks;

/// What a panel needs while it takes blocks, and no longer; kept from one panel to the next.
struct PanelScratch {
  Aligned<double> score;
  Aligned<float> d;
  Aligned<Word> weight, weight_squared;
  std::vector<float> row_scores;  // [lane][keys of the segment], in units of the panel's score_unit_
  RisesScratch rises;
};

/// Rows of Q of one kv head side by side, and what they know of the blocks of keys they have met. Memory is kept from
/// one set of rows to the next.
class Panel {
 public:
  /// Begins with rows [first, last) of `answer`, at most kernels.queries of them, all of one kv head. False, and
  /// nothing to be used, when one is not finite.
  /// `scratch` serves no other panel until all blocks are taken.
  bool begin(const PanelContext& context, const ForwardAnswer& answer, std::int64_t first, std::int64_t last,
             PanelScratch& scratch);

  /// Blocks of keys [blocks_begin(), blocks_end()) hold all that some row sees.
  std::int64_t blocks_begin() const { return blocks_begin_; }
  std::int64_t blocks_end() const { return blocks_end_; }
  /// Whether some row sees a key of this block.
  bool sees(std::int64_t block) const;

  /// Takes one block in; blocks ascend. With statistics, end_segment must be called before a block of another segment
  /// of kSegmentBlocks blocks, and after the last one.
  void take(std::int64_t block, const PackedBlock& packed);
  void end_segment(std::int64_t segment);

  /// Adds what `later`, begun with the same rows, met after this one.
  void merge(const Panel& later);

  /// Writes O, lse and statistics; each row once, and by this call alone.
  void finish(ForwardAnswer& answer) const;

 private:
  struct Lane {
    std::int64_t row = 0;  // of the answer
    std::vector<KeyRange> seen;
    double q_abs_sum = 0, k_abs_max = 0;
    double d_cap = 0;                             // no D of any key of the head is larger
    std::vector<std::vector<PieceRises>> pieces;  // [run, shard or row][segment]
  };

  // A row's sums when all keys are met and the sink has joined them.
  struct LaneSums {
    double rescale;                // of the keys' weights when the sink is the largest score
    double key_score_max, weight;  // of the keys alone
    double weight_sum;             // with the sink
  };

  void grow(const PanelContext& context);
  bool pack(const ForwardAnswer& answer);
  void pack_magnitudes(double* row);
  bool hide(std::int64_t block);
  void take_magnitudes(std::int64_t block, const PackedBlock& packed, bool all_see_all);
  std::int64_t kept_from(std::int64_t segment) const;
  void keep_scores(std::int64_t block);
  void skip_scores(std::int64_t from, std::int64_t until);
  void count_in_shards(std::int64_t i, const float* scores, std::int64_t first_key, std::int64_t keys);
  LaneSums sums_with_sink(std::int64_t i, const RowScalars& row) const;
  void finish_row(std::int64_t i, ForwardAnswer& answer) const;
  double score_error(const RowScalars& row) const;
  float tie_of(std::int64_t i) const;
  double d_unit() const;
  double d_max_of(std::int64_t i) const;
  PanelSums sums() const;
  void finish_scalars(std::int64_t i, const LaneSums& sums, RowScalars& row) const;
  void finish_statistics(std::int64_t i, const LaneSums& sums, const RowScalars& row, ForwardAnswer& answer) const;

  const PanelContext* context_ = nullptr;
  std::vector<Lane> lanes_;
  std::int64_t rows_ = 0, blocks_begin_ = 0, blocks_end_ = 0, groups_ = 0;
  std::int64_t head_dim_ = -1, groups_room_ = -1;
  std::int64_t kept_until_ = 0, score_stride_ = 0;
  bool single_segment_ = true;
  double q_unit_ = 1, score_unit_ = 1, k_abs_max_of_all_ = 0;
  PanelScratch* scratch_ = nullptr;
  Aligned<double> q_, sums_, out_;
  Aligned<Word> q_abs_;
  Aligned<float> singles_, p_abs_v_, p_centred_v2_, p2_v2_, p2_v_;
  std::vector<double> v_sums_, v_maxima_;  // [lane][columns], and at the end what all lanes see
};

}  // namespace ringproof
