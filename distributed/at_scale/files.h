#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "reference/spec/problem.h"
#include "reference/spec/rank_report.h"
#include "reference/spec/tensor.h"

namespace ringproof {

/// What a simulated rank leaves in the file `reports`, at its place. Beside it, in `clock`, stand rank_count
/// simulated times in seconds for each rank: when it posted exchange 1, 2, ..., and when it ended.
struct SimulatedRank {
  Tally bytes_sent, exchanges, memory_bytes_peak, pairs;
  std::int64_t status = -1;
};

/// Files of one run: q, k, v, out, lse, the dense shards of all ranks one behind another; reports; clock.
class RunFiles {
 public:
  explicit RunFiles(std::string folder) : folder_(std::move(folder)) {}

  std::string path(const std::string& name) const { return folder_ + "/" + name; }

  /// A dense tensor for the shard that `rank` owns of a tensor of shape `whole`.
  static Tensor shard(const Problem& problem, int rank, Dtype dtype, Shape whole);

  /// That shard from its file, or into it; files grow as needed. Throw Error.
  void read(const std::string& name, const Problem& problem, int rank, const Shape& whole, const Tensor& to) const;
  void write(const std::string& name, const Problem& problem, int rank, const Shape& whole, const Tensor& from) const;

  void read(const std::string& name, void* bytes, std::size_t count, std::int64_t offset) const;
  void write(const std::string& name, const void* bytes, std::size_t count, std::int64_t offset) const;

 private:
  std::string folder_;
};

/// Operations of a local step per visible pair, over scores and O: a multiplication and an addition a column.
inline double flop_per_pair(std::int64_t head_dim_qk, std::int64_t head_dim_v) {
  return 2.0 * static_cast<double>(head_dim_qk + head_dim_v);
}

}  // namespace ringproof
