// Bandwidths are those of distributed.md: NVLink 370 GB/s, InfiniBand 400 Gb/s. Latencies per link are
// round numbers of the order of what these networks have. route() says in two lines what platform() says to SimGrid;
// a test holds one to the other through the times that come out.

#include "distributed/at_scale/network.h"

#include <cstdio>

#include "reference/spec/error.h"

namespace ringproof {
namespace {

constexpr int kRanksMax = 1024, kIslandRanks = 8, kLeafRanks = 32;
constexpr double kNvlink = 370e9, kInfiniband = 50e9;         // bytes a second
constexpr double kNvlinkLatency = 5e-7, kPortLatency = 5e-7;  // seconds a link
constexpr double kTreeLatency = 1e-6;

std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.17g", value);
  return text;
}

std::string document(const std::string& body) {
  return "<?xml version='1.0'?>\n<!DOCTYPE platform SYSTEM \"https://simgrid.org/simgrid.dtd\">\n"
         "<platform version=\"4.1\">\n" +
         body + "</platform>\n";
}

std::string cluster(const std::string& id, int first, int last, double flops, double bandwidth, double latency,
                    const std::string& more) {
  return "<cluster id=\"" + id + "\" prefix=\"gpu\" suffix=\"\" radical=\"" + std::to_string(first) + "-" +
         std::to_string(last) + "\" speed=\"" + number(flops) + "f\" bw=\"" + number(bandwidth) + "Bps\" lat=\"" +
         number(latency) + "s\" " + more + "/>\n";
}

// Two links within an island; between islands also the ports of both.
Route route_of_islands(int from, int to) {
  const bool is_inside = from / kIslandRanks == to / kIslandRanks;
  return is_inside ? Route{2 * kNvlinkLatency, kNvlink} : Route{2 * kNvlinkLatency + 2 * kPortLatency, kInfiniband};
}

// An island has one port: in a ring, one of its GPUs sends outward and one receives.
std::string platform_of_islands(int ranks, double flops) {
  std::string islands, ports, routes;
  for (int island = 0; island * kIslandRanks < ranks; ++island) {
    const std::string n = std::to_string(island);
    islands += cluster("island" + n, island * kIslandRanks, (island + 1) * kIslandRanks - 1, flops, kNvlink,
                       kNvlinkLatency, "router_id=\"island_switch" + n + "\"");
    const std::string island_end = "\"island" + n + "\"", spine_end = "\"spine\"";
    ports += "<link id=\"port" + n + "\" bandwidth=\"" + number(kInfiniband) + "Bps\" latency=\"" +
             number(kPortLatency) + "s\" sharing_policy=\"SPLITDUPLEX\"/>\n";
    routes += "<zoneRoute src=" + island_end + " dst=" + spine_end + " gw_src=\"island_switch" + n +
              "\" gw_dst=\"spine_switch\" symmetrical=\"NO\"><link_ctn id=\"port" + n +
              "\" direction=\"UP\"/></zoneRoute>\n<zoneRoute src=" + spine_end + " dst=" + island_end +
              " gw_src=\"spine_switch\" gw_dst=\"island_switch" + n + "\" symmetrical=\"NO\"><link_ctn id=\"port" + n +
              "\" direction=\"DOWN\"/></zoneRoute>\n";
  }
  return document(
      "<zone id=\"world\" routing=\"Floyd\">\n"
      "<zone id=\"spine\" routing=\"None\"><router id=\"spine_switch\"/></zone>\n" +
      islands + ports + routes + "</zone>\n");
}

Route route_of_tree(int from, int to) {
  return {(from / kLeafRanks == to / kLeafRanks ? 2 : 4) * kTreeLatency, kInfiniband};
}

// Two levels, 32 leaf and 32 spine switches, as many ports upwards as downwards.
std::string platform_of_tree(int /*ranks*/, double flops) {
  return document(cluster("gpus", 0, kRanksMax - 1, flops, kInfiniband, kTreeLatency,
                          "topology=\"FAT_TREE\" topo_parameters=\"2;32,32;1,32;1,1\""));
}

}  // namespace

const std::vector<Network>& networks() {
  static const std::vector<Network> all{
      {"nvlink_islands", "islands of 8 GPUs, NVLink 370 GB/s a GPU inside, a port of InfiniBand 400 Gb/s between",
       kRanksMax, route_of_islands, platform_of_islands},
      {"infiniband_fat_tree", "InfiniBand 400 Gb/s a GPU, 32 leaf switches of 32 GPUs, 32 spine switches", kRanksMax,
       route_of_tree, platform_of_tree}};
  return all;
}

const Network& network_of(const std::string& name) {
  std::string known;
  for (const Network& one : networks()) {
    if (one.name == name) return one;
    known += (known.empty() ? "" : ", ") + one.name;
  }
  throw InputError("there is no network '" + name + "'; known are " + known);
}

}  // namespace ringproof
