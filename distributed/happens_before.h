#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace ringproof {

/// What an operation is called in a report.
struct OperationName {
  int rank;
  int step;          ///< -1: of none
  std::string what;  ///< "local step", "send to rank 1", ...
};

/// Memory that an operation touches from its begin to its end.
struct MemoryAccess {
  std::span<const std::byte> bytes;  ///< may be empty
  bool is_write;
};

/// Two operations of one rank that touch the same bytes, at least one writing, and nothing orders them.
struct Race {
  OperationName first, second;  ///< in the order in which they were added, which is of no meaning
  bool first_writes, second_writes;
  std::string buffer;              ///< its name
  std::size_t begin = 0, end = 0;  ///< bytes of the buffer that both touch
};

/// One sentence: rank, both operations with their steps, the buffer.
std::string to_string(const Race& race);

/// Which operation happens before which, and the races between them: an analysis of the order that a program asked for,
/// not of the order in which it happened to run.
///
/// An operation is what runs on a stream, an event, a transfer, a moment of the host. A stream is the number of its
/// last operation, given as `after` of its next one. A recorded event is the number of the stream's last operation, to
/// wait for it is to give it as `after`. A transfer is a send and a receive, and the receive comes after its send.
class HappensBefore {
 public:
  using Id = std::int64_t;

  /// An operation that begins when all of `after`, numbers given out before, have ended; negative ones are nothing. Its
  /// accesses are held against those of the same rank's earlier operations, which makes races.
  Id add(const OperationName& name, std::span<const Id> after, std::span<const MemoryAccess> accesses);

  /// Whether `earlier` has ended when `later` begins, whatever the order of execution. False for one and the same.
  bool is_before(Id earlier, Id later) const;

  const OperationName& name_of(Id id) const { return operations_.at(static_cast<std::size_t>(id)).name; }

  /// The memory's name in later reports; memory without one is called after the operation that touched it first.
  void call(int rank, std::span<const std::byte> memory, const std::string& name);

  /// Accesses to this memory of a rank are held against no later ones: it is other memory from now on.
  void forget(int rank, std::span<const std::byte> memory);

  const std::vector<Race>& races() const { return races_; }

 private:
  // An operation's clock says how many operations of each chain come before it, itself included. A chain is a sequence
  // of operations each before the next; there are about as many as operations are ever under way at once.
  struct Recorded {
    OperationName name;
    std::size_t chain;
    std::vector<std::int32_t> clock;
  };
  struct Seen {
    Id operation;
    MemoryAccess access;
  };
  struct Named {
    std::span<const std::byte> bytes;
    std::string name;
  };
  struct Memory {
    std::vector<Seen> seen;
    std::vector<Named> names;
  };

  std::size_t chain_for(const std::vector<std::int32_t>& clock);
  void hold_against(Memory& memory, Id id, const MemoryAccess& access);

  std::deque<Recorded> operations_;
  std::vector<std::int32_t> chain_lengths_;
  std::map<int, Memory> memories_;  // by rank
  std::vector<Race> races_;
};

}  // namespace ringproof
