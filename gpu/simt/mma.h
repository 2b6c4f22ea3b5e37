#pragma once

#include <cstdint>

#include "gpu/simt/runtime.h"

/// What a tensor core computes, without lanes and fragments: D = A B + C for the shape m16n8k16.
namespace ringproof::simt::host {

/// Row-major matrices; a and b hold the bits of 16-bit floats. c is overwritten by the result.
struct MmaTile {
  alignas(64) std::uint16_t a[16][16];
  alignas(64) std::uint16_t b[16][8];
  alignas(64) float c[16][8];
};

/// As `numerics` says; of bf16 or fp16 elements.
void multiply_accumulate_bf16(MmaTile& tile, MmaNumerics numerics);
void multiply_accumulate_fp16(MmaTile& tile, MmaNumerics numerics);

}  // namespace ringproof::simt::host
