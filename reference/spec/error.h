#pragma once

#include <stdexcept>
#include <string>

namespace ringproof {

/// The environment failed: CUDA, NCCL, MPI, a file, a transport. Caught in one place, where it makes the
/// verdict *inconclusive*. The message is one sentence that names the call site or the resource.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// The user asked for something that cannot be: a malformed Case, an unknown name, a size no machine has.
/// The message is one sentence that names the input and the mend; the command prints it and exits with
/// code 2.
class InputError : public Error {
 public:
  using Error::Error;
};

/// Requires `condition`, a promise between two pieces of this program; on in every build. A violation is a
/// programmer's mistake: it prints `sentence` with its place and ends the process.
void assert_that(bool condition, const char* sentence, const char* file = __builtin_FILE(),
                 int line = __builtin_LINE());

}  // namespace ringproof
