#include "reference/spec/error.h"

#include <cstdio>
#include <cstdlib>

namespace ringproof {

void assert_that(bool condition, const char* sentence, const char* file, int line) {
  if (condition) return;
  std::fprintf(stderr, "%s:%d: broken promise: %s\n", file, line, sentence);
  std::abort();
}

}  // namespace ringproof
