// A message of the algorithm becomes two of the transport: the payload, of the length that the receiver wants, and the
// envelope, which says what the payload is. So lengths and headers of the transport are always right, whatever the wire
// does, and a wrong message is found by its envelope alone.
//
// Sealing (copy, header, checksum, fault) and opening (compare, copy) are computations, since on a device bytes are
// there only when `after` has happened. Opening is given to the transport when somebody waits for the event: not
// before, for a transport may hold the caller of a computation until its messages have come.

#include "distributed/communicator_faulty.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <optional>
#include <utility>

#include "distributed/checksum.h"
#include "distributed/transfer_words.h"
#include "reference/spec/error.h"

namespace ringproof {
namespace {

// Ends a rank without a word.
struct RankDied {};

struct Envelope {
  TransferHeader header;  // with the checksum of the payload
  std::uint64_t bytes;
  std::int32_t from, to;  // two messages of one exchange may differ in nothing else

  bool operator==(const Envelope&) const = default;
};

std::string words(const Envelope& envelope) {
  return words(envelope.header, envelope.bytes) + " from rank " + std::to_string(envelope.from) + " for rank " +
         std::to_string(envelope.to);
}

constexpr int kDelays = 5;

TransferHeader header_of_envelope(TransferHeader header) {
  header.part = -1 - header.part;
  return header;
}

std::uint64_t mixed(std::uint64_t value) {  // SplitMix64
  value += 0x9e3779b97f4a7c15u;
  value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9u;
  value = (value ^ value >> 27) * 0x94d049bb133111ebu;
  return value ^ value >> 31;
}

}  // namespace

std::string_view to_string(FaultKind kind) {
  static constexpr std::array<std::string_view, kFaultKinds> kNames{
      "none",     "delay",       "reorder",     "duplicate",  "drop",
      "truncate", "flipped bit", "stale block", "wrong peer", "dead rank"};
  return kNames.at(static_cast<std::size_t>(kind));
}

Fault fault_of(std::uint64_t seed, int rank_count, std::int64_t transfers) {
  std::uint64_t state = mixed(seed);
  const auto below = [&](std::uint64_t count) { return (state = mixed(state)) % count; };
  Fault fault;
  fault.kind = static_cast<FaultKind>(1 + below(kFaultKinds - 1));
  fault.rank = static_cast<int>(below(static_cast<std::uint64_t>(rank_count)));
  fault.transfer = static_cast<std::int64_t>(below(static_cast<std::uint64_t>(transfers)));
  fault.salt = mixed(state);
  return fault;
}

struct FaultyCommunicator::Message {
  Envelope envelope;
  std::vector<std::byte> payload;

  bool operator==(const Message&) const = default;
};

// What lies between the algorithm and the transport for one exchange.
struct FaultyCommunicator::Letters {
  struct Letter {
    int peer;
    std::span<std::byte> bytes;  // of the algorithm; only read when sent
    TransferHeader header;
    std::shared_ptr<std::byte> payload, envelope;
  };
  std::vector<Letter> sent, received;
  std::optional<std::size_t> victim;  // of the fault, among `sent`

  std::optional<std::size_t> other_than_victim(bool same_peer) const {
    for (std::size_t at = 0; at < sent.size(); ++at) {
      if (at != *victim && (sent[at].peer == sent[*victim].peer) == same_peer) return at;
    }
    return {};
  }
};

// What the wire remembers of the messages of its rank.
struct FaultyCommunicator::Wire {
  Fault fault;
  std::atomic<bool>& was_committed;
  std::map<std::pair<int, int>, Message> last;  // by peer and part
  std::map<int, Message> late;                  // by peer: what comes next instead of the next one

  // Puts what the wire makes of these messages in their place.
  void carry(const Letters& letters, std::vector<Message>& messages) {
    const std::vector<Message> right = messages;
    if (letters.victim) commit(letters, messages);
    for (std::size_t at = 0; at < messages.size(); ++at) {
      const int peer = letters.sent[at].peer;
      const auto found = late.find(peer);
      if (found != late.end() && (!letters.victim || at > *letters.victim)) std::swap(messages[at], found->second);
      if (fault.kind == FaultKind::kStale) last[{peer, right[at].envelope.header.part}] = right[at];
    }
    if (messages != right) was_committed = true;
  }

 private:
  void commit(const Letters& letters, std::vector<Message>& messages) {
    const std::size_t at = *letters.victim;
    Message& message = messages[at];
    const std::size_t bytes = message.payload.size();
    const auto swap_with = [&](std::optional<std::size_t> other) {
      if (other) std::swap(message, messages[*other]);
    };
    if (fault.kind == FaultKind::kReorder) {
      swap_with(letters.other_than_victim(true));
    } else if (fault.kind == FaultKind::kWrongPeer) {
      swap_with(letters.other_than_victim(false));
    } else if (fault.kind == FaultKind::kDuplicate) {
      late.emplace(letters.sent[at].peer, message);
    } else if (fault.kind == FaultKind::kTruncate && bytes > 0) {
      message.envelope.bytes = fault.salt % bytes;
      message.payload.resize(message.envelope.bytes);
    } else if (fault.kind == FaultKind::kFlipBit && bytes > 0) {
      message.payload[fault.salt / 8 % bytes] ^= static_cast<std::byte>(1u << fault.salt % 8);
    } else if (fault.kind == FaultKind::kStale) {
      const auto found = last.find({letters.sent[at].peer, message.envelope.header.part});
      if (found != last.end()) message = found->second;
    }
  }
};

FaultyCommunicator::FaultyCommunicator(Communicator& inner, const Fault& fault, bool is_checked,
                                       std::atomic<bool>& was_committed)
    : inner_(inner), fault_(fault), is_checked_(is_checked), wire_(new Wire{fault, was_committed, {}, {}}) {}

FaultyCommunicator::~FaultyCommunicator() { withdraw(); }

void FaultyCommunicator::withdraw() noexcept {
  inner_.withdraw();
  held_.clear();
}

void FaultyCommunicator::require_life(const Exchange& exchange) {
  const std::int64_t victim = fault_.transfer - sent_;
  const bool is_now = victim >= 0 && victim < static_cast<std::int64_t>(exchange.sends.size());
  if (fault_.kind != FaultKind::kDeadRank || rank() != fault_.rank || !is_now) return;
  wire_->was_committed = true;
  throw RankDied();
}

// Messages to itself, one after the other.
Event FaultyCommunicator::delayed(std::vector<Event>& after) {
  const std::shared_ptr<std::byte> memory = inner_.allocate(2);
  held_.push_back(memory);
  Event event;
  for (int round = 0; round < kDelays; ++round) {
    const TransferHeader header{0, -1, rank(), 0};
    const Exchange self{{{rank(), {memory.get(), 1}, header}}, {{rank(), {memory.get() + 1, 1}, header}}, "delay"};
    event = inner_.exchange(self, after);
    after = {event};
  }
  return event;
}

Event FaultyCommunicator::exchange(const Exchange& exchange, std::span<const Event> after) {
  require_life(exchange);
  const auto letters = std::make_shared<Letters>();
  const std::int64_t victim = fault_.transfer - sent_;
  const bool is_now = victim >= 0 && victim < static_cast<std::int64_t>(exchange.sends.size());
  if (is_now && rank() == fault_.rank) letters->victim = static_cast<std::size_t>(victim);
  sent_ += static_cast<std::int64_t>(exchange.sends.size());
  const auto letter = [&](int peer, std::span<std::byte> bytes, const TransferHeader& header) -> Letters::Letter {
    return {peer, bytes, header, inner_.allocate(bytes.size()), inner_.allocate(sizeof(Envelope))};
  };
  Exchange wired{{}, {}, exchange.name};
  Compute seal{"seal", -1, {}, {}, {}};
  for (const Receive& one : exchange.receives) {
    letters->received.push_back(letter(one.peer, one.bytes, one.header));
    const Letters::Letter& mine = letters->received.back();
    wired.receives.push_back({one.peer, {mine.payload.get(), one.bytes.size()}, one.header});
    wired.receives.push_back({one.peer, {mine.envelope.get(), sizeof(Envelope)}, header_of_envelope(one.header)});
  }
  for (const Send& one : exchange.sends) {
    std::byte* const bytes = const_cast<std::byte*>(one.bytes.data());
    letters->sent.push_back(letter(one.peer, {bytes, one.bytes.size()}, one.header));
    const Letters::Letter& mine = letters->sent.back();
    const std::span<std::byte> payload(mine.payload.get(), one.bytes.size());
    const std::span<std::byte> envelope(mine.envelope.get(), sizeof(Envelope));
    seal.reads.push_back(one.bytes);
    seal.writes.insert(seal.writes.end(), {payload, envelope});
    seal.step = one.header.step;
    wired.sends.push_back({one.peer, payload, one.header});
    wired.sends.push_back({one.peer, envelope, header_of_envelope(one.header)});
  }
  held_.push_back(letters);
  const bool goes_astray =
      fault_.kind == FaultKind::kWrongPeer && letters->victim && !letters->other_than_victim(false);
  if (letters->victim && (fault_.kind == FaultKind::kDrop || goes_astray)) {
    wire_->was_committed = true;
    const auto at = wired.sends.begin() + 2 * static_cast<std::ptrdiff_t>(*letters->victim);
    wired.sends.erase(at, at + 2);
  }
  seal.run = [letters, wire = wire_, rank = rank()](void*) {
    std::vector<Message> messages;
    for (const Letters::Letter& one : letters->sent) {
      Message message{{one.header, one.bytes.size(), rank, one.peer}, {one.bytes.begin(), one.bytes.end()}};
      message.envelope.header.checksum = checksum_of(message.payload);
      messages.push_back(std::move(message));
    }
    wire->carry(*letters, messages);
    for (std::size_t at = 0; at < messages.size(); ++at) {
      const Letters::Letter& one = letters->sent[at];
      const std::size_t count = std::min(messages[at].payload.size(), one.bytes.size());
      if (count > 0) std::memcpy(one.payload.get(), messages[at].payload.data(), count);
      std::memcpy(one.envelope.get(), &messages[at].envelope, sizeof(Envelope));
    }
  };
  std::vector<Event> needed = inner_events(after);
  if (!exchange.sends.empty()) needed.push_back(inner_.compute(seal, needed));
  if (letters->victim && fault_.kind == FaultKind::kDelay) delayed(needed);
  posted_.push_back({inner_.exchange(wired, needed), letters});
  return {static_cast<std::int64_t>(posted_.size())};
}

// The inner event of what was opened, too.
Event FaultyCommunicator::opened(Event event) {
  if (event.id == 0) return event;
  assert_that(event.id <= static_cast<std::int64_t>(posted_.size()), "an event belongs to its communicator");
  Posted& posted = posted_[static_cast<std::size_t>(event.id - 1)];
  if (posted.letters == nullptr || posted.letters->received.empty()) return posted.event;
  Compute open{"open", -1, {}, {}, {}};
  for (const Letters::Letter& one : posted.letters->received) {
    open.step = one.header.step;
    open.reads.insert(open.reads.end(),
                      {{one.payload.get(), one.bytes.size()}, {one.envelope.get(), sizeof(Envelope)}});
    open.writes.push_back(one.bytes);
  }
  open.run = [letters = posted.letters, is_checked = is_checked_, rank = rank()](void*) {
    for (const Letters::Letter& one : letters->received) {
      Envelope envelope;
      std::memcpy(&envelope, one.envelope.get(), sizeof envelope);
      const std::uint64_t checksum = std::exchange(envelope.header.checksum, one.header.checksum);
      const std::size_t count = std::min<std::size_t>(envelope.bytes, one.bytes.size());
      if (is_checked) {
        const Envelope right{one.header, one.bytes.size(), one.peer, rank};
        const std::string wanted = place(rank, one.header.step) + "wanted " + words(right) + ", got ";
        if (!(envelope == right)) throw Error(wanted + words(envelope));
        if (checksum != checksum_of({one.payload.get(), count})) throw Error(wanted + "it with a wrong checksum");
      }
      if (count > 0) std::memcpy(one.bytes.data(), one.payload.get(), count);
    }
  };
  const Event arrived = posted.event;
  posted.letters = nullptr;
  posted.event = inner_.compute(open, {&arrived, 1});
  return posted.event;
}

std::vector<Event> FaultyCommunicator::inner_events(std::span<const Event> events) {
  std::vector<Event> inner;
  for (const Event& event : events) inner.push_back(opened(event));
  return inner;
}

Event FaultyCommunicator::compute(const Compute& compute, std::span<const Event> after) {
  const std::vector<Event> needed = inner_events(after);
  posted_.push_back({inner_.compute(compute, needed), nullptr});
  return {static_cast<std::int64_t>(posted_.size())};
}

void FaultyCommunicator::wait(Event event) { inner_.wait(opened(event)); }

Launcher faulty_launcher(const Launcher& inner, const Fault& fault, bool is_checked,
                         std::shared_ptr<std::atomic<bool>> was_committed) {
  return [=](int rank_count, const std::function<void(Communicator&)>& body) {
    inner(rank_count, [&](Communicator& transport) {
      FaultyCommunicator communicator(transport, fault, is_checked, *was_committed);
      try {
        body(communicator);
      } catch (const RankDied&) {
      }
    });
  };
}

}  // namespace ringproof
