// FastTrack's idea (Flanagan & Freund 2009): a write that knows every access before it may stand for them, since
// whoever knows the write knows them. So a word's memory is its last write and who has read it since. Readers that do
// not know of one another have to be kept side by side; here those are mostly lanes of a warp, which share a clock, and
// a mask and a time per warp say it all, exactly.
//
// Blocks run one after another, and nothing orders them: of the blocks before the latest, one access is enough.

#include "gpu/racecheck/shadow.h"

#include <algorithm>
#include <bit>

namespace ringproof::racecheck {
namespace {

bool exclude_each_other(Touch a, Touch b) { return a == Touch::kWrite || b == Touch::kWrite || a != b; }

}  // namespace

void Shadow::start_block(const unsigned char* shared, std::size_t shared_bytes) {
  ++block_;
  shared_ = shared;
  shared_bytes_ = shared_bytes;
  const std::size_t words = (shared_bytes + kSharedWord - 1) / kSharedWord;
  if (shared_words_.size() < words) shared_words_.resize(words);
}

Shadow::Page& Shadow::page_at(std::uintptr_t address) {
  const std::uintptr_t key = address / (kGlobalWord * kPageWords) + 1;
  if (key != page_key_) {
    std::unique_ptr<Page>& page = pages_[key];
    if (page == nullptr) page = std::make_unique<Page>();
    page_ = page.get();
    page_key_ = key;
  }
  return *page_;
}

void Shadow::touch(const unsigned char* address, std::size_t bytes, const Access& access, std::vector<Race>& races) {
  in_shared_ = address >= shared_ && address < shared_ + shared_bytes_;
  const std::size_t word_bytes = in_shared_ ? kSharedWord : kGlobalWord;
  const unsigned char* const end = address + bytes;
  while (address != end) {
    const std::size_t first = reinterpret_cast<std::uintptr_t>(address) % word_bytes;
    const std::size_t count = std::min(word_bytes - first, static_cast<std::size_t>(end - address));
    Cell* cell = nullptr;
    Access* elsewhere = &none_;
    if (in_shared_) {
      cell = &shared_words_[static_cast<std::size_t>(address - shared_) / kSharedWord];
    } else {
      const auto place = reinterpret_cast<std::uintptr_t>(address);
      Page& page = page_at(place);
      cell = &page.cells[place / kGlobalWord % kPageWords];
      elsewhere = &page.elsewhere[place / kGlobalWord % kPageWords];
    }
    const bool is_split = cell->rare != 0 && rares_[cell->rare].is_split;
    if (count == word_bytes && !is_split) {
      judge(*cell, *elsewhere, address, access, races);
    } else {
      if (!is_split) split(*cell, *elsewhere);
      judge_part(*cell, address, first, count, access, races);
    }
    address += count;
  }
}

/// Bytes first .. first + count - 1 of a split word, the first of them at `address`.
void Shadow::judge_part(const Cell& cell, const unsigned char* address, std::size_t first, std::size_t count,
                        const Access& now, std::vector<Race>& races) {
  const std::array<std::uint32_t, kSharedWord> bytes = rares_[cell.rare].bytes;
  const std::size_t races_before = races.size();
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint32_t byte = bytes[first + i];
    judge(bytes_[byte], bytes_elsewhere_[byte], address + i, now, races);
    if (races.size() > races_before) races.resize(races_before + 1);
  }
}

/// From now on there is a cell for each byte, and what the word's cell knew holds of all.
void Shadow::split(Cell& cell, const Access& elsewhere) {
  Cell whole = cell;
  whole.rare = 0;
  const bool was_rare = cell.rare != 0;
  Rare& rare = rare_of(cell);
  rare.is_split = true;
  for (std::uint32_t& byte : rare.bytes) {
    byte = static_cast<std::uint32_t>(bytes_.size());
    bytes_.push_back(whole);
    bytes_elsewhere_.push_back(elsewhere);
    if (!was_rare) continue;
    Rare& of_byte = rare_of(bytes_.back());
    of_byte.readers = rare.readers;
    of_byte.atomics = rare.atomics;
  }
}

bool Shadow::is_ordered(const Access& earlier, int thread) const {
  if (!earlier.is_copy) return ordering_.knows(thread, earlier.thread, earlier.stamp);
  const std::uint32_t complete_at = copies_.complete_at(earlier.stamp);
  return complete_at != Copies::kUnderWay && ordering_.knows(thread, earlier.thread, complete_at);
}

// The judge_ functions return whether they have found a race, and stop there.

bool Shadow::judge_one(const Access& earlier, const unsigned char* address, const Access& now,
                       std::vector<Race>& races) {
  Fault fault = Fault::kUnordered;
  if (earlier.block != now.block) {
    fault = Fault::kBlocks;
  } else if (is_ordered(earlier, now.thread)) {
    return false;
  } else if (earlier.is_copy && copies_.complete_at(earlier.stamp) == Copies::kUnderWay) {
    fault = Fault::kCopyUnderWay;
  }
  races.push_back({fault, earlier, now, address});
  return true;
}

/// `earlier` tells touch and place, and the thread at that place.
bool Shadow::judge_lanes(const Lanes& lanes, int warp, Access earlier, const unsigned char* address, const Access& now,
                         std::vector<Race>& races) {
  if (lanes.mask == 0 || ordering_.knows_warp(now.thread, warp, lanes.time)) return false;
  const auto is_unordered = [&](int lane) {
    return (lanes.mask >> lane & 1u) != 0 && !ordering_.knows(now.thread, warp * kLanesPerWarp + lane, lanes.time);
  };
  int lane = earlier.thread / kLanesPerWarp == warp ? earlier.thread % kLanesPerWarp : 0;
  for (int tried = 0; tried < kLanesPerWarp; ++tried, lane = (lane + 1) % kLanesPerWarp) {
    if (!is_unordered(lane)) continue;
    earlier.stamp = lanes.time;
    earlier.thread = static_cast<std::uint16_t>(warp * kLanesPerWarp + lane);
    return judge_one(earlier, address, now, races);
  }
  return false;
}

bool Shadow::judge_aside(const Aside& aside, int first_warp, Touch touch, const unsigned char* address,
                         const Access& now, std::vector<Race>& races) {
  const Access someone{now.block, 0, aside.place, aside.thread, false, touch};
  for (std::size_t i = 0; i < aside.warps.size(); ++i) {
    if (judge_lanes(aside.warps[i], first_warp + static_cast<int>(i), someone, address, now, races)) return true;
  }
  for (const Access& single : aside.singles) {
    if (judge_one(single, address, now, races)) return true;
  }
  return false;
}

bool Shadow::judge_readers(const Cell& cell, const unsigned char* address, const Access& now,
                           std::vector<Race>& races) {
  if (!cell.is_read) return false;
  // The writer may be the latest reader itself: then the first one's line is the better guess for another's.
  const bool take_first = cell.last_reader == now.thread;
  const Access someone{now.block,
                       0,
                       take_first ? cell.first_reader_place : cell.last_reader_place,
                       take_first ? cell.first_reader : cell.last_reader,
                       false,
                       Touch::kRead};
  for (std::size_t warp = 0; warp < kWarpsWithin; ++warp) {
    if (judge_lanes(cell.readers[warp], static_cast<int>(warp), someone, address, now, races)) return true;
  }
  return cell.rare != 0 && judge_aside(rares_[cell.rare].readers, kWarpsWithin, Touch::kRead, address, now, races);
}

Access Shadow::write_of(const Cell& cell) const {
  return {cell.block,   cell.write_stamp, cell.write_place, cell.write_thread, cell.written == Written::kByCopy,
          Touch::kWrite};
}

/// Against the last write and the atomics since.
bool Shadow::judge_write(const Cell& cell, const unsigned char* address, const Access& now, std::vector<Race>& races) {
  if (cell.written != Written::kNever) {
    if (judge_one(write_of(cell), address, now, races)) return true;
  } else if (in_shared_ && now.touch != Touch::kWrite) {
    races.push_back({Fault::kUninitialised, {}, now, address});
    return true;
  }
  return cell.rare != 0 && now.touch != Touch::kAtomic &&
         judge_aside(rares_[cell.rare].atomics, 0, Touch::kAtomic, address, now, races);
}

bool Shadow::judge(Cell& cell, Access& elsewhere, const unsigned char* address, const Access& now,
                   std::vector<Race>& races) {
  if (cell.block != now.block) enter_block(cell, elsewhere, now.block);
  if (now.touch == Touch::kRead && !now.is_copy) {
    const auto warp = static_cast<std::size_t>(now.thread / kLanesPerWarp);
    // Nothing has been written since this thread read it at this time.
    if (warp < kWarpsWithin && cell.readers[warp].time == now.stamp &&
        (cell.readers[warp].mask >> (now.thread % kLanesPerWarp) & 1u) != 0) {
      return false;
    }
  }
  bool raced = elsewhere.block >= launch_first_block_ && exclude_each_other(elsewhere.touch, now.touch) &&
               judge_one(elsewhere, address, now, races);
  raced = raced || judge_write(cell, address, now, races);
  switch (now.touch) {
    case Touch::kRead: add_reader(cell, now); break;
    case Touch::kAtomic:
      raced = raced || judge_readers(cell, address, now, races);
      add_atomic(cell, now);
      break;
    case Touch::kWrite:
      raced = raced || judge_readers(cell, address, now, races);
      forget_others(cell);
      cell.written = now.is_copy ? Written::kByCopy : Written::kByThread;
      cell.write_stamp = now.stamp;
      cell.write_place = now.place;
      cell.write_thread = now.thread;
      break;
  }
  return raced;
}

void Shadow::add_reader(Cell& cell, const Access& now) {
  if (!cell.is_read) {
    cell.first_reader_place = now.place;
    cell.first_reader = now.thread;
  }
  cell.is_read = true;
  cell.last_reader_place = now.place;
  cell.last_reader = now.thread;
  const auto warp = static_cast<std::size_t>(now.thread / kLanesPerWarp);
  if (now.is_copy) {
    add_single(rare_of(cell).readers.singles, now);
  } else if (warp < kWarpsWithin) {
    add_lane(cell.readers[warp], cell, &Rare::readers, now);
  } else {
    add_lane(aside_of(cell, &Rare::readers, warp - kWarpsWithin, now), cell, &Rare::readers, now);
  }
}

void Shadow::add_atomic(Cell& cell, const Access& now) {
  const auto warp = static_cast<std::size_t>(now.thread / kLanesPerWarp);
  add_lane(aside_of(cell, &Rare::atomics, warp, now), cell, &Rare::atomics, now);
}

Shadow::Lanes& Shadow::aside_of(Cell& cell, Aside Rare::*which, std::size_t warp, const Access& now) {
  Aside& aside = rare_of(cell).*which;
  aside.place = now.place;
  aside.thread = now.thread;
  if (aside.warps.size() <= warp) aside.warps.resize(warp + 1);
  return aside.warps[warp];
}

/// Lanes of an earlier time are left out where this thread knows of them, and put aside where it does not.
void Shadow::add_lane(Lanes& lanes, Cell& cell, Aside Rare::*which, const Access& now) {
  const int lane = now.thread % kLanesPerWarp, warp_begin = now.thread - lane;
  if (lanes.time != now.stamp) {
    for (std::uint32_t rest = lanes.mask; rest != 0; rest &= rest - 1) {
      const int thread = warp_begin + std::countr_zero(rest);
      if (ordering_.knows(now.thread, thread, lanes.time)) continue;
      Access single = now;
      single.stamp = lanes.time;
      single.thread = static_cast<std::uint16_t>(thread);
      (rare_of(cell).*which).singles.push_back(single);
    }
    lanes = {now.stamp, 0};
  }
  lanes.mask |= 1u << lane;
}

void Shadow::add_single(std::vector<Access>& singles, const Access& now) {
  for (Access& single : singles) {
    const bool is_same = single.is_copy == now.is_copy && single.stamp == now.stamp && single.thread == now.thread;
    if (!is_same && !is_ordered(single, now.thread)) continue;
    single = now;
    return;
  }
  singles.push_back(now);
}

/// What the block before did is judged once more, when another touches the word.
void Shadow::enter_block(Cell& cell, Access& elsewhere, std::uint32_t block) {
  if (!in_shared_ && cell.block >= launch_first_block_) elsewhere = strongest(cell);
  forget_others(cell);
  cell.written = Written::kNever;
  cell.block = block;
}

Access Shadow::strongest(const Cell& cell) const {
  if (cell.written != Written::kNever) return write_of(cell);
  if (cell.rare != 0 && !rares_[cell.rare].atomics.warps.empty()) {
    const Aside& atomics = rares_[cell.rare].atomics;
    return {cell.block, 0, atomics.place, atomics.thread, false, Touch::kAtomic};
  }
  return {cell.block, 0, cell.last_reader_place, cell.last_reader, false, Touch::kRead};
}

void Shadow::forget_others(Cell& cell) {
  if (cell.is_read) cell.readers = {};
  cell.is_read = false;
  if (cell.rare == 0) return;
  for (Aside* aside : {&rares_[cell.rare].readers, &rares_[cell.rare].atomics}) {
    aside->warps.clear();
    aside->singles.clear();
  }
}

Shadow::Rare& Shadow::rare_of(Cell& cell) {
  if (cell.rare == 0) {
    cell.rare = static_cast<std::uint32_t>(rares_.size());
    rares_.emplace_back();
  }
  return rares_[cell.rare];
}

}  // namespace ringproof::racecheck
