// What only an odd memory shows: strides beyond 2^31, closed pages, tensors in one memory, NaN in hidden slots, what
// is written after the return.

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <set>
#include <string>

#include "reference/judge/called_body_test.h"
#include "reference/spec/visibility.h"

namespace ringproof {
namespace {

TEST(Run, GivesOneMemoryToTensorsThatShareIt) {
  for (const char* topology : {"single", "zigzag3"}) {
    const Reference alias = reference_of("bshd+gap3+alias", topology, "full", "b2.hq2.hkv2.sq9.skv9.dqk8.dv8");
    const Reference v_in_k = reference_of("bhsd+gap3+v_in_k", topology, "full", "b2.hq4.hkv2.sq9.skv7.dqk8.dv5");
    for (const Reference* reference : {&alias, &v_in_k}) {
      const Candidate candidate = ranks_of([&](const Problem& problem, const TensorView& q, const TensorView& k,
                                               const TensorView& v, const TensorView& out, const TensorView* lse) {
        EXPECT_EQ(k.data, v.data);
        EXPECT_EQ(k.stride, v.stride);
        EXPECT_EQ(q.data == k.data, reference == &alias);
        EXPECT_EQ(v.shape[3], problem.head_dim_v);
        write_all(problem, q, k, v, out, lse);
      });
      Candidate single = candidate;
      single.forward = candidate_of(write_all).forward;
      Buffers buffers;
      const Got got = run(topology == std::string("single") ? single : candidate, *reference, buffers);
      EXPECT_TRUE(got.structure_faults.empty()) << testing::PrintToString(got.structure_faults);
    }
    EXPECT_EQ(alias.inputs.k.bytes(), alias.inputs.q.bytes());
    EXPECT_EQ(alias.inputs.v.bytes(), alias.inputs.q.bytes());
    EXPECT_EQ(v_in_k.inputs.v.view().load(1, 1, 6, 4), v_in_k.inputs.k.view().load(1, 1, 6, 4));
  }
}

TEST(Run, PutsStridesBeyondTwoToThe31WhereTheCaseWantsThem) {
  const std::int64_t beyond = std::int64_t{1} << 31;
  run_once(
      [&](const Problem& problem, const TensorView& q, const TensorView& k, const TensorView& v, const TensorView& out,
          const TensorView* lse) {
        for (const TensorView& view : {q, k, v, out, *lse}) {
          EXPECT_GT(view.stride[0], beyond);
          EXPECT_GT(view.stride[2], beyond);
        }
        write_all(problem, q, k, v, out, lse);
      },
      reference_of("bhsd+huge_batch+huge_seq"));
}

TEST(Run, SeesWhatAnOffsetComputedIn32BitsLeavesUndone) {
  for (const char* memory : {"bhsd+huge_batch", "bshd+huge_seq"}) {
    const Got got = run_once(
        [](const Problem&, const TensorView&, const TensorView&, const TensorView&, const TensorView& out,
           const TensorView* lse) {
          for (const TensorView& view : {out, *lse}) {
            for_each_element(view, [&](auto b, auto h, auto s, auto d) {
              const auto wrapped = static_cast<std::int32_t>(view.offset(b, h, s, d));
              store(static_cast<std::byte*>(view.data) + std::ptrdiff_t{wrapped} * size_bytes(view.dtype), view.dtype,
                    1);
            });
          }
        },
        reference_of(memory));
    ASSERT_FALSE(got.structure_faults.empty()) << memory;
    EXPECT_NE(got.structure_faults[0].find("elements of out were never written"), std::string::npos);
  }
}

TEST(Run, SeesAReadBehindTheLastElementThatEndsAtAPage) {
  for (const char* memory : {"bhsd+page_end", "bshd+gap3+page_end", "bhsd+huge_seq+page_end"}) {
    for (int which = 0; which < 5; ++which) {
      const Got got = run_once(
          [&](const Problem& problem, const TensorView& q, const TensorView& k, const TensorView& v,
              const TensorView& out, const TensorView* lse) {
            write_all(problem, q, k, v, out, lse);
            const TensorView& view = which == 0 ? q : which == 1 ? k : which == 2 ? v : which == 3 ? out : *lse;
            const Shape& shape = view.shape;
            const std::byte* last = view.at(shape[0] - 1, shape[1] - 1, shape[2] - 1, shape[3] - 1);
            EXPECT_TRUE(std::isnan(load(last + size_bytes(view.dtype), view.dtype)));
          },
          reference_of(memory));
      const char* const names[]{"q", "k", "v", "out", "lse"};
      expect_fault(got, std::string("memory behind the last element of ") + names[which] + " was read or written");
    }
  }
}

TEST(Run, KeepsTheAddressesFromCallToCall) {
  const Reference one = reference_of("bhsd"),
                  other = reference_of("bshd+gap3", "single", "full", "b1.hq2.hkv1.sq40.skv3.dqk16.dv4");
  Buffers buffers;
  std::set<const void*> of_q, of_out;
  const Candidate candidate = candidate_of([&](const Problem& problem, const TensorView& q, const TensorView& k,
                                               const TensorView& v, const TensorView& out, const TensorView* lse) {
    of_q.insert(q.data);
    of_out.insert(out.data);
    write_all(problem, q, k, v, out, lse);
  });
  for (const Reference* reference : {&one, &other, &one}) run(candidate, *reference, buffers);
  EXPECT_EQ(of_q.size(), 1u);
  EXPECT_EQ(of_out.size(), 1u);
}

// Writes 1 where a row sees no NaN in V, else NaN: a kernel safe up to a level.
Body safe_up_to(int level) {
  return [level](const Problem& problem, const TensorView&, const TensorView&, const TensorView& v,
                 const TensorView& out, const TensorView* lse) {
    const Visibility visibility(problem);
    fill(*lse, 2);
    for_each_element(out, [&](auto b, auto h, auto s, auto d) {
      bool leaks = false;
      for (std::int64_t key = 0; key < v.shape[2]; ++key) {
        const bool sees = level == 2 ? visibility.sees(s, key) : level == 1 ? visibility.any_row_sees(key) : true;
        leaks = leaks || (sees && std::isnan(v.load(b, h / problem.heads_per_group(), key, d)));
      }
      out.store(b, h, s, d, leaks ? std::numeric_limits<double>::quiet_NaN() : 1);
    });
  };
}

TEST(Run, JudgesWithNaNUpToTheLevelThatIsClaimedAndShowsTheRest) {
  const std::uint32_t unseen = kNanSafeUnseen, hidden = kNanSafeHidden;
  for (const int asked : {1, 2}) {
    for (const int claimed : {0, 1, 2}) {
      for (const int borne : {0, 1, 2}) {
        const Reference reference = reference_of("bhsd+nan" + std::to_string(asked), "single", "causal_top_left",
                                                 "b2.hq4.hkv2.sq6.skv8.dqk8.dv4");
        Description description = everything();
        description.features &= ~(unseen | hidden);
        description.features |= (claimed >= 1 ? unseen : 0) | (claimed >= 2 ? hidden : 0);
        const Got got = run_once(safe_up_to(borne), reference, description);
        ASSERT_EQ(got.status, CallStatus::kReturned);
        const int judged = std::min(asked, claimed);
        std::int64_t leaks = 0;
        std::size_t row = 0;
        for_each_element(got.lse.view(), [&](auto b, auto h, auto s, auto) {
          const bool is_spoiled = !got.rows_spoiled.empty() && got.rows_spoiled[row];
          ++row;
          leaks += !is_spoiled && std::isnan(got.out.view().load(b, h, s, 0));
        });
        EXPECT_EQ(leaks > 0, borne < judged) << asked << claimed << borne;
        ASSERT_EQ(got.shown.size(), judged < asked ? 1u : 0u);
        if (judged < asked && borne >= judged) {
          EXPECT_EQ(got.shown[0].find("changes nothing") == std::string::npos, borne < asked) << got.shown[0];
        }
      }
    }
  }
}

TEST(Run, ReportsAtTheNextCallWhatWasWrittenAfterTheReturn) {
  const Reference reference = reference_of("bhsd");
  Buffers buffers;
  TensorView out_kept, q_kept;
  const Candidate candidate = candidate_of([&](const Problem& problem, const TensorView& q, const TensorView& k,
                                               const TensorView& v, const TensorView& out, const TensorView* lse) {
    out_kept = out;
    q_kept = q;
    write_all(problem, q, k, v, out, lse);
  });
  EXPECT_TRUE(run(candidate, reference, buffers).structure_faults.empty());
  EXPECT_TRUE(written_late(buffers).empty());
  out_kept.store(1, 1, 2, 3, 3.3);
  EXPECT_EQ(written_late(buffers).size(), 1u);
  expect_fault(run(candidate, reference, buffers), "wrote after its return: 2 bytes of out");
  q_kept.store(0, 0, 0, 0, 40);
  EXPECT_EQ(run(candidate, reference, buffers).structure_faults.size(), 1u);
  EXPECT_TRUE(run(candidate, reference, buffers).structure_faults.empty());
}

TEST(Run, AsksNoLseWhereItIsToldTo) {
  Buffers buffers;
  const Got got = run(candidate_of([](const Problem&, const TensorView&, const TensorView&, const TensorView&,
                                      const TensorView& out, const TensorView* lse) {
                        EXPECT_EQ(lse, nullptr);
                        fill(out, 1);
                      }),
                      reference_of("bhsd"), buffers, false);
  EXPECT_FALSE(got.has_lse);
  EXPECT_TRUE(got.structure_faults.empty());
}

}  // namespace
}  // namespace ringproof
