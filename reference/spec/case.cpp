#include "reference/spec/case.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "reference/spec/error.h"
#include "reference/spec/text.h"

namespace ringproof {
namespace {

constexpr std::int32_t kRankCountMax = 1024;  // each is a thread

const char* to_string(Direction direction) {
  static constexpr std::array kNames{"fwd", "bwd", "bwd_coupled"};
  return kNames.at(static_cast<std::size_t>(direction));
}

std::string shape_text(const Problem& p) {
  std::string text;
  for (const auto& [name, value] :
       {std::pair{"b", p.batch}, std::pair{"hq", p.heads_q}, std::pair{"hkv", p.heads_kv}, std::pair{"sq", p.seqlen_q},
        std::pair{"skv", p.seqlen_kv}, std::pair{"dqk", p.head_dim_qk}, std::pair{"dv", p.head_dim_v}}) {
    text += (text.empty() ? "" : ".") + std::string(name) + std::to_string(value);
  }
  return text;
}

// Scalars of narrow storage are fp32 numbers, and print as such.
std::string scalar_text(double value, Dtype storage) {
  return storage == Dtype::kF64 ? shortest(value) : shortest(static_cast<float>(value));
}

std::string scalars_text(const Problem& p) {
  std::string text = "scale" + scalar_text(p.softmax_scale, p.dtype);
  if (p.softcap != 0) text += ",softcap" + scalar_text(p.softcap, p.dtype);
  if (p.has_sink) text += ",sink";
  if (p.descale_q != 1 || p.descale_k != 1 || p.descale_v != 1) {
    text += ",descale(" + scalar_text(p.descale_q, p.dtype) + "," + scalar_text(p.descale_k, p.dtype) + "," +
            scalar_text(p.descale_v, p.dtype) + ")";
  }
  return text;
}

void validate_memory(const Case& c) {
  const Memory& memory = c.memory;
  const auto require = [](bool condition, const std::string& sentence) {
    if (!condition) throw InputError(sentence);
  };
  require(memory.gap >= 0 && memory.gap <= std::int64_t{1} << 20, "gap must be between 0 and 2^20 elements");
  require(memory.order != AxisOrder::kThd || c.problem.batch == 1, "the memory thd holds one batch; give b1 or bshd");
  const bool same_shape = c.problem.shape_q() == c.problem.shape_k() && c.problem.head_dim_qk == c.problem.head_dim_v;
  require(!memory.alias || same_shape, "the memory alias needs q, k and v of one shape");
  require(!memory.alias || !memory.broadcast_kv, "the memory alias has no heads to broadcast; leave broadcast_kv out");
  require(!memory.alias || !memory.v_in_k, "the memory alias has V in K already; leave v_in_k out");
  require(!memory.alias || memory.nan_level == 0,
          "the memory alias hides no slot, as every key is a query too; leave nan1 and nan2 out");
  require(!memory.v_in_k || c.problem.head_dim_v <= c.problem.head_dim_qk, "the memory v_in_k needs dv at most dqk");
}

// Indices along the axis whose stride is beyond 2^31, over all tensors; 0 without such an axis.
long double huge_steps(const Case& c) {
  const Problem& p = c.problem;
  const auto steps = [&](std::int64_t length) {
    const long double rows = c.memory.huge_seq ? static_cast<long double>(length) : 1;
    const long double batch = c.memory.huge_batch ? static_cast<long double>(p.batch) : 1;
    return rows * batch + p.topology.rank_count;  // one more on each rank, for what lies below
  };
  if (!c.memory.huge_batch && !c.memory.huge_seq) return 0;
  return 3 * steps(p.seqlen_q) + 2 * steps(p.seqlen_kv);
}

// Addresses, not memory: a candidate keeps them until its next call, and user space has 2^47 bytes.
void require_addresses(const Case& c) {
  constexpr long double kAddressBytesMax = 0x1p43L;
  const long double needed = huge_steps(c) * 2 * 0x1p31L * static_cast<long double>(size_bytes(c.problem.dtype));
  if (!(needed <= kAddressBytesMax)) {
    throw InputError("the memory " + to_string(c.memory) + " needs more than 2^43 bytes of addresses at " +
                     std::to_string(c.problem.seqlen_q) + " rows and " + std::to_string(c.problem.seqlen_kv) +
                     " keys; give fewer");
  }
}

}  // namespace

std::string to_string(const Case& c) {
  const std::string slash = "/";
  return to_string(c.direction) + slash + std::string(to_string(c.problem.dtype)) + slash + shape_text(c.problem) +
         slash + to_string(c.problem.mask) + slash + scalars_text(c.problem) + slash + to_string(c.inputs) + ":" +
         std::to_string(c.inputs.seed) + slash + to_string(c.memory) + slash + to_string(c.problem.topology);
}

void validate(const Case& c) {
  validate(c.problem);
  if (!std::isfinite(c.inputs.offset)) throw InputError("the logit offset of large_offset is not a finite number");
  validate_memory(c);
}

std::uint64_t memory_bytes_needed(const Case& c, std::int64_t rows_judged) {
  const Problem& p = c.problem;
  const auto count = [](const Shape& shape) {
    long double elements = 1;
    for (const std::int64_t extent : shape) elements *= static_cast<long double>(extent);
    return elements;
  };
  const auto bytes = static_cast<long double>(size_bytes(p.dtype));
  const long double padding = (c.memory.dim2 || c.memory.mixed ? 2.0L : 1.0L) +
                              static_cast<long double>(c.memory.gap + (c.memory.mixed ? 8 : 0)) /
                                  static_cast<long double>(std::min(p.head_dim_qk, p.head_dim_v));
  const long double inputs = count(p.shape_q()) + count(p.shape_k()) + count(p.shape_v());
  // Per element of O that is judged: want and its tail, six statistics, bound and the oracle's part of it; per row its
  // scalars. Of all of O and lse: got, and its memory thrice (as laid out, as remembered, as examined).
  const long double rows = std::min(static_cast<long double>(rows_judged), count(p.shape_lse()));
  const long double judged = rows * (static_cast<long double>(p.head_dim_v) * 10 * 8 + 200);
  const long double got = (count(p.shape_out()) * static_cast<long double>(size_bytes(dtype_of_out(p.dtype))) +
                           count(p.shape_lse()) * static_cast<long double>(size_bytes(dtype_of_lse(p.dtype)))) *
                          (1 + 3 * padding);
  // One kv head is widened to long double, or to double with what the fast oracle packs beside it (at most 2^30).
  const long double keys =
      static_cast<long double>(p.seqlen_kv) * static_cast<long double>(p.head_dim_qk + p.head_dim_v + 8);
  const long double widened = p.dtype == Dtype::kF64 ? 16 * keys : 8 * keys + std::min(24 * keys, 0x1p30L);
  const Mask& mask = p.mask;
  const long double flags =
      mask.kind != MaskKind::kBlockSparse
          ? 0.0L
          : (static_cast<long double>(p.seqlen_q) / static_cast<long double>(mask.block_q) + 1) *
                (static_cast<long double>(p.seqlen_kv) / static_cast<long double>(mask.block_kv) + 1);
  // Around what lies far from everything: guard zones thrice, and a page for each level of its page table.
  const long double around = huge_steps(c) * (3 * 8192 * bytes + 4 * 4096);
  const long double total = inputs * bytes * (1 + 3 * padding) + judged + got + widened + 4 * flags + around;
  const auto limit = static_cast<long double>(std::numeric_limits<std::uint64_t>::max() / 2);
  return static_cast<std::uint64_t>(std::min(total, limit));
}

void require_judgeable(const Case& c, std::uint64_t memory_bytes_max, std::int64_t rows_judged) {
  if (c.direction != Direction::kForward) {
    throw InputError(std::string("the direction ") + to_string(c.direction) +
                     " is not judged by this version yet; give fwd");
  }
  require_built(c.problem);
  require_addresses(c);
  if (c.problem.topology.rank_count > kRankCountMax) {
    throw InputError("the topology " + to_string(c.problem.topology) + " has more ranks than this version runs, " +
                     std::to_string(kRankCountMax) + "; give fewer");
  }
  const std::uint64_t needed = memory_bytes_needed(c, rows_judged);
  if (needed > memory_bytes_max) {
    const auto mebibytes = [](std::uint64_t bytes) { return std::to_string(bytes >> 20) + " MiB"; };
    throw InputError("the Case " + to_string(c) + " needs about " + mebibytes(needed) + " and may take " +
                     mebibytes(memory_bytes_max) + "; give smaller sizes");
  }
  validate(c.inputs, c.problem, c.memory);
}

}  // namespace ringproof
