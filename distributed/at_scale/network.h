#pragma once

#include <string>
#include <vector>

namespace ringproof {

/// The way from one rank to another. A transfer alone on it takes latency_s + bytes / bytes_per_s.
struct Route {
  double latency_s, bytes_per_s;
};

/// GPUs in a described network, one rank each. What transfers of other pairs of neighbouring ranks use, in either
/// direction, slows none down.
struct Network {
  std::string name, words;
  int ranks_max;
  /// For rank -> rank, both below ranks_max.
  Route (*route)(int from, int to);
  /// SimGrid's description of the first `ranks` hosts (gpu0, gpu1, ...), of `flops` operations per second each.
  std::string (*platform)(int ranks, double flops);
};

/// nvlink_islands, infiniband_fat_tree.
const std::vector<Network>& networks();

/// Throws InputError for a name that is none.
const Network& network_of(const std::string& name);

}  // namespace ringproof
