#include "reference/judge/run.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "reference/judge/called_body_test.h"
#include "reference/spec/error.h"
#include "reference/spec/visibility.h"

namespace ringproof {
namespace {

const char* const kMemories[]{"bhsd",
                              "bshd+gap3",
                              "bhsd+dim2",
                              "bhsd+mixed",
                              "bshd+broadcast_kv+gap2",
                              "bhsd+huge_batch",
                              "bhsd+huge_seq",
                              "bshd+huge_batch+huge_seq+gap3",
                              "bhsd+page_end",
                              "bshd+gap3+page_end",
                              "bhsd+mixed+huge_seq+page_end"};

TEST(Run, FindsNoFaultInACandidateThatOnlyWritesItsOutputs) {
  for (const char* memory : kMemories) {
    const Got got = run_once(write_all, reference_of(memory));
    EXPECT_EQ(got.status, CallStatus::kReturned);
    EXPECT_TRUE(got.structure_faults.empty()) << memory << " " << testing::PrintToString(got.structure_faults);
    EXPECT_TRUE(got.has_lse);
    EXPECT_EQ(got.out.view().load(1, 3, 5, 3), 1);
    EXPECT_EQ(got.lse.view().load(1, 3, 5, 0), 2);
  }
}

TEST(Run, WhatACandidatesDeviceSawIsAFaultOfStructure) {
  Candidate candidate = candidate_of(write_all);
  candidate.structure_faults = [] { return std::vector<std::string>{"memory outside out was written on the device"}; };
  Buffers buffers;
  const Got got = run(candidate, reference_of("bhsd"), buffers);
  EXPECT_EQ(got.structure_faults, candidate.structure_faults());
}

TEST(Run, HandsOverTheInputsThroughTheLayoutOfTheCase) {
  for (const char* memory : kMemories) {
    const Reference reference = reference_of(memory);
    const Got got = run_once(
        [&](const Problem& problem, const TensorView& q, const TensorView& k, const TensorView& v,
            const TensorView& out, const TensorView* lse) {
          EXPECT_EQ(problem, reference.c.problem);
          const auto expect_equal = [](const TensorView& view, const Tensor& tensor) {
            EXPECT_EQ(view.shape, tensor.shape());
            for_each_element(view, [&](auto b, auto h, auto s, auto d) {
              EXPECT_EQ(view.load(b, h, s, d), tensor.view().load(b, h, s, d));
            });
          };
          expect_equal(q, reference.inputs.q);
          expect_equal(k, reference.inputs.k);
          expect_equal(v, reference.inputs.v);
          const TensorRole roles[]{TensorRole::kQ, TensorRole::kK, TensorRole::kV, TensorRole::kOut};
          const TensorView views[]{q, k, v, out};
          for (int i = 0; i < 4; ++i)
            EXPECT_EQ(views[i].stride, lay_out(reference.c.memory, roles[i], views[i].shape).stride);
          write_all(problem, q, k, v, out, lse);
        },
        reference);
    EXPECT_TRUE(got.structure_faults.empty()) << memory;
  }
}

TEST(Run, LaysMemoryOutDenseForACandidateWithoutStrides) {
  for (const bool wants_bshd : {false, true}) {
    Description description = everything();
    description.features &= ~static_cast<std::uint32_t>(kArbitraryStrides);
    if (wants_bshd) description.features |= kWantsBshd;
    const Got got = run_once(
        [&](const Problem& problem, const TensorView& q, const TensorView& k, const TensorView& v,
            const TensorView& out, const TensorView* lse) {
          EXPECT_EQ(q.stride, wants_bshd ? (Shape{192, 8, 32, 1}) : dense_strides(q.shape));
          write_all(problem, q, k, v, out, lse);
        },
        reference_of("bshd"), description);
    EXPECT_TRUE(got.structure_faults.empty());
    // What it was not laid out as is not what it is judged on.
    const Got strided = run_once(write_all, reference_of("bhsd+gap3"), description);
    EXPECT_EQ(strided.status, CallStatus::kUnsupported);
    EXPECT_EQ(strided.reason, "memory bhsd+gap3");
  }
}

TEST(Run, TakesARankThatNeverReportsForAFailedOne) {
  Candidate candidate = candidate_of(write_all);
  candidate.on_ranks = [&](const Topology& topology, const RankBody& body) {
    for (int rank = 0; rank + 1 < topology.rank_count; ++rank) body(rank, candidate.forward);
  };
  Buffers buffers;
  EXPECT_EQ(run(candidate, reference_of("bhsd", "contiguous3"), buffers).status, CallStatus::kFailed);
}

TEST(Run, TakesTheWorstOfTheRanksAnswers) {
  Candidate candidate = candidate_of(write_all);
  candidate.on_ranks = [&](const Topology&, const RankBody& body) {
    for (int rank = 0; rank < 3; ++rank) {
      body(rank, [rank](const auto&...) { return rank == 0 ? Status::kUnsupported : Status::kError; });
    }
  };
  Buffers buffers;
  EXPECT_EQ(run(candidate, reference_of("bhsd", "contiguous3"), buffers).status, CallStatus::kFailed);
}

TEST(Run, RefusesADeclarationThatMakesNoSense) {
  Description description = everything();
  description.arithmetic.merges = -5;
  const Got got = run_once(write_all, reference_of("bhsd"), description);
  EXPECT_EQ(got.status, CallStatus::kFailed);
  EXPECT_NE(got.reason.find("the declared Arithmetic is refused"), std::string::npos);
}

TEST(Run, SeesAnInputsGapThatWasCopiedIntoAnOutputsGap) {
  const Got got = run_once(
      [](const Problem& problem, const TensorView& q, const TensorView& k, const TensorView& v, const TensorView& out,
         const TensorView* lse) {
        write_all(problem, q, k, v, out, lse);
        std::memcpy(out.at(0, 0, 0, 3) + 2, q.at(0, 0, 0, 7) + 2, 2);  // the first element of either gap
      },
      reference_of("bhsd+gap2"));
  expect_fault(got, "memory outside out was written");
}

TEST(Run, PoisonsWithinTheNarrowestRangeTheCandidateDeclares) {
  Description description = everything();
  description.arithmetic.accumulator_dtype = Dtype::kF32;
  const Reference reference =
      prepare(parse_case("fwd/fp64/b1.hq1.hkv1.sq2.skv5.dqk4.dv4/causal_top_left/scale0.5/gauss:5/bhsd/single"), 1);
  run_once(
      [](const Problem& problem, const TensorView& q, const TensorView& k, const TensorView& v, const TensorView& out,
         const TensorView* lse) {
        EXPECT_NE(k.load(0, 0, 4, 0), 0);
        EXPECT_TRUE(std::isfinite(static_cast<float>(k.load(0, 0, 4, 0)) * static_cast<float>(v.load(0, 0, 4, 0))));
        write_all(problem, q, k, v, out, lse);
      },
      reference, description);
}

TEST(Run, SeesAnElementThatWasNeverWritten) {
  for (const char* memory : kMemories) {
    const auto skipping = [](bool in_lse) {
      return [in_lse](const Problem&, const TensorView&, const TensorView&, const TensorView&, const TensorView& out,
                      const TensorView* lse) {
        for (const TensorView& view : {out, *lse}) {
          const bool skips = (view.shape[3] == 1) == in_lse;
          for_each_element(view, [&](auto b, auto h, auto s, auto d) {
            const bool is_skipped = skips && b == 1 && h == 2 && s == 3;
            if (!is_skipped) view.store(b, h, s, d, 0);
          });
        }
      };
    };
    expect_fault(run_once(skipping(false), reference_of(memory)),
                 "4 elements of out were never written, the first (1, 2, 3, 0)");
    expect_fault(run_once(skipping(true), reference_of(memory)),
                 "1 elements of lse were never written, the first (1, 2, 3, 0)");
  }
}

TEST(Run, SeesWritesBeforeBehindAndBetweenOutputs) {
  const Reference dense = reference_of("bhsd"), gaps = reference_of("bhsd+gap2"), dim2 = reference_of("bhsd+dim2");
  const auto writing = [](std::int64_t elements_from_begin, bool to_lse) {
    return [=](const Problem& problem, const TensorView& q, const TensorView& k, const TensorView& v,
               const TensorView& out, const TensorView* lse) {
      write_all(problem, q, k, v, out, lse);
      const TensorView& view = to_lse ? *lse : out;
      const auto size = static_cast<std::int64_t>(size_bytes(view.dtype));
      store(static_cast<std::byte*>(view.data) + elements_from_begin * size, view.dtype, 7);
    };
  };
  const std::int64_t count = 2 * 4 * 6 * 4;
  for (const std::int64_t place : {std::int64_t{-1}, std::int64_t{-500}, count, count + 500}) {
    expect_fault(run_once(writing(place, false), dense), "memory outside out was written (2 bytes)");
  }
  expect_fault(run_once(writing(-1, true), dense), "memory outside lse was written (4 bytes)");
  expect_fault(run_once(writing(2 * 4 * 6, true), dense), "memory outside lse was written (4 bytes)");
  expect_fault(run_once(writing(4, false), gaps), "memory outside out was written (2 bytes)");
  expect_fault(run_once(writing(1, false), dim2), "memory outside out was written (2 bytes)");
}

TEST(Run, SeesInputsThatWereModified) {
  for (int which = 0; which < 3; ++which) {
    for (const std::int64_t place : {0, 5, -1}) {
      const Got got = run_once(
          [&](const Problem& problem, const TensorView& q, const TensorView& k, const TensorView& v,
              const TensorView& out, const TensorView* lse) {
            write_all(problem, q, k, v, out, lse);
            const TensorView& view = which == 0 ? q : which == 1 ? k : v;
            static_cast<std::byte*>(view.data)[2 * place] ^= std::byte{1};
          },
          reference_of("bhsd"));
      expect_fault(got, std::string("the input ") + "qkv"[which] + " or memory beside it was modified (1 bytes)");
    }
  }
}

TEST(Run, SeesWritesToAnLseThatWasNotAskedFor) {
  Description description = everything();
  description.features &= ~static_cast<std::uint32_t>(kWritesLse);
  const Got got = run_once(
      [](const Problem&, const TensorView&, const TensorView&, const TensorView&, const TensorView& out,
         const TensorView* lse) {
        EXPECT_EQ(lse, nullptr);
        fill(out, 1);
      },
      reference_of("bhsd"), description);
  EXPECT_FALSE(got.has_lse);
  EXPECT_TRUE(got.structure_faults.empty());
}

TEST(Run, PutsNaNAroundAndBetweenWhatItHandsOver) {
  run_once(
      [](const Problem& problem, const TensorView& q, const TensorView& k, const TensorView& v, const TensorView& out,
         const TensorView* lse) {
        for (const TensorView& view : {q, k, v, out}) {
          std::set<std::int64_t> elements;
          for_each_element(view, [&](auto b, auto h, auto s, auto d) { elements.insert(view.offset(b, h, s, d)); });
          for (std::int64_t place = -512; place < *elements.rbegin() + 512; ++place) {
            const bool is_element = elements.contains(place);
            if (is_element) continue;
            EXPECT_TRUE(std::isnan(load(static_cast<std::byte*>(view.data) + place * 2, view.dtype))) << place;
          }
        }
        for_each_element(out, [&](auto b, auto h, auto s, auto d) { EXPECT_TRUE(std::isnan(out.load(b, h, s, d))); });
        write_all(problem, q, k, v, out, lse);
      },
      reference_of("bshd+gap3+mixed"));
}

TEST(Run, PoisonsKeysNoRowSeesWithFiniteNumbersThatChangeFromCallToCall) {
  // Rows 0 and 1 of a top-left causal mask see keys 0 and 1 of 5.
  const Reference reference = reference_of("bhsd", "single", "causal_top_left", "b1.hq2.hkv2.sq2.skv5.dqk8.dv4");
  Buffers buffers;
  std::vector<double> poisons;
  const Candidate candidate = candidate_of([&](const Problem& problem, const TensorView& q, const TensorView& k,
                                               const TensorView& v, const TensorView& out, const TensorView* lse) {
    for (std::int64_t j = 0; j < 5; ++j) {
      for (std::int64_t h = 0; h < 2; ++h) {
        for (std::int64_t d = 0; d < 4; ++d) {
          const bool is_unseen = j >= 2;
          EXPECT_EQ(k.load(0, h, j, d) != reference.inputs.k.view().load(0, h, j, d), is_unseen);
          EXPECT_EQ(v.load(0, h, j, d) != reference.inputs.v.view().load(0, h, j, d), is_unseen);
          if (!is_unseen) continue;
          EXPECT_TRUE(std::isfinite(k.load(0, h, j, d)));
          poisons.push_back(v.load(0, h, j, d));
        }
      }
    }
    write_all(problem, q, k, v, out, lse);
  });
  EXPECT_TRUE(run(candidate, reference, buffers).structure_faults.empty());
  const std::vector<double> first = poisons;
  poisons.clear();
  EXPECT_TRUE(run(candidate, reference, buffers).structure_faults.empty());
  EXPECT_NE(first, poisons);
}

TEST(Run, HandsDocumentsAndBlocksOverAtAddressesThatStayTheSame) {
  Buffers buffers;
  const auto asked_with = [&](const std::string& mask, const std::function<void(const Problem&)>& look) {
    const Reference reference = reference_of("bhsd", "single", mask, "b1.hq2.hkv2.sq6.skv9.dqk8.dv4");
    const Visibility visibility(reference.c.problem);
    const auto body = [&](const Problem& problem, const TensorView& q, const TensorView& k, const TensorView& v,
                          const TensorView& out, const TensorView* lse) {
      look(problem);
      for (std::int64_t j = 0; j < 9; ++j) {
        const bool is_poisoned = k.load(0, 1, j, 3) != reference.inputs.k.view().load(0, 1, j, 3);
        EXPECT_EQ(is_poisoned, !visibility.any_row_sees(j)) << mask << " key " << j;
      }
      write_all(problem, q, k, v, out, lse);
    };
    EXPECT_TRUE(run(candidate_of(body), reference, buffers).structure_faults.empty());
  };
  const std::int64_t* documents = nullptr;
  const std::uint8_t* flags = nullptr;
  asked_with("document(3+0+2,4+1+3)", [&](const Problem& problem) {
    documents = problem.cu_seqlens_q;
    EXPECT_EQ(std::vector<std::int64_t>(problem.cu_seqlens_q, problem.cu_seqlens_q + 4),
              (std::vector<std::int64_t>{0, 3, 3, 5}));
    EXPECT_EQ(std::vector<std::int64_t>(problem.cu_seqlens_kv, problem.cu_seqlens_kv + 4),
              (std::vector<std::int64_t>{0, 4, 5, 8}));
    EXPECT_EQ(problem.block_mask, nullptr);
  });
  asked_with("document(1+1+4,2+2+2)+causal", [&](const Problem& problem) {
    EXPECT_EQ(problem.cu_seqlens_q, documents);  // a kernel that caches by address must be seen
    EXPECT_EQ(problem.cu_seqlens_q[1], 1);
  });
  asked_with("block_sparse(2x3,keep0.4:1)", [&](const Problem& problem) {
    flags = problem.block_mask;
    EXPECT_EQ(std::vector<std::uint8_t>(flags, flags + 9), block_flags(problem.mask, 6, 9));
    EXPECT_EQ(problem.cu_seqlens_q, nullptr);
    EXPECT_EQ(problem.cu_seqlens_kv, nullptr);
  });
  asked_with("block_sparse(2x3,keep0.4:2)", [&](const Problem& problem) { EXPECT_EQ(problem.block_mask, flags); });
  asked_with("full", [&](const Problem& problem) { EXPECT_EQ(problem.block_mask, nullptr); });
}

TEST(Run, FillsOutputsAnewOnEveryCall) {
  const Reference reference = reference_of("bhsd");
  Buffers buffers;
  std::set<std::uint16_t> patterns;
  const Candidate writes_nothing = candidate_of([&](const Problem&, const TensorView&, const TensorView&,
                                                    const TensorView&, const TensorView& out, const TensorView*) {
    std::uint16_t bits = 0;
    std::memcpy(&bits, out.data, sizeof bits);
    patterns.insert(bits);
  });
  for (int call = 0; call < 3; ++call) EXPECT_EQ(run(writes_nothing, reference, buffers).structure_faults.size(), 2u);
  EXPECT_EQ(patterns.size(), 3u);
}

TEST(Run, TellsFailuresRefusalsAndUndeclaredCasesApart) {
  const Reference reference = reference_of("bhsd");
  const auto ended = [&](const Candidate& candidate) {
    Buffers buffers;
    const Got got = run(candidate, reference, buffers);
    EXPECT_TRUE(got.structure_faults.empty());
    return std::pair{got.status, got.reason};
  };
  using Ended = std::pair<CallStatus, std::string>;
  const auto throwing = [](auto thrown) { return candidate_of([=](auto&&...) { throw thrown; }); };
  EXPECT_EQ(ended(throwing(Error("the device is gone"))), (Ended{CallStatus::kFailed, "the device is gone"}));
  EXPECT_EQ(ended(throwing(std::runtime_error("odd"))), (Ended{CallStatus::kFailed, "odd"}));
  EXPECT_EQ(ended(throwing(3)).first, CallStatus::kFailed);
  Candidate undescribed = candidate_of(write_all);
  undescribed.describe = [](Dtype, Direction) -> Description { throw Error("no description"); };
  EXPECT_EQ(ended(undescribed), (Ended{CallStatus::kFailed, "no description"}));
  const auto returning = [](Status status) {
    Candidate candidate = candidate_of(write_all);
    candidate.forward = [status](auto&&...) { return status; };
    return candidate;
  };
  EXPECT_EQ(ended(returning(Status::kError)), (Ended{CallStatus::kFailed, "returned an error"}));
  EXPECT_EQ(ended(returning(Status::kUnsupported)), (Ended{CallStatus::kRefused, "refused a Case it had declared"}));
  Description narrow = everything();
  narrow.dtypes = bit_of(Dtype::kF32);
  EXPECT_EQ(ended(candidate_of([](auto&&...) { ADD_FAILURE() << "was called"; }, narrow)),
            (Ended{CallStatus::kUnsupported, "bf16"}));
}

TEST(Run, DoesNotAskOneDeviceForSeveralRanks) {
  const Got got = run_once(write_all, reference_of("bhsd", "contiguous2"));
  EXPECT_EQ(got.status, CallStatus::kUnsupported);
  EXPECT_EQ(got.reason, "several ranks");
}

TEST(Run, GivesEveryRankItsShardsAndGathersThemInPlace) {
  for (const char* topology : {"contiguous3", "striped3", "zigzag3", "zigzag7"}) {
    for (const char* memory : {"bhsd", "bshd+gap3", "bhsd+mixed"}) {
      const Reference reference = reference_of(memory, topology, "full", "b2.hq4.hkv2.sq11.skv10.dqk4.dv4");
      Buffers buffers;
      // Copies q to out; the first column of each key's k goes unused but is checked below.
      const Candidate candidate = ranks_of([&](const Problem& problem, const TensorView& q, const TensorView& k,
                                               const TensorView& v, const TensorView& out, const TensorView* lse) {
        EXPECT_EQ(problem.seqlen_q, 11);
        EXPECT_EQ(q.shape[2], owned_token_count(problem.topology, problem.rank, 11));
        EXPECT_EQ(k.shape[2], owned_token_count(problem.topology, problem.rank, 10));
        EXPECT_EQ(v.shape[2], k.shape[2]);
        std::int64_t local = 0;
        for (const TokenRun& run : owned_tokens(problem.topology, problem.rank, 10)) {
          for (std::int64_t token = run.begin; token < run.end; token += run.step, ++local) {
            EXPECT_EQ(k.load(1, 1, local, 2), reference.inputs.k.view().load(1, 1, token, 2));
          }
        }
        for_each_element(out, [&](auto b, auto h, auto s, auto d) { out.store(b, h, s, d, q.load(b, h, s, d)); });
        fill(*lse, problem.rank);
      });
      const Got got = run(candidate, reference, buffers);
      ASSERT_EQ(got.status, CallStatus::kReturned) << got.reason;
      EXPECT_TRUE(got.structure_faults.empty()) << testing::PrintToString(got.structure_faults);
      EXPECT_EQ(got.out.bytes(), reference.inputs.q.bytes()) << topology << " " << memory;
      const std::vector<std::int32_t> owners = owner_of_tokens(reference.c.problem.topology, 11);
      for (std::int64_t row = 0; row < 11; ++row) EXPECT_EQ(got.lse.view().load(1, 2, row, 0), owners[row]);
    }
  }
}

TEST(Run, NamesTheRankThatWroteOutsideItsShard) {
  const Reference reference = reference_of("bhsd", "zigzag3");
  Buffers buffers;
  const Got got = run(ranks_of([](const Problem& problem, const TensorView& q, const TensorView& k, const TensorView& v,
                                  const TensorView& out, const TensorView* lse) {
                        write_all(problem, q, k, v, out, lse);
                        if (problem.rank == 1) store(static_cast<std::byte*>(out.data) - 2, Dtype::kBf16, 7);
                      }),
                      reference, buffers);
  expect_fault(got, "memory outside out was written (2 bytes) on rank 1");
}

}  // namespace
}  // namespace ringproof
