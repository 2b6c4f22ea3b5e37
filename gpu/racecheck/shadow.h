#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <unordered_map>
#include <vector>

#include "gpu/racecheck/copies.h"
#include "gpu/racecheck/ordering.h"
#include "gpu/racecheck/places.h"

/// Who touched which byte last, and whether the next to touch it may.
namespace ringproof::racecheck {

enum class Touch : std::uint8_t { kRead, kWrite, kAtomic };

/// One access of a thread of a block, or of a copy (cp.async) that it started.
struct Access {
  std::uint32_t block = 0;  ///< serial number of the block, from 1; 0: no access
  std::uint32_t stamp = 0;  ///< Ordering's time, or the number of a group of Copies
  Place place = 0;
  std::uint16_t thread = 0;
  bool is_copy = false;
  Touch touch = Touch::kRead;
};

enum class Fault : std::uint8_t {
  kUnordered,      ///< two threads of a block, one of them writes, and no synchronisation lies between
  kBlocks,         ///< the same for threads of different blocks, which nothing but the end of the kernel orders
  kCopyUnderWay,   ///< a copy that its thread has not waited for
  kUninitialised,  ///< shared memory that this block has not written
  kBesideShared,   ///< just before the block's shared memory or behind it
  kBarrierRound,   ///< two threads come to a named barrier, each of whom could have completed the other's round
};

/// Two accesses that exclude each other, or two arrivals at a barrier; `earlier` is none (block 0) for kUninitialised
/// and kBesideShared.
struct Race {
  Fault fault;
  Access earlier, later;
  const unsigned char* address = nullptr;
};

/// The shadow of all memory that the threads of a launch touch. A word of a few bytes is remembered as one until
/// somebody touches a part of it.
class Shadow {
 public:
  Shadow(const Ordering& ordering, const Copies& copies) : ordering_(ordering), copies_(copies) {}

  /// What earlier launches did happened before.
  void start_launch() { launch_first_block_ = block_ + 1; }
  /// The shared memory of a new block holds nothing.
  void start_block(const unsigned char* shared, std::size_t shared_bytes);
  void end_block() { shared_bytes_ = 0; }
  std::uint32_t block() const { return block_; }

  /// Judges and remembers an access to `bytes` bytes of the block that was started last. Races are appended to `races`,
  /// one at most for each word. Of readers and of atomics that race the threads are exact, and the line is that of the
  /// first or the latest of them.
  void touch(const unsigned char* address, std::size_t bytes, const Access& access, std::vector<Race>& races);

 private:
  // Of shared memory a word is four bytes: kernels load and store it in no smaller pieces. Tensors may be of 16 bits.
  static constexpr std::size_t kSharedWord = 4, kGlobalWord = 2, kPageWords = 1024, kWarpsWithin = 4;
  static constexpr int kLanesPerWarp = 32;

  /// Lanes of one warp whose accesses carry the same time.
  struct Lanes {
    std::uint32_t time = 0, mask = 0;
  };
  /// Accesses of threads and copies that are in nobody's way.
  struct Aside {
    std::vector<Lanes> warps;     // from warp kWarpsWithin on; of atomics all
    std::vector<Access> singles;  // copies, and lanes of different times that do not know of one another
    Place place = 0;              // of the latest in `warps`
    std::uint16_t thread = 0;
  };
  /// What few words need.
  struct Rare {
    Aside readers, atomics;
    std::array<std::uint32_t, kSharedWord> bytes{};  // cells of its bytes, by number
    bool is_split = false;
  };
  enum class Written : std::uint8_t { kNever, kByThread, kByCopy };
  /// All that the latest block to touch a word did to it since its last write, in one cache line.
  struct alignas(64) Cell {
    std::uint32_t block = 0;
    std::uint32_t rare = 0;  // by number; 0: none
    std::uint32_t write_stamp = 0;
    Place write_place = 0, first_reader_place = 0, last_reader_place = 0;
    std::uint16_t write_thread = 0, first_reader = 0, last_reader = 0;
    Written written = Written::kNever;
    bool is_read = false;
    std::array<Lanes, kWarpsWithin> readers{};
  };
  struct Page {
    std::array<Cell, kPageWords> cells;
    std::array<Access, kPageWords> elsewhere;  // the strongest access of the block before the latest
  };

  void judge_part(const Cell& cell, const unsigned char* address, std::size_t first, std::size_t count,
                  const Access& now, std::vector<Race>& races);
  bool judge(Cell& cell, Access& elsewhere, const unsigned char* address, const Access& now, std::vector<Race>& races);
  bool judge_one(const Access& earlier, const unsigned char* address, const Access& now, std::vector<Race>& races);
  bool judge_lanes(const Lanes& lanes, int warp, Access earlier, const unsigned char* address, const Access& now,
                   std::vector<Race>& races);
  bool judge_aside(const Aside& aside, int first_warp, Touch touch, const unsigned char* address, const Access& now,
                   std::vector<Race>& races);
  bool judge_readers(const Cell& cell, const unsigned char* address, const Access& now, std::vector<Race>& races);
  bool judge_write(const Cell& cell, const unsigned char* address, const Access& now, std::vector<Race>& races);
  void add_reader(Cell& cell, const Access& now);
  void add_atomic(Cell& cell, const Access& now);
  Lanes& aside_of(Cell& cell, Aside Rare::*which, std::size_t warp, const Access& now);
  void add_lane(Lanes& lanes, Cell& cell, Aside Rare::*which, const Access& now);
  void add_single(std::vector<Access>& singles, const Access& now);
  void enter_block(Cell& cell, Access& elsewhere, std::uint32_t block);
  void split(Cell& cell, const Access& elsewhere);
  void forget_others(Cell& cell);
  Access strongest(const Cell& cell) const;
  Access write_of(const Cell& cell) const;
  bool is_ordered(const Access& earlier, int thread) const;
  Rare& rare_of(Cell& cell);
  Page& page_at(std::uintptr_t address);

  const Ordering& ordering_;
  const Copies& copies_;
  std::uint32_t block_ = 0, launch_first_block_ = 1;
  bool in_shared_ = false;  // the access in hand
  const unsigned char* shared_ = nullptr;
  std::size_t shared_bytes_ = 0;
  std::vector<Cell> shared_words_;
  std::unordered_map<std::uintptr_t, std::unique_ptr<Page>> pages_;
  std::uintptr_t page_key_ = 0;
  Page* page_ = nullptr;
  std::deque<Rare> rares_{1};
  std::deque<Cell> bytes_;  // of split words
  std::deque<Access> bytes_elsewhere_;
  Access none_;
};

}  // namespace ringproof::racecheck
