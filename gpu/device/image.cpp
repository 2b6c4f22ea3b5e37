// The range of host addresses from the first element to the last, guard zones added, is moved to the device as a whole:
// an address there is the host's plus a constant, so that strides, gaps, aliases and misalignment need no thought. Of a
// range that spreads over more than a GiB only the neighbourhoods of the rows are memory.

#include "gpu/device/image.h"

#include <algorithm>
#include <cstring>

#include "gpu/simt/cuda_check.h"

namespace ringproof {
namespace {

using simt::cuda::check;

constexpr std::int64_t kGuardBytes = 32 * 1024;  // more than a tile's overrun by 16 rows of 256 head dims of 8 bytes
constexpr std::int64_t kSpreadBytes = std::int64_t{1} << 30;
constexpr std::int64_t kAlignment = 256;  // what the device's memory has and the host's must not lose
constexpr std::int64_t kMergeBytes = std::int64_t{4} << 20;  // twice the grain of memory on a device

std::int64_t size_of(const TensorView& view) { return static_cast<std::int64_t>(size_bytes(view.dtype)); }

/// All bits set, less the call's number in the low byte: a quiet NaN in every format of two bytes or more, and in fp8
/// the one NaN there is.
std::byte pattern_byte(std::size_t size, std::size_t at, std::uint64_t call) {
  const std::uint64_t low = size > 1 && at % size == 0 ? call % 61 : 0;
  return static_cast<std::byte>(0xff - low);
}

}  // namespace

// Calls work(view, host address of the row's first element, its place) for every row.
template <class Work>
void DeviceImage::for_each_row(const Work& work) const {
  for (const TensorView& view : views_) {
    for (std::int64_t b = 0; b < view.shape[0]; ++b) {
      for (std::int64_t h = 0; h < view.shape[1]; ++h) {
        for (std::int64_t s = 0; s < view.shape[2]; ++s) {
          std::byte* const row = view.at(b, h, s, 0);
          work(view, row, place_of(row));
        }
      }
    }
  }
}

void DeviceImage::find_pieces() {
  std::uintptr_t first = UINTPTR_MAX, end = 0;
  for (const TensorView& view : views_) {
    const auto begin = reinterpret_cast<std::uintptr_t>(view.data);
    const std::byte* last = view.at(view.shape[0] - 1, view.shape[1] - 1, view.shape[2] - 1, view.shape[3] - 1);
    first = std::min(first, begin);
    end = std::max(end, reinterpret_cast<std::uintptr_t>(last) + size_bytes(view.dtype));
  }
  host_begin_ = (first - kGuardBytes) / kAlignment * kAlignment;
  const auto span = static_cast<std::int64_t>(end - host_begin_) + kGuardBytes;
  std::vector<Stretch> stretches;
  if (span <= kSpreadBytes) {
    stretches.push_back({0, span});
  } else {
    pieces_.clear();
    for_each_row([&](const TensorView& view, const std::byte* row, std::int64_t) {
      const auto begin = static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(row) - host_begin_);
      const std::int64_t bytes = ((view.shape[3] - 1) * view.stride[3] + 1) * size_of(view);
      stretches.push_back({std::max<std::int64_t>(begin - kGuardBytes, 0), bytes + 2 * kGuardBytes});
    });
    std::sort(stretches.begin(), stretches.end(), [](const Stretch& a, const Stretch& b) { return a.begin < b.begin; });
    std::size_t kept = 0;
    for (const Stretch& next : stretches) {
      Stretch& last = stretches[kept];
      const std::int64_t last_end = last.begin + last.bytes;
      if (next.begin <= last_end + kMergeBytes) {
        last.bytes = std::max(last_end, next.begin + next.bytes) - last.begin;
      } else {
        stretches[++kept] = next;
      }
    }
    stretches.resize(kept + 1);
  }
  memory_.reserve(span, stretches);
  pieces_.clear();
  std::int64_t place = 0;
  for (const Stretch& stretch : stretches) {
    pieces_.push_back({stretch, place});
    place += stretch.bytes;
  }
  source_.reserve(place, {{0, place}});
  sent_.resize(static_cast<std::size_t>(place));
}

std::int64_t DeviceImage::place_of(const void* host) const {
  if (pieces_.empty()) return 0;
  const auto at = static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(host) - host_begin_);
  const auto after = std::upper_bound(pieces_.begin(), pieces_.end(), at, [](std::int64_t value, const Piece& piece) {
    return value < piece.stretch.begin;
  });
  const Piece& piece = *(after - 1);
  return piece.place + (at - piece.stretch.begin);
}

std::byte* DeviceImage::at(const void* host) const {
  return memory_.data() + (reinterpret_cast<std::uintptr_t>(host) - host_begin_);
}

void DeviceImage::lay_out(const std::vector<TensorView>& views, std::uint64_t call) {
  views_ = views;
  find_pieces();
  const std::size_t size = size_bytes(views_.front().dtype);
  for (std::size_t i = 0; i < sent_.size(); ++i) sent_[i] = pattern_byte(size, i, call);
  kind_.assign(sent_.size(), 0);
  for_each_row([&](const TensorView& view, const std::byte* row, std::int64_t place) {
    for (std::int64_t d = 0; d < view.shape[3]; ++d) {
      const std::int64_t apart = d * view.stride[3] * static_cast<std::int64_t>(size);
      const auto to = static_cast<std::size_t>(place + apart);
      std::memcpy(sent_.data() + to, row + apart, size);
      std::memset(kind_.data() + to, 1, size);
      kind_[to + size - 1] = 2;
    }
  });
}

void DeviceImage::turn_signs() {
  for (std::size_t i = 0; i < sent_.size(); ++i) {
    if (kind_[i] == 2) sent_[i] ^= std::byte{0x80};
  }
}

void DeviceImage::send() {
  check(cudaMemcpy(source_.data(), sent_.data(), sent_.size(), cudaMemcpyHostToDevice), "cudaMemcpy to the device");
  for (const Piece& piece : pieces_) {
    const auto bytes = static_cast<std::size_t>(piece.stretch.bytes);
    check(cudaMemset(memory_.data() + piece.stretch.begin, 0xff, bytes), "cudaMemset");
  }
}

void DeviceImage::arrive(cudaStream_t stream) const {
  for (const Piece& piece : pieces_) {
    check(cudaMemcpyAsync(memory_.data() + piece.stretch.begin, source_.data() + piece.place,
                          static_cast<std::size_t>(piece.stretch.bytes), cudaMemcpyDeviceToDevice, stream),
          "cudaMemcpyAsync on the device");
  }
}

std::vector<std::byte> DeviceImage::fetch(cudaStream_t stream) const {
  std::vector<std::byte> got(sent_.size());
  for (const Piece& piece : pieces_) {
    check(cudaMemcpyAsync(got.data() + piece.place, memory_.data() + piece.stretch.begin,
                          static_cast<std::size_t>(piece.stretch.bytes), cudaMemcpyDeviceToHost, stream),
          "cudaMemcpyAsync from the device");
  }
  check(cudaStreamSynchronize(stream), "cudaStreamSynchronize");
  return got;
}

std::int64_t DeviceImage::bytes_changed(const std::vector<std::byte>& got, bool elements_too) const {
  std::int64_t changed = 0;
  for (std::size_t i = 0; i < got.size(); ++i) changed += got[i] != sent_[i] && (elements_too || kind_[i] == 0);
  return changed;
}

void DeviceImage::give_back(const std::vector<std::byte>& got) const {
  for_each_row([&](const TensorView& view, std::byte* row, std::int64_t place) {
    for (std::int64_t d = 0; d < view.shape[3]; ++d) {
      const std::int64_t apart = d * view.stride[3] * size_of(view);
      std::memcpy(row + apart, got.data() + place + apart, size_bytes(view.dtype));
    }
  });
}

}  // namespace ringproof
