// elfutils' libdw reads the DWARF line table of the running program, and the inlined calls around an address.

#include "gpu/racecheck/places.h"

#include <dwarf.h>
#include <elfutils/libdwfl.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include "reference/spec/error.h"

namespace ringproof::racecheck {
namespace {

constexpr Place kIsSite = 0x80000000u;

std::string without_folders(const char* path) {
  const char* const slash = std::strrchr(path, '/');
  return slash == nullptr ? path : slash + 1;
}

/// The calls around `address` that were inlined into the function that holds it.
std::vector<std::string> inlined_calls(Dwfl_Module* module, Dwarf_Addr address) {
  std::vector<std::string> calls;
  Dwarf_Addr bias = 0;
  Dwarf_Die* const unit = dwfl_module_addrdie(module, address, &bias);
  Dwarf_Files* files = nullptr;
  if (unit == nullptr || dwarf_getsrcfiles(unit, &files, nullptr) != 0) return calls;
  Dwarf_Die* scopes = nullptr;
  const int count = dwarf_getscopes(unit, address - bias, &scopes);
  for (int i = 0; i < count; ++i) {
    if (dwarf_tag(&scopes[i]) != DW_TAG_inlined_subroutine) continue;
    Dwarf_Attribute attribute;
    Dwarf_Word file = 0, line = 0;
    dwarf_formudata(dwarf_attr(&scopes[i], DW_AT_call_file, &attribute), &file);
    dwarf_formudata(dwarf_attr(&scopes[i], DW_AT_call_line, &attribute), &line);
    const char* const path = dwarf_filesrc(files, file, nullptr, nullptr);
    if (path != nullptr) calls.push_back(without_folders(path) + ":" + std::to_string(line));
  }
  std::free(scopes);
  return calls;
}

}  // namespace

struct Places::DebugInformation {
  Dwfl_Callbacks callbacks{};
  Dwfl* dwfl = nullptr;

  DebugInformation() {
    callbacks.find_elf = dwfl_linux_proc_find_elf;
    callbacks.find_debuginfo = dwfl_standard_find_debuginfo;
    dwfl = dwfl_begin(&callbacks);
    const bool read =
        dwfl != nullptr && dwfl_linux_proc_report(dwfl, getpid()) == 0 && dwfl_report_end(dwfl, nullptr, nullptr) == 0;
    if (!read)
      throw Error(std::string("racecheck: cannot read the program's own debug information: ") + dwfl_errmsg(-1));
  }
  ~DebugInformation() { dwfl_end(dwfl); }
};

Places::Places() = default;
Places::~Places() = default;

Place Places::of(const simt::host::Site& site) {
  for (std::size_t i = 0; i < sites_.size(); ++i) {
    if (sites_[i].line == site.line && std::strcmp(sites_[i].file, site.file) == 0) {
      return kIsSite | static_cast<Place>(i);
    }
  }
  sites_.push_back(site);
  return kIsSite | static_cast<Place>(sites_.size() - 1);
}

SourceLine Places::where(Place place) {
  if ((place & kIsSite) != 0) {
    const simt::host::Site& site = sites_[place & ~kIsSite];
    return {without_folders(site.file), site.line, {}};
  }
  if (debug_ == nullptr) debug_ = std::make_unique<DebugInformation>();
  // One byte back: the return address may belong to the next line already.
  const Dwarf_Addr address = reinterpret_cast<Dwarf_Addr>(&__executable_start) + place - 1;
  Dwfl_Module* const module = dwfl_addrmodule(debug_->dwfl, address);
  Dwfl_Line* const found = module == nullptr ? nullptr : dwfl_module_getsrc(module, address);
  int line = 0;
  const char* const path = found == nullptr ? nullptr : dwfl_lineinfo(found, nullptr, &line, nullptr, nullptr, nullptr);
  if (path == nullptr) return {"?", 0, {}};
  return {without_folders(path), line, inlined_calls(module, address)};
}

std::string to_string(const SourceLine& line) {
  std::string text = line.file + ":" + std::to_string(line.line);
  for (const std::string& call : line.called_from) text += ", called from " + call;
  return text;
}

}  // namespace ringproof::racecheck
