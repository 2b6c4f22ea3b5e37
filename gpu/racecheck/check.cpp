// A dropped synchronisation is passed as before and orders nothing: the threads run in an order in which they could
// have run, and whatever only that synchronisation kept apart shows as a race. Nothing goes wrong for real, so what
// follows is judged as well.

#include "gpu/racecheck/check.h"

#include <filesystem>
#include <fstream>
#include <set>

#include "gpu/racecheck/instrumentation.h"
#include "reference/spec/error.h"

namespace ringproof::racecheck {
namespace {

using simt::host::Site;

bool contains(const std::vector<SyncLine>& lines, const Site& site) {
  for (const SyncLine& line : lines) {
    if (same_place(line.site, site)) return true;
  }
  return false;
}

struct Told {
  explicit Told(Watcher& watcher) { tell_accesses_to(&watcher); }
  ~Told() { tell_accesses_to(nullptr); }
};

/// The sites' files are named as the build named them: from the root of the sources or as seen from the build folder.
std::filesystem::path source_of(const Site& site) {
  const std::string file = site.file;
  const std::size_t folder = file.rfind("gpu/");
  if (folder == std::string::npos) return file;
  return std::filesystem::path(RINGPROOF_SOURCE_FOLDER) / file.substr(folder);
}

}  // namespace

bool Check::is_clean() const {
  for (const SyncCheck& sync : syncs) {
    if (!sync.is_needed && sync.reason.empty()) return false;
  }
  return faults.empty();
}

namespace {

void run(const Workload& workload, Watcher& watcher, const Site& ignored, std::vector<std::string>& texts) {
  if (ignored.file != nullptr) watcher.ignore(ignored);
  simt::host::LaunchOptions options;
  options.thread_count = 1;
  options.observer = &watcher;
  try {
    const Told told(watcher);
    workload.run(watcher, options);
  } catch (const Error& error) {
    texts.push_back(error.what());
  }
}

/// Whether there is a race; nothing more is looked at then.
bool has_race(const Workload& workload, const Site& ignored) {
  Places places;
  Watcher watcher(places);
  watcher.stop_at_first();
  std::vector<std::string> texts;
  run(workload, watcher, ignored, texts);
  return !texts.empty() || !watcher.findings().empty();
}

}  // namespace

std::vector<std::string> find_races(const Workload& workload, const Site& ignored, std::vector<SyncLine>* seen) {
  Places places;
  Watcher watcher(places);
  std::vector<std::string> texts;
  run(workload, watcher, ignored, texts);
  std::set<std::string> told;  // an unrolled loop has many places on one line
  for (const Finding& finding : watcher.findings()) {
    const Race& race = finding.race;
    const std::string lines =
        to_string(places.where(race.later.place)) + " " + to_string(places.where(race.earlier.place));
    if (told.insert(lines + " " + std::to_string(static_cast<int>(race.fault))).second) {
      texts.push_back(to_string(finding, places));
    }
  }
  for (const SyncLine& line : watcher.sync_lines()) {
    if (seen != nullptr && !contains(*seen, line.site)) seen->push_back(line);
  }
  return texts;
}

Check check_races(std::span<const Workload> workloads) {
  Check result;
  for (const Workload& workload : workloads) {
    for (const std::string& text : find_races(workload, {}, &result.seen)) {
      result.faults.push_back(text + "; seen in " + workload.name);
    }
  }
  return result;
}

Check check(std::span<const Workload> workloads) {
  Check result = check_races(workloads);
  if (!result.faults.empty()) return result;
  for (const SyncLine& line : result.seen) {
    SyncCheck sync{line, false, {}};
    for (const Workload& workload : workloads) {
      sync.is_needed = has_race(workload, line.site);
      if (sync.is_needed) break;
    }
    if (!sync.is_needed) sync.reason = redundancy_reason(line.site);
    result.syncs.push_back(std::move(sync));
  }
  return result;
}

std::string redundancy_reason(const Site& site) {
  static constexpr const char* kMark = "// redundant: ";
  std::ifstream file(source_of(site));
  std::string line;
  for (int number = 1; std::getline(file, line); ++number) {
    const std::size_t mark = line.find(kMark);
    if (number == site.line) return mark == std::string::npos ? "" : line.substr(mark + std::string(kMark).size());
  }
  return "";
}

}  // namespace ringproof::racecheck
