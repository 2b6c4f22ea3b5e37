#pragma once

/// The PTX instructions that CUDA C++ has no word for, one function each, for both sides: inline PTX on the device,
/// the instruction's meaning on the host. Fragment layouts are those of the PTX ISA; lane numbers are within the warp.
///
///   bf16, fp16                                16-bit floats: __nv_bfloat16 and __half on the device
///   float to_float(T)                         exact
///   T from_float<T>(float)                    to nearest, ties to even; NaN becomes 0x7fff
///   uint32_t pack<T>(float low, float high)   two of them in one register
///
///   mma_m16n8k16<T>(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], const float (&c)[4])
///       D = A B + C, A 16 x 16 by rows, B 16 x 8 by columns, T = bf16 or fp16, sums in fp32; d may be c.
///       With g = lane / 4, t = 2 (lane % 4): a = A[g][t..], A[g+8][t..], A[g][t+8..], A[g+8][t+8..] (two each, the
///       left one low), b = B[t..][g], B[t+8..][g], c and d = [g][t], [g][t+1], [g+8][t], [g+8][t+1].
///       On the host LaunchOptions::mma says how the sum is rounded.
///   mma_m8n8k4_f64(double (&d)[2], double a, double b, const double (&c)[2])
///       D = A B + C, A 8 x 4, B 4 x 8: a = A[lane / 4][lane % 4], b = B[lane % 4][lane / 4], c and d =
///       [lane / 4][2 (lane % 4)] and its right neighbour. On the host fused multiply-adds in the order of k.
///   ldmatrix_x4(uint32_t (&r)[4], const void* row), ldmatrix_x2(uint32_t (&r)[2], const void* row), and _trans forms
///       Loads 8 x 8 matrices of 16-bit elements from shared memory. Lane 8 i + j gives the address of row j of matrix
///       i (x2: lanes 0 to 15; the addresses of the others are ignored), 16 bytes, aligned. r[i] = elements
///       [lane / 4][2 (lane % 4)] and its right neighbour of matrix i; _trans: of its transpose.
///
///   cp_async_16, cp_async_8, cp_async_4(void* shared, const void* global, bool take = true)
///       Starts a copy of so many bytes, both ends aligned to as many. take = false writes zeros and reads nothing.
///   cp_async_commit()                         what this thread has started since the last commit becomes a group
///   cp_async_wait<N>()                        waits until at most the N latest groups of this thread are under way
///       On the host the destination holds NaN from the start of the copy until the wait that retires its group.
///
///   barrier_sync(int id, int thread_count)    named barrier 1..15: waits until thread_count threads (a multiple of
///   barrier_arrive(int id, int thread_count)  32) have come to it by either call; arrive does not wait itself
///
///   int anew(int x)                           x, of which the compiler knows nothing: what is made of it in a loop
///       is computed there each time, instead of being kept in registers over the whole loop. No instruction.
///
///   exp2_approx(float)                        ex2.approx.ftz.f32. The host gives 2^x correctly rounded (but for double
///       rounding) with subnormal inputs and results flushed to 0; a device may differ by 2 units in the last place.

#ifdef __CUDACC__
#include "gpu/simt/ptx_cuda.h"
#else
#include "gpu/simt/ptx_host.h"
#endif
