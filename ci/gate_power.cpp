#include "ci/gate_power.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

namespace ringproof {

void PowerLedger::note(const std::string& candidate, const Description& description, const Reference& reference,
                       std::int64_t tensors_in_run, int threads) {
  const Problem& p = reference.c.problem;
  // Rows that NaN or infinity decides are altered by no fault.
  if (!is_measurable(p) || reference.inputs_with_special) return;
  const int rows_class = length_class(most_visible_keys(reference));
  const bool on_ranks = p.topology.rank_count > 1;
  const Kind kind{candidate, p.dtype, p.mask.kind, rows_class, reference.c.inputs.kind, on_ranks};
  if (!measured_.insert(kind).second) return;
  const std::string line = to_string(reference.c);
  if (line != case_line_) {
    case_line_ = line;
    meter_ = std::make_unique<PowerMeter>(reference, tensors_in_run, threads);
    of_case_.clear();
  }
  const Arithmetic declared = resolve(description.arithmetic, p.dtype);
  const bool has_lse = description.has(kWritesLse);
  auto known = std::find_if(of_case_.begin(), of_case_.end(), [&](const auto& one) {
    return std::get<0>(one) == declared && std::get<1>(one) == has_lse;
  });
  if (known == of_case_.end()) {
    of_case_.emplace_back(declared, has_lse, meter_->measure(declared, has_lse));
    known = of_case_.end() - 1;
  }
  ClassPower& here = powers_[{candidate, p.dtype, p.mask.kind, rows_class}];
  here.candidate = candidate;
  here.dtype = p.dtype;
  here.mask = p.mask.kind;
  here.length_class = rows_class;
  ++here.count_cases;
  pool(here.power, std::get<2>(*known));
}

std::vector<ClassPower> PowerLedger::all() const {
  std::vector<ClassPower> all;
  for (const auto& [place, power] : powers_) all.push_back(power);
  return all;
}

namespace {

// What every candidate would have shown: the larger effect, the worse sight.
void keep_worse(Power& into, const Power& other) {
  for (std::size_t i = 0; i < into.effects.size(); ++i) into.effects[i] = std::max(into.effects[i], other.effects[i]);
  for (std::size_t i = 0; i < into.faults.size(); ++i) {
    const bool is_unseen = other.faults[i].sight == Sight::kUnseen;
    const bool applies_first = into.faults[i].sight == Sight::kNotApplicable;
    if (is_unseen || applies_first) into.faults[i] = other.faults[i];
  }
}

std::string number(double least) { return std::isfinite(least) ? fmt::format("{:.1g}", least) : "none"; }

// Of one dtype and mask: by length class, and over the classes.
struct Row {
  std::map<int, Power> classes;

  std::string keys() const {
    const std::string first = length_class_name(classes.begin()->first),
                      last = length_class_name(classes.rbegin()->first);
    return first.substr(0, first.find('-')) + last.substr(last.find('-'));
  }
  std::string range(std::size_t effect) const {
    double least = Power::kNotSeen, most = 0;
    for (const auto& [index, power] : classes) {
      least = std::min(least, power.effects[effect]);
      most = std::max(most, power.effects[effect]);
    }
    return number(least) == number(most) ? number(least) : number(least) + " .. " + number(most);
  }
  std::string faults_seen() const {
    Power best;
    for (const auto& [index, power] : classes) pool(best, power);
    const auto count = [&](auto... sights) {
      return std::count_if(best.faults.begin(), best.faults.end(),
                           [&](const FaultSight& fault) { return ((fault.sight == sights) || ...); });
    };
    return fmt::format("{} of {}", count(Sight::kSeen), count(Sight::kSeen, Sight::kUnseen));
  }
};

using Rows = std::map<std::pair<Dtype, MaskKind>, Row>;

constexpr std::size_t kPlacesShown = 4;

// "not seen: a rescale skipped in fp32 full, 1-16 keys (bound used 0.1); ..."
void print_unseen(const Rows& rows) {
  for (std::size_t fault = 0; fault < kFloorFaults.size(); ++fault) {
    std::vector<std::string> places;
    for (const auto& [key, row] : rows) {
      for (const auto& [index, power] : row.classes) {
        if (power.faults[fault].sight != Sight::kUnseen) continue;
        places.push_back(fmt::format("{} {}, {} keys ({})", to_string(key.first), to_string(key.second),
                                     length_class_name(index), power.faults[fault].why));
      }
    }
    if (places.empty()) continue;
    std::string shown;
    for (std::size_t i = 0; i < std::min(places.size(), kPlacesShown); ++i) shown += (i ? "; " : "") + places[i];
    if (places.size() > kPlacesShown) shown += fmt::format("; {} more", places.size() - kPlacesShown);
    fmt::print("not seen: {} in {}\n", to_string(kFloorFaults[fault]), shown);
  }
}

}  // namespace

void print_power(std::span<const ClassPower> powers) {
  Rows rows;
  for (const ClassPower& one : powers) {
    auto& classes = rows[{one.dtype, one.mask}].classes;
    const auto [place, is_new] = classes.try_emplace(one.length_class, one.power);
    if (!is_new) keep_worse(place->second, one.power);
  }
  if (rows.empty()) return;
  fmt::print(
      "\nPower: what these Cases would have shown of the candidate they show least of. Floor faults seen of those "
      "that\n"
      "apply, and the least error rejected, on the row lengths that see most .. least: the scale off by a share, O "
      "too\n"
      "small by a share, lse off by, one key's weight off by a share (none: not even all of it).\n");
  fmt::print("{:<9} {:<20} {:>9} {:>12} {:>16} {:>16} {:>16} {:>16}\n", "power", "mask", "keys", "floor faults",
             "scale", "shrink of O", "lse shift", "key weight");
  for (const auto& [key, row] : rows) {
    fmt::print("{:<9} {:<20} {:>9} {:>12} {:>16} {:>16} {:>16} {:>16}\n", to_string(key.first), to_string(key.second),
               row.keys(), row.faults_seen(), row.range(0), row.range(1), row.range(2), row.range(3));
  }
  print_unseen(rows);
}

}  // namespace ringproof
