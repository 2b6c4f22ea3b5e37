#pragma once

// What every kernel of this folder stands in: it walks over batches, heads and rows, and hands each row to the kernel
// with its visible keys. A kernel is an object with `template <class T> void operator()(const Row<T>&, Answer<T>&)`.

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "reference/spec/candidate.h"

namespace ringproof::correct {

/// One head of a tensor in the arithmetic of the kernel: exact, because storage is no wider.
template <class T>
struct Matrix {
  std::int64_t columns;
  std::vector<T> elements;
  const T* row(std::int64_t index) const { return elements.data() + index * columns; }
};

template <class T>
T dot(const T* one, const T* other, std::int64_t count) {
  T sum = 0;
  for (std::int64_t i = 0; i < count; ++i) sum += one[i] * other[i];
  return sum;
}

/// A query row and what it sees. Never without a visible key, unless the kernel asks for empty rows.
template <class T>
struct Row {
  const Problem& problem;
  std::int64_t place;  ///< of the row among all rows of the tensor
  const T* q;
  const Matrix<T>&k, &v;
  std::span<const std::int64_t> keys;  ///< visible, ascending
  T scale;

  /// P as it goes into the product with V where nothing else is declared: rounded to storage.
  T cast_p(T p) const { return static_cast<T>(round_to(problem.dtype, static_cast<double>(p))); }
  T score(std::int64_t key) const { return dot(q, k.row(key), problem.head_dim_qk) * scale; }
};

/// O before its rounding to storage, and lse. At first those of a row that sees nothing.
template <class T>
struct Answer {
  std::vector<T> out;
  T lse = -std::numeric_limits<T>::infinity();
};

/// Online softmax over part of a row's keys: the running maximum, sum and unnormalised O.
template <class T>
struct Running {
  explicit Running(std::size_t columns) : o(columns) {}
  T m = -std::numeric_limits<T>::infinity(), l = 0;
  std::vector<T> o;
};

/// The ordinary step over one tile of keys, in the order given (Milakov & Gimelshein 2018).
template <class T>
void add_tile(const Row<T>& row, std::span<const std::int64_t> tile, Running<T>& state) {
  std::vector<T> scores;
  T m = state.m;
  for (const std::int64_t key : tile) {
    scores.push_back(row.score(key));
    m = std::max(m, scores.back());
  }
  // Where every score is -inf or NaN the difference to m must not hide the one or make the other.
  const T base = std::isinf(m) ? T{0} : m;
  const T rescale = std::exp(state.m - base);
  state.m = m;
  state.l *= rescale;
  for (T& o : state.o) o *= rescale;
  for (std::size_t j = 0; j < tile.size(); ++j) {
    const T p = std::exp(scores[j] - base), p_cast = row.cast_p(p);
    state.l += p;
    const T* v = row.v.row(tile[j]);
    for (std::size_t c = 0; c < state.o.size(); ++c) state.o[c] += p_cast * v[c];
  }
}

/// Keys `begin` .. of the span, at most `count` of them.
inline std::span<const std::int64_t> tile_of(std::span<const std::int64_t> keys, std::size_t begin, std::size_t count) {
  return keys.subspan(begin, std::min(count, keys.size() - begin));
}

template <class T>
void finish(const Running<T>& state, Answer<T>& answer) {
  for (std::size_t c = 0; c < state.o.size(); ++c) answer.out[c] = state.o[c] / state.l;
  answer.lse = state.m + std::log(state.l);
}

/// What a kernel declares; the rest is the same for all of them.
struct Declared {
  std::uint32_t dtypes = bit_of(Dtype::kF64) | bit_of(Dtype::kF32) | bit_of(Dtype::kF16) | bit_of(Dtype::kBf16);
  std::uint32_t not_claimed = 0;  ///< features taken from those that all others have
  Arithmetic (*arithmetic)(Dtype storage) = [](Dtype) { return Arithmetic{}; };
  bool in_double = false;        ///< computes in double whatever the storage
  bool asks_empty_rows = false;  ///< is called for rows that see nothing, too
};

/// Whether a row sees a key: the rule of the mask, said once more, because a kernel borrows nothing from the reference.
bool sees(const Problem& problem, std::int64_t row, std::int64_t key);

/// masks, features and limits of a kernel in this frame, with what it declares itself.
Description description_of(const Declared& declared, Dtype asked);

template <class T>
Matrix<T> widened(const TensorView& tensor, std::int64_t batch, std::int64_t head) {
  Matrix<T> matrix{tensor.shape[3], {}};
  matrix.elements.reserve(static_cast<std::size_t>(tensor.shape[2] * tensor.shape[3]));
  for (std::int64_t s = 0; s < tensor.shape[2]; ++s) {
    for (std::int64_t d = 0; d < tensor.shape[3]; ++d) {
      matrix.elements.push_back(static_cast<T>(tensor.load(batch, head, s, d)));
    }
  }
  return matrix;
}

template <class T, class Kernel>
void run_rows(const Kernel& kernel, const Declared& declared, const Problem& p, const TensorView& q,
              const TensorView& k, const TensorView& v, const TensorView& out, const TensorView* lse) {
  std::vector<std::int64_t> keys;
  for (std::int64_t b = 0; b < p.batch; ++b) {
    for (std::int64_t h = 0; h < p.heads_q; ++h) {
      const std::int64_t h_kv = h / p.heads_per_group();
      const Matrix<T> queries = widened<T>(q, b, h), head_k = widened<T>(k, b, h_kv), head_v = widened<T>(v, b, h_kv);
      for (std::int64_t r = 0; r < p.seqlen_q; ++r) {
        keys.clear();
        for (std::int64_t key = 0; key < p.seqlen_kv; ++key) {
          if (sees(p, r, key)) keys.push_back(key);
        }
        Answer<T> answer{std::vector<T>(static_cast<std::size_t>(p.head_dim_v))};
        const Row<T> row{p,    (b * p.heads_q + h) * p.seqlen_q + r, queries.row(r), head_k, head_v,
                         keys, static_cast<T>(p.softmax_scale)};
        if (!keys.empty() || declared.asks_empty_rows) kernel(row, answer);
        for (std::int64_t c = 0; c < p.head_dim_v; ++c) out.store(b, h, r, c, answer.out[static_cast<std::size_t>(c)]);
        if (lse != nullptr) lse->store(b, h, r, 0, answer.lse);
      }
    }
  }
}

/// `kernel` as a candidate: double for fp64 storage, float for all others unless it declares double.
template <class Kernel>
Candidate row_candidate(const std::string& name, const Declared& declared, const Kernel& kernel) {
  Candidate candidate;
  candidate.name = name;
  candidate.describe = [declared](Dtype asked, Direction) { return description_of(declared, asked); };
  candidate.forward = [declared, kernel](const Problem& problem, const TensorView& q, const TensorView& k,
                                         const TensorView& v, const TensorView& out, const TensorView* lse, void*) {
    if (problem.dtype == Dtype::kF64 || declared.in_double) {
      run_rows<double>(kernel, declared, problem, q, k, v, out, lse);
    } else {
      run_rows<float>(kernel, declared, problem, q, k, v, out, lse);
    }
    return Status::kOk;
  };
  return candidate;
}

}  // namespace ringproof::correct
