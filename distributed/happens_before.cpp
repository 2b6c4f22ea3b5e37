// Vector clocks (Mattern 1988, Fidge 1988). Operation a of chain c comes before b exactly if b's clock counts a among
// the operations of c before it. Streams are chains by nature; transfers and events are put onto any chain whose last
// operation comes before them, so that clocks stay short however long the program runs.
//
// All earlier accesses of the rank are kept, not the last ones only: every pair is to be named.

#include "distributed/happens_before.h"

#include <algorithm>
#include <functional>

#include "reference/spec/error.h"

namespace ringproof {
namespace {

using Bytes = std::span<const std::byte>;

const std::byte* begin_of_both(Bytes a, Bytes b) { return std::max(a.data(), b.data(), std::less<>()); }
const std::byte* end_of_both(Bytes a, Bytes b) {
  return std::min(a.data() + a.size(), b.data() + b.size(), std::less<>());
}
bool overlap(Bytes a, Bytes b) {
  return !a.empty() && !b.empty() && std::less<>()(begin_of_both(a, b), end_of_both(a, b));
}

std::string words(const OperationName& operation, bool writes) {
  const std::string step = operation.step < 0 ? "" : " of step " + std::to_string(operation.step);
  return operation.what + step + (writes ? " writes" : " reads");
}

}  // namespace

std::string to_string(const Race& race) {
  return "rank " + std::to_string(race.first.rank) + ", step " + std::to_string(race.second.step) + ": " +
         words(race.second, race.second_writes) + " and " + words(race.first, race.first_writes) + " " + race.buffer +
         ", bytes [" + std::to_string(race.begin) + ", " + std::to_string(race.end) + "), and nothing orders the two";
}

HappensBefore::Id HappensBefore::add(const OperationName& name, std::span<const Id> after,
                                     std::span<const MemoryAccess> accesses) {
  const auto id = static_cast<Id>(operations_.size());
  std::vector<std::int32_t> clock(chain_lengths_.size(), 0);
  for (const Id before : after) {
    if (before < 0) continue;
    assert_that(before < id, "an operation comes after operations that were added");
    const std::vector<std::int32_t>& theirs = operations_[static_cast<std::size_t>(before)].clock;
    for (std::size_t chain = 0; chain < theirs.size(); ++chain) clock[chain] = std::max(clock[chain], theirs[chain]);
  }
  const std::size_t chain = chain_for(clock);
  clock.resize(chain_lengths_.size(), 0);
  clock[chain] = ++chain_lengths_[chain];
  operations_.push_back({name, chain, std::move(clock)});
  for (const MemoryAccess& access : accesses) {
    if (!access.bytes.empty()) hold_against(memories_[name.rank], id, access);
  }
  for (const MemoryAccess& access : accesses) {  // only now: an operation does not race with itself
    if (!access.bytes.empty()) memories_[name.rank].seen.push_back({id, access});
  }
  return id;
}

// One whose last operation comes before; else a new one.
std::size_t HappensBefore::chain_for(const std::vector<std::int32_t>& clock) {
  for (std::size_t chain = 0; chain < clock.size(); ++chain) {
    if (clock[chain] == chain_lengths_[chain]) return chain;
  }
  chain_lengths_.push_back(0);
  return chain_lengths_.size() - 1;
}

bool HappensBefore::is_before(Id earlier, Id later) const {
  if (earlier == later) return false;
  const Recorded& a = operations_.at(static_cast<std::size_t>(earlier));
  const Recorded& b = operations_.at(static_cast<std::size_t>(later));
  return a.chain < b.clock.size() && a.clock[a.chain] <= b.clock[a.chain];
}

void HappensBefore::hold_against(Memory& memory, Id id, const MemoryAccess& access) {
  for (const Seen& seen : memory.seen) {
    if (!(access.is_write || seen.access.is_write) || !overlap(access.bytes, seen.access.bytes)) continue;
    if (is_before(seen.operation, id)) continue;
    Race race{name_of(seen.operation), name_of(id), seen.access.is_write, access.is_write, "", 0, 0};
    const std::byte* const begin = begin_of_both(access.bytes, seen.access.bytes);
    const std::byte* origin = seen.access.bytes.data();
    race.buffer = "memory of " + race.first.what;
    for (const Named& named : memory.names) {
      if (!overlap(named.bytes, {begin, 1})) continue;
      race.buffer = named.name;
      origin = named.bytes.data();
    }
    race.begin = static_cast<std::size_t>(begin - origin);
    race.end = static_cast<std::size_t>(end_of_both(access.bytes, seen.access.bytes) - origin);
    races_.push_back(std::move(race));
  }
}

void HappensBefore::call(int rank, Bytes memory, const std::string& name) {
  std::vector<Named>& names = memories_[rank].names;
  std::erase_if(names, [&](const Named& one) { return overlap(one.bytes, memory); });
  if (!memory.empty()) names.push_back({memory, name});
}

void HappensBefore::forget(int rank, Bytes memory) {
  const auto found = memories_.find(rank);
  if (found == memories_.end()) return;
  std::erase_if(found->second.seen, [&](const Seen& seen) { return overlap(seen.access.bytes, memory); });
  std::erase_if(found->second.names, [&](const Named& one) { return overlap(one.bytes, memory); });
}

}  // namespace ringproof
