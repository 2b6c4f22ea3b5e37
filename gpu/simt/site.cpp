// Compilers name a file as they were given it, so two spellings of one file differ in folders only.

#include "gpu/simt/site.h"

#include <cstring>

namespace ringproof::simt::host {
namespace {

const char* name_without_folders(const char* file) {
  const char* slash = std::strrchr(file, '/');
  return slash == nullptr ? file : slash + 1;
}

}  // namespace

std::string to_string(const Site& site) {
  if (site.file == nullptr) return "?";
  return name_without_folders(site.file) + (":" + std::to_string(site.line));
}

bool same_file(const char* a, const char* b) {
  return a != nullptr && b != nullptr && std::strcmp(name_without_folders(a), name_without_folders(b)) == 0;
}

}  // namespace ringproof::simt::host
