#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "reference/judge/run.h"
#include "reference/judge/verify.h"

namespace ringproof {

/// What a property of one candidate on one Case came to: accepted (it holds), rejected (it does not), inconclusive
/// (a call did not return), unsupported (it says nothing here: its changed Case lies outside the declaration, or there
/// was no element to compare, or the candidate refused a Case that it had declared). The sentence says where or why; ""
/// where it holds.
struct PropertyResult {
  Outcome outcome = Outcome::kAccepted;
  std::string sentence{};
  bool is_refusal = false;  ///< unsupported, though the description covers the changed Case
};

/// The references of the inputs that properties make: equal for every candidate, so that one serves all that are asked
/// about the same Case, at once from several threads. Keeps the latest.
class PropertyReferences {
 public:
  /// The reference of `inputs` in place of those of the Case.
  std::shared_ptr<const Reference> of(const Case& c, const Inputs& inputs);

 private:
  std::mutex mutex_;
  std::deque<std::shared_ptr<const Reference>> latest_;
};

/// Where a property's calls take place: in the buffers of the candidate's other calls, which outlive them, with
/// references that other candidates may share.
struct PropertyMemory {
  PropertyMemory(Buffers& of_candidate, PropertyReferences* shared = nullptr)
      : buffers(of_candidate), references(shared) {}

  Buffers& buffers;
  PropertyReferences* references;
};

/// What a candidate answered on inputs that need not come from a recipe, and the bounds that its declared Arithmetic
/// promises there.
struct PropertyAnswer {
  Case c;
  Got got;
  Bounds bounds;
  bool is_deterministic = false;    ///< the candidate claims the same bits for the same call
  bool is_batch_invariant = false;  ///< and whatever else is computed beside it
  PropertyResult trouble{};         ///< why there is nothing to compare; accepted otherwise
};

/// Calls the candidate on `inputs` in place of those of the Case. Requires a Case that the candidate's description
/// covers and inputs of its shapes.
PropertyAnswer answer_to(const Candidate& candidate, const Case& c, const PropertyMemory& memory, const Inputs& inputs);

/// The result of a property that had no element to compare.
PropertyResult nothing_to_compare();

/// One element of a tensor, [batch, head, row, column].
struct ElementIndex {
  std::int64_t batch, head, row, column;
};

/// Calls visit for every element of `shape`, in order.
void for_each_element(const Shape& shape, const std::function<void(const ElementIndex&)>& visit);

/// Which elements count; all by default.
using Counts = std::function<bool(const ElementIndex&)>;

/// Whether two answers to one exact answer differ in an element that `counts`: by more than both bounds together, or,
/// `in_bits`, at all. Rows of `a` are looked up under the same index in `b`, which may have more of them. Empty rows
/// that the candidate leaves undefined do not count, nor, but for bits, elements whose bounds promise nothing.
PropertyResult differ(const PropertyAnswer& a, const PropertyAnswer& b, bool in_bits, const Counts& counts = {});

/// Whether an element of O of `answer` lies outside [low, high] by more than its bound. `limits` returns low and high;
/// low > high for elements that do not count, as those do not whose bound promises nothing.
PropertyResult leave_limits(const PropertyAnswer& answer,
                            const std::function<std::pair<double, double>(const ElementIndex&)>& limits);

/// `out (batch 0, head 1, row 2, column 3)`.
std::string name_of(const char* tensor, const ElementIndex& at);

}  // namespace ringproof
