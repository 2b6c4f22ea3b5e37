#include "ci/machine.h"

#include <sys/utsname.h>
#include <unistd.h>

#include <ctime>
#include <fstream>
#include <thread>

#include "gpu/device.h"

namespace ringproof {
namespace {

// The value behind `key` in a file of "key: value" or "key=value" lines.
std::string value_in(const char* path, const std::string& key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (line.rfind(key, 0) != 0) continue;
    const std::size_t begin = line.find_first_not_of("\t :=\"", key.size());
    const std::size_t end = line.find_last_not_of("\" \t");
    if (begin != std::string::npos) return line.substr(begin, end + 1 - begin);
  }
  return "unknown";
}

}  // namespace

Machine this_machine() {
  utsname kernel{};
  uname(&kernel);
  const auto pages = static_cast<std::uint64_t>(sysconf(_SC_PHYS_PAGES));
  const std::string os = value_in("/etc/os-release", "PRETTY_NAME") + ", " + kernel.sysname + " " + kernel.release;
  return {value_in("/proc/cpuinfo", "model name"), os, static_cast<int>(std::thread::hardware_concurrency()),
          pages * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE)), cuda_device_name()};
}

std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  gmtime_r(&now, &utc);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc);
  return text;
}

}  // namespace ringproof
