#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace ringproof {

/// 64 bits that change with certainty when bytes change within one aligned word of eight, and else with all
/// likelihood: for faults of memory and wires, not for adversaries. Never 0. The same on machines of one byte order.
std::uint64_t checksum_of(std::span<const std::byte> bytes);

}  // namespace ringproof
