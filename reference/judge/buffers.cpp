// Memory is mapped, not allocated: it stays where it is from call to call, untouched pages cost nothing, and the page
// behind a tensor can be closed. Positions inside a spread layout are far apart, so bytes are remembered by islands:
// runs around elements, with their guard zones, one behind the other.

#include "reference/judge/buffers.h"

#include <algorithm>
#include <cstring>

namespace ringproof {
namespace {

constexpr std::int64_t kGuardElements = 4096;  // more than a tile's overrun by 16 rows of 256 head dims
constexpr std::size_t kFrontBytes = static_cast<std::size_t>(kGuardElements) * sizeof(double);
constexpr std::size_t kUsualBytes = std::size_t{1} << 26;  // addresses: what stays untouched costs no memory
constexpr std::int64_t kSpreadElements = std::int64_t{1} << 31;

// A quiet NaN whose payload carries the call's number; no kernel makes this one by arithmetic.
std::uint64_t nan_pattern(Dtype dtype, std::uint64_t call) {
  const std::uint64_t payload = 1 + call % 61;
  switch (dtype) {
    case Dtype::kF64: return 0x7ff8a5a5a5a50000u | payload;
    case Dtype::kF32: return 0x7fc5a500u | payload;
    case Dtype::kF16: return 0x7f00u | payload;
    case Dtype::kBf16: return 0x7fc0u | payload;
    case Dtype::kF8E4m3: return 0x7fu;
    default: return 0x7fu;
  }
}

std::size_t whole_pages(std::size_t bytes) { return (bytes + page_bytes() - 1) / page_bytes() * page_bytes(); }

// Calls work(address) for every element.
template <class Work>
void for_each_address(const TensorView& view, const Work& work) {
  for (std::int64_t b = 0; b < view.shape[0]; ++b) {
    for (std::int64_t h = 0; h < view.shape[1]; ++h) {
      for (std::int64_t s = 0; s < view.shape[2]; ++s) {
        for (std::int64_t d = 0; d < view.shape[3]; ++d) work(view.at(b, h, s, d), b, h, s, d);
      }
    }
  }
}

}  // namespace

// Where element 0 comes to lie. Below a spread layout lie as many addresses as it spans, so that an offset which
// wrapped around in 32 bits goes astray and does not end the process.
std::byte* PlacedTensor::find_memory(std::int64_t span, std::size_t size, bool is_spread, bool ends_at_page) {
  const std::size_t spanned = static_cast<std::size_t>(span) * size;
  const std::size_t guard = static_cast<std::size_t>(kGuardElements) * size;
  if (!is_spread && !ends_at_page) {
    special_ = Mapping();
    const std::size_t needed = kFrontBytes + spanned + guard;
    if (usual_.bytes() < needed) {
      usual_ = Mapping();
      usual_ = map(std::max(needed, kUsualBytes));
    }
    return usual_.data() + kFrontBytes;
  }
  const std::size_t front = is_spread ? whole_pages(std::max(spanned, kSpreadElements * size)) : kFrontBytes;
  const std::size_t tail = ends_at_page ? whole_pages(guard) : guard;
  const std::size_t needed = whole_pages(front + spanned + tail);
  special_.unwatch();
  if (special_.bytes() != needed) {
    special_ = Mapping();
    special_ = map(needed);
  }
  return ends_at_page ? special_.data() + needed - tail - spanned : special_.data() + front;
}

void PlacedTensor::find_islands(const StridedLayout& layout, bool is_spread, bool ends_at_page) {
  const std::size_t size = size_bytes(view_.dtype);
  const auto data = static_cast<std::byte*>(view_.data);
  std::vector<std::pair<std::int64_t, std::int64_t>> runs;  // elements, guards included
  const std::int64_t end = layout.span + (ends_at_page ? 0 : kGuardElements);
  const auto add = [&](std::int64_t first, std::int64_t last) {
    runs.emplace_back(first - kGuardElements, std::min(last + kGuardElements, end));
  };
  if (is_spread) {
    for (std::int64_t b = 0; b < view_.shape[0]; ++b) {
      for (std::int64_t h = 0; h < view_.shape[1]; ++h) {
        for (std::int64_t s = 0; s < view_.shape[2]; ++s) {
          add(view_.offset(b, h, s, 0), view_.offset(b, h, s, view_.shape[3] - 1) + 1);
        }
      }
    }
    std::sort(runs.begin(), runs.end());
  } else {
    add(0, layout.span);
  }
  islands_.clear();
  std::size_t remembered_at = 0;
  for (std::size_t i = 0; i < runs.size();) {
    const std::int64_t first = runs[i].first;
    std::int64_t last = runs[i].second;
    for (++i; i < runs.size() && runs[i].first <= last; ++i) last = std::max(last, runs[i].second);
    const std::size_t bytes = static_cast<std::size_t>(last - first) * size;
    islands_.push_back({data + first * static_cast<std::int64_t>(size), bytes, remembered_at});
    remembered_at += bytes;
  }
}

void PlacedTensor::place(Dtype dtype, const Shape& shape, const StridedLayout& layout, bool ends_at_page,
                         std::uint64_t call) {
  const std::size_t size = size_bytes(dtype);
  const bool is_spread = layout.span > kSpreadElements;
  view_ = {find_memory(layout.span, size, is_spread, ends_at_page), dtype, -1, shape, layout.stride};
  find_islands(layout, is_spread, ends_at_page);
  const std::uint64_t pattern = nan_pattern(dtype, call);
  const auto fill = [&](std::byte* begin, std::size_t bytes) {
    for (std::size_t at = 0; at < bytes; at += size) std::memcpy(begin + at, &pattern, size);
  };
  for (const Island& island : islands_) fill(island.begin, island.bytes);
  if (ends_at_page) {
    const std::size_t tail = whole_pages(static_cast<std::size_t>(kGuardElements) * size);
    fill(special_.data() + special_.bytes() - tail, tail);
    special_.watch_tail(tail);
  }
  remember();
}

void PlacedTensor::share(const TensorView& view) {
  special_ = Mapping();
  islands_.clear();
  remembered_.clear();
  view_ = view;
}

void PlacedTensor::add_regions(bool is_output, std::vector<SharedRegion>& regions) const {
  for (const Mapping* mapping : {&usual_, &special_}) {
    if (mapping->data() == nullptr) continue;
    regions.push_back(
        {mapping->id(), mapping->descriptor(), mapping->data(), mapping->bytes(), mapping->bytes_open(), is_output});
  }
}

std::vector<std::byte> PlacedTensor::present() const {
  std::vector<std::byte> bytes(islands_.empty() ? 0 : islands_.back().remembered_at + islands_.back().bytes);
  for (const Island& island : islands_) std::memcpy(bytes.data() + island.remembered_at, island.begin, island.bytes);
  return bytes;
}

void PlacedTensor::remember() { remembered_ = present(); }

std::size_t PlacedTensor::remembered_place(const std::byte* at) const {
  const auto after =
      std::upper_bound(islands_.begin(), islands_.end(), at,
                       [](const std::byte* place, const Island& island) { return place < island.begin; });
  const Island& island = *(after - 1);
  return island.remembered_at + static_cast<std::size_t>(at - island.begin);
}

std::int64_t PlacedTensor::bytes_changed(bool elements_too) const {
  std::vector<std::byte> found = present();
  if (!elements_too) {
    const std::size_t size = size_bytes(view_.dtype);
    for_each_address(view_, [&](const std::byte* at, auto...) {
      const std::size_t place = remembered_place(at);
      std::memcpy(found.data() + place, remembered_.data() + place, size);
    });
  }
  std::int64_t changed = 0;
  for (std::size_t i = 0; i < found.size(); ++i) changed += found[i] != remembered_[i];
  return changed;
}

std::int64_t PlacedTensor::elements_unwritten(std::string& first) const {
  const std::size_t size = size_bytes(view_.dtype);
  std::int64_t count = 0;
  for_each_address(view_, [&](const std::byte* at, auto b, auto h, auto s, auto d) {
    if (std::memcmp(at, remembered_.data() + remembered_place(at), size) != 0) return;
    if (count++ == 0) {
      first = "(" + std::to_string(b) + ", " + std::to_string(h) + ", " + std::to_string(s) + ", " + std::to_string(d) +
              ")";
    }
  });
  return count;
}

std::vector<std::string> written_late(const Buffers& buffers) {
  std::vector<std::string> faults;
  if (buffers.case_line.empty()) return faults;
  for (std::size_t rank = 0; rank < buffers.ranks_used; ++rank) {
    const CallBuffers& mine = buffers.ranks[rank];
    for (const auto& [tensor, name] :
         {std::pair{&mine.q, "q"}, {&mine.k, "k"}, {&mine.v, "v"}, {&mine.out, "out"}, {&mine.lse, "lse"}}) {
      const std::int64_t bytes = tensor->bytes_changed(true);
      if (bytes == 0) continue;
      faults.push_back("the call on '" + buffers.case_line + "' wrote after its return: " + std::to_string(bytes) +
                       " bytes of " + name + " or beside it changed");
    }
  }
  return faults;
}

}  // namespace ringproof
