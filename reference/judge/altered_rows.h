#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "reference/judge/reference.h"
#include "reference/judge/run.h"
#include "reference/spec/visibility.h"

namespace ringproof {

/// One row's O and lse.
struct RowAnswer {
  std::vector<double> out;
  double lse;
};

/// A key whose weight is multiplied by `factor` in one row; a hidden key has weight 0 before, and gains `factor` times
/// what it would weigh if it were seen.
struct KeyChange {
  std::int64_t key;
  double factor;
  bool is_hidden = false;
};

/// Some rows of a Reference, and what their exact answer becomes when keys weigh otherwise than they should. Serves to
/// ask what a check would have seen: no candidate is called. Several threads may ask.
class AlteredRows {
 public:
  /// Takes at most `rows_max` of the rows that `whole` holds, and as many as `work_max` multiply-adds (rows x keys x
  /// head dims) allow, but one at least: all of them, or the first and last few and others evenly between.
  AlteredRows(const Reference& whole, std::int64_t rows_max, std::int64_t work_max);

  /// The Reference of these rows alone.
  const Reference& reference() const { return part_; }
  const Problem& problem() const { return part_.c.problem; }
  const Visibility& visibility() const { return visibility_; }

  /// How many rows; `at` counts them in order.
  std::int64_t size() const { return static_cast<std::int64_t>(part_.want.row_count()); }

  /// The keys a row sees, ascending, and their scores: softcap and descale applied, before the softmax.
  std::span<const std::int64_t> keys(std::int64_t at) const { return keys_[static_cast<std::size_t>(at)]; }
  std::span<const double> scores(std::int64_t at) const { return scores_[static_cast<std::size_t>(at)]; }

  /// The row's exact answer.
  RowAnswer answer(std::int64_t at) const;

  /// The exact answer once some weights have changed. Costs one key each.
  RowAnswer reweighed(std::int64_t at, std::span<const KeyChange> changes) const;

  /// The answer of softmax over `scores` of `keys`, computed anew from values of kv head `kv_head`.
  RowAnswer recomputed(std::int64_t at, std::span<const std::int64_t> keys, std::span<const double> scores,
                       std::int64_t kv_head) const;

  /// The score of one key of kv head `kv_head`.
  double score(std::int64_t at, std::int64_t key, std::int64_t kv_head) const;

  /// The scores of the row's keys with the scale multiplied by `factor`.
  std::vector<double> scores_rescaled(std::int64_t at, double factor) const;

  /// The kv head that the row's query head reads.
  std::int64_t kv_head_of(std::int64_t at) const;

  /// d answer / d ln(scale), the first-order change when the scale is off.
  RowAnswer scale_direction(std::int64_t at) const;

  /// What a candidate would have handed in that answers exactly, rounded to the dtypes of O and lse.
  const Got& exact() const { return exact_; }

  /// The same, but for the rows that `edit` answers otherwise.
  Got answered(const std::function<std::optional<RowAnswer>(std::int64_t at)>& edit) const;

 private:
  struct Place {
    std::int64_t batch, head, row;
  };
  Place place(std::int64_t at) const;
  double dot(std::int64_t at, std::int64_t key, std::int64_t kv_head) const;
  double scaled(double dot) const;
  const double* value_row(std::int64_t at, std::int64_t kv_head, std::int64_t key) const;
  void store(Got& got, std::int64_t at, const RowAnswer& row) const;

  Reference part_;
  Visibility visibility_;
  std::vector<std::vector<std::int64_t>> keys_;
  std::vector<std::vector<double>> dots_, scores_;
  std::vector<double> q_, k_, v_;  // widened: the rows' q, all of k and v
  Got exact_;
};

}  // namespace ringproof
